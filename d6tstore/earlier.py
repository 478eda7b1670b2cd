"""The other side of a pipe as it was, as far as the history there reaches."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from d6tstore import record
from d6tstore.comparing import Difference, Found, Pair, Shelf
from d6tstore.errors import UsageError
from d6tstore.journal import Push, until, written_ids
from d6tstore.record import Record
from d6tstore.repository import Repository


def as_of(there: Repository, pairs: Iterable[Pair], pushes: list[Push], at: int | str | datetime.date) -> list[Pair]:
    """The results as a pull of an earlier state sees them.

    Args:
        there: the other side.
        pairs: the results as they are now.
        pushes: all that the log has.
        at: number of a push, or a time.

    Raises:
        UsageError: there is no such moment, or a result of it is not kept any more.
    """
    known, moment = until(pushes, at)
    wanted = written_ids(known)
    prefix = f"{there.namespace}." if there.namespace else ""
    found, lost = [], []
    for pair in pairs:
        current = pair.theirs if pair.there is not None else None
        if pair.id not in wanted and current is not None and current.time <= moment:
            wanted[pair.id] = current.write_id  # computed there, not pushed
        write_id = wanted.get(pair.id)
        if write_id is None or (current is not None and current.write_id == write_id):
            found.append(pair if write_id is not None else _without(pair))
            continue
        family, _, hash = pair.id.rpartition("-")
        key = f"{record.history_prefix(prefix + family, hash)}{write_id}.json"
        data = there.default.read_many([key]).get(key)
        if data is None:
            lost.append(f"{pair.id} ({write_id})")
            continue
        current_key = record.record_key(prefix + family, hash)
        old = Found(Shelf(there.default, there.namespace, {current_key: data}), current_key)
        found.append(_older(pair, old, current))
    if lost:
        raise UsageError(
            f"{len(lost)} results of that time are not kept any more: {', '.join(lost[:5])}. Take a later one, or name "
            "the tasks that are wanted; keep_versions of the pipe says how many versions stay."
        )
    return found


def _older(pair: Pair, old: Found, current: Record | None) -> Pair:
    """A result, and the version of it that was current at that time."""
    made = Pair(pair.id, pair.here, old, pair.point)
    mine, point = made.mine, made.point
    if mine is not None and current is not None and made.difference is not Difference.SAME:
        # Nothing of ours: it is a later version of theirs.
        pulled = mine.write_id in (current.write_id, *current.ancestors, point and point.mine)
        made.difference = Difference.NEWER_THERE if pulled else Difference.CONFLICT
    return made


def _without(pair: Pair) -> Pair:
    """A result that there was not at that time: it stays as it is."""
    if pair.here is not None:
        pair.difference = Difference.ONLY_HERE
        return pair
    made = Pair(pair.id, None, pair.there, None)
    made.difference = Difference.REMOVED_THERE
    return made
