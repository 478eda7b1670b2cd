"""How far transfers over a network are, for those who show it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

log = logging.getLogger("d6tstore")
_PATIENCE = 1.0  # seconds that a transfer takes before anybody hears of it
_PAUSE = 0.1  # seconds between two reports of one transfer


class Transfer(NamedTuple):
    """How far a transfer is: `up` or `down`, bytes so far and in all, seconds since it began.

    `key` is the object; of many that go together the name of the pipe, with how many of them are done.

    Example:
        >>> Transfer("up", "Train/model=svm-5f1c/data.pkl", 50, 200, 2.0).rate
        25.0
    """

    direction: str
    key: str
    done: int
    total: int
    seconds: float
    objects: int = 0
    of: int = 0

    @property
    def rate(self) -> float:
        """Bytes per second so far."""
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def left(self) -> float | None:
        """Seconds that it will still take at this rate; None if nothing has moved yet."""
        return (self.total - self.done) / self.rate if self.done else None


class Meter:
    """Is called with the bytes of each step, from any thread, and tells who listens."""

    def __init__(self, tell: Callable[[Transfer], object], direction: str, key: str, total: int, of: int) -> None:
        self._tell, self._what, self._total, self._of = tell, (direction, key), total, of
        self._lock = threading.Lock()
        self._begun = self._told = time.monotonic()
        self._done = self._objects = 0

    def __call__(self, size: int, objects: int = 0) -> None:
        """So many bytes more, and objects that are whole."""
        with self._lock:
            self._done += size
            self._objects += objects
            now = time.monotonic()
            open_ = self._done < self._total or self._objects < self._of
            if now - self._begun < _PATIENCE or (now - self._told < _PAUSE and open_):
                return
            self._told = now
            try:
                self._tell(Transfer(*self._what, self._done, self._total, now - self._begun, self._objects, self._of))
            except Exception:
                log.exception("what listens to transfers failed")


class Progress:
    """Tells somebody of transfers that take longer than a second. In other processes it is silent.

    Args:
        callback: is given a `Transfer`, from the thread that moves it; what it raises is logged and costs no result.
    """

    def __init__(self, callback: Callable[[Transfer], object] | None = None) -> None:
        self._callback = callback

    def __reduce__(self) -> tuple[Any, ...]:
        return Progress, ()

    def also(self, callback: Callable[[Transfer], object]) -> Progress:
        """One that tells somebody else too."""
        first = self._callback
        if first is None:
            return Progress(callback)

        def both(transfer: Transfer) -> None:
            first(transfer)
            callback(transfer)

        return Progress(both)

    def meter(self, direction: str, key: str, total: int, of: int = 0) -> Meter | None:
        """What is called with the bytes of each step of a transfer that begins now; None if nobody listens."""
        return None if self._callback is None else Meter(self._callback, direction, key, total, of)
