"""`BackendTests`: what every backend promises."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable

import pytest

from d6tstore.backend import Backend
from d6tstore.errors import InvalidKey, NotFound
from d6tstore.testing.flow import FlowTests
from d6tstore.testing.sharing import SharingTests
from d6tstore.testing.swapping import SwappingTests

KEYS = (
    "plain", "a/b/c/d/e", "spaces in/a name", "ünï/cödé", "emoji/😀.bin", "per%cent/%2e%2e/%00", "hash#tag/#",
    "what?/is=this&that", "plus+plus/+", "dots...and.more/.hidden/..x/x..", "-dash/--", "quote'/\"double\"",
    "semi;colon/co:lon", "star*/[x]", "dollar$/{x}", "tilde~/~x", "under_score/_%",
    "p" * 255, "/".join(["d" * 100] * 10),
)  # fmt: skip
"""Keys that each backend must hold as they are."""

ILLEGAL = (
    "", "/", "/absolute", "a//b", "a/", "..", "../up", "a/../b", "a/..", ".", "a/./b", "nul\0", "back\\slash",
    "C:/drive", "x" * 256, "/".join(["x" * 200] * 6), "lone\ud800surrogate",
)  # fmt: skip
"""Keys that each backend must refuse."""


class BackendTests(SharingTests, SwappingTests, FlowTests):
    """Subclass it in a test file and define the fixture `backend`; see `d6tstore.testing`."""

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
        for prefix in (
            "",
            "a",
            "a/",
            "a/b",
            "a/b-",
            "a/b/",
            "A",
            "b/a",
            "a%",
            "a_",
            "*",
            "x",
            "a/bcd",
            "a-",
            "/",
        ):
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
        calls: dict[str, Callable[[], object]] = {
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
        assert backend.read_many([]) == {}
        assert backend.stat([]) == {}

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

    def test_close_and_use_again(self, backend: Backend) -> None:
        backend.write("a", b"1")
        backend.close()
        backend.close()
        assert backend.read("a") == b"1"

    def test_clean_spares_objects(self, backend: Backend) -> None:
        backend.write("a", b"1")
        backend.clean(before=time.time() + 3600)
        assert backend.read("a") == b"1"
