"""Pipes to S3 ask little: few requests, however many results; and what listings show is not believed too long."""

import subprocess
import sys

import pytest
from pipe_people import Number, Person, whole

from d6tstore.credentials import Credentials
from d6tstore_plugins.cloud.address import Address
from d6tstore_plugins.cloud.session import Service, Session

BESIDES = 12  # requests of a push that come once: probes, listings, the log


@pytest.fixture
def people(place, tmp_path):
    return [Person(tmp_path / name, place.url, credentials=place.credentials.name) for name in ("ann", "bob")]


def asked(place, call):
    begun = len(place.proxy.requests)
    call()
    return place.proxy.requests[begun:]


@pytest.mark.parametrize("number", [3, 70])
def test_a_push_with_nothing_to_do_only_lists(people, place, number):
    ann, _ = people
    ann.run(*(Number(n=n) for n in range(number)))
    ann.pipe.push()
    assert [method for method, _ in asked(place, ann.pipe.push)] == ["GET"]


def test_what_was_the_same_before_anybody_noted_it_is_noted(people, place):
    ann, _ = people
    ann.run(*(Number(n=n) for n in range(5)))
    ann.pipe.push()
    ann.store.repository.default.delete(".d6tstore/pipes/team.json")
    assert len(asked(place, ann.pipe.push)) > 5
    assert len(asked(place, ann.pipe.push)) == 1


def test_a_first_push_sends_each_object_and_record_once(people, place):
    ann, _ = people
    ann.run(*(Number(n=n) for n in range(100)))
    found = asked(place, ann.pipe.push)
    assert len(found) <= 2 * 100 + BESIDES + 3, found
    whole(ann.there)


def test_a_later_version_of_somebody_else_is_seen(people):
    ann, bob = people
    ann.run(Number(n=1), Number(n=2))
    ann.pipe.push()
    bob.pipe.pull()
    assert {item.action for item in ann.pipe.push()} == {"same"}
    bob.run(Number(n=1), force=True)
    bob.pipe.push()
    assert ann.pipe.status()[Number(n=1).id].action == "newer there"
    ann.pipe.pull()
    assert ann.record(Number(n=1)).write_id == bob.record(Number(n=1)).write_id
    ann.store.invalidate(Number(n=2))
    assert ann.pipe.status()[Number(n=2).id].action == "removed here"


def test_a_taken_key_is_left_and_told(place):
    backend = place.open()
    keys = [f".d6tstore/records/Number/{n:016x}.json" for n in range(3)]
    backend.compare_and_swap(keys[0], None, b"somebody's")
    backend.compare_and_swap(keys[1], None, b"1")
    made = backend.create_many({key: str(n).encode() for n, key in enumerate(keys)})
    assert made.keys() == set(keys[1:]), "one is the same, as of a write whose answer was lost"
    shown = {entry.key: entry.version for entry in backend.list(".d6tstore/records/")}
    assert made.items() <= shown.items() and backend.read(keys[0]) == b"somebody's"


def test_boto3_is_not_asked_for_what_is_said(place):
    code = f"""
import sys
from d6tstore_plugins.cloud.s3 import S3Backend
list(S3Backend.open({place.url!r}).list())
print([name for name in ("botocore", "boto3", "pyarrow", "pandas") if name in sys.modules])
"""
    keys = {"AWS_ACCESS_KEY_ID": place.server.keys.id, "AWS_SECRET_ACCESS_KEY": place.server.keys.secret}
    done = subprocess.run([sys.executable, "-c", code], env=keys, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
def test_a_profile_of_boto3_goes_before_variables_of_ours(monkeypatch, tmp_path, variable):
    (tmp_path / "config").write_text("[profile p]\nca_bundle = /certificates\n")
    for name, value in (("AWS_CONFIG_FILE", str(tmp_path / "config")), (variable, "p")):
        monkeypatch.setenv(name, value)
    address = Address.parse("s3://bucket?endpoint=https://host&region=us-east-1")
    service = Session(address, Credentials(), "here").service()
    assert service == Service("https://host", "us-east-1", True, "/certificates")
