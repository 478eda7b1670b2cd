"""Doing something with a task while nobody else does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from d6tstore import record
from d6tstore.backend import Backend
from d6tstore.errors import Held

T = TypeVar("T")
log = logging.getLogger("d6tstore")


def claimed(backend: Backend, key: str, shown: object, action: Callable[[], T]) -> T:
    """Do it while nobody else computes the task; wait for who does. Records must be read again inside.

    Args:
        backend: where its result lies.
        key: of the claim.
        shown: the task, or its name, for the log.
        action: what is done.
    """
    info, wait = record.claimant(), 0.01
    while True:
        entered = False
        try:
            with backend.claim(key, info):
                entered = True
                return action()
        except Held as held:
            if entered:  # it is the action's
                raise
            who = " ".join(f"{k}={v}" for k, v in held.info.items())
            log.info("%s is being computed (%s); waiting", shown, who)
            threading.Event().wait(wait)
            wait = min(wait * 1.5, 1.0)
