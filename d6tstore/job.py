"""One task to compute or restore, wherever that happens: in this thread, in another one, or in another process."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from d6tstore import project
from d6tstore.attempt import Attempt
from d6tstore.errors import RecordError, UsageError, WorkerError
from d6tstore.fingerprint import Fingerprint, changed
from d6tstore.plan import FORCED
from d6tstore.record import Record
from d6tstore.repository import Repository
from d6tstore.staleness import Code, stale
from d6tstore.task import Task

BY_HAND = "by hand"


class Job(NamedTuple):
    """One task to compute or restore: everything that a worker needs, picklable.

    `seen` is the write id of the record that the plan judged, `pid` the process that planned.
    """

    repository: Repository
    task: Task
    inputs: Mapping[str, Record]
    shape: str
    code: Fingerprint
    reason: str
    git: str | None = None
    seen: str | None = None
    restore: Record | None = None
    pid: str = ""
    root: Path = Path()


class Done(NamedTuple):
    """What a job returns: `ran`, `restored`, or `reused` if somebody else computed the task meanwhile."""

    record: Record
    action: str


def execute(job: Job) -> Done:
    """Compute one task under its claim. Runs in a thread or process of the executor."""
    if project.pid() == job.pid:
        return job.repository.claimed(job.task, lambda: _compute(job))
    try:
        project.fix_root(job.root)
        _check_worker(job)
        return job.repository.claimed(job.task, lambda: _compute(job))
    except BaseException as exc:  # noqa: BLE001 - it goes on, in a form that can travel
        raise _portable(exc) from None


def _compute(job: Job) -> Done:
    task, repository = job.task, job.repository
    try:
        current = repository.read_one(task)
    except RecordError:
        current = None  # damaged: that is why it runs
    if current is not None and current.write_id != job.seen and job.reason not in (FORCED, BY_HAND):
        # Somebody published between the plan and our claim: plan this one again.
        contents = {id: found.content for id, found in job.inputs.items()}
        fresh = not stale(repository, task, current, job.code, contents, job.shape)
        if fresh and not repository.missing([(task, current)]):
            return Done(current, "reused")
    if job.restore is not None and not repository.missing([(task, job.restore)]):
        return Done(repository.restore(task, job.restore, current), "restored")
    attempt = Attempt.of(job, current, anew=job.reason == FORCED)
    with attempt as bound:
        bound.run()
        return Done(attempt.commit(), "ran")


def _check_worker(job: Job) -> None:
    """A worker that imported other code than was planned must not put its result under the planned hash."""
    cls = type(job.task)
    if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
        return  # travelled by value
    here = Code(job.repository).of(job.task)
    if here.code != job.code.code and not any("(bytecode)" in label for label in here.functions):
        raise UsageError(
            f"{job.task!r}: the worker process imported other code than the one that planned "
            f"({', '.join(changed(job.code.functions, here.functions))}). Start the run again."
        )


def _portable(exc: BaseException) -> BaseException:
    """The exception, or one that can leave this process with its text and traceback."""
    try:
        pickle.loads(pickle.dumps(exc))
        return exc
    except Exception:  # noqa: BLE001 - whatever a class of the user does when it is pickled
        text = "".join(traceback.format_exception(exc))
        return WorkerError(f"{type(exc).__name__}: {exc}. It does not pickle; in the worker process:\n{text}")
