"""Whole-store work: garbage, verification, forgetting."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from d6tstore import content, project, record
from d6tstore.backend import Backend, Entry
from d6tstore.errors import BackendError, Held, NotFound, RecordError
from d6tstore.graph import Graph
from d6tstore.record import Record
from d6tstore.repository import Repository

GRACE = 24 * 3600.0
"""Seconds for which an object without a record is spared: its task may still be running."""

_RECORDS = f"{record.ROOT}records/"
_HISTORY = f"{record.ROOT}history/"


@dataclass
class Garbage:
    """What `gc` removed, or would: keys, and their bytes together."""

    keys: list[str] = field(default_factory=list)
    bytes: int = 0
    dry_run: bool = False

    def __str__(self) -> str:
        verb = "would remove" if self.dry_run else "removed"
        return f"{verb} {len(self.keys)} objects, {self.bytes:,} bytes"


class Problem(NamedTuple):
    """An object that is not what its record says: id of the task, key, and what is wrong."""

    id: str
    key: str
    problem: str


def _all_records(
    backend: Backend, repository: Repository, prefix: str
) -> list[tuple[str, Record | RecordError]]:
    """Records under a prefix, those of the store's namespace only."""
    keys = [entry.key for entry in backend.list(prefix) if _ours(entry.key[len(prefix) :], repository)]
    found: list[tuple[str, Record | RecordError]] = []
    for key, data in backend.read_many(keys).items():
        try:
            found.append((key, record.decode(data, key)))
        except RecordError as exc:
            found.append((key, exc))
    return found


def _ours(key: str, repository: Repository) -> bool:
    family = key.split("/")[0]
    namespace = family.rpartition(".")[0]
    return namespace == repository.namespace


def forget(repository: Repository, keep: set[str]) -> list[str]:
    """Forget all results but those with an id in `keep`; see `Store.invalidate_all`."""
    forgotten = []
    for backend in repository.backends():
        for key, found in _all_records(backend, repository, _RECORDS):
            id = key.removeprefix(_RECORDS).removesuffix(".json").replace("/", "-")
            if id in keep:
                continue
            if isinstance(found, Record):
                backend.write(found.history_key, record.encode(_dismissed(found)))
            backend.delete(key)
            forgotten.append(id)
        for key, found in _all_records(backend, repository, _HISTORY):
            if isinstance(found, Record) and found.restorable and found.id not in keep:
                backend.write(key, record.encode(_dismissed(found)))
    return forgotten


def _dismissed(found: Record) -> Record:
    from msgspec.structs import replace

    return replace(found, restorable=False)


def collect(repository: Repository, dry_run: bool, older_than: float) -> Garbage:
    """Remove what nothing refers to; see `Store.gc`.

    The claim of a task is taken before its objects go, so that no running task loses what it just wrote;
    where there are no claims, the age spares them.
    """
    garbage = Garbage(dry_run=dry_run)
    before = time.time() - older_than
    for backend in repository.backends():
        with contextlib.suppress(NotFound):
            _collect(repository, backend, before, garbage)
        if not dry_run:
            garbage.keys += backend.clean(before)
    return garbage


def _collect(repository: Repository, backend: Backend, before: float, garbage: Garbage) -> None:
    # Objects are listed before records: what is written meanwhile is not listed, what is published is spared.
    objects = [e for e in backend.list() if not e.key.startswith(record.ROOT) and _ours(e.key, repository)]
    history = {e.key: e for e in backend.list(_HISTORY)}
    dropped = [key for key, found in _all_records(backend, repository, _HISTORY) if not _kept(found)]
    records = _all_records(backend, repository, _RECORDS) + _all_records(backend, repository, _HISTORY)
    named = {
        o.key
        for key, r in records
        if isinstance(r, Record) and key not in dropped
        for o in r.outputs.values()
    }
    unreadable = {_stem(key) for key, r in records if isinstance(r, RecordError)}
    for entry in objects:
        task = _task_of(entry.key)
        if entry.key in named or entry.modified >= before or task in unreadable:
            continue  # what a record we cannot read refers to is unknown: its task's objects are spared
        _remove(backend, entry, task, garbage)
    for key in dropped:
        if key in history:
            _remove(backend, history[key], _stem(key), garbage)


def _kept(found: Record | RecordError) -> bool:
    return isinstance(found, Record) and found.restorable


def _stem(key: str) -> str:
    """`family-hash` of a record's key."""
    family, hash = key.split("/")[2:4]
    return f"{family}-{hash.removesuffix('.json')}"


def _task_of(key: str) -> str:
    """`family-hash` of an object's key."""
    family, _, rest = key.partition("/")
    return f"{family}-{rest.partition('/')[0].rpartition('-')[2]}"


def _remove(backend: Backend, entry: Entry, task: str, garbage: Garbage) -> None:
    info = {"who": project.author(), "host": project.host(), "pid": project.pid(), "since": record.now()}
    try:
        if not garbage.dry_run:
            with backend.claim(task, info):
                backend.delete(entry.key)
    except Held:
        return  # being computed right now: next time
    garbage.keys.append(entry.key)
    garbage.bytes += entry.size


def verify(repository: Repository, graph: Graph | None) -> list[Problem]:
    """Compare objects with their records; see `Store.verify`."""
    wanted = None if graph is None else {f"{repository.family(t)}-{t.hash}" for t in graph}
    problems = []
    for backend in repository.backends():
        for key, found in _all_records(backend, repository, _RECORDS):
            id = _stem(key)
            if wanted is not None and id not in wanted:
                continue
            if isinstance(found, RecordError):
                problems.append(Problem(id, key, str(found)))
                continue
            for output in found.outputs.values():
                if output.checksum and (
                    problem := _problem(backend, output.key, output.bytes, output.checksum)
                ):
                    problems.append(Problem(id, output.key, problem))
    return problems


def _problem(backend: Backend, key: str, size: int, checksum: str) -> str | None:
    try:
        with backend.open_read(key) as file:
            found, length = content.of_stream(file)
    except NotFound:
        return "missing"
    except BackendError as exc:
        return str(exc)
    if length != size:
        return f"has {length} bytes, its record says {size}"
    return None if found == checksum else "has other bytes than its record says"
