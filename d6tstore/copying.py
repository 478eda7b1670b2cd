"""Results of one store in another, where they are complete without running."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from msgspec.structs import replace

from d6tstore import record, storing
from d6tstore.backend import Backend, Entry, TableBackend
from d6tstore.claiming import claimed
from d6tstore.errors import (
    BackendError,
    D6tstoreError,
    Damaged,
    FormatError,
    NotFound,
    RecordError,
    Unsupported,
    UsageError,
)
from d6tstore.format import TableFormat
from d6tstore.loading import Part, Stored
from d6tstore.maintenance import all_records, id_of, is_object_of
from d6tstore.record import Output, Record
from d6tstore.registry import kept_format
from d6tstore.report import ABSENT, COPIED, DIFFERENT, FAILED, LIVE, NEWER, SAME, Copies, Copy
from d6tstore.repository import Repository
from d6tstore.spool import Spool
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
    for name, backend in _places(source):
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


def _places(repository: Repository) -> Iterator[tuple[str, Backend]]:
    """Backends by name, each once, the default first (empty); without `memory`, which each store has for itself."""
    left = repository.backends()
    for name, backend in [("", repository.default), *repository.named.items()]:
        if name != "memory" and backend in left:
            left.remove(backend)
            yield name, backend


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
    def transfers(self) -> Transfers:
        """Those of the store that copies; what goes over is no copy that somebody here will load."""
        return Transfers.plain()._replace(progress=self.repository.progress)

    def copy_all(self, records: Mapping[str, Record | RecordError], dry_run: bool) -> list[Copy]:
        """Copy results by the keys of their records."""
        sound = {key: old for key, old in records.items() if isinstance(old, Record) and not _problem(key, old)}
        theirs = self.target.read_many([self.moved(key) for key in sound])
        keys = [self.moved(output.key) for old in sound.values() for output in old.outputs.values()]
        stated = self._replace(there=self.target.stat(keys))

        def one(item: tuple[str, Record | RecordError]) -> Copy:
            key, old = item
            try:
                if isinstance(old, RecordError):
                    raise old
                if problem := _problem(key, old):
                    raise RecordError(f"record {key!r} is damaged: {problem}. Run its task with force.")
                return stated.copy(old, theirs.get(self.moved(key)), dry_run)
            except (D6tstoreError, OSError) as exc:
                return Copy(id_of(key), FAILED, problem=str(exc))

        with ThreadPoolExecutor(_AT_ONCE, "d6tstore-copy") as pool:
            copies = list(pool.map(one, records.items()))
        written = Counter(self.family(each.id.rpartition("-")[0]) for each in copies if each.action == COPIED)
        if not dry_run:
            with contextlib.suppress(BackendError):  # nothing is lost
                self.target.settle(written)
        return copies

    def family(self, family: str) -> str:
        """The name of a family in the other store."""
        plain = family.removeprefix(f"{self.repository.namespace}.") if self.repository.namespace else family
        return f"{self.other.namespace}.{plain}" if self.other.namespace else plain

    def moved(self, key: str) -> str:
        """The key of a record or an object in the other store."""
        root = record.RECORDS if key.startswith(record.RECORDS) else ""
        family, slash, rest = key.removeprefix(root).partition("/")
        return f"{root}{self.family(family)}{slash}{rest}"

    def copy(self, old: Record, data: bytes | None, dry_run: bool) -> Copy:
        """Copy a result. `data` is the record that is there already; it is read again before it is replaced."""
        action = self._action(old, self._current(old, data))
        size = sum(output.bytes for output in old.outputs.values())
        if action != COPIED or dry_run:
            return Copy(old.id, action, size if action == COPIED else 0)
        key = f"{self.family(old.family)}-{old.hash}"
        return Copy(old.id, claimed(self.target, key, key, lambda: self._copied(old)), size)

    def _current(self, old: Record, data: bytes | None) -> Record | None:
        """The record that is there. Raises RecordError: it is damaged, or made by a newer d6tstore."""
        if data is None:
            return None
        key = self.moved(old.key)
        current = record.decode(data, key)
        if problem := _problem(key, current):
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
        key = self.moved(old.key)
        current = self._current(old, self.target.read_many([key]).get(key))
        fresh = self._replace(there=self.target.stat([self.moved(output.key) for output in old.outputs.values()]))
        if (action := fresh._action(old, current)) != COPIED:
            return action
        try:
            outputs = {name: fresh._output(old, output) for name, output in old.outputs.items()}
        except NotFound:
            found = self.source.read_many([old.key]).get(old.key)
            newer = None if found is None else record.decode(found, old.key)
            if newer is None or newer.write_id == old.write_id or _problem(old.key, newer):
                raise
            return self._copied(newer)  # a run replaced it meanwhile
        previous = None if current is None or current.write_id == old.write_id else current
        new = replace(old, family=self.family(old.family), outputs=outputs)
        self.target.publish(new, None if previous is None else replace(previous, replaced=record.now()))
        if previous is not None:
            with contextlib.suppress(BackendError):  # the result is out
                self.other.trim(new, self.target, previous.write_id)
        return COPIED

    def _output(self, old: Record, output: Output) -> Output:
        """The output, and its object, in the other store."""
        key, note = self.moved(output.key), output.note
        if output.table or isinstance(self.target, TableBackend):
            format = kept_format(output.format, None)
            if isinstance(format, TableFormat):
                stored, stem = Stored(old.id, self.source, output, self.transfers), key.removesuffix(output.suffix)
                try:
                    return self._frame(stored, format, stem, "")
                except FormatError as exc:
                    if not isinstance(exc.__cause__, Unsupported):
                        raise
                    note = str(exc.__cause__)  # of values that its tables do not hold
                if output.table:
                    return self._frame(stored, format, stem, note)
        same = replace(output, key=key, note=note)
        if not (same.is_in(self.there) and self._sound(old.id, same)):  # a copy that was interrupted has it
            with Spool(self.target) as spool:
                with self.source.open_read(output.key) as file:
                    shutil.copyfileobj(file, spool, _CHUNK)
                if spool.checksum() != (output.checksum, output.bytes):
                    raise Damaged(
                        f"{old.id}: object {output.key!r} in {self.source!r} is not what its record says. Run the task "
                        "with force, and copy it again.",
                        problem="has other bytes than its record says",
                    )
                self.transfers.send(self.target, key, spool.take(), output.checksum)
        return same

    def _frame(self, stored: Stored, format: TableFormat, stem: str, note: str) -> Output:
        """A frame by value, as the other backend holds it; with a note, as bytes."""
        frame = stored.load(format, Part(as_="batches"), verify=False)
        made = storing.store_frame(
            self.target, format, stored.output.format, frame, lambda suffix: stem + suffix, None, self.transfers, note
        )
        if made.content != stored.output.content:
            raise Damaged(
                f"{stored.owner}: the frame came out of {self.source!r} otherwise than its record says. Run the task "
                "with force, and copy it again.",
                problem="has another content than its record says",
            )
        return made


def _problem(key: str, found: Record) -> str:
    """Why a record is not to be trusted with where it and its objects go; empty if it is."""
    if found.key != key:
        return f"it is that of {found.id}"
    if not found.write_id.isalnum():
        return f"its write id is {found.write_id!r}"
    strange = [output.key for output in found.outputs.values() if not is_object_of(output.key, found)]
    return f"object {strange[0]!r} is none of its task" if strange else ""
