"""One use of a pipe: how both sides differ, what is to be done, and doing it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from d6tstore import record
from d6tstore.backend import Backend
from d6tstore.errors import BackendError, Conflict, Denied, ExchangeFailed, UsageError
from d6tstore.graph import Graph
from d6tstore.record import Record
from d6tstore.repository import Repository
from d6tstore.sharing import exchange, journal, mending, synced
from d6tstore.sharing.comparing import Difference, Pair, compare
from d6tstore.sharing.deciding import MOVES, Step
from d6tstore.sharing.earlier import as_of
from d6tstore.sharing.exchange import Exchange, Item
from d6tstore.sharing.exchanging import Way
from d6tstore.sharing.synced import Point


class Syncing(NamedTuple):
    """Both sides of a pipe.

    Args:
        name: of the pipe.
        url: of the other side.
        here: the store.
        there: the other side, as a store.
    """

    name: str
    url: str
    here: Repository
    there: Repository

    def wanted(self, tasks: Any) -> tuple[set[str], set[str]] | None:
        """Ids of all tasks that are meant, and of those that were named."""
        if tasks is None:
            return None
        graph = Graph(tasks)
        ids = {task.id for task in graph if not task.aggregates}
        return ids, {graph.tasks[id].id for id in graph.targets}

    def compared(self, wanted: tuple[set[str], set[str]] | None, refill: bool = False) -> list[Pair]:
        """How both sides differ, for those that are wanted.

        Raises:
            BackendError: nothing at all is there, where something was: a folder that is not mounted looks like that.
        """
        points = synced.read(self.here.default, self.name, self.url)
        found = compare(self.here, self.there, points, None if wanted is None else wanted[0])
        empty = wanted is None and points and not refill and all(pair.there is None for pair in found)
        if empty and not journal.exists(self.there.default):
            raise BackendError(
                f"there is no result in {self.there.default!r}, where both sides of {self.name!r} had {len(points)}. "
                "Is it mounted, and the right place? If it was emptied: push with verify fills it again."
            )
        return found

    def push_steps(
        self, tasks: Any, keep: str | None, upstream: bool, prune: bool, verify: bool
    ) -> tuple[list[Step], Way]:
        """What a push has to do with each result; arguments as for `Pipe.push`."""
        wanted = self.wanted(tasks)
        pairs, way = self.compared(wanted, refill=verify), Way(None, self.here, self.there, _checked(keep), prune)
        lacking = mending.lacking_there(pairs, verify)
        if verify:
            pairs = mending.vanished(self.here, self.there, pairs)
        named = wanted is not None
        goes = (lambda pair: True) if wanted is None or upstream else (lambda pair: pair.id in wanted[1])
        return way.steps(pairs, named, goes, lacking), way

    def pull_steps(
        self, tasks: Any, data: bool, keep: str | None, prune: bool, at: Any, upstream: bool
    ) -> tuple[list[Step], Way]:
        """What a pull has to do with each result; arguments as for `Pipe.pull`."""
        wanted = self.wanted(tasks)
        pairs, way = self.compared(wanted), Way(self.name, self.here, self.there, _checked(keep), prune)
        if at is not None:
            pushes = journal.entries(way.there.default, namespace=way.there.namespace)
            pairs = as_of(way.there, pairs, pushes, at, None if wanted is None else wanted[0])

        def goes(pair: Pair) -> bool:
            return data and (wanted is None or upstream or pair.id in wanted[1])

        lacking = mending.lacking_here(pairs) if data else set()
        return way.steps(pairs, wanted is not None, goes, lacking), way

    def refuse_conflicts(self, steps: list[Step], keep: str | None) -> None:
        """Raise Conflict if there are some that nobody decided."""
        found = [step.item for step in steps if step.item.action == exchange.CONFLICT]
        if found and keep is None:
            shown = "; ".join(f"{item.id}: {item.reason}" for item in found[:5])
            more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
            raise Conflict(
                f"{len(found)} results were changed on both sides of {self.name!r} ({shown}{more}). Nothing was "
                'transferred. Say which one stays: keep="ours" or keep="theirs"; the other goes to the history.',
                ids=[item.id for item in found],
            )

    def try_writing(self, backend: Backend) -> None:
        """Who may not write learns it before anything is transferred."""
        probe = f"{record.ROOT}tmp/probe-{os.urandom(8).hex()}"
        try:
            backend.write(probe, b"probe of d6tstore")
        except Denied as exc:
            raise Denied(f"the pipe {self.name!r} may not be written, nothing was transferred: {exc}") from exc
        with contextlib.suppress(Denied):  # who may write and not delete may push
            backend.delete(probe)

    # ------------------------------------------------------------------------ moving

    def exchanged(self, what: str, way: Way, steps: list[Step], moving: list[Step], message: str = "") -> Exchange:
        """Move what is to be moved, and note what both sides agree on, even if it is interrupted.

        Args:
            what: it is called.
            way: of the results.
            steps: all that there is to say.
            moving: those with something to do.
            message: for the log of the other side, of a push.
        """
        items = {step.pair.id: step.item for step in steps}
        moved: list[Step] = []
        direction = "up" if way.origin is None else "down"
        objects = sum(len(_source(way, step).outputs) for step in moving if step.data and step.item.action in MOVES)
        total = sum(step.item.bytes for step in moving)
        tell = self.here.progress.meter(direction, self.name, total, objects) if moving else None

        def done(step: Step, item: Item) -> None:
            items[item.id] = item
            if item.action != exchange.FAILED:
                moved.append(step)

        try:
            if moving:
                way.move(moving, tell, done)
        finally:
            way.settle(step for step in moved if step.item.action in MOVES)
            if way.origin is None:
                self._log(way, steps, moved, message)
            points = {step.pair.id: way.point(step) for step in moved if step.item.action != exchange.LEFT}
            points |= dict(_renewed(steps))
            seen = {step.pair.id: step.pair.versions for step in steps}
            points |= {
                id: Point(mine.write_id, theirs.write_id, False, *seen[id]) for id, mine, theirs in _agreed(steps)
            }
            synced.update(self.here.default, self.name, self.url, points)
        return Exchange(what, list(items.values()))

    def _log(self, way: Way, steps: list[Step], moved: list[Step], message: str) -> None:
        """Note a push at the other side, with what an earlier one brought there that was killed before it did."""
        there = way.there.default
        pushed = {step.pair.id: _source(way, step).write_id for step in moved if step.item.action in MOVES}
        removed = [step.pair.id for step in moved if is_removal(step)]
        # Made here, and there already without a note of how it came there.
        unsure = {id: m.write_id for id, m, t in _agreed(steps) if m.write_id == t.write_id and m.origin is None}
        if unsure:
            logged = journal.written_ids(journal.entries(there, namespace=way.there.namespace))
            pushed |= {id: write_id for id, write_id in unsure.items() if logged.get(id) != write_id}
        if pushed or removed:
            journal.write(there, message, pushed, removed, way.there.namespace)


def told(done: Exchange) -> Exchange:
    """What was done. Raises ExchangeFailed: not all of it."""
    if failed := done.problems:
        shown = "; ".join(f"{item.id}: {item.reason}" for item in failed[:5])
        more = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
        raise ExchangeFailed(
            f"{done.what}: {len(failed)} of {len(done)} results failed, all others are whole ({shown}{more})",
            exchange=done,
        )
    return done


def _source(way: Way, step: Step) -> Record:
    found = way.source(step.pair)
    assert found is not None
    return found


def is_removal(step: Step) -> bool:
    """Is it one of what was removed?"""
    return step.item.action == exchange.REMOVED


def _agreed(steps: list[Step]) -> Iterator[tuple[str, Record, Record]]:
    """What was the same on both sides before, and is not noted as that: id, and the records here and there."""
    for step in steps:
        pair = step.pair
        if step.item.action == exchange.SAME and not pair.noted and pair.mine and pair.theirs:
            yield pair.id, pair.mine, pair.theirs


def _renewed(steps: list[Step]) -> Iterator[tuple[str, Point]]:
    """What is noted as the same, and of which listings show other versions than are noted."""
    for step in steps:
        pair = step.pair
        if step.item.action == exchange.SAME and pair.point and not pair.unchanged and pair.noted:
            here, there = pair.versions
            yield pair.id, msgspec.structs.replace(pair.point, here=here, there=there)


def status(pair: Pair) -> Item:
    """What there is to say of one result."""
    found, there = pair.difference, pair.there
    if found is Difference.DAMAGED:
        return Item(pair.id, exchange.FAILED, pair.problem)
    if found is Difference.SAME:
        return Item(pair.id, exchange.SAME)
    goes = pair.mine if there is None or found is Difference.NEWER_HERE else pair.theirs
    size = 0 if goes is None else goes.bytes
    return Item(pair.id, found, "", size, pair.mine, pair.theirs)


def _checked(keep: str | None) -> str | None:
    if keep not in (None, "ours", "theirs"):
        raise UsageError(f'keep={keep!r} must be "ours", "theirs" or None.')
    return keep
