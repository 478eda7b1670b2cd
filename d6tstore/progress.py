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
    """How far a transfer is: `up` or `down`, key of the object, bytes so far and in all, seconds since it began.

    Example:
        >>> Transfer("up", "Train/model=svm-5f1c/data.pkl", 50, 200, 2.0).rate
        25.0
    """

    direction: str
    key: str
    done: int
    total: int
    seconds: float

    @property
    def rate(self) -> float:
        """Bytes per second so far."""
        return self.done / self.seconds if self.seconds else 0.0


class Progress:
    """Tells somebody of transfers that take longer than a second. In other processes it is silent.

    Args:
        callback: is given a `Transfer`, from the thread that moves it; what it raises is logged and costs no result.
    """

    def __init__(self, callback: Callable[[Transfer], object] | None = None) -> None:
        self._callback = callback

    def __reduce__(self) -> tuple[Any, ...]:
        return Progress, ()

    def meter(self, direction: str, key: str, total: int) -> Callable[[int], None] | None:
        """What is called with the bytes of each step of a transfer that begins now; None if nobody listens."""
        callback = self._callback
        if callback is None:
            return None
        begun = told = time.monotonic()
        done, lock = 0, threading.Lock()  # several threads may move one object

        def add(size: int) -> None:
            nonlocal done, told
            with lock:
                done += size
                now = time.monotonic()
                if now - begun < _PATIENCE or (now - told < _PAUSE and done < total):
                    return
                told = now
                try:
                    callback(Transfer(direction, key, done, total, now - begun))
                except Exception:
                    log.exception("what listens to transfers failed")

        return add
