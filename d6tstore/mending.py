"""What is missing or damaged on either side of a pipe, and the way back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from d6tstore import record
from d6tstore.backend import Backend
from d6tstore.comparing import Difference, Pair
from d6tstore.errors import D6tstoreError, RecordError
from d6tstore.keys import suspicion
from d6tstore.loading import Stored
from d6tstore.maintenance import Problem, problem_of
from d6tstore.moving import Route
from d6tstore.publishing import publish
from d6tstore.record import Record
from d6tstore.repository import Repository
from d6tstore.transfers import Transfers

_AT_ONCE = 16


def lacking_here(pairs: Iterable[Pair]) -> set[str]:
    """Ids of results that both sides have, and of which an object is not in this store."""
    return _lacking([(pair.id, pair.here.backend, pair.mine) for pair in pairs if _is_same(pair) and pair.here])


def lacking_there(pairs: Iterable[Pair], verify: bool) -> set[str]:
    """Ids of results that both sides have, and of which an object is not at the other side.

    Args:
        pairs: all results.
        verify: look at all of them, not only at those that went without objects.
    """
    wanted = [p for p in pairs if _is_same(p) and p.there and (verify or (p.point is not None and p.point.bare))]
    return _lacking([(pair.id, pair.there.backend, pair.theirs) for pair in wanted if pair.there])


def _is_same(pair: Pair) -> bool:
    return pair.difference is Difference.SAME


def _lacking(found: list[tuple[str, Backend, Record | None]]) -> set[str]:
    keys: dict[Backend, list[str]] = {}
    for _, backend, kept in found:
        keys.setdefault(backend, []).extend(output.key for output in kept.outputs.values()) if kept else None
    there = {backend: backend.stat(wanted) for backend, wanted in keys.items()}
    return {
        id
        for id, backend, kept in found
        if kept and not all(output.is_in(there[backend]) for output in kept.outputs.values())
    }


def vanished(backend: Backend, pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs, where a result that nobody removed at the other side counts as one that it never had."""
    pairs = list(pairs)
    gone = {p.id: p.mine.history_key for p in pairs if p.difference is Difference.REMOVED_THERE and p.mine}
    dismissed = backend.stat(gone.values())
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

    def checked(pair: Pair) -> list[Problem]:
        if pair.there is None:
            return []
        try:
            kept = pair.there.record()
        except RecordError as exc:
            return [Problem(pair.id, pair.there.key, str(exc))]
        problems = {}
        for name, output in kept.outputs.items():
            if problem := problem_of(Stored(pair.id, there.default, output, Transfers.plain())):
                problems[name] = Problem(pair.id, output.key, problem)
        if repair and problems:
            with contextlib.suppress(D6tstoreError, OSError):  # what is not repaired is told
                _repair(here, there, pair, kept, set(problems))
                problems = {}
        return list(problems.values())

    with ThreadPoolExecutor(_AT_ONCE, "d6tstore-verify") as pool:
        return [problem for found in pool.map(checked, pairs) for problem in found]


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
        publish(there.default, record_with(kept, outputs), kept, there.keep_versions)


def record_with(kept: Record, outputs: dict[str, record.Output]) -> Record:
    """The same result with its outputs stored otherwise."""
    from msgspec.structs import replace

    return replace(kept, outputs=outputs)
