"""Tables as plain text and as Markdown, and values as text and JSON."""

from __future__ import annotations

import datetime
import math
from collections.abc import Collection, Sequence
from typing import Any

SHOWN = 60
"""Rows of a table for a person."""
_WIDEST = 60  # characters of a cell


def plain(value: Any, widest: int | None = _WIDEST) -> str:
    """A value as one line without control characters, no longer than `widest`; numbers with six digits.

    Example:
        >>> plain(0.123456789), plain(None), plain("one\\ntwo")
        ('0.123457', '', 'one two')
    """
    if value is None:
        return ""
    return one_line(f"{value:.6g}" if isinstance(value, float) else str(value), widest)


def one_line(text: str, widest: int | None = None) -> str:
    """A text, perhaps of somebody else's, for a terminal: without what could steer it, no longer than `widest`."""
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if widest is None or len(text) <= widest else f"{text[: widest - 3]}..."


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


def json_value(value: Any) -> Any:
    """A value as JSON has it; what it has no word for, such as NaN or a date, as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(name): json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return json_value(value.tolist()) if hasattr(value, "tolist") else str(value)  # of numpy: a number, or a list


def _numbers(values: Sequence[Any]) -> bool:
    return any(isinstance(v, int | float) for v in values) and all(
        v is None or (isinstance(v, int | float) and not isinstance(v, bool)) for v in values
    )
