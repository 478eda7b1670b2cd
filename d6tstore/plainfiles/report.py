"""What a pipe of files would do, or did."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from d6tstore.errors import ExchangeFailed

NEW, MODIFIED, SAME, REMOVED, CONFLICT, PROBLEM = "new", "modified", "same", "removed", "conflict", "problem"
NEW_HERE, EDITED = "new here", "edited here"
_LISTED = 20  # lines for a person
_ORDER = (NEW, MODIFIED, NEW_HERE, EDITED, SAME, REMOVED, CONFLICT, PROBLEM)


class File(NamedTuple):
    """A file of a pipe.

    Args:
        name: below the folder, with `/`.
        size: bytes, there; here if it is not there.
        modified: when it was changed there last, Unix seconds; None if the server does not tell.
        state: `new` and `modified` there, `new here`, `edited here`, `same`, `removed` there, `conflict`, `problem`.
        note: what else there is to say of it.
    """

    name: str
    size: int
    modified: float | None
    state: str
    note: str = ""

    @property
    def when(self) -> str:
        """The time of its last change for people, in UTC; empty if nobody knows it."""
        return "" if self.modified is None else f"{_time(self.modified):%Y-%m-%d %H:%M:%S}"

    def __str__(self) -> str:
        note = f"  {plain(self.note)}" if self.note else ""
        return f"{self.state:11} {self.size:>13,}  {self.when:19}  {plain(self.name)}{note}"

    def as_json(self) -> dict[str, Any]:
        """For programs; the time as ISO 8601 in UTC."""
        when = None if self.modified is None else _time(self.modified).isoformat(timespec="seconds")
        return {**self._asdict(), "modified": when}


@dataclass(repr=False)
class Changes:
    """Files of a pipe, with what was done to them, or would be. Printed, it says how many of each kind.

    Args:
        what: such as `pull from vendor`.
        files: by name.
        dry_run: nothing was done.
        moved: names of those that went over or were removed, or would be.
    """

    what: str
    files: list[File] = field(default_factory=list)
    dry_run: bool = False
    moved: set[str] = field(default_factory=set)

    @property
    def new(self) -> list[File]:
        """Those that the other side does not have; of a status, that either side does not have."""
        return self._of({"pull": (NEW,), "push": (NEW_HERE,)}, (NEW, NEW_HERE))

    @property
    def changed(self) -> list[File]:
        """Those that this side has otherwise since the last pull; of a status, either side."""
        return self._of({"pull": (MODIFIED,), "push": (EDITED,)}, (MODIFIED, EDITED))

    @property
    def same(self) -> list[File]:
        """Those that are the same on both sides."""
        return self._of({}, (SAME,))

    @property
    def removed(self) -> list[File]:
        """Those that were removed there since they were pulled, and not edited here."""
        return self._of({}, (REMOVED,))

    @property
    def conflicts(self) -> list[File]:
        """Those that were changed on both sides."""
        return self._of({}, (CONFLICT,))

    @property
    def problems(self) -> list[File]:
        """Those that could not be moved, or differ; their notes say why."""
        return self._of({}, (PROBLEM,))

    @property
    def bytes(self) -> int:
        """Of all files that went over, or would."""
        return sum(each.size for each in self.files if each.name in self.moved)

    def _of(self, states: dict[str, tuple[str, ...]], otherwise: tuple[str, ...]) -> list[File]:
        wanted = states.get(self.what.partition(" ")[0], otherwise)
        return [each for each in self.files if each.state in wanted]

    def _telling(self) -> list[File]:
        """Those of which there is something to say."""
        return [each for each in self.files if each.state != SAME or each.name in self.moved or each.note]

    def tell(self, name: str, problem: str = "", note: str = "") -> None:
        """A file was moved; or not, with the problem."""
        if not problem:
            self.moved.add(name)
        if problem or note:
            self.note(name, problem or note, PROBLEM if problem else None)

    def note(self, name: str, note: str, state: str | None = None) -> None:
        """Say something of a file."""
        for i, each in enumerate(self.files):
            if each.name == name:
                self.files[i] = each._replace(note=note, state=state or each.state)

    def raise_problems(self) -> None:
        """Raise ExchangeFailed if a file could not be moved."""
        failed = self.problems
        if failed:
            shown = "; ".join(f"{plain(each.name)!r}: {plain(each.note)}" for each in failed[:5])
            more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
            raise ExchangeFailed(
                f"{self.what}: {len(failed)} files were not moved, all others were: {shown}{more}", exchange=self
            )

    def __iter__(self) -> Iterator[File]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, name: str) -> File:
        return next(each for each in self.files if each.name == name)

    def __str__(self) -> str:
        counts = Counter(each.state for each in self.files)
        told = ", ".join(f"{counts[state]} {state}" for state in _ORDER if counts[state]) or "no files"
        done = f"; {len(self.moved)} files, {self.bytes:,} bytes" if self.moved else ""
        shown = self._telling()
        lines = [
            f"{self.what}{' would be' if self.dry_run else ''}: {told}{done}",
            *(f"  {each}" for each in shown[:_LISTED]),
        ]
        if len(shown) > _LISTED:
            lines.append(f"  ... {len(shown)} in all")
        return "\n".join(lines)

    __repr__ = __str__

    def as_json(self) -> dict[str, Any]:
        """For programs: counts, bytes, and all files of which there is something to say."""
        return {
            "what": self.what,
            "dry_run": self.dry_run,
            "counts": dict(Counter(each.state for each in self.files)),
            "moved": len(self.moved),
            "bytes": self.bytes,
            "files": [each.as_json() for each in self._telling()],
        }


def plain(text: str) -> str:
    """A text of somebody else's for a terminal: one line, without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _time(moment: float) -> dt.datetime:
    try:
        return dt.datetime.fromtimestamp(moment, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return dt.datetime.fromtimestamp(0, dt.UTC)  # a server may say anything
