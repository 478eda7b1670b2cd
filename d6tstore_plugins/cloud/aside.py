"""Coroutines of a client run in a thread of its own, so that Ctrl-C ends the wait for them at once."""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import wait
from typing import Any, TypeVar

K = TypeVar("K")
T = TypeVar("T")
_AT_ONCE = 48  # requests
_MOMENT = 0.002  # seconds
_PATIENCE = 1.0  # seconds
_handing: set[int] = set()  # threads of Rust that hand a result to a loop


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that knows which threads hand something to it.

    Before Python 3.14 a thread that comes back to an interpreter which ends is unwound, and Rust aborts the process
    then (cpython#87135). The thread that handed over the last result may be that late.
    """

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> asyncio.Handle:  # type: ignore[override]
        """See `asyncio.loop.call_soon_threadsafe`."""
        me = threading.get_ident()
        _handing.add(me)
        try:
            return super().call_soon_threadsafe(*args, **options)
        finally:
            _handing.discard(me)


def _leave() -> None:
    """Wait, before the interpreter ends, for threads of Rust that are in it."""
    deadline = time.monotonic() + _PATIENCE
    while _handing and time.monotonic() < deadline:
        time.sleep(_MOMENT)
    time.sleep(_MOMENT)  # what they do in it after that


class Aside:
    """A thread with an event loop, begun when it is first needed. Not for forked processes, which lack the thread.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, one: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine; what interrupts the wait cancels it."""
        with self._lock:
            future = asyncio.run_coroutine_threadsafe(one, self._running())
        try:
            while not future.done():  # polars has signals restart what waits without a limit
                wait([future], 0.2)
        except BaseException:
            future.cancel()
            time.sleep(_MOMENT)  # its threads learn of it before the interpreter ends
            raise
        return future.result()

    def run_all(self, one: Callable[[K], Coroutine[Any, Any, T]], items: Sequence[K]) -> list[T]:
        """Results for items in their order, so many at a time. The first that fails ends all."""
        waiting, found = enumerate(items), dict[int, T]()

        async def worker() -> None:
            for number, item in waiting:
                found[number] = await one(item)

        async def together() -> list[T]:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_AT_ONCE, len(items))):
                    group.create_task(worker())
            return [found[number] for number in sorted(found)]

        if not items:
            return []
        try:
            return self.run(together())
        except BaseExceptionGroup as exc:
            failure = exc.exceptions[0]
        raise failure

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = _Loop()
            atexit.unregister(_leave)
            atexit.register(_leave)  # what is registered later is done earlier
            self._ends = weakref.finalize(self, _stop, self._loop)
            threading.Thread(target=_run, args=[self._loop], name=self._name, daemon=True).start()
        return self._loop

    def close(self) -> None:
        """End the thread once nothing runs in it; the next use begins another."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None and self._ends.detach():  # once: a loop that ends takes nothing more
            _stop(loop)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    if not loop.is_closed():
        asyncio.run_coroutine_threadsafe(_ending(loop), loop)


async def _ending(loop: asyncio.AbstractEventLoop) -> None:
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
    loop.stop()
