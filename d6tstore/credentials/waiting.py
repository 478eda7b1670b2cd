"""A call into somebody else's code that may hang: run beside, with a time limit."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from d6tstore.credentials.secret import described

_T = TypeVar("_T")


class Failed(Exception):
    """What the call raised, as text: its frames and attributes may hold secrets, and stay behind."""

    def __init__(self, exc: BaseException) -> None:
        self.text = described(exc)


def in_time(seconds: float, action: Callable[[], _T], name: str) -> _T:
    """What a call returns. It runs in a thread of that name, which is left behind when it takes too long.

    Raises:
        Failed: it raised. Not masked.
        TimeoutError: it has not returned in time. A terminal whose echo it switched off for a prompt has it back.
    """
    outcome: list[_T] = []
    failed: list[Failed] = []

    def work() -> None:
        try:
            outcome.append(action())
        except BaseException as exc:  # noqa: BLE001 - anybody's code; one that exits must not end this process
            failed.append(Failed(exc))

    thread = threading.Thread(target=work, name=name, daemon=True)
    with _terminal_as_it_was(thread):
        thread.start()
        thread.join(seconds)
    if failed:
        raise failed[0]
    if not outcome:
        raise TimeoutError
    return outcome[0]


@contextlib.contextmanager
def _terminal_as_it_was(thread: threading.Thread) -> Iterator[None]:
    """Put the terminal back if the thread is left behind in the middle of a hidden prompt."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError, ValueError, AttributeError):  # Windows; no stdin, no terminal
            import termios

            try:  # which of the two `getpass` asks on
                tty = stack.enter_context(open("/dev/tty", "rb", buffering=0)).fileno()
            except OSError:
                tty = sys.stdin.fileno()
            if not os.isatty(tty):
                raise OSError
            before = termios.tcgetattr(tty)

            def restore() -> None:
                if thread.is_alive():
                    termios.tcsetattr(tty, termios.TCSANOW, before)

            stack.callback(restore)
        yield
