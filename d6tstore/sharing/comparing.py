"""How two stores differ, result by result: decided from their records, and from what they last agreed on."""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from d6tstore import record
from d6tstore.backend import Backend, Entry
from d6tstore.errors import Changed, RecordError
from d6tstore.keys import plain_id, suspicion
from d6tstore.maintenance import record_entries
from d6tstore.record import Record
from d6tstore.repository import Repository
from d6tstore.sharing.synced import Point
from d6tstore.tables import one_line

_LARGEST = 16 << 20  # bytes of a record


class Difference(enum.StrEnum):
    """What there is to say of one result here and there. One was *removed* if both sides had it before."""

    SAME = "same"
    ONLY_HERE = "only here"
    ONLY_THERE = "only there"
    NEWER_HERE = "newer here"
    NEWER_THERE = "newer there"
    REMOVED_HERE = "removed here"
    REMOVED_THERE = "removed there"
    CONFLICT = "in conflict"
    LIVE = "only in memory"
    DAMAGED = "damaged"


class Shelf:
    """Records of one place. Those that are wanted are read together, the others when somebody asks for one of them.

    Args:
        backend: where they are.
        namespace: of the place.
        known: by key, what needs not be read.
    """

    def __init__(self, backend: Backend, namespace: str, known: Mapping[str, bytes | RecordError]) -> None:
        self.backend, self.namespace = backend, namespace
        self._known, self._left = dict(known), set[str]()

    def add(self, entry: Entry) -> Found:
        """One more."""
        if entry.size > _LARGEST:  # it would fill our memory
            problem = f"record {entry.key!r} has {entry.size:,} bytes: it is none of ours."
            self._known[entry.key] = RecordError(problem)
        else:
            self._left.add(entry.key)
        return Found(self, entry.key, entry.version if self.backend.exact else "")

    def read(self, keys: Iterable[str]) -> None:
        """Read these together."""
        wanted = [key for key in keys if key in self._left]
        self._known.update(self.backend.read_many(wanted))
        self._left.difference_update(wanted)

    def data(self, key: str) -> bytes | RecordError | None:
        """The bytes of one; None if it is gone."""
        if key in self._left:
            self.read(sorted(self._left))
        return self._known.get(key)


class Found(NamedTuple):
    """A record, and where it is; `version` as a listing shows it, if that is exact."""

    shelf: Shelf
    key: str
    version: str = ""

    @property
    def backend(self) -> Backend:
        """Where it is."""
        return self.shelf.backend

    @property
    def data(self) -> bytes | RecordError | None:
        """Its bytes; None if it is gone since it was listed."""
        return self.shelf.data(self.key)

    def has(self, write_id: str) -> bool:
        """Is it the version of that write id? Asked of very many: the record is not decoded."""
        data = self.data
        return isinstance(data, bytes) and f'"write_id":"{write_id}"'.encode() in data

    def record(self) -> Record:
        """The record. Raises RecordError: it is damaged, or names what is not its own."""
        data = self.data
        if data is None:
            raise RecordError(f"record {self.key!r} in {self.backend!r} was removed meanwhile. Look again.")
        if isinstance(data, RecordError):
            raise data
        found = record.decode(data, self.key)
        if problem := suspicion(self.key, found, self.shelf.namespace):
            raise RecordError(
                f"record {self.key!r} in {self.backend!r} is damaged or forged: {problem}. Run its task with force."
            )
        return found


class Pair:
    """One result here and there; `id` is that of its task, without a namespace.

    Attributes:
        here, there: its records; None if there is none.
        unchanged: listings show those on which both sides agreed; then they are not read.
        difference: what there is to say.
        problem: of a record that is damaged.
    """

    def __init__(self, id: str, here: Found | None, there: Found | None, point: Point | None) -> None:
        self.id, self.here, self.there, self.point = id, here, there, point
        self.unchanged = _unchanged(here, there, point)
        self.problem = ""
        try:
            self.difference = Difference.SAME if self.unchanged else self._judged()
        except RecordError as exc:
            self.difference, self.problem = Difference.DAMAGED, str(exc)

    @functools.cached_property
    def mine(self) -> Record | None:
        """The record that is here. Raises RecordError, Changed."""
        return self._record(self.here, self.point.mine if self.point else "")

    @functools.cached_property
    def theirs(self) -> Record | None:
        """The record that is there. Raises RecordError, Changed."""
        return self._record(self.there, self.point.theirs if self.point else "")

    def _record(self, found: Found | None, agreed: str) -> Record | None:
        if found is None:
            return None
        read = found.record()
        if self.unchanged and read.write_id != agreed:
            raise Changed(f"{self.id} was changed in {found.backend!r} meanwhile. Look again, then try again.")
        return read

    @property
    def noted(self) -> bool:
        """Is it known that both sides agreed on just these records? They are not decoded for it."""
        point, here, there = self.point, self.here, self.there
        if point is None or here is None or there is None:
            return False
        return self.unchanged or (here.has(point.mine) and there.has(point.theirs))

    @property
    def versions(self) -> tuple[str, str]:
        """Of the records here and there, as listings show them; empty where that is not exact."""
        return (self.here.version if self.here else "", self.there.version if self.there else "")

    @property
    def makers(self) -> str:
        """Who made the records here and there, and when."""
        return f"here by {_made(self.mine)}, there by {_made(self.theirs)}"

    def _judged(self) -> Difference:
        if self.here and self.there and self.here.data == self.there.data and self.here.key == self.there.key:
            _ = self.noted or self.mine  # what nobody noted may be damaged on both sides
            return Difference.SAME
        mine, theirs, point = self.mine, self.theirs, self.point
        if mine is not None and any(not output.checksum and not output.table for output in mine.outputs.values()):
            return Difference.LIVE
        if theirs is None:
            assert mine is not None
            gone = point is not None and point.mine == mine.write_id
            return Difference.REMOVED_THERE if gone else Difference.ONLY_HERE
        if mine is None:
            gone = point is not None and point.theirs == theirs.write_id
            return Difference.REMOVED_HERE if gone else Difference.ONLY_THERE
        if mine.write_id == theirs.write_id:
            if _contents(mine) != _contents(theirs):
                raise RecordError(f"{self.id} says to be version {mine.write_id} on both sides, with other contents.")
            return Difference.SAME
        if theirs.write_id in mine.ancestors:
            return Difference.NEWER_HERE
        if mine.write_id in theirs.ancestors:
            return Difference.NEWER_THERE
        if point is not None and point.mine == mine.write_id:  # more versions there since than ancestors are known
            return Difference.NEWER_THERE
        if point is not None and point.theirs == theirs.write_id:
            return Difference.NEWER_HERE
        return Difference.SAME if _contents(mine) == _contents(theirs) else Difference.CONFLICT


def _made(found: Record | None) -> str:
    if found is None:
        return "nobody"
    return one_line(f"{found.author or 'somebody'}@{found.host or '?'} at {found.time[:19]}")


def _contents(found: Record) -> dict[str, tuple[str, str]]:
    """What two people who compute the same have both."""
    return {name: (output.format, output.content) for name, output in found.outputs.items()}


def compare(
    here: Repository, there: Repository, points: Mapping[str, Point], only: set[str] | None = None
) -> list[Pair]:
    """All results of two stores, by their ids.

    Args:
        here: may have named backends; of a result that two of them have the first is taken.
        there: its default backend only.
        points: what both agreed on last, by id.
        only: ids; None is all that one of them has.
    """
    with ThreadPoolExecutor(1, "d6tstore-list") as pool:
        listing = pool.submit(_listed, there.default, there, only)
        mine: dict[str, Found] = {}
        for backend in places(here).values():
            mine = _listed(backend, here, only) | mine
        theirs = listing.result()
    unchanged = {id for id, point in points.items() if _unchanged(mine.get(id), theirs.get(id), point)}
    _read(mine, unchanged)
    _read(theirs, unchanged)
    pairs = [Pair(id, mine.get(id), theirs.get(id), points.get(id)) for id in sorted(mine.keys() | theirs.keys())]
    known = places(here)
    for pair in pairs:  # what lies on a backend that this store was opened without is not removed
        removed = pair.difference is Difference.REMOVED_HERE and pair.theirs is not None
        if removed and pair.theirs.backend and pair.theirs.backend not in known:  # type: ignore[union-attr]
            pair.difference = Difference.ONLY_THERE
    return pairs


def _listed(backend: Backend, repository: Repository, only: set[str] | None) -> dict[str, Found]:
    """Records of a place by the ids of their tasks."""
    shelf = Shelf(backend, repository.namespace, {})
    entries = record_entries(backend, repository, _keys(repository, only))
    return {plain_id(entry.key, repository.namespace): shelf.add(entry) for entry in entries}


def _unchanged(here: Found | None, there: Found | None, point: Point | None) -> bool:
    if here is None or there is None or point is None or not (here.version and there.version):
        return False
    return here.version == point.here and there.version == point.there


def _read(found: dict[str, Found], unchanged: set[str]) -> None:
    """Read the records that may have changed; those that are gone by now are left out."""
    wanted: dict[Shelf, list[str]] = {}
    for id, each in found.items():
        if id not in unchanged:
            wanted.setdefault(each.shelf, []).append(each.key)
    for shelf, keys in wanted.items():
        shelf.read(keys)
    for id in [id for id, each in found.items() if id not in unchanged and each.data is None]:
        del found[id]


def places(repository: Repository) -> dict[str, Backend]:
    """Backends by name, each once, the default first (empty); without `memory`, which each store has for itself."""
    left, found = repository.backends(), {}
    for name, backend in [("", repository.default), *repository.named.items()]:
        if name != "memory" and backend in left:
            left.remove(backend)
            found[name] = backend
    return found


def _keys(repository: Repository, only: set[str] | None) -> list[str] | None:
    if only is None:
        return None
    prefix = f"{repository.namespace}." if repository.namespace else ""
    return [record.record_key(prefix + family, hash) for family, _, hash in (id.rpartition("-") for id in only)]
