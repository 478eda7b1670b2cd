"""What a backend promises when processes write at the same time, and when one of them is killed."""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import os
import random
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, ClassVar, NamedTuple

import pytest

from d6tstore.backend import Backend
from d6tstore.errors import Held
from d6tstore.testing.suite import Suite

INFO = {"who": "ann", "host": "there", "pid": "1", "since": "then"}
SIZES = (1, 3_000, 30_000, 100_000)  # times that a value repeats its number


class CrashTests(Suite):
    """Needs the fixture `backend`. What is in the memory of one process is not tried."""

    shared: ClassVar[bool] = True
    """Does another process see the same objects? False for what lives in the memory of one process."""
    rounds: ClassVar[int] = 40
    """How often the concurrent writers write; fewer for a slow service."""
    kills: ClassVar[int] = 15
    """How many writers are killed; fewer for a slow service."""
    patience: ClassVar[float] = 30.0
    """Seconds after which a process that is told nothing counts as blocked."""
    lease: ClassVar[float] = 0.0
    """Seconds until the claim of a dead process expires; 0 if it goes with the process."""

    @pytest.fixture
    def shared_backend(self, backend: Backend) -> Backend:
        """The backend, if other processes see it."""
        if not self.shared:
            pytest.skip("shared = False: other processes do not see it")
        return backend

    def test_processes_write_and_read_at_once(self, shared_backend: Backend) -> None:
        values = [bytes([65 + i]) * (1000 + 70_000 * i) for i in range(3)]
        shared_backend.write("k", values[0])
        with ProcessPoolExecutor(2, processes(), environment, (dict(os.environ),)) as pool:
            writers = [pool.submit(_write_often, shared_backend, values, self.rounds, i) for i in range(2)]
            reads = 0
            while not reads or not all(writer.done() for writer in writers):
                assert shared_backend.read("k") in values
                assert shared_backend.exists("k")
                reads += 1
            expected = {key: value for writer in writers for key, value in writer.result().items()}
        assert shared_backend.read_many([*expected]) == expected, "of two writers one lost what the other wrote"
        assert {entry.key for entry in shared_backend.list()} == {"k", *expected}

    def test_killed_writer_leaves_whole_values(self, shared_backend: Backend) -> None:
        backend, moments, number = shared_backend, random.Random(0), 0
        possible: dict[str, set[bytes | None]] = {_written(n)[0]: {None} for n in range(3)}
        for _ in range(self.kills):
            first = number
            with Child(_write_on, backend, first) as writer:
                number = writer.run(moments, self.patience)
            for n in range(first, number + 1):
                key, data = _written(n)
                possible[key] = {data} if n < number else {*possible[key], data}
            with Child(_inherit, backend, number + 1) as heir:
                found = heir.told(self.patience)  # in another process: what is in memory here proves nothing
                assert found.keys() <= possible.keys(), "debris of the killed writer is listed"
                lost = [key for key in possible if found.get(key) not in possible[key]]
                assert not lost, f"neither what was last written nor what was being written: {lost}"
                heir.told(self.patience)  # it could write
            key, data = _written(number + 1)
            possible[key] = {data}
            assert _objects(backend) == {k: v for k, v in {**found, key: data}.items() if v is not None}
            number += 2

    def test_claim_dies_with_its_process(self, shared_backend: Backend) -> None:
        with Child(_hold, shared_backend) as holder:
            holder.told(self.patience)
            try:
                with shared_backend.claim("Prices-0", {}):
                    pytest.skip("this backend has no claims: two writers are safe, only work is doubled")
            except Held as held:
                assert held.info == INFO
            holder.kill()
        end = time.monotonic() + self.lease
        while True:
            try:
                with shared_backend.claim("Prices-0", {}):
                    return
            except Held:
                if time.monotonic() >= end:
                    raise
                time.sleep(self.lease / 20)


@functools.cache
def processes() -> Any:
    """How processes are started: from a small server where there is one, for that takes milliseconds."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "pandas"])  # which pyarrow looks for when it makes an array
    return context


def environment(variables: dict[str, str]) -> None:
    """Give a process the variables of this one: the small server has those of its start, perhaps no credentials."""
    os.environ.update(variables)


class Child:
    """Another process that does `work(tell, *args)`: what it tells is heard here, until it is killed."""

    def __init__(self, work: Callable[..., None], *args: Any) -> None:
        self._pipe, theirs = processes().Pipe(duplex=False)
        given = theirs, dict(os.environ), work, *args
        self._process = processes().Process(target=_work, args=given, daemon=True)
        self._process.start()
        theirs.close()

    def told(self, patience: float) -> Any:
        """What it tells next; the test fails if it raised, or tells nothing for that many seconds."""
        if not self._pipe.poll(patience):
            pytest.fail(f"the other process is blocked: nothing happened for {patience} s")
        told = self._pipe.recv()
        if isinstance(told, _Raised):
            pytest.fail(f"in the other process: {told.text}")
        return told

    def run(self, moments: random.Random, patience: float) -> Any:
        """Let it tell a random number of things and kill it somewhere in what comes then; returns the last one."""
        told = self.told(patience)
        began, times = time.perf_counter(), moments.randrange(1, 15)
        for _ in range(times):
            told = self.told(patience)
        now = time.perf_counter()
        end = now + (now - began) / times * moments.random()
        while time.perf_counter() < end:  # part of the time that one takes, however fast this place is
            pass
        return [told, *self.kill()][-1]

    def kill(self) -> list[Any]:
        """End it without a chance to tidy up; returns what it had told and nobody had heard."""
        self._process.kill()
        self._process.join()
        unheard = []
        with contextlib.suppress(EOFError, OSError):
            while True:
                unheard.append(self._pipe.recv())
        return [told for told in unheard if not isinstance(told, _Raised)]

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._pipe.close()
        self._process.close()


class _Raised(NamedTuple):
    text: str


def _work(pipe: Any, variables: dict[str, str], work: Callable[..., None], *args: Any) -> None:
    environment(variables)
    try:
        work(pipe.send, *args)
    except Exception:  # noqa: BLE001 - it is told, whatever it is
        pipe.send(_Raised(traceback.format_exc()))


def _written(number: int) -> tuple[str, bytes | None]:
    """Key and value of a write; None: it is deleted."""
    data = b"%d:" % number * SIZES[number % len(SIZES)]
    return f"killed/{number % 3}", None if number % 7 == 6 else data


def _prepared(backend: Backend, number: int) -> Callable[[], None]:
    """The write, with all done that is not the backend's part."""
    key, data = _written(number)
    if data is None:
        return lambda: backend.delete(key)
    if number % 4:
        return lambda: backend.write(key, data)
    path = backend.staging()
    path.write_bytes(data)
    return lambda: backend.write(key, path)


def _write_on(tell: Callable[[Any], None], backend: Backend, number: int) -> None:
    for each in itertools.count(number):
        write = _prepared(backend, each)
        tell(each)
        write()


def _inherit(tell: Callable[[Any], None], backend: Backend, number: int) -> None:
    tell(_objects(backend))
    _prepared(backend, number)()
    tell("written")


def _objects(backend: Backend) -> dict[str, bytes]:
    """All that is listed, read."""
    sizes = {entry.key: entry.size for entry in backend.list()}
    found = {key: backend.read(key) for key in sizes}
    assert {key: len(data) for key, data in found.items()} == sizes, "the listing and the objects disagree"
    return found


def _hold(tell: Callable[[Any], None], backend: Backend) -> None:
    with backend.claim("Prices-0", INFO):
        tell("held")
        threading.Event().wait()


def _write_often(backend: Backend, values: list[bytes], rounds: int, seed: int) -> dict[str, bytes]:
    """Write a key that others write too, and some of its own; returns what these must be."""
    order, own = random.Random(seed), {}
    for i in range(rounds):
        backend.write("k", order.choice(values))
        assert backend.read("k") in values
        key = f"own/{seed}/{i % 3}"
        own[key] = b"%d" % i
        backend.write(key, own[key])
    return own
