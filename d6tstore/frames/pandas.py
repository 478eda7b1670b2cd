"""pandas frame <-> Arrow table, for all formats of pandas frames.

What pyarrow's own metadata of pandas does not bring back is noted beside it, under the key `d6tstore`: `columns` by
their Arrow names, the `labels` of the columns, `names` and `freq` of the index. The levels of the index are columns
after the others. Before a frame is stored, its empty copy makes the way to Arrow and back: whatever would come back
as something else is refused. Only columns of Python objects are looked at value by value (`objects`).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from d6tstore.errors import FormatError
from d6tstore.frames import columns, labels
from d6tstore.frames.arrow import is_dictionary
from d6tstore.frames.layout import KEY, Layout

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_SPLIT = 1 << 24  # bytes of a table whose columns are converted, and freed, one by one: each is a block of its own
_BLOCKS = 100  # columns of such a table at most
_ERRORS = (TypeError, ValueError, OverflowError, NotImplementedError)  # ArrowException is one of them or below


def to_arrow(value: Any) -> pa.Table | None:
    """A DataFrame as an Arrow table whose metadata restores index, labels and dtypes; None if it is none.

    Raises:
        FormatError: it would not come back equal: column, rule, cure.
    """
    import pandas as pd

    if type(value) is not pd.DataFrame:
        return None
    _check_attrs(value)
    plain = value.copy(deep=False)
    plain.index = pd.RangeIndex(len(value))
    plain.columns, noted = labels.plain(value.columns)
    table, described, notes = _stored(plain, [labels.shown(label) for label in value.columns])
    if noted:
        notes["labels"] = noted
    table = _indexed(table, value.index, described, notes)
    metadata = {**table.schema.metadata, b"pandas": json.dumps(described).encode()}
    if notes:
        metadata[KEY] = json.dumps(notes, separators=(",", ":")).encode()
    table = table.replace_schema_metadata(metadata)
    _compare(value, table)
    return table


def from_arrow(table: pa.Table) -> pd.DataFrame:
    """The DataFrame that became this table. FormatError: its bytes were altered."""
    try:
        return _from_arrow(table)
    except Exception as exc:
        raise FormatError(
            f"the stored table is no frame that was saved: {type(exc).__name__}: {exc}. Run the task again."
        ) from exc


def fields(schema: pa.Schema) -> tuple[list[tuple[Any, str]], list[tuple[Any, str]]]:
    """Labels and Arrow names of the columns, and of the levels of the index that are stored."""
    layout = Layout.of(schema)
    found = layout.labels()
    if found is None:
        found = layout.fields if layout.plain() else _values(schema.empty_table().select(layout.fields), layout, {})
    return list(zip(found, layout.fields, strict=True)), list(zip(layout.names(), layout.levels, strict=True))


def _stored(plain: pd.DataFrame, names: list[str]) -> tuple[pa.Table, dict[str, Any], dict[str, Any]]:
    """The columns as a table, what pandas says of them, and notes on those that pyarrow does not restore."""
    import numpy as np
    import pyarrow as pa

    noted: dict[int, columns.Note] = {}
    for i, dtype in enumerate(plain.dtypes):
        if not isinstance(dtype, np.dtype) or dtype == "object":
            with _refusing(names[i]):
                values, note = columns.encode(plain.iloc[:, i], names[i])
            if note:
                noted[i] = note
                plain.isetitem(i, values)
    try:
        table = pa.Table.from_pandas(plain)
    except (pa.ArrowException, *_ERRORS):
        for i, name in enumerate(names):  # which one?
            with _refusing(name):
                pa.Table.from_pandas(plain.iloc[:, [i]])
        raise
    described = json.loads(table.schema.metadata[b"pandas"])
    for i, note in noted.items():
        if "object" in note or "arrow" in note:  # names of dtypes that pandas would not know
            described["columns"][i]["numpy_type"] = "object"
        elif "floats" in note:
            described["columns"][i]["numpy_type"] = note["floats"]
    notes = {table.column_names[i]: note for i, note in noted.items()}
    return table, described, {"columns": notes} if notes else {}


def _indexed(table: pa.Table, index: Any, described: dict[str, Any], notes: dict[str, Any]) -> pa.Table:
    """The table with the levels of the index as columns, which are added to what is said of the frame."""
    import pandas as pd

    if names := labels.encoded_names(index):
        notes["names"] = names
    names = [None] * index.nlevels if names else list(index.names)
    if isinstance(index, pd.RangeIndex):
        bounds = {"start": index.start, "stop": index.stop, "step": index.step}
        described["index_columns"] = [{"kind": "range", "name": names[0], **bounds}]
        return table
    if freqs := labels.freqs(index):
        notes["freqs"] = freqs
    levels = labels.levels(index)
    if isinstance(index, pd.MultiIndex) and (index.nlevels == 1 or any(labels.gaps(index))):
        notes["multi"] = labels.gaps(index)
    taken = table.column_names
    found = [f"__index_level_{i}__" if name is None or name in taken else name for i, name in enumerate(names)]
    described["index_columns"] = columns.unique([*taken, *found])[len(taken) :]
    for field, name, level in zip(described["index_columns"], names, levels, strict=True):
        shown = f"of the index {labels.shown(index)}"
        part, said, noted = _stored(pd.DataFrame({field: pd.Series(level.array, dtype=level.dtype)}), [shown])
        table = table.append_column(part.schema.field(0), part.column(0)) if table.num_columns else part
        described["columns"].append({**said["columns"][0], "name": name})
        if noted:
            notes.setdefault("columns", {}).update(noted["columns"])
    return table


def _from_arrow(table: pa.Table) -> pd.DataFrame:
    layout = Layout.of(table.schema)
    notes = {**columns.foreign(table, layout.entries()), **layout.notes.get("columns", {})}
    frame = _values(table.select(layout.fields) if layout.levels else table, layout, notes)
    found = layout.labels()
    if found is not None:
        frame.columns = found
    frame.index = _index(table, layout, notes)
    return frame


def _values(table: pa.Table, layout: Layout, notes: dict[str, Any]) -> pd.DataFrame:
    """The columns as a frame that is numbered from 0; those that are noted are decoded one by one."""
    import pandas as pd
    import pyarrow as pa

    noted = {i: notes[field] for i, field in enumerate(table.column_names) if field in notes}
    found = [pa.chunked_array([pa.nulls(table.num_rows)]) if i in noted else c for i, c in enumerate(table.columns)]
    entries = layout.entries()
    said = [entries[field] for field in table.column_names if field in entries]
    said = [{**each, "numpy_type": "null[pyarrow]"} if each["field_name"] in notes else each for each in said]
    described = {**layout.described, "index_columns": [], "columns": said}
    if "labels" in layout.notes:
        described["column_indexes"] = []
    schema = pa.schema([pa.field(f, c.type) for f, c in zip(table.column_names, found, strict=True)])
    if layout.described:
        schema = schema.with_metadata({b"pandas": json.dumps(described).encode()})
    # Column by column is faster and needs less memory; frames of many small blocks would be slow to work with.
    large = table.nbytes >= _SPLIT and len(found) <= _BLOCKS
    found = [_cut(c) if large or is_dictionary(c.type) else c for c in found]
    copied = pa.table(found, schema=schema)
    del found
    frame: pd.DataFrame = copied.to_pandas(split_blocks=large, self_destruct=large)
    for i, note in noted.items():
        values = columns.decode(table.column(i), note)
        frame.isetitem(i, pd.Series(values, frame.index, dtype=values.dtype))
    return frame


def _cut(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same column in two chunks: of one without nulls pandas would get the memory of Arrow, which is read-only."""
    import pyarrow as pa

    if column.num_chunks != 1 or column.null_count:
        return column
    return pa.chunked_array([column.slice(0, 1).chunk(0), column.slice(1).chunk(0)])


def _index(table: pa.Table, layout: Layout, notes: dict[str, Any]) -> Any:
    """The index of the rows."""
    import pandas as pd

    names = layout.names()
    if not layout.levels:
        described = layout.ranged() or {"start": 0, "stop": 0, "step": 1, "name": None}
        start, stop, step = (described[key] for key in ("start", "stop", "step"))
        rows = table.num_rows if layout.described.get("columns", True) else len(range(start, stop, step))
        name = labels.name_of(layout.notes["names"][0]) if "names" in layout.notes else described["name"]
        return pd.RangeIndex(start, start + rows * step, step, name=name)
    values = _values(table.select(layout.levels), layout._replace(notes={"labels": {}}), notes)
    found: list[Any] = [pd.Index(values.iloc[:, i], dtype=values.dtypes.iloc[i], name=None) for i in range(len(names))]
    if len(found) > 1 or "multi" in layout.notes:
        index = labels.multi(found, layout.notes.get("multi")).set_names(names)
    else:
        index = found[0].set_names(names)
    return labels.with_freqs(index, layout.notes["freqs"]) if "freqs" in layout.notes else index


def _compare(frame: pd.DataFrame, table: pa.Table) -> None:
    """Refuse a frame of which something else than the values would come back as something else."""
    try:
        back = _from_arrow(table.slice(0, 0))
    except Exception as exc:
        raise FormatError(
            f"the frame would not come back: {exc}. Convert its columns (astype), or save it with TaskPickle."
        ) from exc
    labels.compare(frame, back)
    for i, (old, new) in enumerate(zip(frame.dtypes, back.dtypes, strict=True)):
        if not _same_dtype(old, new):
            raise FormatError(
                f"column {labels.shown(frame.columns[i])} of type {old} would come back as {new}. "
                "Convert it (astype), or save the frame with TaskPickle."
            )


def _same_dtype(old: Any, new: Any) -> bool:
    categories = getattr(old, "categories", None)
    if categories is not None and old == new:
        return bool(categories.dtype == new.categories.dtype)
    return bool(old == new) and repr(old) == repr(new)


@contextlib.contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Tell which column it is that Arrow refuses."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, *_ERRORS) as exc:
        raise FormatError(
            f"column {name} cannot be stored: {exc}. Give it one type (astype), or save it with TaskPickle."
        ) from exc


def _check_attrs(frame: pd.DataFrame) -> None:
    if not frame.attrs:
        return
    try:
        same = json.loads(json.dumps(frame.attrs)) == frame.attrs
    except (TypeError, ValueError):
        same = False
    if not same:
        raise FormatError(
            "attrs of the frame would not come back equal: they are kept as JSON. Save plain dicts, lists, "
            "text and numbers there, or clear them (df.attrs = {})."
        )
