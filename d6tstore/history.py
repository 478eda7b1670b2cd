"""Replaced records of a task, which are kept for a while."""

from __future__ import annotations

import contextlib

from d6tstore import record
from d6tstore.backend import Backend
from d6tstore.errors import RecordError
from d6tstore.record import ANCESTORS, Record


def versions(backend: Backend, family: str, hash: str) -> list[tuple[str, Record]]:
    """Replaced records of a task with their keys, newest first; those that cannot be read are left out."""
    keys = [entry.key for entry in backend.list(record.history_prefix(family, hash))]
    found = []
    for key, data in backend.read_many(keys).items():
        with contextlib.suppress(RecordError):
            found.append((key, record.decode(data, key)))
    return sorted(found, key=lambda pair: pair[1].replaced, reverse=True)


def trim(backend: Backend, new: Record, keep: int, replaced: str = "") -> None:
    """Forget the oldest kept versions of a task beyond `keep`; that with the write id `replaced` is the newest."""
    order = {id: i for i, id in enumerate(new.ancestors)}  # exact, whatever the clocks of the writers say
    order[replaced] = -1
    found = versions(backend, new.family, new.hash)
    kept = [old for key, old in found if old.restorable and old.history_key == key]
    kept.sort(key=lambda old: order.get(old.write_id, ANCESTORS))
    for old in kept[keep:]:
        backend.delete(old.history_key)
