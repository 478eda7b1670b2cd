"""The other side of a pipe as it was, as far as the history there reaches."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from d6tstore import record
from d6tstore.errors import UsageError
from d6tstore.record import Record
from d6tstore.repository import Repository
from d6tstore.sharing.comparing import Difference, Found, Pair, Shelf
from d6tstore.sharing.journal import Push, until, written_ids


def as_of(
    there: Repository,
    pairs: Iterable[Pair],
    pushes: list[Push],
    at: int | str | datetime.date,
    only: set[str] | None = None,
) -> list[Pair]:
    """The results as a pull of an earlier state sees them.

    Args:
        there: the other side.
        pairs: the results as they are now.
        pushes: all that the log has.
        at: number of a push, or a time.
        only: ids that are wanted; None is all.

    Raises:
        UsageError: there is no such moment, or a result of it is not kept any more.
    """
    known, moment = until(pushes, at)
    wanted = written_ids(known)
    prefix = f"{there.namespace}." if there.namespace else ""
    found, lost = list[Pair](), list[str]()

    def kept(id: str) -> Found | None:
        """The version of that time in the history."""
        write_id, (family, _, hash) = wanted[id], id.rpartition("-")
        data = there.default.read_many([key := f"{record.history_prefix(prefix + family, hash)}{write_id}.json"]).get(
            key
        )
        if data is None:
            lost.append(f"{id} ({write_id})")
            return None
        current_key = record.record_key(prefix + family, hash)
        return Found(Shelf(there.default, there.namespace, {current_key: data}), current_key)

    pairs = list(pairs)
    for pair in pairs:
        current = pair.theirs if pair.there is not None else None
        if pair.id not in wanted and current is not None and current.time <= moment:
            wanted[pair.id] = current.write_id  # computed there, not pushed
        write_id = wanted.get(pair.id)
        if write_id is None:
            found += _without(pair)
        elif current is not None and current.write_id == write_id:
            found.append(_as_it_is(pair))
        elif (old := kept(pair.id)) is not None:
            found.append(_older(pair, old, current))
    for id in sorted(wanted.keys() - {pair.id for pair in pairs}):  # which neither side has now
        if wanted[id] and (only is None or id in only) and (old := kept(id)) is not None:
            found.append(Pair(id, None, old, None))
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


def _as_it_is(pair: Pair) -> Pair:
    """A result that is current still; what was forgotten here comes back, for it is asked for."""
    if pair.difference is Difference.REMOVED_HERE:
        pair.difference = Difference.ONLY_THERE
    return pair


def _without(pair: Pair) -> list[Pair]:
    """A result that there was not at that time: what is here of it stays as it is."""
    if pair.here is not None:
        pair.difference = Difference.ONLY_HERE
    return [] if pair.here is None else [pair]
