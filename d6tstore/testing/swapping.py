"""What a backend promises whose writes may have a condition; others say that they cannot, and write nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from d6tstore.backend import Backend
from d6tstore.errors import Changed, Unsupported
from d6tstore.testing.suite import Suite

_WRITERS = 8


class SwappingTests(Suite):
    """Needs the fixture `backend`."""

    def test_write_on_a_condition(self, backend: Backend) -> None:
        def swap(expected: str | None, data: bytes) -> str:
            return backend.compare_and_swap("a/x", expected, data)

        if _unsupported(backend, lambda: swap(None, b"1")):
            return
        (first,) = backend.list("a/")
        for wrong in (None, f"{first.version}0"):
            with pytest.raises(Changed):
                swap(wrong, b"2")
        assert backend.read("a/x") == b"1"
        second = swap(first.version, b"2")
        (shown,) = backend.list("a/")
        assert backend.read("a/x") == b"2" and second in ("", shown.version) and shown.version != first.version
        with pytest.raises(Changed):
            swap(first.version, b"3")
        backend.delete("a/x")
        with pytest.raises(Changed):
            swap(shown.version, b"4")
        assert list(backend.list()) == []

    def test_many_are_created_where_there_is_nothing(self, backend: Backend) -> None:
        if _unsupported(backend, lambda: backend.create_many({"a/x": b"1"})):
            return
        made = backend.create_many({"a/x": b"2", "a/y": b"2", "b/c/z": b""})
        assert made.keys() == {"a/y", "b/c/z"}
        assert backend.read_many(["a/x", "a/y", "b/c/z"]) == {"a/x": b"1", "a/y": b"2", "b/c/z": b""}
        shown = {entry.key: entry.version for entry in backend.list()}
        assert shown.keys() == {"a/x", "a/y", "b/c/z"}
        assert all(version in ("", shown[key]) for key, version in made.items())

    def test_one_of_many_creates(self, backend: Backend) -> None:
        if _unsupported(backend, lambda: backend.create_many({"other": b"1"})):
            return
        with ThreadPoolExecutor(_WRITERS) as pool:
            made = list(pool.map(lambda n: backend.create_many({"a/x": b"%d" % n}), range(_WRITERS)))
        assert [n for n, won in enumerate(made) if won] == [int(backend.read("a/x"))]


def _unsupported(backend: Backend, write: Callable[[], object]) -> bool:
    """Do it; True if the backend cannot."""
    try:
        write()
    except Unsupported:
        assert list(backend.list()) == []
        return True
    return False
