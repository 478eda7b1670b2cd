"""`Diff`: what differs between two outputs, for people, notebooks and programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from d6tstore import html, tables

if TYPE_CHECKING:
    import pandas as pd

_LINES = 200  # of a text that are shown
_PARTS = ("schema", "removed", "added", "changed", "summary", "metrics")


@dataclass(repr=False)
class Diff:
    """What differs between two outputs. Printed, it says everything; notebooks show it as tables.

    Attributes:
        before: name of the one output.
        after: name of the other.
        equal: nothing differs that was compared.
        kind: `"frame"`, `"json"`, `"text"`, or `"content"` for what only the hashes of the contents tell apart.
        key: columns by which rows were matched; empty: their position.
        schema: columns that are new, gone, or of another type: `before` and `after` are types.
        counts: rows of a frame: `before`, `after`, `added`, `removed`, `changed`, `same`;
            of JSON values.
        added: the first rows that are only in the other, by key or number; of JSON by path.
        removed: the first rows that are only in the one.
        changed: the first values that changed, one a row: `column`, `before`, `after`, by key or number of the row;
            of JSON by path.
        summary: for each column how many values changed, and nulls, mean, min and max before and after.
        lines: of text a unified diff.
        metrics: `before` and `after` of each metric.
        notes: what else there is to say.
    """

    before: str
    after: str
    equal: bool
    kind: str
    schema: pd.DataFrame
    added: pd.DataFrame
    removed: pd.DataFrame
    changed: pd.DataFrame
    summary: pd.DataFrame
    metrics: pd.DataFrame
    key: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values; what JSON has no word for is text."""
        told: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("before", "after", "equal", "kind", "key", "counts", "lines", "notes")
        }
        for name in _PARTS:
            frame = getattr(self, name)
            frame = frame if frame.empty and name in ("added", "removed") else frame.reset_index()
            head = [str(column) for column in frame.columns]
            told[name] = [dict(zip(head, map(tables.json_value, row), strict=True)) for row in _rows(frame)]
        return told

    def _sections(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """What there is to show as tables, with headings."""
        for name in _PARTS:
            frame: pd.DataFrame = getattr(self, name)
            if len(frame):
                total = self.counts.get(name, 0)
                if name == "changed" and total:
                    whose = ("row" if self.kind == "frame" else "value") + "s" * (total > 1)
                    shown = frame.index.nunique()
                    heading = f"changed, {f'the first {shown} of ' if shown < total else ''}{total:,} {whose}"
                elif name in ("added", "removed"):
                    heading = (
                        f"{name}, the first {len(frame)} of {total:,}" if len(frame) < total else f"{name}, {total:,}"
                    )
                else:
                    heading = name
                yield heading, frame

    def _verdict(self) -> list[str]:
        """What is said above the tables."""
        by = f", by {', '.join(self.key)}" if self.key else ", by position" if self.kind == "frame" else ""
        head = f"{tables.plain(self.before, None)} -> {tables.plain(self.after, None)}{by if self.counts else ''}"
        lines = [head, "equal" if self.equal else "different"]
        if self.kind == "frame" and self.counts:
            c = self.counts
            lines.append(
                f"rows: {c['before']:,} -> {c['after']:,}, {c['added']:,} added, {c['removed']:,} removed, "
                f"{c['changed']:,} changed, {c['same']:,} the same"
            )
        return lines + [tables.plain(note, None) for note in self.notes]

    def __str__(self) -> str:
        parts = self._verdict()
        for heading, frame in self._sections():
            parts += ["", heading, tables.text(*_told(heading, frame))]
        if self.lines:
            parts += ["", *(tables.plain(line, None) for line in self.lines[:_LINES])]
        if len(self.lines) > _LINES:
            parts.append(f"... {len(self.lines):,} lines in all")
        return "\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        names, verdict, *notes = self._verdict()
        parts = [html.title(names, verdict), *(f"<div>{html.text(note)}</div>" for note in notes)]
        for heading, frame in self._sections():
            head, rows = _told(heading, frame)
            parts += [html.title(heading), html.table(head, rows[: tables.SHOWN])]
        if self.lines:
            parts.append(f"<pre>{'<br>'.join(html.text(line) for line in self.lines[:_LINES])}</pre>")
        return html.box(*parts)


def _told(heading: str, frame: pd.DataFrame) -> tuple[list[str], list[list[Any]]]:
    """A frame as a table for people: its head and its rows."""
    rows = _rows(frame := frame.reset_index())
    if heading.startswith("changed"):  # what is missing there is a value, and the last digit may be what changed
        rows = [["null" if v is None else repr(v) if isinstance(v, float) else v for v in row] for row in rows]
    return [str(name) for name in frame.columns], rows


def _rows(frame: pd.DataFrame) -> list[list[Any]]:
    """The values of a frame as Python has them, None for missing ones."""
    columns = [_values(frame.iloc[:, i]) for i in range(frame.shape[1])]
    return [list(row) for row in zip(*columns, strict=True)]


def _values(column: pd.Series[Any]) -> list[Any]:
    import pandas as pd

    nan = column.dtype == object or getattr(column.dtype, "kind", "") == "f"  # elsewhere NaN stands for what is missing
    values: list[Any] = [None if v is pd.NA or v is pd.NaT or (v != v and not nan) else v for v in column]
    return [v.item() if hasattr(v, "item") and getattr(v, "shape", None) == () else v for v in values]
