"""Results of one store in another, where they are complete without running."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from msgspec.structs import replace

from d6tstore import history, record
from d6tstore.backend import Backend, Entry
from d6tstore.claiming import claimed
from d6tstore.errors import (
    BackendError,
    D6tstoreError,
    Damaged,
    NotFound,
    RecordError,
    UsageError,
)
from d6tstore.keys import id_of, suspicion
from d6tstore.loading import Stored
from d6tstore.maintenance import all_records
from d6tstore.record import Output, Record
from d6tstore.report import ABSENT, COPIED, DIFFERENT, FAILED, LIVE, NEWER, SAME, Copies, Copy
from d6tstore.repository import Repository
from d6tstore.sharing.comparing import places
from d6tstore.sharing.moving import Route
from d6tstore.transfers import Transfers

_AT_ONCE = 8  # results
_CHUNK = 16 << 20  # bytes


def copy(source: Repository, target: Repository, ids: set[str] | None, replacing: bool, dry_run: bool) -> Copies:
    """See `Store.copy_to`.

    Args:
        source: where results are.
        target: where they are to be too.
        ids: of the tasks, as in the source; None is all of them.
        replacing: also where the target has another result, or one with damaged objects.
        dry_run: only tell.
    """
    copies, seen, found = Copies(dry_run=dry_run), set[str](), []
    for name, backend in places(source).items():
        records = {
            key: old for key, old in all_records(backend, source, record.RECORDS) if ids is None or id_of(key) in ids
        }
        seen.update(map(id_of, records))
        there = target.named.get(name) if name else target.default
        if there is not None and (source.namespace != target.namespace or not _same(backend, there)):
            found.append((_Between(source, backend, target, there, replacing), records))
        elif there is None and records:
            raise UsageError(
                f"the store has results on its backend {name!r}, which the other one lacks. Name it there: "
                f"d6tstore.open(..., backends={{{name!r}: url}})."
            )
    copies.results += [Copy(id, ABSENT) for id in sorted((ids or set()) - seen)]
    for between, records in found:
        copies.results += between.copy_all(records, dry_run)
    return copies


def _same(one: Backend, other: Backend) -> bool:
    return one is other or (one.url == other.url and not one.holds_live)


class _Between(NamedTuple):
    """Two backends of two stores, and what is known of the second one's objects."""

    repository: Repository
    source: Backend
    other: Repository
    target: Backend
    replacing: bool
    there: Mapping[str, Entry] = {}

    @property
    def route(self) -> Route:
        """From the one to the other."""
        return Route(self.source, self.repository.namespace, self.target, self.other.namespace)

    def copy_all(self, records: Mapping[str, Record | RecordError], dry_run: bool) -> list[Copy]:
        """Copy results by the keys of their records."""
        namespace = self.repository.namespace
        sound = {k: old for k, old in records.items() if isinstance(old, Record) and not suspicion(k, old, namespace)}
        theirs = self.target.read_many([self.route.key(key) for key in sound])
        keys = [self.route.key(output.key) for old in sound.values() for output in old.outputs.values()]
        stated = self._replace(there=self.target.stat(keys))

        def one(item: tuple[str, Record | RecordError]) -> Copy:
            key, old = item
            try:
                if isinstance(old, RecordError):
                    raise old
                if problem := suspicion(key, old, namespace):
                    raise RecordError(f"record {key!r} is damaged: {problem}. Run its task with force.")
                return stated.copy(old, theirs.get(self.route.key(key)), dry_run)
            except (D6tstoreError, OSError) as exc:
                return Copy(id_of(key), FAILED, problem=str(exc))

        with ThreadPoolExecutor(_AT_ONCE, "d6tstore-copy") as pool:
            copies = list(pool.map(one, records.items()))
        written = Counter(self.route.family(each.id.rpartition("-")[0]) for each in copies if each.action == COPIED)
        if not dry_run:
            with contextlib.suppress(BackendError):  # nothing is lost
                self.target.settle(written)
        return copies

    def copy(self, old: Record, data: bytes | None, dry_run: bool) -> Copy:
        """Copy a result. `data` is the record that is there already; it is read again before it is replaced."""
        action = self._action(old, self._current(old, data))
        size = sum(output.bytes for output in old.outputs.values())
        if action != COPIED or dry_run:
            return Copy(old.id, action, size if action == COPIED else 0)
        key = f"{self.route.family(old.family)}-{old.hash}"
        return Copy(old.id, claimed(self.target, key, key, lambda: self._copied(old)), size)

    def _current(self, old: Record, data: bytes | None) -> Record | None:
        """The record that is there. Raises RecordError: it is damaged, or made by a newer d6tstore."""
        if data is None:
            return None
        key = self.route.key(old.key)
        current = record.decode(data, key)
        if problem := suspicion(key, current, self.other.namespace):
            raise RecordError(
                f"record {key!r} in {self.target!r} is damaged: {problem}. Run its task there with force."
            )
        return current

    def _action(self, old: Record, current: Record | None) -> str:
        if any(not output.checksum and not output.table for output in old.outputs.values()):
            return LIVE
        if current is None:
            return COPIED
        if current.write_id == old.write_id:
            return SAME if self._whole(current) else COPIED
        if old.write_id in current.ancestors:
            return NEWER
        return COPIED if self.replacing or current.write_id in old.ancestors else DIFFERENT

    def _whole(self, current: Record) -> bool:
        lacking = [output.key for output in current.outputs.values() if output.key not in self.there]
        entries = {**self.there, **self.target.stat(lacking)} if lacking else self.there
        return all(
            output.is_in(entries) and (not self.replacing or self._sound(current.id, output))
            for output in current.outputs.values()
        )

    def _sound(self, id: str, output: Output) -> bool:
        """Is an object there what its record says? All of it is read."""
        try:
            Stored(id, self.target, output, Transfers.plain()).verify()
        except (Damaged, NotFound):
            return False
        return True

    def _copied(self, old: Record) -> str:
        """Objects first, the record last, while nobody computes the task there: what is there may be new."""
        key = self.route.key(old.key)
        current = self._current(old, self.target.read_many([key]).get(key))
        fresh = self._replace(there=self.target.stat([self.route.key(output.key) for output in old.outputs.values()]))
        if (action := fresh._action(old, current)) != COPIED:
            return action
        try:
            new = self.route.carry(old, lambda output: output.is_in(fresh.there) and self._sound(old.id, output))
        except NotFound:
            found = self.source.read_many([old.key]).get(old.key)
            newer = None if found is None else record.decode(found, old.key)
            if newer is None or newer.write_id == old.write_id or suspicion(old.key, newer, self.repository.namespace):
                raise
            return self._copied(newer)  # a run replaced it meanwhile
        previous = None if current is None or current.write_id == old.write_id else current
        self.target.publish(new, None if previous is None else replace(previous, replaced=record.now()))
        if previous is not None:
            with contextlib.suppress(BackendError):  # the result is out
                history.trim(self.target, new, self.other.keep_versions, previous.write_id)
        return COPIED
