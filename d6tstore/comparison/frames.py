"""What differs between two stored frames: a column of each in memory at a time, rows matched by key or position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from d6tstore.comparison import columns
from d6tstore.comparison.side import Side
from d6tstore.errors import SelectionError
from d6tstore.frames.arrow import taken

_ORDERS = ("mean", "min", "max", "nulls")


@dataclass
class FrameDifference:
    """What differs; see `Diff`."""

    key: list[str]
    schema: pd.DataFrame
    counts: dict[str, int] = field(default_factory=dict)
    added: pd.DataFrame = field(default_factory=pd.DataFrame)
    removed: pd.DataFrame = field(default_factory=pd.DataFrame)
    changed: pd.DataFrame = field(default_factory=pd.DataFrame)
    summary: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: list[str] = field(default_factory=list)


class _Match(NamedTuple):
    """Which rows of two frames belong together (None: those with the same number), and which are only in one."""

    rows: tuple[np.ndarray, np.ndarray] | None
    number: int
    only: tuple[np.ndarray, np.ndarray]


def schema_difference(one: pa.Schema, other: pa.Schema) -> pd.DataFrame:
    """Columns that are in one schema only, or of another type there."""
    types = [{f.name: columns.shown_type(f.type) for f in schema} for schema in (one, other)]
    names = [n for n in dict.fromkeys([*types[0], *types[1]]) if types[0].get(n) != types[1].get(n)]
    rows = [[side.get(name) for side in types] for name in names]
    index = pd.Index(names, name="column", dtype=object)
    return pd.DataFrame(rows, columns=["before", "after"], index=index, dtype=object)


def key_of(one: Side, other: Side, on: Sequence[Any] | None) -> list[str]:
    """Arrow names of the key: what the user says, else a named index that both have; empty: by position.

    Raises:
        SelectionError: one of them has no such column.
    """
    if isinstance(on, str):
        raise SelectionError(f"on={on!r}: give a list of labels, on=[{on!r}].")
    if on is None:
        return one.index() if one.index() == other.index() else []
    names = [one.find(label) for label in on]
    if [other.find(label) for label in on] != names or len(set(names)) < len(names):
        raise SelectionError(f"on={list(on)!r} does not name the same columns in both frames, each once.")
    return names


def compare(one: Side, other: Side, key: list[str], given: bool, tolerance: float, limit: int) -> FrameDifference:
    """What differs between two frames.

    Args:
        one: the frame before.
        other: the frame after.
        key: columns that tell rows apart; empty: their position.
        given: the user chose this key.
        tolerance: see `column_difference.differing`.
        limit: how many rows of each kind to show.

    Raises:
        SelectionError: the key is not unique, or of types that cannot be one.
    """
    found = FrameDifference(key, schema_difference(one.schema, other.schema))
    shared = [name for name in one.schema.names if name in set(other.schema.names)]
    if [name for name in other.schema.names if name in set(shared)] != shared:
        found.notes.append("the columns stand in another order")
    match, labels = _matched(one, other, found, given)
    differs = np.zeros(match.number, dtype=bool)
    cells: dict[str, tuple[np.ndarray, list[Any], list[Any]]] = {}
    samples: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    told: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys([*one.schema.names, *other.schema.names]):
        pair = one.column(name), other.column(name)
        told[name] = _summary(*pair)
        for column, rows, sample in zip(pair, match.only, samples, strict=True):
            if column is not None:
                sample[name] = taken(pa.table([column], [name]), rows[:limit]).column(0)
        if name in found.key or pair[0] is None or pair[1] is None:
            continue
        both = columns.together(*pair)
        if both is None:
            kinds = " and ".join(columns.shown_type(side.schema.field(name).type) for side in (one, other))
            found.notes.append(f"the values of {name!r} are not compared: {kinds} have no type in common")
            continue
        here, there = _aligned(both, match)
        where = columns.differing(here, there, tolerance)
        told[name]["changed"] = int(where.sum())
        differs |= where
        first = np.flatnonzero(where)[:limit]
        if len(first):
            cells[name] = first, here.take(first).to_pylist(), there.take(first).to_pylist()
    changed = np.flatnonzero(differs)
    found.removed, found.added = (_frame(samples[i], rows[:limit], found.key) for i, rows in enumerate(match.only))
    found.changed = _cells(cells, changed[:limit], labels, found.key, match)
    found.summary = _summaries(told)
    removed, added = (len(rows) for rows in match.only)
    found.counts = {
        "before": one.rows, "after": other.rows, "added": added, "removed": removed, "changed": len(changed),
        "same": match.number - len(changed),
    }  # fmt: skip
    return found


def _matched(one: Side, other: Side, found: FrameDifference, given: bool) -> tuple[_Match, list[pa.ChunkedArray]]:
    """The rows that belong together, and the key's columns in the one frame. A key that is not unique is no key."""
    pairs = []
    for name in found.key:
        both = columns.together(one.column(name), other.column(name))
        if both is None:
            kinds = " and ".join(columns.shown_type(side.schema.field(name).type) for side in (one, other))
            raise SelectionError(f"on: {name!r} is of the types {kinds}, which cannot be equal. Choose other columns.")
        pairs.append(both)
    if pairs:
        try:
            codes = columns.keys(pairs)
        except NotImplementedError:
            raise SelectionError(f"on={found.key!r}: nested values cannot be a key. Choose other columns.") from None
        twice = [np.bincount(side, minlength=codes[2]) > 1 for side in codes[:2]]
        if not (twice[0].any() or twice[1].any()):
            return _joined(*codes, found), [pair[0] for pair in pairs]
        side = 0 if twice[0].any() else 1
        rows = np.flatnonzero(twice[side][codes[side]])
        example = ", ".join(
            f"{name}={pair[side][rows[0]].as_py()!r}" for name, pair in zip(found.key, pairs, strict=True)
        )
        problem = f"{len(rows):,} rows of the {('first', 'second')[side]} frame share their key with others ({example})"
        if given:
            raise SelectionError(f"on={found.key!r}: {problem}. Name further columns, or on=[] for the position.")
        found.notes.append(f"rows are compared by position, for {problem}")
        found.key = []
    number = min(one.rows, other.rows)
    return _Match(None, number, (np.arange(number, one.rows), np.arange(number, other.rows))), []


def _joined(one: np.ndarray, other: np.ndarray, count: int, found: FrameDifference) -> _Match:
    place = np.full(count, -1, dtype=np.int64)
    place[other] = np.arange(len(other))
    partner = place[one]
    here = np.flatnonzero(partner >= 0)
    there = partner[here]
    known = np.zeros(count, dtype=bool)
    known[one] = True
    if (np.diff(there) < 0).any():
        found.notes.append("the rows stand in another order")
    return _Match((here, there), len(here), (np.flatnonzero(partner < 0), np.flatnonzero(~known[other])))


def _aligned(pair: tuple[pa.ChunkedArray, pa.ChunkedArray], match: _Match) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """The rows of two columns that belong together, side by side."""
    if match.rows is None:
        return pair[0].slice(0, match.number), pair[1].slice(0, match.number)
    here, there = (
        column
        if len(rows) == len(column) and (np.diff(rows) == 1).all()
        else taken(pa.table([column], ["x"]), rows).column(0)
        for column, rows in zip(pair, match.rows, strict=True)
    )
    return here, there


def _summary(one: pa.ChunkedArray | None, other: pa.ChunkedArray | None) -> dict[str, Any]:
    before, after = columns.statistics(one), columns.statistics(other)
    told = {
        f"{name}_{side}": values[name] for name in _ORDERS for side, values in (("before", before), ("after", after))
    }
    return {"changed": None, **told}


def _summaries(told: dict[str, dict[str, Any]]) -> pd.DataFrame:
    index = pd.Index(told, name="column", dtype=object)
    frame = pd.DataFrame(list(told.values()), index=index, dtype=object)
    kinds = {"changed": "Int64", "nulls": "Int64", "mean": "Float64"}  # least and greatest are as the column has them
    return frame.astype({name: kinds[k] for name in frame if (k := str(name).partition("_")[0]) in kinds})


def _frame(sample: dict[str, pa.ChunkedArray], rows: np.ndarray, key: list[str]) -> pd.DataFrame:
    frame = pa.table(sample).to_pandas() if sample else pd.DataFrame(index=range(len(rows)))
    return frame.set_index(key) if key else frame.set_index(pd.Index(rows, name="row"))


def _cells(
    cells: dict[str, tuple[np.ndarray, list[Any], list[Any]]],
    rows: np.ndarray,
    labels: list[pa.ChunkedArray],
    key: list[str],
    match: _Match,
) -> pd.DataFrame:
    """One row for each value that changed, in the order of the rows and columns."""
    places = rows if match.rows is None else match.rows[0][rows]
    parts = [column.take(places).to_pylist() for column in labels] or [places.tolist()]
    names = dict(zip(rows.tolist(), zip(*parts, strict=True), strict=True))
    found = [
        (row, name, old, new)
        for name, (where, before, after) in cells.items()
        for row, old, new in zip(where.tolist(), before, after, strict=True)
        if row in names
    ]
    found.sort(key=lambda cell: cell[0])  # stable: columns stay in their order
    index = [names[row] for row, *_ in found]
    table = pd.DataFrame([cell[1:] for cell in found], columns=["column", "before", "after"], dtype=object)
    table.index = (
        pd.MultiIndex.from_tuples(index, names=key) if len(key) > 1 and index
        else pd.Index([label[0] for label in index], name=key[0] if key else "row")
    )  # fmt: skip
    return table
