"""What a backend promises to those who share it: records, threads, claims, refusals, secrets."""

from __future__ import annotations

import multiprocessing
import pickle
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, ClassVar
from urllib.parse import quote

import pytest

from d6tstore import record
from d6tstore.backend import Backend
from d6tstore.errors import BackendError, Denied, Held, Unsupported
from d6tstore.record import Output, Record
from d6tstore.testing.crashes import CrashTests


class SharingTests(CrashTests):
    """Needs the fixture `backend`."""

    secret: ClassVar[str | None] = None
    """The secret that the backend was opened with: it must show nowhere."""

    def denying(self, backend: Backend) -> AbstractContextManager[None]:
        """A context within which the place refuses all access to this backend. Override it.

        Args:
            backend: that of the fixture. For files: `return d6tstore.testing.forbidden(folder)`.
        """
        pytest.skip("define denying(self, backend): a context within which the place refuses; see BackendTests")

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
            done = pool.submit(_elsewhere, backend)
        if self.shared or done.exception() is None:
            assert done.result() == ["mine"] or not self.shared
        else:  # what is not shared may say so
            assert isinstance(done.exception(), Unsupported)
        assert backend.exists("theirs") == self.shared

    def test_denied_is_not_absent(self, backend: Backend) -> None:
        calls: dict[str, Callable[[], object]] = {
            "read": lambda: backend.read("a/k"),
            "read_many": lambda: backend.read_many(["a/k", "a/l"]),
            "open_read": lambda: backend.open_read("a/k").close(),
            "exists": lambda: backend.exists("a/k"),
            "exists of what is not there": lambda: backend.exists("a/absent"),
            "stat": lambda: backend.stat(["a/k", "a/l"]),
            "list": lambda: list(backend.list()),
            "list with a prefix": lambda: list(backend.list("a/")),
            "records": lambda: list(backend.records("Prices")),
            "write": lambda: backend.write("a/k", b"2"),
            "write of a new key": lambda: backend.write("a/new", b"2"),
            "write_many": lambda: backend.write_many({"a/k": b"2", "a/new": b"2"}),
            "delete": lambda: backend.delete("a/k"),
        }
        backend.write_many({"a/k": b"1", "a/l": b"1"})
        backend.publish(_record("Prices", "0" * 16))
        for call in calls.values():  # all is loaded before the place refuses, or that would be refused too
            call()
        backend.write("a/k", b"1")
        before = {entry.key: entry.version for entry in backend.list()}
        with self.denying(backend):
            for name, call in calls.items():
                with pytest.raises(Denied) as caught:
                    call()
                    pytest.fail(f"{name} went through")
                self._hides_the_secret(caught.value)
        assert {entry.key: entry.version for entry in backend.list()} == before
        assert backend.read("a/k") == b"1"

    def test_shows_no_secret(self, backend: Backend) -> None:
        assert type(backend).__name__ in repr(backend)
        self._hides_the_secret(repr(backend), str(backend), backend.url, backend.uri("a"), repr(pickle.dumps(backend)))
        for key in ("absent", "../illegal"):
            with pytest.raises(BackendError) as caught:
                backend.read(key)
            self._hides_the_secret(caught.value)

    def _hides_the_secret(self, *shown: str | BaseException | None) -> None:
        """Of an exception, look at all that caused it."""
        for each in shown:
            text = each if isinstance(each, str) else f"{each!r} {each} {getattr(each, '__dict__', '')}"
            if self.secret:
                for form in (self.secret, repr(self.secret)[1:-1], quote(self.secret, safe="")):
                    assert form not in text, "the secret is shown"
            if isinstance(each, BaseException):
                self._hides_the_secret(each.__cause__, each.__context__)

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


def _record(family: str, hash: str, write_id: str = "c" * 16) -> Record:
    output = Output(f"{family}/{hash}/data-{write_id}.json", "json", "d" * 32)
    return Record(
        version=record.VERSION, family=family, module="flow", hash=hash, params={"n": 1, "name": "é"},
        code="e" * 32, outputs={"data": output}, write_id=write_id, time=record.now(),
    )  # fmt: skip


def _elsewhere(backend: Backend) -> list[str]:
    seen = [entry.key for entry in backend.list()]
    backend.write("theirs", b"2")
    return seen


def _write_often(backend: Backend, values: list[bytes], rounds: int, seed: int) -> None:
    order = random.Random(seed)
    for _ in range(rounds):
        backend.write("k", order.choice(values))


def _read_while(backend: Backend, values: list[bytes], writers: Sequence[Future[Any]]) -> int:
    whole, reads = set(values), 0
    while not reads or not all(writer.done() for writer in writers):
        assert backend.read("k") in whole
        assert backend.exists("k")
        reads += 1
    return reads


def _claim(backend: Backend, key: str) -> None:
    with backend.claim(key, {"who": "bob"}):
        pass
