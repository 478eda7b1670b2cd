"""What a run will take, judged by what earlier ones took."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
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
        3 tasks to run, about 2 min and 2.0 MB (a guess for Train, of which nothing is known)
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
        guess = f" (a guess for {named}, of which nothing is known)" if self.guessed else ""
        return f"{told}, about {duration(self.seconds)} and {size(self.bytes)}{guess}"


def expected(
    repository: Repository, pending: Iterable[tuple[Task, Record | None]]
) -> Iterator[tuple[Task, tuple[float, float] | None]]:
    """Seconds and bytes that each task is expected to take; None if nothing tells.

    By the earlier result of the task itself, else by the median of its family.

    Args:
        repository: where earlier records are.
        pending: tasks that would run, each with its record, if there is one.
    """
    families: dict[str, tuple[float, float] | None] = {}
    for task, found in pending:
        if found is not None and found.seconds:
            yield task, (found.seconds, found.bytes)
            continue
        if task.family not in families:
            records = [found for found in repository.family_records(task) if found.seconds]  # else adopted: none tells
            median = statistics.median
            typical = (median(r.seconds for r in records), median(r.bytes for r in records)) if records else None
            families[task.family] = typical
        yield task, families[task.family]


def forecast(repository: Repository, pending: Iterable[tuple[Task, Record | None]]) -> Forecast:
    """What some tasks are expected to take: those of which nothing tells as much as the others on average.

    Arguments as for `expected`.
    """
    found = list(expected(repository, pending))
    known = [told for _, told in found if told is not None]
    unknown = sorted({task.family for task, told in found if told is None})
    if not known:
        return Forecast(len(found), guessed=unknown)
    each = len(found) / len(known)
    seconds, written = (sum(values) * each for values in zip(*known, strict=True))
    return Forecast(len(found), seconds, int(written), unknown)


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
