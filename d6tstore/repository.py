"""The records of all tasks across the backends of a store: find, publish, keep, restore, forget."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace as replace_record

from d6tstore import cache, context, history, project, record
from d6tstore.access import NAMESPACE, Remote
from d6tstore.backend import Backend, check_key
from d6tstore.claiming import claimed
from d6tstore.errors import BackendError, Collision, InvalidKey, RecordError, UsageError
from d6tstore.progress import Progress
from d6tstore.record import ANCESTORS, Output, Record
from d6tstore.task import Task

T = TypeVar("T")
_UNSAFE = re.compile(r"[^A-Za-z0-9_=,.+-]+")
_READABLE = 80  # characters of parameters in a folder name, for people

CHECKS = ("exists", "content", "code")


@dataclass(frozen=True, slots=True)
class Repository:
    """Where tasks find their results. Frozen; pickles if its backends do.

    Args:
        default: backend of tasks that name none.
        named: further backends by name; `memory` is always there.
        namespace: prefix of all families, to keep apart what shares a place.
        check: what decides that a result is stale, see `Task.check`.
        keep_versions: how many replaced results of a task are kept.
        root: the project: raw files are named relative to it.
        trusted: names of pipes whose pickles may be loaded, beside those that say so themselves.
        pipes: other sides of pipes by name: what was pulled without its objects comes from there.
        cache: how much room copies of remote objects may take on this machine, in bytes or as text ("20 GB"); 0
            keeps none.
        progress: is called with a `progress.Transfer` by transfers that take longer than a second.
    """

    default: Backend
    named: Mapping[str, Backend] = field(default_factory=dict)
    namespace: str = ""
    check: str = "code"
    keep_versions: int = 2
    root: Path = field(default_factory=project.root)
    trusted: frozenset[str] = frozenset()
    pipes: Mapping[str, Remote] = field(default_factory=dict)
    cache: int = cache.DEFAULT
    progress: Progress = Progress()  # noqa: RUF009 - it holds nothing

    def __post_init__(self) -> None:
        if not isinstance(self.namespace, str):
            raise UsageError(f"namespace = {self.namespace!r} must be text.")
        if self.check not in CHECKS:
            raise UsageError(f"check = {self.check!r} must be one of {', '.join(CHECKS)}.")
        if self.namespace and not NAMESPACE.fullmatch(self.namespace):
            raise UsageError(
                f"namespace {self.namespace!r} must have 1 to 64 letters, digits, '_' or '-'. Choose a plain name."
            )
        if not isinstance(self.keep_versions, int) or self.keep_versions < 0:
            raise UsageError(f"keep_versions = {self.keep_versions!r} must be a whole number, 0 or more.")
        object.__setattr__(self, "cache", cache.size_of(self.cache))
        if not isinstance(self.progress, Progress):
            if not callable(self.progress):
                raise UsageError(f"progress = {self.progress!r} must be a function of one argument.")
            object.__setattr__(self, "progress", Progress(self.progress))

    # ------------------------------------------------------------------ places

    def backend(self, task: Task) -> Backend:
        """The backend that holds the results of a task.

        Raises:
            UsageError: the task names a backend that this store does not have.
        """
        return self.default if task.backend is None else self.backend_named(task.backend, repr(task))

    def backend_named(self, name: str, who: str) -> Backend:
        """A named backend of this store."""
        try:
            return self.named[name]
        except KeyError:
            if name == "db":
                raise UsageError(f"{who} is a table of a database: choose that with d6tstore.db.init(url).") from None
            raise UsageError(
                f"{who}: backend {name!r} is not one of {', '.join(sorted(self.named))}. "
                f"Name it: d6tstore.init(..., backends={{{name!r}: url}})."
            ) from None

    def backends(self) -> list[Backend]:
        """All backends, each once, the default first."""
        found: dict[Any, Backend] = {}
        for backend in (self.default, *self.named.values()):
            found.setdefault(backend if backend.holds_live else backend.url, backend)
        return list(found.values())

    def remote(self, name: str | None) -> Remote | None:
        """The other side of a pipe, if this store or this process knows one of that name."""
        return None if name is None else context.pipes.get(name) or self.pipes.get(name)

    def trusts(self, origin: str) -> bool:
        """May what came from there run code here?"""
        remote = self.remote(origin)
        return origin in self.trusted or (remote is not None and remote.access.trusted)

    def family(self, task: Task) -> str:
        """Family of a task in this store."""
        return f"{self.namespace}.{task.family}" if self.namespace else task.family

    def check_of(self, task: Task) -> str:
        """The check that holds for a task."""
        if task.check is not None and task.check not in CHECKS:
            raise UsageError(f"{task!r}: check = {task.check!r} must be one of {', '.join(CHECKS)}.")
        return task.check or self.check

    def object_key(self, task: Task, output: str, id: str, suffix: str) -> str:
        """Key of an output, readable by people; `id` makes it one that was never used before."""
        shown = ",".join([f"{n}={_text(v)}" for n, v in task.parameters_json().items()])
        shown = _UNSAFE.sub("_", shown[: 2 * _READABLE])[:_READABLE].lstrip(".")
        folder = f"{shown}-{task.hash}" if shown else task.hash
        return f"{self.family(task)}/{folder}/{output}-{id}{suffix}"

    # ----------------------------------------------------------------- reading

    def read(self, tasks: Iterable[Task]) -> dict[str, Record | RecordError]:
        """Current records by task id; a damaged one is the error that says so; none for those never run.

        Raises:
            Collision: a record belongs to another task of the same id.
        """
        found: dict[str, Record | RecordError] = {}
        for backend, group in self._grouped(tasks):
            keys = {record.record_key(self.family(t), t.hash): t for t in group}
            for key, data in backend.read_many(list(keys)).items():
                task = keys[key]
                try:
                    found[task.id] = self.checked(record.decode(data, key), task)
                except RecordError as exc:
                    found[task.id] = exc
        return found

    def read_one(self, task: Task) -> Record | None:
        """Current record of a task, None if there is none. Raises RecordError if it is damaged."""
        key = record.record_key(self.family(task), task.hash)
        data = self.backend(task).read_many([key]).get(key)
        return None if data is None else self.checked(record.decode(data, key), task)

    def checked(self, found: Record, task: Task) -> Record:
        """The record, if it is that of the task. Raises Collision, RecordError."""
        if found.family != self.family(task) or found.hash != task.hash:
            raise RecordError(
                f"the record of {task!r} is damaged: it is that of {found.id}. Run the task to compute it anew."
            )
        try:
            for output in found.outputs.values():
                check_key(output.key)
            if not found.write_id.isalnum():
                check_key(found.history_key)
        except InvalidKey as exc:
            raise RecordError(f"the record of {task!r} is damaged: {exc}") from None
        if found.params != (params := task.parameters_json()):
            if task.hash_of(found.params) != found.hash:
                raise RecordError(
                    f"the record of {task!r} is damaged: its parameters {found.params} are not those of its id. "
                    "Run the task to compute it anew."
                )
            raise Collision(
                f"{task!r} and another task with parameters {found.params} (not {params}) have the id {found.id}. "
                "Change the type or name of a parameter, or rename one of the classes."
            )
        return found

    def _grouped(self, tasks: Iterable[Task]) -> Iterator[tuple[Backend, list[Task]]]:
        groups: dict[Backend, list[Task]] = {}
        for task in tasks:
            groups.setdefault(self.backend(task), []).append(task)
        yield from groups.items()

    def missing(self, pairs: Iterable[tuple[Task, Record]]) -> set[str]:
        """Ids of those tasks of which an output is not there, or not of the size that its record says."""
        absent: set[str] = set()
        places: dict[Backend, dict[str, tuple[str, Output]]] = {}
        for task, found in pairs:
            keys = places.setdefault(self.backend(task), {})
            for output in found.outputs.values():
                keys[output.key] = task.id, output
            if not found.outputs.keys() >= task.formats().keys():
                absent.add(task.id)
        for backend, keys in places.items():
            there = backend.stat(keys)
            absent |= {id for key, (id, output) in keys.items() if not output.is_in(there)}
        return absent

    def history(self, task: Task) -> list[Record]:
        """Replaced records of a task that are kept, newest first; damaged ones are left out."""
        found = []
        for _, kept in history.versions(self.backend(task), self.family(task), task.hash):
            with contextlib.suppress(RecordError, Collision):
                found.append(self.checked(kept, task))
        return found

    def family_records(self, task: Task) -> list[Record]:
        """Current records of all tasks of a family, newest first; damaged ones are left out."""
        found = []
        for key, data in self.backend(task).records(self.family(task)):
            with contextlib.suppress(RecordError):
                found.append(record.decode(data, key))
        return sorted(found, key=lambda r: r.time, reverse=True)

    # ----------------------------------------------------------------- writing

    def publish(self, task: Task, new: Record, previous: Record | None) -> Record:
        """Make a record the result of its task; the one before it becomes a kept version."""
        backend = self.backend(task)
        backend.publish(new, None if previous is None else replace_record(previous, replaced=record.now()))
        if previous is not None:
            with contextlib.suppress(BackendError):  # the result is out: what is left goes with the next one
                history.trim(backend, new, self.keep_versions)
        return new

    def settle(self, written: Iterable[Task]) -> None:
        """A run ended that wrote the records of these tasks: tell the backends."""
        for backend, tasks in self._grouped(written):
            with contextlib.suppress(BackendError):  # nothing is lost
                backend.settle(Counter(map(self.family, tasks)))

    def claimed(self, task: Task, action: Callable[[], T]) -> T:
        """Do it while nobody else computes the task; wait for who does. Records must be read again inside."""
        return claimed(self.backend(task), f"{self.family(task)}-{task.hash}", task, action)

    def successor(self, old: Record, **changes: Any) -> Record:
        """A record like `old` that follows it."""
        return replace_record(
            old,
            write_id=os.urandom(8).hex(),
            ancestors=(old.write_id, *old.ancestors)[:ANCESTORS],
            time=record.now(),
            **changes,
        )

    def restore(self, task: Task, kept: Record, current: Record | None) -> Record:
        """Make a kept version the result again."""
        ancestors = (current.write_id, *current.ancestors)[:ANCESTORS] if current else kept.ancestors
        new = replace_record(kept, write_id=os.urandom(8).hex(), ancestors=ancestors, replaced="")
        backend = self.backend(task)
        backend.publish(new, None if current is None else replace_record(current, replaced=record.now()))
        with contextlib.suppress(BackendError):  # the result is out: what is left goes with the next one
            backend.delete(kept.history_key)
            history.trim(backend, new, self.keep_versions)
        return new

    def invalidate(self, task: Task) -> bool:
        """Forget the result, so that the next run computes it anew; False if there was none.

        Older versions stay loadable until `gc`, and are not restored. Their flags go first: a crash in between
        leaves a complete task.
        """
        backend = self.backend(task)
        for kept in self.history(task):
            if kept.restorable:
                backend.write(kept.history_key, record.encode(replace_record(kept, restorable=False)))
        try:
            current = self.read_one(task)
        except (RecordError, Collision):
            current = None
            known = True
        else:
            known = current is not None
        if current is not None:
            dismissed = replace_record(current, restorable=False, replaced=record.now())
            backend.write(dismissed.history_key, record.encode(dismissed))
        backend.delete(record.record_key(self.family(task), task.hash))
        return known


def _text(value: Any) -> str:
    """A parameter for people: `1,2` for a list, nothing for None."""
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return "" if value is None else str(value)
