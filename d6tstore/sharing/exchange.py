"""What a push or a pull did, or would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from d6tstore import html
from d6tstore.record import Record

NEW, CHANGED, RESTORED, REMOVED, CONFLICT = "new", "changed", "restored", "removed", "in conflict"
_LISTED = 20  # lines; beyond, a person wants the count
SAME, LEFT, FAILED = "same", "left", "failed"
_ORDER = (NEW, CHANGED, RESTORED, REMOVED, CONFLICT, SAME, LEFT, FAILED)


class Item(NamedTuple):
    """One result: id of its task, what was done with it (or would be), why, and the bytes that go over.

    `mine` and `theirs` are the records here and there, where they differ.
    """

    id: str
    action: str
    reason: str = ""
    bytes: int = 0
    mine: Record | None = None
    theirs: Record | None = None


@dataclass(repr=False)
class Exchange:
    """Results between a store and a pipe. Printed, it says how many of each kind.

    Attributes:
        what: such as `push to team-features`.
        items: one for each result; `left` are those that this direction does not concern.
        dry_run: nothing was done.
    """

    what: str
    items: list[Item] = field(default_factory=list)
    dry_run: bool = False

    @property
    def new(self) -> list[Item]:
        """Results that the other side did not have."""
        return self._of(NEW)

    @property
    def changed(self) -> list[Item]:
        """Results of which the other side had an earlier version."""
        return self._of(CHANGED)

    @property
    def restored(self) -> list[Item]:
        """Results whose record was there, but not their objects."""
        return self._of(RESTORED)

    @property
    def removed(self) -> list[Item]:
        """Results that one side removed since both had them; the other one forgets them only if told to prune."""
        return [item for item in self.items if item.action.startswith(REMOVED)]

    @property
    def conflicts(self) -> list[Item]:
        """Results that were changed on both sides."""
        return self._of(CONFLICT)

    @property
    def same(self) -> list[Item]:
        """Results that both sides have."""
        return self._of(SAME)

    @property
    def problems(self) -> list[Item]:
        """Those that failed, with the reason."""
        return self._of(FAILED)

    @property
    def bytes(self) -> int:
        """What went over, or would."""
        return sum(item.bytes for item in self.items)

    def _of(self, action: str) -> list[Item]:
        return [item for item in self.items if item.action == action]

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, id: str) -> Item:
        for item in self.items:
            if item.id == id:
                return item
        raise KeyError(id)

    def __str__(self) -> str:
        counts = Counter(item.action for item in self.items)
        told = ", ".join(f"{counts[a]} {a}" for a in dict.fromkeys([*_ORDER, *counts]) if counts[a]) or "nothing there"
        failed = self.problems
        why = f"; {failed[0].id}: {failed[0].reason}" if failed else ""
        return f"{self.what}{' would be' if self.dry_run else ''}: {told}, {self.bytes:,} bytes{why}"

    __repr__ = __str__

    def lines(self) -> Iterator[str]:
        """One line for each result that is not the same, for people; of many only the first ones."""
        shown = [item for item in self.items if item.action not in (SAME, LEFT)]
        for item in shown[:_LISTED]:
            size = f", {item.bytes:,} bytes" if item.bytes else ""
            why = f" ({item.reason})" if item.reason and item.action != FAILED else ""
            yield f"{item.action:9} {item.id}{size}{why}"
        if len(shown) > _LISTED:
            yield f"... {len(shown)} in all"

    def _repr_html_(self) -> str:
        shown = [item for item in self.items if item.action not in (SAME, LEFT)]
        rows = [[item.action, html.Raw(html.code(item.id)), item.bytes, item.reason] for item in shown[:_LISTED]]
        more = f"... {len(shown)} in all" if len(shown) > _LISTED else ""
        return html.box(html.title(str(self)), html.table(["", "result", "bytes", ""] if rows else [], rows, more))

    def as_json(self) -> dict[str, Any]:
        """For programs: counts, bytes, and all that is not the same."""
        counts = Counter(item.action for item in self.items)
        return {
            "what": self.what,
            "dry_run": self.dry_run,
            "counts": dict(counts),
            "bytes": self.bytes,
            "results": [
                {"id": item.id, "action": item.action, "reason": item.reason, "bytes": item.bytes}
                for item in self.items
                if item.action != SAME
            ],
        }
