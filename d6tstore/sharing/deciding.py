"""Which results go which way through a pipe, and why: decided before anything moves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from d6tstore.backend import Backend, Entry
from d6tstore.record import Output, Record
from d6tstore.repository import Repository
from d6tstore.sharing import exchange
from d6tstore.sharing.comparing import Difference, Pair, places
from d6tstore.sharing.exchange import Item
from d6tstore.sharing.moving import Route, entries, shown

MOVES = (exchange.NEW, exchange.CHANGED, exchange.RESTORED)


class Step(NamedTuple):
    """What is to be done with one result."""

    pair: Pair
    item: Item
    data: bool = True


class Direction:
    """One direction of a pipe.

    Args:
        origin: name of the pipe for what is pulled; None: this is a push.
        here: the store.
        there: the other side.
        keep: "ours" or "theirs" decides conflicts.
        prune: also remove what was removed at the source.
    """

    def __init__(self, origin: str | None, here: Repository, there: Repository, keep: str | None, prune: bool) -> None:
        self.origin, self.here, self.there, self.keep, self.prune = origin, here, there, keep, prune
        self._places = places(here)
        self.known: dict[Backend, dict[str, Entry]] = {}  # objects at the target
        self._wins = "ours" if origin is None else "theirs"
        d = Difference
        self._new, self._removed = (d.ONLY_HERE, d.REMOVED_THERE) if origin is None else (d.ONLY_THERE, d.REMOVED_HERE)
        self._newer, self._gone = (d.NEWER_HERE, d.REMOVED_HERE) if origin is None else (d.NEWER_THERE, d.REMOVED_THERE)

    # ------------------------------------------------------------------ sides

    def source(self, pair: Pair) -> Record | None:
        """The record that may go."""
        return pair.mine if self.origin is None else pair.theirs

    def seen(self, pair: Pair) -> Record | None:
        """The record that is there already."""
        return pair.theirs if self.origin is None else pair.mine

    def target(self, pair: Pair) -> Backend:
        """The place that gets it."""
        if self.origin is None:
            return self.there.default
        if pair.here is not None:
            return pair.here.backend
        found = self.source(pair)
        return self._places.get(found.backend, self.here.default) if found is not None else self.here.default

    def route(self, pair: Pair) -> Route:
        """From the one to the other."""
        if self.origin is None:
            assert pair.here is not None
            return Route(pair.here.backend, self.here.namespace, self.target(pair), self.there.namespace)
        cure = f"Others are not affected. Who has it whole can mend it: d6tstore pipe verify {self.origin} --repair."
        return Route(self.there.default, self.there.namespace, self.target(pair), self.here.namespace, cure)

    # --------------------------------------------------------------- deciding

    def steps(self, pairs: Iterable[Pair], named: bool, data: Callable[[Pair], bool], lacking: set[str]) -> list[Step]:
        """What is to be done with each result.

        Args:
            pairs: all results.
            named: somebody asked for just these: what was removed at the target goes there again.
            data: do its objects go along?
            lacking: ids of those of which the target has the record, but not the objects.
        """
        judged = [(pair, *self._action(pair, named, data(pair) and pair.id in lacking)) for pair in pairs]
        whole = {p.id for p, action, _ in judged if data(p) or (self.origin is None and action == exchange.CHANGED)}
        moving = [pair for pair, action, _ in judged if action in MOVES and pair.id in whole]
        there = entries((self.route(p).source, [o.key for o in outputs_of(self.source(p))]) for p in moving)
        self.known = self._arrived(moving)
        return [self._step(pair, action, reason, pair.id in whole, there) for pair, action, reason in judged]

    def _step(
        self, pair: Pair, action: str, reason: str, whole: bool, there: Mapping[Backend, Mapping[str, Entry]]
    ) -> Step:
        """What is to be done with one result, `whole` if its objects go along: no record alone replaces a whole one."""
        if action == exchange.CONFLICT:
            return Step(pair, Item(pair.id, action, reason, 0, pair.mine, pair.theirs))
        if action not in MOVES:
            return Step(pair, Item(pair.id, action, reason))
        if whole:
            outputs, route = outputs_of(self.source(pair)), self.route(pair)
            listed, known = there[route.source], self.known[route.target]
            if lacking := [o.key for o in outputs if o.key not in listed]:
                if action == exchange.RESTORED:
                    return Step(pair, Item(pair.id, exchange.SAME))
                if self.origin is None:
                    return Step(pair, Item(pair.id, exchange.LEFT, "its objects are not here; pull or load it first"))
                if action == exchange.CHANGED:
                    why = f"object {lacking[0]!r} is not there, so ours stays. {route.cure}"
                    return Step(pair, Item(pair.id, exchange.FAILED, why))
                return Step(pair, Item(pair.id, action, "without its objects, which are not there"), False)
            if strange := [o for o in outputs if not o.is_in(listed)]:
                found = listed[strange[0].key].size
                why = f"object {strange[0].key!r} has {found} bytes, its record says {strange[0].bytes}"
                return Step(pair, Item(pair.id, exchange.FAILED, why))
            size = sum(o.bytes for o in outputs if not replace(o, key=route.key(o.key)).is_in(known))
            return Step(pair, Item(pair.id, action, reason, size, pair.mine, pair.theirs))
        return Step(pair, Item(pair.id, action, reason, 0, pair.mine, pair.theirs), False)

    def _action(self, pair: Pair, named: bool, lacking: bool) -> tuple[str, str]:
        found = pair.difference
        if found is Difference.DAMAGED:
            return exchange.FAILED, pair.problem
        if found is Difference.SAME:
            return (exchange.RESTORED, "its objects were missing") if lacking else (exchange.SAME, "")
        if found is self._new or (named and found is self._removed):
            return exchange.NEW, found
        if found is self._newer:
            return exchange.CHANGED, found
        if found is self._gone:
            return (exchange.REMOVED if self.prune else found), found
        if found is Difference.CONFLICT:
            if self.keep is None:
                return exchange.CONFLICT, pair.makers
            if self.keep == self._wins:
                return exchange.CHANGED, f"in conflict, {self.keep} is kept"
            return exchange.LEFT, f"in conflict, {self.keep} is kept"
        return exchange.LEFT, found

    def _arrived(self, pairs: list[Pair]) -> dict[Backend, dict[str, Entry]]:
        """What of the objects is there already: an earlier try may have been interrupted."""
        found = ((self.route(pair), outputs_of(self.source(pair))) for pair in pairs)
        return entries(((r.target, [k for o in outputs for k in r.keys(o)]) for r, outputs in found), shown)


def outputs_of(found: Record | None) -> Collection[Output]:
    """Its outputs; none of none."""
    return () if found is None else found.outputs.values()
