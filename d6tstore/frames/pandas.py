"""pandas frame <-> Arrow table, for all formats of pandas frames.

What Arrow's own metadata of pandas does not bring back is noted beside it, under the key `d6tstore`. Before a
frame is stored, its empty copy makes the way to Arrow and back: whatever would come back as something else is
refused. Only columns of Python objects are looked at value by value (`objects`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from d6tstore.errors import FormatError
from d6tstore.frames import labels, objects

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_KEY = b"d6tstore"


def to_arrow(value: Any) -> pa.Table | None:
    """A DataFrame as an Arrow table whose metadata restores index, labels and dtypes; None if it is none.

    Raises:
        FormatError: it would not come back equal: column, rule, cure.
    """
    import pandas as pd
    import pyarrow as pa

    if type(value) is not pd.DataFrame:
        return None
    _unique(value.columns.tolist())
    _check_attrs(value)
    plain, notes = labels.plain(value)
    notes |= _columns(plain)
    try:
        table = pa.Table.from_pandas(plain)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as exc:
        raise FormatError(
            f"column {_culprit(plain)} cannot be stored: {exc}. Give it one type (astype), or save it with TaskPickle."
        ) from exc
    if notes:
        noted = json.dumps(notes, separators=(",", ":")).encode()
        table = table.replace_schema_metadata({**table.schema.metadata, _KEY: noted})
    _compare(value, table)
    return table


def fields(schema: pa.Schema) -> tuple[list[tuple[Any, str]], list[tuple[Any, str]]]:
    """Labels and Arrow names of the columns, and of the levels of the index that are stored."""
    described = json.loads(schema.metadata[b"pandas"]).get("index_columns", [])
    levels = [name for name in described if isinstance(name, str) and name in schema.names]
    empty = from_arrow(schema.empty_table())
    columns = [name for name in schema.names if name not in levels]
    names = empty.index.names if levels else []
    return list(zip(empty.columns, columns, strict=True)), list(zip(names, levels, strict=True))


def from_arrow(table: pa.Table) -> pd.DataFrame:
    """The DataFrame that became this table. FormatError: its bytes were altered."""
    try:
        return _from_arrow(table)
    except Exception as exc:
        raise FormatError(
            f"the stored table is no frame that was saved: {type(exc).__name__}: {exc}. Run the task again."
        ) from exc


def _from_arrow(table: pa.Table) -> pd.DataFrame:
    import pandas as pd

    metadata = table.schema.metadata or {}
    notes = json.loads(metadata.get(_KEY, b"{}"))
    described = json.loads(metadata.get(b"pandas", b"{}")).get("index_columns", [])
    frame: pd.DataFrame = table.to_pandas()
    index = [name for name in described if isinstance(name, str)]
    fields = [name for name in table.column_names if name not in index]
    noted = {name for kind in ("objects", "strings", "categories") for name in notes.get(kind, ())}
    for i, field in enumerate(fields):
        if field not in noted:
            continue
        column: Any = frame.iloc[:, i]
        if field in notes.get("objects", {}):
            values = objects.restore(table[field], notes["objects"][field])
            column = pd.Series(values, frame.index, dtype=object)
        elif field in notes.get("strings", {}):
            column = column.astype(_string_dtype(*notes["strings"][field]))
        else:
            column = column.cat.rename_categories(column.cat.categories.astype(object))
        frame.isetitem(i, column)
    if not fields and described and isinstance(described[0], dict):  # a table without columns has no rows
        frame = frame.reindex(labels.index_range(described[0]))
    return labels.restore(frame, fields, notes)


def _columns(frame: pd.DataFrame) -> dict[str, Any]:
    """Notes on columns whose dtype Arrow does not keep."""
    import pandas as pd

    noted: dict[str, Any] = {"objects": {}, "strings": {}, "categories": []}
    for i, dtype in enumerate(frame.dtypes):
        name = str(frame.columns[i])
        if dtype.kind == "O" and dtype == "object":
            null = objects.check(frame.iloc[:, i], repr(frame.columns[i]))
            if null is not None:
                noted["objects"][name] = null
        elif isinstance(dtype, pd.StringDtype) and dtype.storage == "python":
            noted["strings"][name] = [dtype.storage, dtype.na_value is pd.NA]
        elif isinstance(dtype, pd.CategoricalDtype) and dtype.categories.dtype == object:
            noted["categories"].append(name)
    return {key: found for key, found in noted.items() if found}


def _string_dtype(storage: str, masked: bool) -> Any:
    import pandas as pd

    return pd.StringDtype(storage) if masked else pd.StringDtype(storage, na_value=float("nan"))


def _compare(frame: pd.DataFrame, table: pa.Table) -> None:
    """Refuse a frame of which something else than the values would come back as something else."""
    try:
        back = _from_arrow(table.slice(0, 0))
    except Exception as exc:
        raise FormatError(
            f"column {_culprit(frame, back=True)} would not come back: {exc}. "
            "Give it another type (astype), or save the frame with TaskPickle."
        ) from exc
    labels.compare(frame, back)
    for i, (old, new) in enumerate(zip(frame.dtypes, back.dtypes, strict=True)):
        if not _same_dtype(old, new):
            raise FormatError(
                f"column {frame.columns[i]!r} of type {old} would come back as {new}. "
                "Convert it (astype), or save the frame with TaskPickle."
            )


def _same_dtype(old: Any, new: Any) -> bool:
    categories = getattr(old, "categories", None)
    if categories is not None and old == new:
        return bool(categories.dtype == new.categories.dtype)
    return bool(old == new) and repr(old) == repr(new)


def _culprit(frame: pd.DataFrame, back: bool = False) -> str:
    """The first column that Arrow refuses (`back`: that it does not give back)."""
    import pyarrow as pa

    for i, name in enumerate(frame.columns):
        try:
            column = frame.iloc[:0] if back else frame
            table = pa.Table.from_pandas(column.iloc[:, [i]], preserve_index=False)
            if back:
                table.to_pandas()
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return repr(name)
    return "(index)"


def _unique(names: list[Any]) -> None:
    """Refuse names that occur twice, or that differ but not as text."""
    seen: dict[str, Any] = {}
    for name in names:
        if (text := str(name)) in seen:
            raise FormatError(
                f"column {text!r} occurs twice; names must be unique, as text too. Rename them: df.columns = [...]."
            )
        seen[text] = name


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
