"""Results of one store in another, where they are complete without running."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec.structs import replace

from d6tstore import record, storing
from d6tstore.backend import Backend, Entry, TableBackend
from d6tstore.cache import Cache
from d6tstore.errors import D6tstoreError, Damaged, RecordError, UsageError
from d6tstore.format import TableFormat
from d6tstore.loading import Part, Stored
from d6tstore.maintenance import all_records
from d6tstore.record import Output, Record
from d6tstore.registry import kept_format
from d6tstore.repository import Repository
from d6tstore.spool import Spool

_AT_ONCE = 16  # results
_CHUNK = 64 << 20  # bytes

COPIED, SAME, NEWER, DIFFERENT, LIVE = "copied", "same", "newer there", "differs there", "only in memory"


class Copy(NamedTuple):
    """What became of one result: id of its task, what was done (or would be), bytes that went over, and what failed."""

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


def copy(source: Repository, target: Repository, ids: set[str] | None, replacing: bool, dry_run: bool) -> Copies:
    """See `Store.copy_to`.

    Args:
        source: where results are.
        target: where they are to be too.
        ids: of the tasks, as in the source; None is all of them.
        replacing: also where the target has another result.
        dry_run: only tell.
    """
    copies = Copies(dry_run=dry_run)
    for name, backend in [("", source.default), *source.named.items()]:
        if name == "memory":  # which each store has for itself
            continue
        there = target.named.get(name) if name else target.default
        if there is None:
            if any(True for _ in backend.list(record.RECORDS)):
                raise UsageError(
                    f"the store has results on its backend {name!r}, which the other one lacks. Name it there: "
                    f"d6tstore.open(..., backends={{{name!r}: url}})."
                )
        elif not _same(backend, there) or source.namespace != target.namespace:
            _copy_all(_Between(source, backend, target, there), ids, replacing, copies)
    return copies


def _same(one: Backend, other: Backend) -> bool:
    return one is other or (one.url == other.url and not one.holds_live)


def _copy_all(between: _Between, ids: set[str] | None, replacing: bool, copies: Copies) -> None:
    found = dict(all_records(between.source, between.repository, record.RECORDS))
    wanted = {key: old for key, old in found.items() if ids is None or _id(key) in ids}
    theirs = {
        key: _decoded(data, key)
        for key, data in between.target.read_many([between.moved(key) for key in wanted]).items()
    }
    between = between._replace(there=between.target.stat(_objects(between, wanted.values(), theirs.values())))

    def one(item: tuple[str, Record | RecordError]) -> Copy:
        key, old = item
        try:
            if isinstance(old, RecordError):
                raise old
            return between.copy(old, theirs.get(between.moved(key)), replacing, copies.dry_run)
        except (D6tstoreError, OSError) as exc:
            return Copy(_id(key), "failed", problem=str(exc))

    with ThreadPoolExecutor(_AT_ONCE, "d6tstore-copy") as pool:
        copies.results += pool.map(one, wanted.items())
    if not copies.dry_run:
        written = Counter(each.id.rpartition("-")[0] for each in copies if each.action == COPIED)
        between.target.settle({between.family(family): number for family, number in written.items()})


def _objects(between: _Between, ours: Iterable[Record | RecordError], theirs: Iterable[Record | None]) -> Iterator[str]:
    """Keys of objects that may be there already: with a record, or from a copy that was interrupted."""
    for old in ours:
        if isinstance(old, Record):
            yield from (between.moved(output.key) for output in old.outputs.values())
    for current in theirs:
        if current is not None:
            yield from (output.key for output in current.outputs.values())


def _id(key: str) -> str:
    return key.removeprefix(record.RECORDS).removesuffix(".json").replace("/", "-")


class _Between(NamedTuple):
    """Two backends of two stores; `there` are objects of the second one."""

    repository: Repository
    source: Backend
    other: Repository
    target: Backend
    there: Mapping[str, Entry] = {}

    def family(self, family: str) -> str:
        """The name of a family in the other store."""
        plain = family.removeprefix(f"{self.repository.namespace}.") if self.repository.namespace else family
        return f"{self.other.namespace}.{plain}" if self.other.namespace else plain

    def moved(self, key: str) -> str:
        """The key of a record or an object in the other store."""
        root = record.RECORDS if key.startswith(record.RECORDS) else ""
        family, slash, rest = key.removeprefix(root).partition("/")
        return f"{root}{self.family(family)}{slash}{rest}"

    def copy(self, old: Record, current: Record | None, replacing: bool, dry_run: bool) -> Copy:
        """Copy a result: its objects, then its record. `current` is the record that is there already."""
        if any(not output.checksum and not output.table for output in old.outputs.values()):
            return Copy(old.id, LIVE)
        if current is not None and current.write_id != old.write_id:
            if old.write_id in current.ancestors:
                return Copy(old.id, NEWER)
            if current.write_id not in old.ancestors and not replacing:
                return Copy(old.id, DIFFERENT)
        if current is not None and current.write_id == old.write_id and self._whole(current):
            return Copy(old.id, SAME)
        size = sum(output.bytes for output in old.outputs.values())
        if dry_run:
            return Copy(old.id, COPIED, size)
        outputs = {name: self._output(old, output) for name, output in old.outputs.items()}
        previous = None if current is None or current.write_id == old.write_id else current
        if previous is not None:
            previous = replace(previous, replaced=record.now())
        self.target.publish(replace(old, family=self.family(old.family), outputs=outputs), previous)
        return Copy(old.id, COPIED, size)

    def _whole(self, there: Record) -> bool:
        return all(output.is_in(self.there) for output in there.outputs.values())

    def _output(self, old: Record, output: Output) -> Output:
        """The output, and its object, in the other store."""
        stored = Stored(old.id, self.source, output, Cache(0))
        key = self.moved(output.key)
        if output.table or isinstance(self.target, TableBackend):
            format = kept_format(output.format, None)
            if isinstance(format, TableFormat):
                return self._frame(stored, format, key.removesuffix(output.suffix))
        same = replace(output, key=key)
        if not same.is_in(self.there):  # a copy that was interrupted has it
            with Spool(self.target) as spool:
                with self.source.open_read(output.key) as file:
                    shutil.copyfileobj(file, spool, _CHUNK)
                if spool.checksum() != (output.checksum, output.bytes):
                    raise Damaged(
                        f"{old.id}: object {output.key!r} in {self.source!r} is not what its record says. Run the task "
                        "with force, and copy it again.",
                        problem="has other bytes than its record says",
                    )
                self.target.write(key, spool.take())
        return same

    def _frame(self, stored: Stored, format: TableFormat, stem: str) -> Output:
        """A frame by value, as the other backend holds it."""
        frame = stored.load(format, Part(as_="batches"), verify=False)
        made = storing.store_frame(
            self.target, format, stored.output.format, frame, lambda suffix: stem + suffix, None, Cache(0)
        )
        if made.content != stored.output.content:
            raise Damaged(
                f"{stored.owner}: the frame came out of {self.source!r} otherwise than its record says. Run the task "
                "with force, and copy it again.",
                problem="has another content than its record says",
            )
        return made


def _decoded(data: bytes, key: str) -> Record | None:
    """The record that is there; None if it is damaged, which is no reason to keep it."""
    try:
        return record.decode(data, key)
    except RecordError:
        return None
