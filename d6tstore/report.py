"""What a run did, and what a copy did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from d6tstore.errors import RunFailed
from d6tstore.forecast import duration
from d6tstore.record import Record
from d6tstore.task import Task

if TYPE_CHECKING:
    from d6tstore.plan import Plan
    from d6tstore.progress import Transfer

COPIED, SAME, NEWER, DIFFERENT = "copied", "same", "newer there", "differs there"
ABSENT, LIVE, FAILED = "no result here", "only in memory", "failed"


def error_text(error: BaseException, form: Callable[[BaseException], str] | None = None) -> str:
    """What a task raised: kind and message, or as `form` has it. One whose text raises another costs no report."""
    kind = type(error).__name__
    try:
        return f"{kind}: {error}" if form is None else form(error)
    except Exception as exc:  # noqa: BLE001 - it is the user's
        return f"{kind}: its text raises {type(exc).__name__}"


class Outcome(NamedTuple):
    """What became of one task: `ran`, `reused`, `restored`, `failed` or `blocked`, and why.

    `seconds` is the time of `run`; `error` the exception of a failed one, with its traceback.
    """

    task: Task
    action: str
    reason: str = ""
    seconds: float = 0.0
    error: BaseException | None = None
    record: Record | None = None


class Watcher(Protocol):
    """Who looks at a run."""

    def begin(self, plan: Plan, running: Callable[[], Iterable[Task]]) -> None:
        """A run begins; `running` tells at any time which tasks are being computed."""

    def started(self) -> None:
        """Another task is being computed."""

    def settled(self, outcome: Outcome) -> None:
        """A task came to its end: it ran, was reused, failed, ..."""

    def moved(self, transfer: Transfer) -> None:
        """How far a transfer is."""

    def end(self) -> None:
        """The run is over."""


@dataclass(slots=True, repr=False)
class Report:
    """What a run did, task by task in the order of the graph. `seconds` is the time of the whole run.

    Example:
        >>> Report()
        nothing to do in 0.00 s
    """

    seconds: float = 0.0
    _outcomes: dict[str, Outcome] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Note what became of a task."""
        self._outcomes[outcome.task.id] = outcome

    def merge(self, later: Report) -> None:
        """Take in what a second pass did: what ran in either pass ran."""
        self.seconds += later.seconds
        first = self._outcomes
        self._outcomes = {
            id: first[id] if outcome.action == "reused" and id in first else outcome
            for id, outcome in later._outcomes.items()
        }

    def sort(self, order: Iterable[str]) -> None:
        """Put the outcomes into the order of these ids."""
        self._outcomes = {id: self._outcomes[id] for id in order if id in self._outcomes}

    def _tasks(self, action: str) -> list[Task]:
        return [outcome.task for outcome in self if outcome.action == action]

    @property
    def ran(self) -> list[Task]:
        """Tasks that were computed."""
        return self._tasks("ran")

    @property
    def reused(self) -> list[Task]:
        """Tasks whose result was up to date."""
        return self._tasks("reused")

    @property
    def restored(self) -> list[Task]:
        """Tasks of which a kept version fitted and became current again."""
        return self._tasks("restored")

    @property
    def failed(self) -> list[Task]:
        """Tasks that raised."""
        return self._tasks("failed")

    @property
    def blocked(self) -> list[Task]:
        """Tasks that could not run because an input failed."""
        return self._tasks("blocked")

    @property
    def saved(self) -> float:
        """Seconds that the reused and restored results took when they were computed."""
        kept = (outcome for outcome in self if outcome.action in ("reused", "restored"))
        return sum(outcome.record.seconds for outcome in kept if outcome.record)

    def reasons(self) -> dict[Task, str]:
        """Why each task ran, failed or was restored."""
        return {outcome.task: outcome.reason for outcome in self if outcome.reason}

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self._outcomes.values())

    def __len__(self) -> int:
        return len(self._outcomes)

    def __getitem__(self, task: Task) -> Outcome:
        return self._outcomes[task.id]

    def __str__(self) -> str:
        counts = [f"{len(self._tasks(a))} {a}" for a in ("ran", "reused", "restored", "failed", "blocked")]
        told = ", ".join(count for count in counts if not count.startswith("0 ")) or "nothing to do"
        saved = f", {duration(self.saved)} saved" if self.saved >= 1 else ""
        lines = [f"{told} in {self.seconds:.2f} s{saved}"]
        for outcome in self:
            if outcome.action != "reused":
                error = f": {error_text(outcome.error)}" if outcome.error else ""
                lines.append(f"  {outcome.action:8} {outcome.task!r} ({outcome.reason}){error}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)  # the last line of a notebook cell: a person reads it

    def _repr_html_(self) -> str:
        from d6tstore.display import report_html

        return report_html(self)

    def raise_failures(self) -> None:
        """Raise RunFailed if a task failed, caused by the first failure."""
        failures = [outcome for outcome in self if outcome.error is not None]
        if not failures:
            return
        shown = "; ".join(f"{o.task!r}: {error_text(o.error)}" for o in failures[:5] if o.error)
        more = f" and {len(failures) - 5} more" if len(failures) > 5 else ""
        blocked = f"; {len(self.blocked)} more could not run without them" if self.blocked else ""
        raise RunFailed(
            f"{len(failures)} of {len(self)} tasks failed{blocked}: {f'{shown}{more}'.removesuffix('.')}. "
            "Finished work is kept: correct the cause and run again.",
            report=self,
        ) from failures[0].error


class Copy(NamedTuple):
    """What became of one result: id of its task, what was done (or would be), bytes of its objects, what failed."""

    id: str
    action: str
    bytes: int = 0
    problem: str = ""


@dataclass(repr=False)
class Copies:
    """What `Store.copy_to` did, or would do."""

    results: list[Copy] = field(default_factory=list)
    dry_run: bool = False

    @property
    def problems(self) -> list[Copy]:
        """Those that failed."""
        return [each for each in self.results if each.problem]

    def __iter__(self) -> Iterator[Copy]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __str__(self) -> str:
        numbers = Counter(each.action for each in self.results if not each.problem)
        told = ", ".join(f"{number} {action}" for action, number in numbers.items()) or "nothing to copy"
        failed = self.problems
        left = f"; {len(failed)} failed: {failed[0].id}: {failed[0].problem}" if failed else ""
        size = sum(each.bytes for each in self.results)
        return f"{'would be: ' if self.dry_run else ''}{told}, {size:,} bytes{left}"

    __repr__ = __str__
