"""What differs between two values that are no frames: JSON by its paths, text by its lines."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

_LINES = 3_000  # of a text, without what both begin and end with: comparing takes the square of it


class _Absent:
    """Of a value that is only on one side."""


_ABSENT = _Absent()


def of_json(one: Any, other: Any, path: str = "$") -> Iterator[tuple[str, str, Any, Any]]:
    """What differs, in order: `("added" | "removed" | "changed", path, before, after)`.

    Example:
        >>> list(of_json({"a": [1, 2]}, {"a": [1, 3, 4]}))
        [('changed', '$.a[1]', 2, 3), ('added', '$.a[2]', None, 4)]
    """
    if one is _ABSENT:
        yield "added", path, None, other
    elif other is _ABSENT:
        yield "removed", path, one, None
    elif isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            name = f".{key}" if str(key).isidentifier() else f"[{key!r}]"
            yield from of_json(one.get(key, _ABSENT), other.get(key, _ABSENT), path + name)
    elif isinstance(one, list) and isinstance(other, list):
        for i in range(max(len(one), len(other))):
            old, new = (side[i] if i < len(side) else _ABSENT for side in (one, other))
            yield from of_json(old, new, f"{path}[{i}]")
    elif type(one) is not type(other) or not (one == other or (one != one and other != other)):  # NaN equals NaN
        yield "changed", path, one, other


def of_text(one: str, other: str) -> list[str]:
    """A unified diff, without its head; one line that says so where it would take too long."""
    before, after = one.splitlines(), other.splitlines()
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    if max(len(before), len(after)) - start - end > _LINES:
        return [
            f"@@ from line {start + 1} on: {len(before) - start - end:,} lines, {len(after) - start - end:,} now @@"
        ]
    if before == after:
        return ["@@ only the ends of lines differ @@"] if one != other else []
    kept = max(0, start - 3)  # three lines of context
    old, new = (side[kept : len(side) - max(0, end - 3)] for side in (before, after))
    lines = list(difflib.unified_diff(old, new, lineterm=""))[2:]
    return [_moved(line, kept) if line.startswith("@@") else line for line in lines]


def _moved(head: str, by: int) -> str:
    """The head of a hunk of texts without their first lines."""
    _, *ranges, _ = head.split()
    told = [f"{r[0]}{int(r[1:].partition(',')[0]) + by}{''.join(r.partition(',')[1:])}" for r in ranges]
    return f"@@ {' '.join(told)} @@"
