"""Which files of a pipe: patterns as shells know them, and the newest ones."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from d6tstore.errors import UsageError

DESCRIPTION = "d6tstore-pipe.json"
"""File in which the publisher of a pipe says how its files are read."""
_COMPANIONS = re.compile(rf"{re.escape(DESCRIPTION)}|(?:readme|licen[cs]e|copying)(?:\.[a-z]+)?", re.IGNORECASE)


def matches(name: str, pattern: str) -> bool:
    """Does a file have a pattern?

    `*` and `?` match within one part of a path and `**` any number of parts. A pattern without `/` is of the file's
    own name, in whatever folder it lies; one with `/` is of the whole path, and one that ends in `/` is of all
    below a folder. `|` separates alternatives. Upper and lower case differ.

    Example:
        >>> [matches(name, "*.csv|*.xls") for name in ("a.csv", "2024/b.xls", "c.txt")]
        [True, True, False]
        >>> [matches(name, "/*.csv") for name in ("a.csv", "2024/b.csv")]
        [True, False]
    """
    return any(_matches(name.split("/"), parts) for parts in _alternatives(pattern))


def _alternatives(pattern: str) -> list[list[str]]:
    found = [each.strip() for each in pattern.split("|")] if isinstance(pattern, str) else []
    if not any(found):
        raise UsageError(f"pattern {pattern!r} matches nothing. Write it as '*.csv|*.xls'.")
    return [_parts(each) for each in found if each]


def _parts(pattern: str) -> list[str]:
    pattern = f"{pattern}**" if pattern.endswith("/") else pattern
    pattern = pattern.removeprefix("/") if "/" in pattern else f"**/{pattern}"
    return re.sub(r"(\*\*/)+(?=\*\*)", "", pattern).split("/")


def _matches(name: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern or not name:
        return not name and not pattern
    if pattern[0] == "**":
        rest = pattern[1:] or ["*"]  # at the end: whatever is below
        return any(_matches(name[i:], rest) for i in range(len(name)))
    return fnmatchcase(name[0], pattern[0]) and _matches(name[1:], pattern[1:])


def is_companion(name: str) -> bool:
    """Is it a file that tells of the others: `README`, `LICENSE`, how to read them?"""
    return _COMPANIONS.fullmatch(name) is not None


class Selection(NamedTuple):
    """Which files of a folder belong to a pipe.

    Args:
        include: pattern of files that belong to it; None is all.
        exclude: pattern of those that do not.
        newest: only so many, by the time of their last change.
    """

    include: str | None = None
    exclude: str | None = None
    newest: int | None = None

    def check(self, who: str) -> Selection:
        """Refuse what cannot be. Raises UsageError."""
        for pattern in (self.include, self.exclude):
            if pattern is not None:
                _alternatives(pattern)
        if self.newest is not None and (not isinstance(self.newest, int) or self.newest < 1):
            raise UsageError(f"{who}: newest = {self.newest!r} must be a whole number, 1 or more.")
        return self

    def takes(self, name: str) -> bool:
        """Does it belong to the pipe by its name? `README` and the like do unless they are excluded."""
        if self.exclude is not None and matches(name, self.exclude):
            return False
        return self.include is None or is_companion(name) or matches(name, self.include)

    def newest_of(self, files: Iterable[tuple[str, float | None]]) -> set[str]:
        """The newest of some files, and all that tell of them. Of one age are those of unknown age: names decide."""
        files = list(files)
        aged = [(math.inf if modified is None else modified, name) for name, modified in files]
        data = [(modified, name) for modified, name in aged if not is_companion(name)]
        kept = sorted(data)[-self.newest :] if self.newest else data
        return {name for _, name in kept} | {name for name, _ in files if is_companion(name)}
