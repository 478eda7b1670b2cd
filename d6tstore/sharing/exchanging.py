"""Results go one way between a store and the other side of a pipe, several at once."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from msgspec.structs import replace

from d6tstore.backend import Backend, Entry
from d6tstore.errors import BackendError, D6tstoreError, Damaged
from d6tstore.record import ANCESTORS, Output, Record
from d6tstore.repository import Repository
from d6tstore.sharing import bulk, exchange
from d6tstore.sharing.comparing import Difference, Pair
from d6tstore.sharing.deciding import Direction, Step
from d6tstore.sharing.exchange import Item
from d6tstore.sharing.moving import Route, Tell, entries
from d6tstore.sharing.publishing import dismiss, publish
from d6tstore.sharing.synced import Point

_AT_ONCE = 16  # results
_GROUPS = 2  # of small results: while one is on its way the other is read and checked


class Way(Direction):
    """One direction of a pipe, and moving along it. Arguments as for `Direction`."""

    def __init__(self, origin: str | None, here: Repository, there: Repository, keep: str | None, prune: bool) -> None:
        super().__init__(origin, here, there, keep, prune)
        self._written: dict[str, str] = {}  # versions of records by id
        self._brought: list[tuple[Step, Record]] = []

    def move(self, steps: list[Step], tell: Tell, done: Callable[[Step, Item], None]) -> None:
        """Do it. `done` hears of each result as soon as it is whole, or has failed, from this thread."""
        arrived = self.known
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
        found = {step.pair.id: source for step in steps if (source := self.source(step.pair)) is not None}
        sources = {id: source for id, source in found.items() if not self._in_the_way(route, source, there)}
        there.update(bulk.send(route, sources.values(), there))
        whole = {
            id: self._signed(route.moved(source))
            for id, source in sources.items()
            if all(replace(output, key=route.key(output.key)).is_in(there) for output in source.outputs.values())
        }
        self._written.update(bulk.create(route.target, whole, self.origin is not None))

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

        if step.data and (key := self._in_the_way(route, old, there)):
            raise Damaged(
                f"{key!r} in {route.target!r} has another size than the object that is to come, and objects are never "
                "overwritten. Move it away, and pull again.",
                problem="is in the way",
            )

        def whole(output: Output) -> bool:
            known = output.is_in(there)
            if known and tell is not None:
                tell(output.bytes)
            return known

        came = route.carry(old, whole, None if step.data else (), tell)
        new = self._signed(came)
        if seen is not None and step.item.action == exchange.RESTORED:
            new = replace(seen, outputs={**seen.outputs, **came.outputs})
        if seen is not None and pair.difference is Difference.CONFLICT:
            new = _following(new, seen)  # who has the other one finds that this one follows it
        if seen != new and pair.id not in self._written:
            keep = self.there.keep_versions if self.origin is None else self.here.keep_versions
            self._written[pair.id] = publish(route.target, new, seen, keep, claim=self.origin is not None)
        if step.data:
            self._brought.append((step, new))

    def _in_the_way(self, route: Route, old: Record, there: Mapping[str, Entry]) -> str:
        """The key of an object here that is not the one which a pull brings; empty if there is none."""
        if self.origin is None:
            return ""  # what is broken there is mended by a push
        moved = (replace(output, key=route.key(output.key)) for output in old.outputs.values() if not output.table)
        return next((output.key for output in moved if output.key in there and not output.is_in(there)), "")

    def _signed(self, new: Record) -> Record:
        """With the name of the pipe that it was pulled from."""
        return new if self.origin is None else replace(new, origin=self.origin)

    def _follow(self, pair: Pair) -> None:
        """Of a conflict that ours wins by a pull: note here that ours follows theirs, so that it may be pushed."""
        mine, theirs = pair.mine, pair.theirs
        assert mine is not None and theirs is not None
        publish(self.target(pair), _following(mine, theirs), mine, self.here.keep_versions, claim=True)

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


def _following(new: Record, old: Record) -> Record:
    return replace(new, ancestors=(old.write_id, *new.ancestors)[:ANCESTORS])
