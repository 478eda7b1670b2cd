"""Running and saving by hand, outside of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from d6tstore.attempt import Attempt
from d6tstore.errors import NeverRun, RecordError, SaveError, UndeclaredLoad, UsageError
from d6tstore.graph import Graph
from d6tstore.job import BY_HAND, Job, execute
from d6tstore.project import commit, pid
from d6tstore.record import Record
from d6tstore.repository import Repository
from d6tstore.staleness import Code
from d6tstore.task import Task


class ByHand:
    """What `task.run()`, `task.save()` and `task.log()` do when no engine called them."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._open: dict[str, Attempt] = {}

    def run(self, task: Task) -> None:
        """Compute one task as the engine does, whether it is stale or not. Raises what `run` raises."""
        execute(self._job(task, BY_HAND))

    def save(self, task: Task, value: Any, metrics: Mapping[str, Any] | None) -> None:
        """Save outputs; the result is there once all that are declared are saved."""
        known = self._open.get(task.id)
        if known is not None and not isinstance(known.task, type(task)):  # a notebook cell that was run again
            self.forget(task.id)
        attempt = self._open.get(task.id) or Attempt.of(self._job(task, BY_HAND), self._current(task))
        attempt.by_hand = True
        attempt.save(attempt.task, value, metrics)
        self._open[task.id] = attempt
        if attempt.whole:
            del self._open[task.id]
            try:
                self.repository.claimed(task, lambda: self._commit(attempt))
            except BaseException:
                attempt.discard()
                raise

    def forget(self, id: str | None = None) -> None:
        """Give up what was saved of a task, or of all, but is not whole."""
        for open_id in [id] if id else list(self._open):
            if attempt := self._open.pop(open_id, None):
                attempt.discard()

    def log(self, task: Task, metrics: Mapping[str, Any]) -> None:
        """Add metrics to outputs that are being saved; else refused."""
        if task.id not in self._open:
            raise UsageError(f"{task!r}: log() belongs into run(). By hand: save(value, metrics={{...}}).")
        self._open[task.id].log(self._open[task.id].task, metrics)

    def _commit(self, attempt: Attempt) -> None:
        """Follow the record as it is now: the first output may have been saved long ago."""
        attempt.previous = self._current(attempt.task)
        keys = {output.key for output in attempt.saved.values()}
        if gone := keys - attempt.backend.stat(keys).keys():
            raise SaveError(
                f"{attempt.task!r}: {', '.join(sorted(gone))} was removed meanwhile. Save all outputs again."
            )
        attempt.commit()

    def _current(self, task: Task) -> Record | None:
        try:
            return self.repository.read_one(task)
        except RecordError:
            return None

    def _job(self, task: Task, reason: str) -> Job:
        if task.external or task.aggregates:
            what = "is external: somebody else computes it" if task.external else "only stands for other tasks"
            raise UsageError(f"{task!r} {what}. Save or run a task that computes something.")
        graph = Graph(task)
        inputs: dict[str, Record] = {}
        for id in graph.inputs[task.id]:
            found = self.repository.read_one(graph.tasks[id])
            if found is None:
                raise NeverRun(f"{task!r} reads {graph.tasks[id]!r}, which has no result yet. Run that first.")
            inputs[id] = found
        return Job(
            repository=self.repository,
            task=task,
            inputs=inputs,
            shape=graph.shapes.get(task.id, ""),
            code=Code(self.repository).of(task),
            reason=reason,
            git=commit(self.repository.root),
            pid=pid(),
        )


def refuse_inside_run(running: Any, what: str) -> None:
    """Refuse what would hide an input from the task that runs."""
    if running is not None:
        raise UndeclaredLoad(
            f"{running.task!r} calls {what} inside its own run(): what it needs would stay hidden. "
            "Declare it in requires."
        )
