"""How two stores differ, result by result: decided from their records, and from what they last agreed on."""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from typing import NamedTuple

from d6tstore import record
from d6tstore.backend import Backend
from d6tstore.errors import RecordError
from d6tstore.keys import plain_id, suspicion
from d6tstore.maintenance import record_bytes
from d6tstore.record import Record
from d6tstore.repository import Repository
from d6tstore.synced import Point


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


class Found(NamedTuple):
    """The bytes of a record, and where they are."""

    backend: Backend
    key: str
    data: bytes | RecordError
    namespace: str

    def has(self, write_id: str) -> bool:
        """Is it the version of that write id? Asked of very many: the record is not decoded."""
        return isinstance(self.data, bytes) and f'"write_id":"{write_id}"'.encode() in self.data

    def record(self) -> Record:
        """The record. Raises RecordError: it is damaged, or names what is not its own."""
        if isinstance(self.data, RecordError):
            raise self.data
        found = record.decode(self.data, self.key)
        if problem := suspicion(self.key, found, self.namespace):
            raise RecordError(
                f"record {self.key!r} in {self.backend!r} is damaged or forged: {problem}. Run its task with force."
            )
        return found


class Pair:
    """One result here and there; `id` is that of its task, without a namespace.

    Attributes:
        here, there: its records; None if there is none.
        difference: what there is to say.
        problem: of a record that is damaged.
    """

    def __init__(self, id: str, here: Found | None, there: Found | None, point: Point | None) -> None:
        self.id, self.here, self.there, self.point = id, here, there, point
        self.problem = ""
        try:
            self.difference = self._judged()
        except RecordError as exc:
            self.difference, self.problem = Difference.DAMAGED, str(exc)

    @functools.cached_property
    def mine(self) -> Record | None:
        """The record that is here. Raises RecordError."""
        return None if self.here is None else self.here.record()

    @functools.cached_property
    def theirs(self) -> Record | None:
        """The record that is there. Raises RecordError."""
        return None if self.there is None else self.there.record()

    @property
    def noted(self) -> bool:
        """Is it known that both sides agreed on just these records? They are not decoded for it."""
        point, here, there = self.point, self.here, self.there
        if point is None or here is None or there is None:
            return False
        return here.has(point.mine) and there.has(point.theirs)

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
    mine: dict[str, Found] = {}
    for backend in places(here).values():
        mine = _records(backend, here, only) | mine
    theirs = _records(there.default, there, only)
    return [Pair(id, mine.get(id), theirs.get(id), points.get(id)) for id in sorted(mine.keys() | theirs.keys())]


def places(repository: Repository) -> dict[str, Backend]:
    """Backends by name, each once, the default first (empty); without `memory`, which each store has for itself."""
    left, found = repository.backends(), {}
    for name, backend in [("", repository.default), *repository.named.items()]:
        if name != "memory" and backend in left:
            left.remove(backend)
            found[name] = backend
    return found


def _records(backend: Backend, repository: Repository, only: set[str] | None) -> dict[str, Found]:
    return {
        id: Found(backend, key, data, repository.namespace)
        for key, data in record_bytes(backend, repository, _keys(repository, only))
        if (id := plain_id(key, repository.namespace))
    }


def _keys(repository: Repository, only: set[str] | None) -> list[str] | None:
    if only is None:
        return None
    prefix = f"{repository.namespace}." if repository.namespace else ""
    return [record.record_key(prefix + family, hash) for family, _, hash in (id.rpartition("-") for id in only)]
