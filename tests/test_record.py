"""The record: round trip, golden form, damage, future versions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d6tstore import record
from d6tstore.errors import RecordError
from d6tstore.record import Acceptance, File, Input, Output, Record

FULL = Record(
    version=1,
    family="Train",
    module="flow",
    hash="0123456789abcdef",
    params={"model": "svm", "n": None},
    insignificant={"threads": 2},
    code="c0de",
    functions={"Train.run": "ab"},
    inputs={"Get-1": Input("cafe")},
    files={"raw.csv": File("beef", 3, 4)},
    outputs={"a": Output("Train/x/a-1.json", "json", "c1", "k1", 10, 3, "c2NoZW1h"), "b": Output("k", "object", "c2")},
    metrics={"score": 0.5},
    seconds=1.5,
    author="me",
    host="here",
    time="2026-01-02T03:04:05.000006+00:00",
    git="f" * 40,
    versions={"python": "3.11.7"},
    origin="team",
    backend="lake",
    write_id="w1",
    ancestors=("w0",),
    accepted=(Acceptance("me", "now", "old"),),
    restorable=False,
)

GOLDEN = (
    b'{"version":1,"family":"Train","module":"flow","hash":"0123456789abcdef","params":{"model":"svm","n":null},'
    b'"insignificant":{"threads":2},"code":"c0de","functions":{"Train.run":"ab"},"inputs":{"Get-1":{"content":"cafe"}},'
    b'"files":{"raw.csv":{"content":"beef","size":3,"mtime":4}},"outputs":{"a":{"key":"Train/x/a-1.json",'
    b'"format":"json","content":"c1","checksum":"k1","bytes":10,"rows":3,"schema":"c2NoZW1h"},"b":{"key":"k",'
    b'"format":"object","content":"c2"}},"backend":"lake","metrics":{"score":0.5},"seconds":1.5,"author":"me","host":"here",'
    b'"time":"2026-01-02T03:04:05.000006+00:00","git":"' + b"f" * 40 + b'","versions":{"python":"3.11.7"},'
    b'"origin":"team","write_id":"w1","ancestors":["w0"],"accepted":[{"who":"me","time":"now","code":"old"}],'
    b'"restorable":false}'
)


def test_golden():
    assert record.encode(FULL) == GOLDEN and record.decode(GOLDEN, "key") == FULL


def test_derived():
    assert FULL.id == "Train-0123456789abcdef"
    assert FULL.key == ".d6tstore/records/Train/0123456789abcdef.json"
    assert FULL.history_key == ".d6tstore/history/Train/0123456789abcdef/w1.json"
    assert FULL.bytes == 10 and FULL.rows == 3
    assert FULL.content == record.combine({"b": "c2", "a": "c1"}) != record.combine({"a": "c2", "b": "c1"})
    assert record.combine({"x": "c1"}) == "c1"


@given(st.integers(0, len(GOLDEN) - 1))
def test_every_truncation_is_noticed(length):
    with pytest.raises(RecordError, match="'key' is damaged"):
        record.decode(GOLDEN[:length], "key")


@given(st.binary())
def test_noise_is_no_record(noise):
    with pytest.raises(RecordError):
        record.decode(noise, "key")


def test_a_future_version_says_what_to_do():
    for data in (b'{"version": 2}', GOLDEN.replace(b'"version":1', b'"version":7')):
        with pytest.raises(RecordError, match="Upgrade d6tstore"):
            record.decode(data, "key")


def test_an_unknown_field_of_this_version_is_ignored():
    assert record.decode(GOLDEN.replace(b'"version":1', b'"version":1,"new":[1]'), "key") == FULL
