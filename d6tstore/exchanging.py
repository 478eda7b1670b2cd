"""Results go one way between a store and the other side of a pipe: decided first, then moved, several at once."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, NamedTuple

from msgspec.structs import replace

from d6tstore import bulk, exchange
from d6tstore.backend import Backend, Entry
from d6tstore.comparing import Difference, Pair, places
from d6tstore.errors import BackendError, D6tstoreError
from d6tstore.exchange import Item
from d6tstore.moving import Route, Tell, entries, shown
from d6tstore.publishing import dismiss, publish
from d6tstore.record import ANCESTORS, Output, Record
from d6tstore.repository import Repository
from d6tstore.synced import Point

MOVES = (exchange.NEW, exchange.CHANGED, exchange.RESTORED)
_AT_ONCE = 16  # results
_GROUPS = 2  # of small results: while one is on its way the other is read and checked


class Step(NamedTuple):
    """What is to be done with one result."""

    pair: Pair
    item: Item
    data: bool = True


class Way:
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
        self._written: dict[str, str] = {}  # versions of records by id
        self._brought: list[tuple[Step, Record]] = []
        self._wins = "ours" if origin is None else "theirs"
        d = Difference
        self._new = {d.ONLY_HERE} if origin is None else {d.ONLY_THERE, d.REMOVED_HERE}
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
        there = self._there([pair for pair, action, _ in judged if action in MOVES and data(pair)])
        return [self._step(pair, action, reason, data(pair), there) for pair, action, reason in judged]

    def _there(self, pairs: list[Pair]) -> dict[Backend, dict[str, Entry]]:
        """The objects that there are at the source: some may have been left where they were made, or removed."""
        return entries((self.route(p).source, [o.key for o in _outputs(self.source(p))]) for p in pairs)

    def _step(
        self, pair: Pair, action: str, reason: str, data: bool, there: Mapping[Backend, Mapping[str, Entry]]
    ) -> Step:
        if action == exchange.CONFLICT:
            return Step(pair, Item(pair.id, action, reason, 0, pair.mine, pair.theirs))
        if action not in MOVES:
            return Step(pair, Item(pair.id, action, reason))
        outputs, size = _outputs(self.source(pair)), 0
        if data:
            listed = there[self.route(pair).source]
            data = all(output.key in listed for output in outputs)
            if strange := [o for o in outputs if data and not o.is_in(listed)]:
                found = listed[strange[0].key].size
                reason = f"object {strange[0].key!r} has {found} bytes, its record says {strange[0].bytes}"
                return Step(pair, Item(pair.id, exchange.FAILED, reason))
            if not data and action == exchange.RESTORED:
                return Step(pair, Item(pair.id, exchange.SAME))
            size = sum(output.bytes for output in outputs) if data else 0
        return Step(pair, Item(pair.id, action, reason, size, pair.mine, pair.theirs), data)

    def _action(self, pair: Pair, named: bool, lacking: bool) -> tuple[str, str]:
        found = pair.difference
        if found is Difference.DAMAGED:
            return exchange.FAILED, pair.problem
        if found is Difference.SAME:
            return (exchange.RESTORED, "its objects were missing") if lacking else (exchange.SAME, "")
        if found in self._new or (named and found is Difference.REMOVED_THERE and self.origin is None):
            return exchange.NEW, found
        if found is self._newer:
            return exchange.CHANGED, found
        if found is self._gone:
            return exchange.REMOVED, found
        if found is Difference.CONFLICT:
            if self.keep is None:
                return exchange.CONFLICT, _both(pair)
            if self.keep == self._wins:
                return exchange.CHANGED, f"in conflict, {self.keep} is kept"
            return exchange.LEFT, f"in conflict, {self.keep} is kept"
        return exchange.LEFT, found

    # ----------------------------------------------------------------- moving

    def move(self, steps: list[Step], tell: Tell, done: Callable[[Step, Item], None]) -> None:
        """Do it. `done` hears of each result as soon as it is whole, or has failed, from this thread."""
        arrived = self._arrived(steps)
        groups = self._groups(steps)
        grouped = {step.pair.id for group in groups for step in group}
        pool, many = ThreadPoolExecutor(_AT_ONCE, "d6tstore-pipe"), ThreadPoolExecutor(_GROUPS, "d6tstore-bulk")
        try:
            waiting = {pool.submit(self._one, s, arrived, tell): s for s in steps if s.pair.id not in grouped}
            together = {many.submit(self._together, group, arrived): group for group in groups}
            for future in as_completed(together):
                for step in together[future]:
                    if step.pair.id in self._written:
                        done(step, self._one(step, arrived, tell))
                    else:  # alone, for it may have to wait for somebody, or says what is wrong with it
                        waiting[pool.submit(self._one, step, arrived, tell)] = step
            for each in as_completed(waiting):
                done(waiting[each], each.result())
            for failed in pool.map(self._again, self._collected()):
                if failed is not None:
                    done(*failed)
        finally:
            for executor in (many, pool):
                executor.shutdown(cancel_futures=True)  # Ctrl-C: what is under way comes to its end

    def _collected(self) -> list[Step]:
        """Those of which somebody who removed garbage took an object before the record that names it was there."""
        keys = [(step, self.target(step.pair), [o.key for o in new.outputs.values()]) for step, new in self._brought]
        there = entries((backend, wanted) for _, backend, wanted in keys)
        return [step for step, backend, wanted in keys if not there[backend].keys() >= set(wanted)]

    def _again(self, step: Step) -> tuple[Step, Item] | None:
        """Bring the objects of a record that is there. Returns what failed."""
        found = self.source(step.pair)
        assert found is not None
        try:
            self.route(step.pair).carry(found, lambda output: False)
        except (D6tstoreError, OSError) as exc:
            return step, step.item._replace(action=exchange.FAILED, reason=str(exc), bytes=0)
        return None

    def settle(self, moved: Iterable[Step]) -> None:
        """Tell the places that many records were written."""
        families: dict[Backend, Counter[str]] = {}
        for step in moved:
            family = self.route(step.pair).family(step.pair.id.rpartition("-")[0])
            families.setdefault(self.target(step.pair), Counter())[family] += 1
        for backend, written in families.items():
            with contextlib.suppress(BackendError):  # nothing is lost
                backend.settle(written)

    def _arrived(self, steps: list[Step]) -> dict[Backend, dict[str, Entry]]:
        """What of the objects is there already: an earlier try may have been interrupted."""
        moving = [step.pair for step in steps if step.data and self.source(step.pair) is not None]
        found = ((self.route(pair), _outputs(self.source(pair))) for pair in moving)
        return entries(((r.target, [k for o in outputs for k in r.keys(o)]) for r, outputs in found), shown)

    def _groups(self, steps: list[Step]) -> list[list[Step]]:
        """New results that are small, those together that go at once."""
        found = {s.pair.id: s for s in steps if s.item.action == exchange.NEW and s.data and self.seen(s.pair) is None}
        wanted = ((id, self.route(s.pair), source) for id, s in found.items() if (source := self.source(s.pair)))
        return [[found[id] for id in group] for group in bulk.groups(wanted)]

    def _together(self, steps: list[Step], arrived: dict[Backend, dict[str, Entry]]) -> None:
        """As far as many go at once: their objects, then their records. What fails is left to `_one`."""
        with contextlib.suppress(D6tstoreError, OSError):
            self._send(steps, arrived[self.target(steps[0].pair)])

    def _send(self, steps: list[Step], there: dict[str, Entry]) -> None:
        route = self.route(steps[0].pair)
        sources = {step.pair.id: source for step in steps if (source := self.source(step.pair)) is not None}
        there.update(bulk.send(route, sources.values(), there))
        whole = {
            id: self._signed(route.moved(source))
            for id, source in sources.items()
            if all(replace(output, key=route.key(output.key)).is_in(there) for output in source.outputs.values())
        }
        self._written.update(bulk.create(route.target, whole))

    def _one(self, step: Step, arrived: Mapping[Backend, Mapping[str, Entry]], tell: Any) -> Item:
        item = step.item
        try:
            if item.action == exchange.REMOVED:
                seen = self.seen(step.pair)
                assert seen is not None
                dismiss(self.target(step.pair), seen)
            elif item.action == exchange.LEFT:
                self._follow(step.pair)
            else:
                self._bring(step, arrived.get(self.target(step.pair), {}), tell)
        except (D6tstoreError, OSError) as exc:
            return item._replace(action=exchange.FAILED, reason=str(exc), bytes=0)
        if tell is not None:
            tell(0, 1)
        return item

    def _bring(self, step: Step, there: Mapping[str, Entry], tell: Tell) -> None:
        pair, route = step.pair, self.route(step.pair)
        old, seen = self.source(pair), self.seen(pair)
        assert old is not None

        def whole(output: Output) -> bool:
            known = output.is_in(there)
            if known and tell is not None:
                tell(output.bytes)
            return known

        new = self._signed(route.carry(old, whole, None if step.data else (), tell))
        if seen is not None and pair.difference is Difference.CONFLICT:
            new = _following(new, seen)  # who has the other one finds that this one follows it
        if seen != new and pair.id not in self._written:
            keep = self.there.keep_versions if self.origin is None else self.here.keep_versions
            self._written[pair.id] = publish(route.target, new, seen, keep)
        if step.data:
            self._brought.append((step, new))

    def _signed(self, new: Record) -> Record:
        """With the name of the pipe that it was pulled from."""
        return new if self.origin is None else replace(new, origin=self.origin)

    def _follow(self, pair: Pair) -> None:
        """Of a conflict that ours wins by a pull: note here that ours follows theirs, so that it may be pushed."""
        mine, theirs = pair.mine, pair.theirs
        assert mine is not None and theirs is not None
        publish(self.target(pair), _following(mine, theirs), mine, self.here.keep_versions)

    def point(self, step: Step) -> Point | None:
        """What both sides agree on once a step is done."""
        source = self.source(step.pair)
        if step.item.action == exchange.REMOVED or source is None:
            return None
        here, there = step.pair.versions
        if self.origin is None:
            there = self._written.get(step.pair.id, there)
        else:
            here = self._written.get(step.pair.id, here)
        return Point(source.write_id, source.write_id, not step.data, here, there)


def _outputs(found: Record | None) -> Collection[Output]:
    return () if found is None else found.outputs.values()


def _following(new: Record, old: Record) -> Record:
    return replace(new, ancestors=(old.write_id, *new.ancestors)[:ANCESTORS])


def _both(pair: Pair) -> str:
    """Who changed it on both sides, and when."""
    mine, theirs = pair.mine, pair.theirs
    assert mine is not None and theirs is not None
    return f"here by {_made(mine)}, there by {_made(theirs)}"


def _made(found: Record) -> str:
    from d6tstore.journal import plain

    return plain(f"{found.author or 'somebody'}@{found.host or '?'} at {found.time[:19]}")
