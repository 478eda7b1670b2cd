"""What is missing or damaged on either side of a pipe, and the way back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from msgspec.structs import replace

from d6tstore import record
from d6tstore.backend import Backend, Entry
from d6tstore.errors import Changed, D6tstoreError, RecordError
from d6tstore.keys import suspicion
from d6tstore.loading import Stored
from d6tstore.maintenance import Problem, problem_of
from d6tstore.record import Record
from d6tstore.repository import Repository
from d6tstore.sharing.comparing import Difference, Pair
from d6tstore.sharing.moving import Route, entries
from d6tstore.sharing.publishing import publish, replace_damaged
from d6tstore.transfers import Transfers

_AT_ONCE = 16


def lacking_here(pairs: Iterable[Pair]) -> set[str]:
    """Ids of results that both sides have, and of which an object is not in this store.

    One that has another size than its record says was changed here: it counts as damaged, and is never overwritten.
    """
    same = [(pair, pair.here.backend, pair.mine) for pair in pairs if _is_same(pair) and pair.here]
    there = _entries((backend, mine) for _, backend, mine in same)
    lacking = set()
    for pair, backend, mine in same:
        for output in mine.outputs.values() if mine else ():
            if output.key not in there[backend]:
                lacking.add(pair.id)
            elif not output.is_in(there[backend]):
                pair.difference = Difference.DAMAGED
                pair.problem = (
                    f"object {output.key!r} in {backend!r} was changed here: it has {there[backend][output.key].size} "
                    f"bytes, its record says {output.bytes}. Move it away and pull again, or run the task with force"
                )
    return lacking


def lacking_there(pairs: Iterable[Pair], verify: bool) -> set[str]:
    """Ids of results that both sides have, and of which an object is not at the other side.

    Args:
        pairs: all results.
        verify: look at all of them, not only at those that went without objects.
    """
    wanted = [p for p in pairs if _is_same(p) and p.there and (verify or (p.point is not None and p.point.bare))]
    found = [(pair.id, pair.there.backend, pair.theirs) for pair in wanted if pair.there]
    there = _entries((backend, theirs) for _, backend, theirs in found)
    return {
        id
        for id, backend, theirs in found
        if theirs and not all(output.is_in(there[backend]) for output in theirs.outputs.values())
    }


def _is_same(pair: Pair) -> bool:
    return pair.difference is Difference.SAME


def _entries(found: Iterable[tuple[Backend, Record | None]]) -> dict[Backend, dict[str, Entry]]:
    """The objects of records that there are."""
    return entries((backend, [o.key for o in kept.outputs.values()] if kept else []) for backend, kept in found)


def vanished(here: Repository, there: Repository, pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs, where a result that nobody removed at the other side counts as one that it never had."""
    pairs = list(pairs)
    route = Route(there.default, here.namespace, there.default, there.namespace)
    removed = [(p.id, p.mine) for p in pairs if p.difference is Difference.REMOVED_THERE and p.mine]
    gone = {id: replace(mine, family=route.family(mine.family)).history_key for id, mine in removed}
    dismissed = there.default.stat(gone.values())
    for pair in pairs:
        if pair.id in gone and gone[pair.id] not in dismissed:
            pair.difference = Difference.ONLY_HERE
    return pairs


def records(there: Repository, family: str) -> list[Record]:
    """See `Pipe.records`."""
    full = f"{there.namespace}.{family}" if there.namespace else family
    found = []
    for key, data in there.default.records(full):
        with contextlib.suppress(RecordError):
            kept = record.decode(data, key)
            if not suspicion(key, kept, there.namespace):
                found.append(kept)
    return sorted(found, key=lambda kept: kept.time, reverse=True)


def verify(here: Repository, there: Repository, pairs: Iterable[Pair], repair: bool) -> list[Problem]:
    """See `Pipe.verify`."""

    pairs = [pair for pair in pairs if pair.there is not None]
    listed = _entries((there.default, _readable(pair)) for pair in pairs).get(there.default, {})

    def checked(pair: Pair) -> list[Problem]:
        assert pair.there is not None
        try:
            kept = pair.there.record()
        except RecordError as exc:
            if repair:
                with contextlib.suppress(D6tstoreError, OSError):
                    _repair_record(here, there, pair)
                    return []
            return [Problem(pair.id, pair.there.key, str(exc))]
        problems = {}
        for name, output in kept.outputs.items():
            if problem := _problem(Stored(pair.id, there.default, output, Transfers.plain()), listed):
                problems[name] = Problem(pair.id, output.key, problem)
        if repair and problems:
            with contextlib.suppress(D6tstoreError, OSError):  # what is not repaired is told
                _repair(here, there, pair, kept, set(problems))
                problems = {}
        return list(problems.values())

    with ThreadPoolExecutor(_AT_ONCE, "d6tstore-verify") as pool:
        return [problem for found in pool.map(checked, pairs) for problem in found]


def _readable(pair: Pair) -> Record | None:
    with contextlib.suppress(RecordError, Changed):
        return pair.theirs
    return None


def _problem(stored: Stored, listed: Mapping[str, Entry]) -> str | None:
    """What is wrong with an object; one of another size is not read, for it may be of any size."""
    output, entry = stored.output, listed.get(stored.output.key)
    if entry is not None and not output.is_in(listed):
        return f"has {entry.size:,} bytes, its record says {output.bytes:,}"
    if not output.table and not output.checksum:
        return "has no checksum in its record"
    return problem_of(stored)


def _repair(here: Repository, there: Repository, pair: Pair, kept: Record, names: set[str]) -> None:
    """Send outputs again that this store has with the same content. Raises D6tstoreError: it has not."""
    if pair.here is None:
        raise RecordError(f"{pair.id} is not in this store.")
    mine = pair.here.record()
    if any(name not in mine.outputs or mine.outputs[name].content != kept.outputs[name].content for name in names):
        raise RecordError(f"{pair.id} is another result here.")
    route = Route(pair.here.backend, here.namespace, there.default, there.namespace)
    sent = route.carry(mine, lambda output: False, names)
    outputs = {**kept.outputs, **{name: sent.outputs[name] for name in names}}
    if outputs != kept.outputs:
        publish(there.default, replace(kept, outputs=outputs), kept, there.keep_versions)


def _repair_record(here: Repository, there: Repository, pair: Pair) -> None:
    """Put ours in the place of a record that is damaged. Raises D6tstoreError: we have none, or theirs is newer."""
    if pair.here is None or pair.there is None:
        raise RecordError(f"{pair.id} is not in this store.")
    mine, theirs = pair.here.record(), pair.there.data
    if not isinstance(theirs, bytes) or record.version_of(theirs) > record.VERSION:
        raise RecordError(f"record {pair.there.key!r} is too large, or of a newer d6tstore.")
    route = Route(pair.here.backend, here.namespace, there.default, there.namespace)
    replace_damaged(there.default, route.carry(mine, lambda output: False), theirs)
