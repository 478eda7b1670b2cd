"""What a run will take, judged by what earlier ones took."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import NamedTuple

from d6tstore.record import Record
from d6tstore.repository import Repository
from d6tstore.task import Task


class Forecast(NamedTuple):
    """What a run is expected to take, one task after the other.

    `tasks` is how many would run, `seconds` and `bytes` what they would take and write; None if nothing is known.
    `guessed` are families without an earlier run: their tasks count as the others do on average.

    Example:
        >>> print(Forecast(3, 95.0, 2_000_000, ["Train"]))
        3 tasks to run, about 2 min and 2.0 MB (a guess for Train, which never ran)
    """

    tasks: int
    seconds: float | None = None
    bytes: int | None = None
    guessed: list[str] = []

    def __str__(self) -> str:
        if not self.tasks:
            return "nothing to run"
        told = f"{self.tasks} {'task' if self.tasks == 1 else 'tasks'} to run"
        if self.seconds is None or self.bytes is None:
            return f"{told}; no earlier run tells how long"
        named = ", ".join(self.guessed[:3]) + (", ..." if len(self.guessed) > 3 else "")
        guess = f" (a guess for {named}, which never ran)" if self.guessed else ""
        return f"{told}, about {duration(self.seconds)} and {size(self.bytes)}{guess}"


def forecast(repository: Repository, pending: Iterable[tuple[Task, Record | None]]) -> Forecast:
    """What some tasks are expected to take.

    By the earlier result of the task itself; else by the median of its family; else by the mean of the other tasks.

    Args:
        repository: where earlier records are.
        pending: tasks that would run, each with its record, if there is one.
    """
    families: dict[str, list[Record]] = {}
    known: list[tuple[float, float]] = []
    unknown: list[str] = []
    for task, found in pending:
        if found is not None:
            known.append((found.seconds, found.bytes))
            continue
        if task.family not in families:
            families[task.family] = repository.family_records(task)
        records = families[task.family]
        if records:
            known.append((statistics.median(r.seconds for r in records), statistics.median(r.bytes for r in records)))
        else:
            unknown.append(task.family)
    number = len(known) + len(unknown)
    if not known:
        return Forecast(number, guessed=sorted(set(unknown)))
    each = number / len(known)
    seconds, written = (sum(values) * each for values in zip(*known, strict=True))
    return Forecast(number, seconds, int(written), sorted(set(unknown)))


def duration(seconds: float) -> str:
    """A time for people.

    Example:
        >>> [duration(s) for s in (0.004, 3.21, 95, 5_400, 200_000)]
        ['0.004 s', '3.2 s', '2 min', '1.5 h', '2.3 days']
    """
    if seconds < 60:
        return f"{seconds:.1g} s" if seconds < 1 else f"{seconds:.2g} s"
    if seconds < 3_570:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100_000 else f"{seconds / 86_400:.1f} days"


def size(number: float) -> str:
    """A number of bytes for people.

    Example:
        >>> [size(n) for n in (17, 2_048, 3_000_000, 5_100_000_000)]
        ['17 B', '2.0 kB', '3.0 MB', '5.1 GB']
    """
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
