"""Whole-store work: garbage, verification, forgetting."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from d6tstore import record
from d6tstore.backend import Backend, Entry, check_key
from d6tstore.errors import BackendError, Damaged, FormatError, Held, InvalidKey, NeverRun, NotFound, RecordError
from d6tstore.graph import Graph
from d6tstore.keys import id_of, is_object, is_record, task_of
from d6tstore.loading import Stored
from d6tstore.project import author
from d6tstore.record import Record
from d6tstore.repository import Repository
from d6tstore.staleness import Code
from d6tstore.task import Task
from d6tstore.transfers import Transfers

GRACE = 24 * 3600.0
"""Seconds for which an object without a record is spared: its task may still be running."""

_HISTORY = f"{record.ROOT}history/"
_GONE = "missing"


@dataclass(repr=False)
class Garbage:
    """What `gc` removed, or would: keys, their bytes together, and why others could not go."""

    keys: list[str] = field(default_factory=list)
    bytes: int = 0
    dry_run: bool = False
    problems: list[Problem] = field(default_factory=list)

    def __str__(self) -> str:
        verb = "would remove" if self.dry_run else "removed"
        left = f"; {len(self.problems)} could not go: {self.problems[0].problem}" if self.problems else ""
        return f"{verb} {len(self.keys)} objects, {self.bytes:,} bytes{left}"

    __repr__ = __str__


class Problem(NamedTuple):
    """An object that is not what its record says: id of the task, key, and what is wrong."""

    id: str
    key: str
    problem: str


def record_entries(backend: Backend, repository: Repository, keys: Iterable[str] | None = None) -> Iterator[Entry]:
    """Current records as a listing shows them, those of the store's namespace only.

    Args:
        backend: one of the store's.
        repository: of the store.
        keys: which; None is all.
    """
    listed = backend.list(record.RECORDS) if keys is None else backend.stat(keys).values()
    return (entry for entry in listed if is_record(entry.key[len(record.RECORDS) :], repository.namespace))


def all_records(backend: Backend, repository: Repository, prefix: str) -> list[tuple[str, Record | RecordError]]:
    """Records under a prefix, those of the store's namespace only."""
    keys = [e.key for e in backend.list(prefix) if is_record(e.key[len(prefix) :], repository.namespace)]
    return _decoded(backend, keys)


def _decoded(backend: Backend, keys: list[str]) -> list[tuple[str, Record | RecordError]]:
    found: list[tuple[str, Record | RecordError]] = []
    for key, data in backend.read_many(keys).items():
        try:
            decoded = record.decode(data, key)
            check_key(decoded.history_key)
            found.append((key, decoded))
        except RecordError as exc:
            found.append((key, exc))
        except InvalidKey as exc:
            found.append((key, RecordError(f"record {key!r} is damaged: {exc}")))
    return found


def forget(repository: Repository, keep: set[str]) -> list[str]:
    """Forget all results but those with an id in `keep`; see `Store.invalidate_all`."""
    forgotten = []
    for backend in repository.backends():
        for key, found in all_records(backend, repository, record.RECORDS):
            id = id_of(key)
            if id in keep:
                continue
            if isinstance(found, Record) and key == found.key:
                backend.write(found.history_key, record.encode(_dismissed(found)))
            backend.delete(key)
            forgotten.append(id)
        for key, found in all_records(backend, repository, _HISTORY):
            if isinstance(found, Record) and found.restorable and found.id not in keep:
                backend.write(key, record.encode(_dismissed(found)))
    return forgotten


def _dismissed(found: Record) -> Record:
    from msgspec.structs import replace

    return replace(found, restorable=False, replaced=found.replaced or record.now())


def accept(repository: Repository, task: Task, code: Code) -> bool:
    """Note the code as it is now in the record of a task, and who said so; False if it stands there. Under its claim.

    Raises:
        NeverRun: the task has no result.
    """
    found = repository.read_one(task)
    if found is None:
        raise NeverRun(f"{task!r} has no result that an edit could leave as it is. Run it.")
    new, module = code.of(task), type(task).__module__
    if found.code == new.code and found.module == module:
        return False
    by = record.Acceptance(author(), record.now(), found.code)
    following = repository.successor(
        found, code=new.code, functions=new.functions, module=module, accepted=(*found.accepted, by)
    )
    repository.backend(task).publish(following)
    return True


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
    objects = [e for e in backend.list() if is_object(e.key, repository.namespace) and e.modified < before]
    history = {e.key: e for e in backend.list(_HISTORY)}
    records = all_records(backend, repository, record.RECORDS) + all_records(backend, repository, _HISTORY)
    dropped = {key for key, found in records if _dismissable(key, found)}
    named, unreadable = _named(records, dropped)
    unwanted: dict[str, list[Entry]] = {}
    for entry in objects:
        if entry.key not in named and (task := task_of(entry.key)) not in unreadable:
            unwanted.setdefault(task, []).append(entry)
    for key in dropped & history.keys():
        unwanted.setdefault(id_of(key), []).append(history[key])
    for task, entries in unwanted.items():
        _remove(repository, backend, task, entries, garbage)


def _named(records: list[tuple[str, Record | RecordError]], dropped: set[str]) -> tuple[set[str], set[str]]:
    """Objects that records name, and tasks with a record that we cannot read: what that names is unknown."""
    kept = [(key, found) for key, found in records if key not in dropped]
    named = {o.key for _, found in kept if isinstance(found, Record) for o in found.outputs.values()}
    return named, {id_of(key) for key, found in kept if isinstance(found, RecordError) or key not in _keys(found)}


def _dismissable(key: str, found: Record | RecordError) -> bool:
    """A kept version that the user dismissed. One that we cannot read may be a newer d6tstore's: it stays."""
    return key.startswith(_HISTORY) and isinstance(found, Record) and not found.restorable


def _keys(found: Record) -> tuple[str, str]:
    """Where a record belongs; elsewhere it is a copy that somebody made."""
    return found.key, found.history_key


def _remove(repository: Repository, backend: Backend, task: str, entries: list[Entry], garbage: Garbage) -> None:
    """Remove what is still unwanted once we hold the claim: a run may have published it meanwhile."""
    claim = contextlib.nullcontext() if garbage.dry_run else backend.claim(task, record.claimant())
    with contextlib.suppress(Held), claim:  # held: being computed right now; next time
        family, _, hash = task.rpartition("-")
        keys = [record.record_key(family, hash)]
        keys += [e.key for e in backend.list(record.history_prefix(family, hash))]
        records = _decoded(backend, keys)
        dropped = {key for key, found in records if _dismissable(key, found)}
        named, unreadable = _named(records, dropped)
        for entry in entries:
            kept = entry.key not in dropped if entry.key.startswith(_HISTORY) else task in unreadable
            if kept or entry.key in named:
                continue
            try:
                if not garbage.dry_run:
                    backend.delete(entry.key)
            except BackendError as exc:  # somebody's view shows it, say: the others go none the less
                garbage.problems.append(Problem(task, entry.key, str(exc)))
                continue
            garbage.keys.append(entry.key)
            garbage.bytes += entry.size


def verify(repository: Repository, graph: Graph | None) -> list[Problem]:
    """Compare objects with their records; see `Store.verify`."""
    wanted = None if graph is None else {f"{repository.family(t)}-{t.hash}" for t in graph}
    problems, transfers = [], Transfers.plain()
    for backend in repository.backends():
        for key, found in all_records(backend, repository, record.RECORDS):
            id = id_of(key)
            if wanted is not None and id not in wanted:
                continue
            if isinstance(found, RecordError) or key not in _keys(found):
                what = str(found) if isinstance(found, RecordError) else f"is the record of {found.id}"
                problems.append(Problem(id, key, what))
                continue
            seen = ((o.key, problem_of(Stored(id, backend, o, transfers))) for o in found.outputs.values())
            elsewhere = repository.remote(found.origin) is not None  # it comes when it is loaded
            problems += [Problem(id, at, why) for at, why in seen if why and not (elsewhere and why == _GONE)]
    return problems


def problem_of(stored: Stored) -> str | None:
    """What is wrong with an object; None if it is what its record says."""
    try:
        stored.verify()
    except NotFound:
        return _GONE
    except Damaged as exc:
        return exc.problem
    except (BackendError, FormatError, RecordError) as exc:
        return str(exc)
    return None
