"""`BackendTests`: what every backend promises."""

from __future__ import annotations

import io
import multiprocessing
import pickle
import random
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import ClassVar

import pytest

from d6tstore import record
from d6tstore.backend import Backend
from d6tstore.errors import BackendError, Held, InvalidKey, NotFound
from d6tstore.record import Output, Record
from d6tstore.testing.flow import FlowTests

KEYS = (
    "plain", "a/b/c/d/e", "spaces in/a name", "ünï/cödé", "emoji/😀.bin", "per%cent/%2e%2e/%00", "hash#tag/#",
    "what?/is=this&that", "plus+plus/+", "dots...and.more/.hidden/..x/x..", "-dash/--", "quote'/\"double\"",
    "semi;colon/co:lon", "star*/[x]", "dollar$/{x}", "tilde~/~x", "under_score/_%", "p" * 255, "/".join(["d" * 100] * 10),
)  # fmt: skip
"""Keys that each backend must hold as they are."""

ILLEGAL = (
    "", "/", "/absolute", "a//b", "a/", "..", "../up", "a/../b", "a/..", ".", "a/./b", "nul\0", "back\\slash",
    "C:/drive", "x" * 256, "/".join(["x" * 200] * 6), "lone\ud800surrogate",
)  # fmt: skip
"""Keys that each backend must refuse."""


class BackendTests(FlowTests):
    """Subclass it in a test file and define the fixture `backend`; see `d6tstore.testing`."""

    shared: ClassVar[bool] = True
    """Does another process see the same objects? False for what lives in the memory of one process."""
    secret: ClassVar[str | None] = None
    """The secret that the backend was opened with: it must show nowhere."""
    rounds: ClassVar[int] = 40
    """How often the concurrent writers write; fewer for a slow service."""

    @pytest.fixture
    def backend(self) -> Backend:
        """A fresh, empty backend."""
        raise NotImplementedError("define a fixture `backend` that returns a fresh, empty Backend")

    # ------------------------------------------------------------ read, write, delete

    def test_begins_empty(self, backend: Backend) -> None:
        assert list(backend.list()) == []

    @pytest.mark.parametrize("size", [0, 1, 65_536, 5_000_000])
    def test_reads_what_was_written(self, backend: Backend, size: int) -> None:
        data = random.Random(size).randbytes(size)
        backend.write("a/value", data)
        assert backend.read("a/value") == data
        assert [(e.key, e.size) for e in backend.list()] == [("a/value", size)]

    def test_write_replaces(self, backend: Backend) -> None:
        backend.write("k", b"a longer value")
        backend.write("k", b"short")
        assert backend.read("k") == b"short"
        assert [(e.key, e.size) for e in backend.list()] == [("k", 5)]

    def test_missing_key_is_not_found(self, backend: Backend) -> None:
        backend.write("there/x", b"1")
        for key in ("absent", "there", "there/x/y", "there/xx", "absent/x"):
            with pytest.raises(NotFound) as caught:
                backend.read(key)
            assert isinstance(caught.value, KeyError)
            assert key in str(caught.value)
            with pytest.raises(NotFound):
                backend.open_read(key)
            assert not backend.exists(key)

    def test_delete(self, backend: Backend) -> None:
        backend.write("a/b", b"1")
        backend.write("a/bc", b"2")
        backend.delete("a/b")
        assert not backend.exists("a/b")
        assert [e.key for e in backend.list()] == ["a/bc"]
        backend.write("a/b", b"3")
        assert backend.read("a/b") == b"3"

    def test_delete_of_a_missing_key_is_no_error(self, backend: Backend) -> None:
        backend.write("a/b", b"1")
        for key in ("absent", "absent/x", "a", "a/bc"):
            backend.delete(key)
        assert backend.read("a/b") == b"1"

    def test_write_consumes_a_staged_file(self, backend: Backend) -> None:
        for key, data in (("a/staged", b"first" * 1000), ("a/staged", b"second"), ("a/empty", b"")):
            path = backend.staging()
            path.write_bytes(data)
            backend.write(key, path)
            assert backend.read(key) == data
            assert not path.exists()

    def test_staging_paths_are_new_and_not_listed(self, backend: Backend) -> None:
        one, two = backend.staging(), backend.staging()
        one.write_bytes(b"unfinished")
        two.write_bytes(b"unfinished too")
        try:
            assert one != two
            assert list(backend.list()) == []
        finally:
            one.unlink()
            two.unlink()

    # ------------------------------------------------------------------- listing

    def test_list_takes_the_prefix_to_the_letter(self, backend: Backend) -> None:
        # No key is a folder of another: a file system could not hold both, and d6tstore never asks for it.
        keys = ["aa", "ab", "a-b/x", "a/b", "a/bc", "a/b-d/e", "b/a/b", "A/b", "a%/x", "a_/x", "aX/x", "*/x"]
        if "test_keys_differ_in_case" in self.deviations:
            keys.remove("A/b")
        for key in keys:
            backend.write(key, b"1")
        for prefix in ("", "a", "a/", "a/b", "a/b-", "a/b/", "A", "b/a", "a%", "a_", "*", "x", "a/bcd", "a-", "/"):
            try:
                found = sorted(entry.key for entry in backend.list(prefix))
            except InvalidKey:
                assert prefix == "/"
                continue
            assert found == sorted(key for key in keys if key.startswith(prefix)), prefix

    def test_list_never_leaves_the_root(self, backend: Backend) -> None:
        backend.write("a/b", b"1")
        for prefix in ("../", "..", "a/../", "a/../../", "/etc/", "//", "a//"):
            try:
                assert list(backend.list(prefix)) == [], prefix
            except InvalidKey:
                pass

    def test_entries_tell_size_version_and_time(self, backend: Backend) -> None:
        versions = set()
        for i in range(10):
            backend.write("a/x", bytes([i]) * 7)
            (entry,) = backend.list("a/")
            assert backend.stat(["a/x"]) == {"a/x": entry}
            assert (entry.key, entry.size) == ("a/x", 7)
            assert isinstance(entry.version, str)
            assert abs(entry.modified - time.time()) < 86_400
            assert entry.version not in versions, "the version did not change with the bytes"
            versions = {entry.version}
        assert [e.version for e in backend.list("a/")] == list(versions), "the version changes by itself"

    # -------------------------------------------------------------------- keys

    @pytest.mark.parametrize("key", KEYS, ids=lambda key: ascii(key[:30]))
    def test_keys_are_kept_as_they_are(self, backend: Backend, key: str) -> None:
        backend.write(key, key.encode())
        assert backend.read(key) == key.encode()
        assert backend.exists(key)
        assert [e.key for e in backend.list()] == [key]
        assert [e.key for e in backend.list(key)] == [key]
        assert list(backend.stat([key])) == list(backend.read_many([key])) == [key]
        with backend.open_read(key) as file:
            assert file.read() == key.encode()
        backend.delete(key)
        assert list(backend.list()) == []

    def test_keys_differ_in_case(self, backend: Backend) -> None:
        keys = ["data/x", "Data/x", "data/X", "DATA/X"]
        backend.write_many({key: key.encode() for key in keys})
        assert backend.read_many(keys) == {key: key.encode() for key in keys}
        assert sorted(e.key for e in backend.list()) == sorted(keys)

    @pytest.mark.parametrize("key", ILLEGAL, ids=lambda key: ascii(key[:20]))
    def test_illegal_keys_are_refused(self, backend: Backend, key: str) -> None:
        calls = {
            "read": lambda: backend.read(key),
            "write": lambda: backend.write(key, b"1"),
            "write_many": lambda: backend.write_many({key: b"1"}),
            "delete": lambda: backend.delete(key),
            "stat": lambda: backend.stat([key]),
            "exists": lambda: backend.exists(key),
            "read_many": lambda: backend.read_many([key]),
            "open_read": lambda: backend.open_read(key),
        }
        for name, call in calls.items():
            with pytest.raises(InvalidKey):
                call()
                pytest.fail(f"{name}({key!r}) went through")
        assert list(backend.list()) == []

    # ------------------------------------------------------------- derived methods

    def test_many_at_once(self, backend: Backend) -> None:
        items = {f"many/{i % 3}/{i}": b"%d" % i for i in range(20)}
        backend.write_many(items)
        asked = [*items, "many/none", "none/at/all"]
        assert backend.read_many(asked) == items
        assert {key: entry.size for key, entry in backend.stat(asked).items()} == {k: len(v) for k, v in items.items()}
        assert backend.read_many([]) == backend.stat([]) == {}

    def test_open_read_is_seekable(self, backend: Backend) -> None:
        data = random.Random(0).randbytes(100_000)
        backend.write("big", data)
        with backend.open_read("big") as file:
            assert file.seekable()
            assert file.seek(-8, io.SEEK_END) == 99_992
            assert file.read() == data[-8:]
            assert file.seek(10) == 10
            assert file.read(5) == data[10:15]
            assert file.tell() == 15

    def test_uri_names_the_object(self, backend: Backend) -> None:
        backend.write("a/b", b"1")
        assert backend.uri("a/b").endswith("a/b")
        path = backend.path("a/b")
        assert path is None or path.read_bytes() == b"1"

    # ------------------------------------------------------------------ records

    def test_records_of_a_family(self, backend: Backend) -> None:
        made = [_record("Prices", "0" * 16), _record("Prices", "1" * 16), _record("PricesDaily", "0" * 16)]
        for each in made:
            backend.publish(each)
        assert dict(backend.records("Prices")) == {r.key: record.encode(r) for r in made[:2]}
        assert dict(backend.records("Price")) == {}
        assert dict(backend.records("ns.Prices")) == {}

    def test_publish_moves_the_replaced_record_to_the_history(self, backend: Backend) -> None:
        old, new = _record("Prices", "0" * 16, "a" * 16), _record("Prices", "0" * 16, "b" * 16)
        backend.publish(old)
        backend.publish(new, old)
        assert record.decode(backend.read(new.key), new.key) == new
        assert record.decode(backend.read(old.history_key), old.history_key) == old
        assert [e.key for e in backend.list(record.history_prefix("Prices", "0" * 16))] == [old.history_key]
        assert dict(backend.records("Prices")) == {new.key: record.encode(new)}

    # ------------------------------------------------------- processes and threads

    def test_pickles(self, backend: Backend) -> None:
        backend.write("a", b"1")
        other = pickle.loads(pickle.dumps(backend))
        assert other.read("a") == b"1"
        other.write("b", b"2")
        assert backend.read("b") == b"2"

    def test_works_in_another_process(self, backend: Backend) -> None:
        backend.write("mine", b"1")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            seen = pool.submit(_elsewhere, backend).result()
        assert seen == ["mine"] or not self.shared
        assert backend.exists("theirs") == self.shared

    def test_shows_no_secret(self, backend: Backend) -> None:
        with pytest.raises(BackendError) as caught:
            backend.read("absent")
        shown = [repr(backend), backend.url, backend.uri("a"), str(caught.value), repr(pickle.dumps(backend))]
        assert type(backend).__name__ in shown[0]
        assert not self.secret or not [text for text in shown if self.secret in text]

    def test_readers_see_whole_values_at_any_time(self, backend: Backend) -> None:
        values = [bytes([65 + i]) * (1000 + 70_000 * i) for i in range(4)]
        backend.write("k", values[0])
        with ThreadPoolExecutor(5) as pool:
            writers = [pool.submit(_write_often, backend, values, self.rounds, seed) for seed in range(2)]
            readers = [pool.submit(_read_while, backend, values, writers) for _ in range(3)]
            assert [writer.result() for writer in writers] == [None, None]
            assert all(reader.result() > 0 for reader in readers)

    def test_threads_write_different_keys(self, backend: Backend) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda i: backend.write(f"t/{i % 5}/{i}", b"%d" % i), range(60)))
        assert backend.read_many([f"t/{i % 5}/{i}" for i in range(60)]).keys() == {e.key for e in backend.list("t/")}

    def test_claim_is_exclusive_or_none(self, backend: Backend) -> None:
        mine = {"who": "ann", "host": "here", "pid": "1", "since": "now"}
        free = False
        for _ in range(2):
            with pytest.raises(ZeroDivisionError), backend.claim("Prices-0", mine):
                try:
                    with ThreadPoolExecutor(1) as pool:
                        pool.submit(_claim, backend, "Prices-0").result()
                    free = True
                except Held as held:
                    assert held.info == mine
                _claim(backend, "Prices-1")
                raise ZeroDivisionError
        _claim(backend, "Prices-0")
        assert list(backend.list()) == [], "a claim is no object"
        if free:
            pytest.skip("this backend has no claims: two writers are safe, only work is doubled")

    def test_close_and_use_again(self, backend: Backend) -> None:
        backend.write("a", b"1")
        backend.close()
        backend.close()
        assert backend.read("a") == b"1"

    def test_clean_spares_objects(self, backend: Backend) -> None:
        backend.write("a", b"1")
        backend.clean(before=time.time() + 3600)
        assert backend.read("a") == b"1"


def _record(family: str, hash: str, write_id: str = "c" * 16) -> Record:
    output = Output(f"{family}/{hash}/data-{write_id}.json", "json", "d" * 32)
    return Record(
        version=record.VERSION, family=family, module="flow", hash=hash, params={"n": 1, "name": "é"}, code="e" * 32,
        outputs={"data": output}, write_id=write_id, time=record.now(),
    )  # fmt: skip


def _elsewhere(backend: Backend) -> list[str]:
    seen = [entry.key for entry in backend.list()]
    backend.write("theirs", b"2")
    return seen


def _write_often(backend: Backend, values: list[bytes], rounds: int, seed: int) -> None:
    order = random.Random(seed)
    for _ in range(rounds):
        backend.write("k", order.choice(values))


def _read_while(backend: Backend, values: list[bytes], writers: list[object]) -> int:
    whole, reads = set(values), 0
    while not reads or not all(writer.done() for writer in writers):  # type: ignore[attr-defined]
        assert backend.read("k") in whole
        assert backend.exists("k")
        reads += 1
    return reads


def _claim(backend: Backend, key: str) -> None:
    with backend.claim(key, {"who": "bob"}):
        pass
