"""How a run looks while it goes: a bar in a terminal and a notebook, a line per task elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TextIO

from d6tstore import html
from d6tstore.forecast import duration, expected, size
from d6tstore.plan import Plan
from d6tstore.report import Outcome, Watcher
from d6tstore.tables import one_line
from d6tstore.task import Task

if TYPE_CHECKING:
    from rich.console import RenderableType

    from d6tstore.progress import Transfer

_PAUSE = 0.2  # seconds between two pictures
_NAMED = 6  # running tasks that are named
_WIDEST = 100  # characters of a task


class Tally:
    """What is known of a run while it goes: the same for every way to show it."""

    def __init__(self, plan: Plan, running: Callable[[], Iterable[Task]]) -> None:
        self.running = running
        pending = [(node.task, node.record) for node in plan if node.will_run]
        told = [(task.id, found) for task, found in expected(plan.repository, pending)]
        known = [found[0] for _, found in told if found is not None]
        mean = sum(known) / len(known) if known else 0.0  # for those of which nothing is known, as in a forecast
        self._expected = {id: mean if found is None else found[0] for id, found in told} if known else {}
        self._since: dict[str, float] = {}  # when each running task was first seen
        self.total = sum(not node.task.aggregates for node in plan)
        self.ran = self.reused = self.failed = self.bytes = 0
        self.transfers: dict[str, Transfer] = {}
        self._begun = time.monotonic()
        self._spent = 0.0

    @property
    def done(self) -> int:
        """Tasks that came to their end."""
        return self.ran + self.reused + self.failed

    def add(self, outcome: Outcome) -> None:
        """Count a task."""
        if outcome.action == "ran":
            self.ran += 1
            self._spent += outcome.seconds
            self.bytes += outcome.record.bytes if outcome.record else 0
        elif outcome.action in ("reused", "restored"):
            self.reused += 1
        else:
            self.failed += 1
        self._expected.pop(outcome.task.id, None)

    def moved(self, transfer: Transfer) -> None:
        """Note how far a transfer is."""
        self.transfers[transfer.key] = transfer
        if transfer.done >= transfer.total:
            self.transfers.pop(transfer.key, None)

    @property
    def left(self) -> float | None:
        """Seconds that are left, if earlier runs tell; several at once take as much less as they did so far."""
        if not self._expected:
            return None
        now = time.monotonic()
        under_way = sum(
            min(now - self._since.setdefault(task.id, now), self._expected.get(task.id, 0.0)) for task in self.running()
        )
        elapsed = now - self._begun
        at_once = max(1.0, self._spent / elapsed) if self._spent and elapsed else 1.0
        return (sum(self._expected.values()) - under_way) / at_once

    def lines(self) -> list[tuple[str, str]]:
        """What runs and what travels, each with the name of its colour."""
        named = list(self.running())
        found = [("yellow", f"▶ {one_line(repr(task), _WIDEST)}") for task in named[:_NAMED]]
        found += [("none", f"and {len(named) - _NAMED} more")] if len(named) > _NAMED else []
        for transfer in list(self.transfers.values()):
            arrow = "↑" if transfer.direction == "up" else "↓"
            done = f"{size(transfer.done)} of {size(transfer.total)}, {size(transfer.rate)}/s"
            found.append(("cyan", f"{arrow} {one_line(transfer.key, _WIDEST)} {done}"))
        return found

    def __str__(self) -> str:
        parts = [f"{self.done} of {self.total} tasks"]
        parts += [f"{number} {word}" for word, number in (("reused", self.reused), ("failed", self.failed)) if number]
        parts += [size(self.bytes)] if self.bytes else []
        left = self.left
        parts += [f"about {duration(left)} left"] if left is not None and self.done < self.total else []
        return ", ".join(parts)


class Lines:
    """One line for each task that ran or failed, for a log or a pipe."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def begin(self, plan: Plan, running: Callable[[], Iterable[Task]]) -> None:
        """See `Watcher`."""
        self._tally = Tally(plan, running)

    def settled(self, outcome: Outcome) -> None:
        """See `Watcher`."""
        self._tally.add(outcome)
        if outcome.action == "reused":
            return
        took = f" in {duration(outcome.seconds)}" if outcome.action == "ran" else ""
        why = f": {type(outcome.error).__name__}" if outcome.error is not None else ""
        line = f"[{self._tally.done}/{self._tally.total}] {outcome.action} {outcome.task!r}{took}{why}"
        print(line, file=self._stream or sys.stderr, flush=True)

    def started(self) -> None:
        """Nothing: a line is for what ended."""

    def moved(self, transfer: Transfer) -> None:
        """Nothing: a log is no place for it."""

    def end(self) -> None:
        """Nothing more."""


class Terminal:
    """A bar at the lower end of a terminal, with what runs and what travels; it goes when the run ends.

    What tasks print and log meanwhile stands above it.
    """

    def begin(self, plan: Plan, running: Callable[[], Iterable[Task]]) -> None:
        """See `Watcher`."""
        from rich.console import Console
        from rich.live import Live

        self._tally = Tally(plan, running)
        out, err = sys.stdout, sys.stderr
        self._live = Live(
            console=Console(stderr=True, highlight=False, soft_wrap=True), get_renderable=self._shown, transient=True,
            refresh_per_second=1 / _PAUSE, redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )  # fmt: skip
        self._live.start()
        # Handlers of logging keep the stream that they were made with, and would write into the bar.
        loggers = [logging.root, *map(logging.getLogger, list(logging.root.manager.loggerDict))]
        found = [handler for logger in loggers for handler in logger.handlers]
        streams = [(handler, handler.stream) for handler in found if isinstance(handler, logging.StreamHandler)]
        self._handlers = [(handler, stream) for handler, stream in streams if stream is out or stream is err]
        for handler, stream in self._handlers:
            handler.setStream(sys.stdout if stream is out else sys.stderr)

    def started(self) -> None:
        """It is drawn anew all the time."""

    def settled(self, outcome: Outcome) -> None:
        """See `Watcher`."""
        self._tally.add(outcome)

    def moved(self, transfer: Transfer) -> None:
        """See `Watcher`."""
        self._tally.moved(transfer)

    def end(self) -> None:
        """See `Watcher`."""
        for handler, stream in self._handlers:
            handler.setStream(stream)
        self._live.stop()

    def _shown(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        tally, head = self._tally, Table.grid(padding=(0, 1))
        head.add_row(ProgressBar(tally.total or 1, tally.done, width=30), Text(str(tally)))
        return Group(head, *(Text(f"  {line}", style=style, no_wrap=True) for style, line in tally.lines()))


class Notebook:
    """A bar below the cell of a notebook, drawn anew as tasks begin and end, and while something travels."""

    def begin(self, plan: Plan, running: Callable[[], Iterable[Task]]) -> None:
        """See `Watcher`."""
        self._tally, self._drawn, self._lock = Tally(plan, running), 0.0, threading.Lock()
        self._handle: Any = html.ipython().display(self._shown(), display_id=True)

    def started(self) -> None:
        """See `Watcher`."""
        self._draw(force=False)

    def settled(self, outcome: Outcome) -> None:
        """See `Watcher`."""
        self._tally.add(outcome)
        self._draw(force=False)

    def moved(self, transfer: Transfer) -> None:
        """See `Watcher`."""
        self._tally.moved(transfer)
        self._draw(force=False)

    def end(self) -> None:
        """See `Watcher`."""
        self._draw(force=True)

    def _draw(self, force: bool) -> None:
        now = time.monotonic()
        with self._lock:
            if self._handle is not None and (force or now - self._drawn > _PAUSE):
                self._drawn = now
                self._handle.update(self._shown())

    def _shown(self) -> Any:
        lines = [line for _, line in self._tally.lines()]
        return html.ipython().HTML(html.bar(self._tally.done, self._tally.total, str(self._tally), lines))


def watcher(progress: bool | None, elsewhere: bool = False) -> Watcher | None:
    """Who looks at a run that begins now.

    Args:
        progress: True shows it wherever we are; False does not; None shows it to a person: in a terminal or notebook.
        elsewhere: tasks run in other processes, whose prints would be lost in a bar.
    """
    if progress is False:
        return None
    if html.notebook() is not None:
        return Notebook()
    if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return Lines() if elsewhere else Terminal()
    return Lines() if progress else None
