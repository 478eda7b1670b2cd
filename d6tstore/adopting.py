"""Taking over results that d6tflow made: what was complete there is complete here."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from d6tstore import project, record
from d6tstore.attempt import Attempt
from d6tstore.d6tflow_data import AsItIs, Folder, value_of
from d6tstore.errors import D6tstoreError, NeverRun
from d6tstore.graph import Graph
from d6tstore.record import Acceptance, Record
from d6tstore.registry import format_name, format_of
from d6tstore.repository import Repository
from d6tstore.staleness import Code
from d6tstore.task import Task

ADOPTED, KNOWN, ABSENT, FAILED = "adopted", "has a result here", "not found", "failed"


class Adopted(NamedTuple):
    """What became of one task, and why; `files` are those of d6tflow that hold its outputs."""

    task: Task
    action: str
    reason: str = ""
    files: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return f"{self.action} {self.task!r}{f' ({self.reason})' if self.reason else ''}"


@dataclass(repr=False)
class Adoption:
    """What `adopt` did, or would do, task by task, inputs first."""

    tasks: list[Adopted] = field(default_factory=list)
    dry_run: bool = False

    def __iter__(self) -> Iterator[Adopted]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)

    @property
    def adopted(self) -> list[Task]:
        """Tasks that are complete here now, or would be."""
        return [each.task for each in self if each.action == ADOPTED]

    @property
    def problems(self) -> list[Adopted]:
        """Those of which the files are there and cannot be taken."""
        return [each for each in self if each.action == FAILED]

    def __str__(self) -> str:
        counts = Counter(each.action for each in self)
        told = ", ".join(f"{count} {action}" for action, count in counts.items()) or "no tasks"
        return f"would do: {told}" if self.dry_run else told

    __repr__ = __str__


def adopt(repository: Repository, folder: str | Path, graph: Graph, dry_run: bool) -> Adoption:
    """Take over the outputs of tasks from a folder of d6tflow; see `Store.adopt`."""
    source, code = Folder(folder), Code(repository)
    adoption = Adoption(dry_run=dry_run)
    known: set[str] = set()  # has a result here, or would have
    for id, task in graph.tasks.items():
        if task.aggregates:
            continue
        try:
            done = _adopt(repository, source, graph, id, code, known, dry_run)
        except D6tstoreError as exc:
            done = Adopted(task, FAILED, str(exc))
        if done.action in (ADOPTED, KNOWN):
            known.add(id)
        adoption.tasks.append(done)
    if not dry_run:
        repository.settle(adoption.adopted)
    return adoption


def _adopt(
    repository: Repository, source: Folder, graph: Graph, id: str, code: Code, known: set[str], dry_run: bool
) -> Adopted:
    task = graph.tasks[id]
    if repository.read_one(task) is not None:
        return Adopted(task, KNOWN)
    files = source.find(task)
    if lacking := [name for name in task.formats() if name not in files]:
        return Adopted(task, ABSENT, f"only {', '.join(files)}, not {', '.join(lacking)}" if files else "")
    # d6tflow too holds a task for complete only if all that it needs is: what it was made from is not known else.
    if lacking := [repr(graph.tasks[input]) for input in graph.inputs[id] if input not in known]:
        return Adopted(task, ABSENT, f"its input {lacking[0]} is not there", tuple(files.values()))

    def taken() -> Adopted:
        if repository.read_one(task) is not None:  # somebody computed it meanwhile
            return Adopted(task, KNOWN)
        inputs = {input: _present(repository, graph.tasks[input]) for input in graph.inputs[id]}
        _store(Attempt(repository, task, inputs, None, code.of(task), graph.shapes.get(id, "")), files)
        return Adopted(task, ADOPTED, files=tuple(files.values()))

    return Adopted(task, ADOPTED, files=tuple(files.values())) if dry_run else repository.claimed(task, taken)


def _present(repository: Repository, task: Task) -> Record:
    found = repository.read_one(task)
    if found is None:
        raise NeverRun(f"the result of {task!r} went away meanwhile. Adopt again.")
    return found


def _store(attempt: Attempt, files: dict[str, Path]) -> Record:
    """Store outputs and publish their record, which says when they were made and that they were adopted."""
    declared = attempt.formats
    with attempt:
        for name, path in files.items():
            value = value_of(path, name, format_of(declared[name]))
            raw = isinstance(value, AsItIs)
            attempt.formats = {**declared, name: value if raw else declared[name]}
            value = path if raw else value
            attempt.save(attempt.task, {name: value} if len(declared) > 1 else value)
            attempt.saved[name] = replace(attempt.saved[name], format=format_name(declared[name]))
        made = max(path.stat().st_mtime for path in files.values())
        origin = next(iter(files.values())).name.rpartition("-")[0]
        return attempt.commit(
            time=datetime.datetime.fromtimestamp(made, datetime.UTC).isoformat(timespec="microseconds"),
            seconds=0.0,
            host="",
            git=None,
            versions={},
            accepted=(Acceptance(project.author(), record.now(), f"d6tflow {origin}"),),
        )
