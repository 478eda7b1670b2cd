"""Tables as plain text and as Markdown, and files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

SHOWN = 60
"""Rows of a table for a person."""
_WIDEST = 60  # characters of a cell


def plain(value: Any) -> str:
    """A value as one short line without control characters; numbers with six digits.

    Example:
        >>> plain(0.123456789), plain(None), plain("one\\ntwo")
        ('0.123457', '', 'one two')
    """
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."


def text(head: Sequence[str], rows: Sequence[Sequence[Any]], right: Collection[str] = ()) -> str:
    """A table as text: columns that hold numbers, and those of `right`, stand on the right; of many rows the first."""
    cells = [[plain(name) for name in head], *([plain(value) for value in row] for row in rows[:SHOWN])]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numbers = [name in right or _numbers([row[i] for row in rows]) for i, name in enumerate(head)]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, numbers, strict=True)
        ).rstrip()
        for line in cells
    ]
    if len(rows) > SHOWN:
        lines.append(f"... {len(rows):,} rows in all")
    return "\n".join(lines)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as Markdown. The cells are Markdown already, see `escaped`."""
    lines = [[escaped(name) for name in head], ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(value: Any) -> str:
    """A value for a cell of a Markdown table: nothing of it is markup."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|~#" else c for c in plain(value))


def write(path: str | os.PathLike[str], content: Callable[[Path], object]) -> Path:
    """Write a file whole or not at all.

    Args:
        path: of the file.
        content: writes it to the temporary file that it is given.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=".d6tstore-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        content(Path(name))
        return Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _numbers(values: Sequence[Any]) -> bool:
    return any(isinstance(v, int | float) for v in values) and all(
        v is None or (isinstance(v, int | float) and not isinstance(v, bool)) for v in values
    )
