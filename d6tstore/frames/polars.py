"""polars frame <-> Arrow table.

Some dtypes are stored as a plainer one, for Arrow has none of their kind or other libraries do not read it; the
schema's metadata notes them under the key `d6tstore`:

- Int128 and UInt128 as decimals of 38 digits;
- Categorical as text, for its categories are no part of its value and differ between the parts of a stream;
- Enum as an ordered dictionary of all its categories; inside of lists and structs as text.

Before a frame is stored, its empty copy makes the way to Arrow and back: a dtype that would come back as another
is refused.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any

import polars as pl

from d6tstore.errors import FormatError
from d6tstore.frames import stream

if TYPE_CHECKING:
    import pyarrow as pa

_KEY = b"d6tstore"
_WIDE = {name: getattr(pl, name) for name in ("Int128", "UInt128") if hasattr(pl, name)}
_FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError, ValueError, OverflowError)


def to_arrow(value: Any) -> pa.Table | pa.RecordBatchReader | None:
    """A DataFrame as a table, a LazyFrame as a reader that collects it in batches; None if it is neither.

    Raises:
        FormatError: it would not come back equal: column, rule, cure.
    """
    if type(value) is pl.DataFrame:
        return _table(value)
    if type(value) is not pl.LazyFrame:
        return None
    if not hasattr(value, "collect_batches"):
        raise FormatError("this version of polars cannot collect a LazyFrame in batches. Save x.collect().")
    empty = pl.DataFrame(schema=value.collect_schema())
    return stream.joined(itertools.chain([empty], value.collect_batches()), _table)


def from_arrow(table: pa.Table) -> pl.DataFrame:
    """The DataFrame that a table holds, whatever frame it was; an index is columns. FormatError: polars has no such."""
    try:
        notes = json.loads((table.schema.metadata or {}).get(_KEY, b"{}")).get("polars", {})
        found = pl.DataFrame({name: _series(name, table[name]) for name in table.column_names})
        dtypes = {name: _dtype(notes[name], dtype) for name, dtype in found.schema.items() if name in notes}
        return found.cast(dtypes) if dtypes else found  # type: ignore[arg-type]
    except (*_FAILURES, KeyError, AttributeError) as exc:
        raise FormatError(
            f"the stored table is no polars frame that was saved: {type(exc).__name__}: {exc}. Run the task again."
        ) from exc


def _table(frame: pl.DataFrame) -> pa.Table:
    import pyarrow as pa

    if frame.height and not frame.width:
        raise FormatError(f"a frame of {frame.height} rows has no columns, and its rows would be lost. Add a column.")
    dtypes, notes = {}, {}
    for name, dtype in frame.schema.items():
        dtypes[name], notes[name] = _stored(dtype, name, name)
    try:
        plain = frame.cast(dtypes)  # type: ignore[arg-type]
    except pl.exceptions.InvalidOperationError as exc:
        raise FormatError(
            f"128-bit integers of more than 38 digits cannot be stored: {str(exc).splitlines()[0]}. "
            "Cast the column to String."
        ) from exc
    arrays = plain.to_arrow(compat_level=pl.CompatLevel.oldest()).columns
    for i, dtype in enumerate(frame.dtypes):
        if isinstance(dtype, pl.Enum):
            arrays[i] = _coded(frame.to_series(i), dtype)
    noted = {name: note for name, note in notes.items() if note is not None}
    metadata = {_KEY: json.dumps({"polars": noted}, separators=(",", ":"))} if noted else None
    table = pa.table(arrays, names=frame.columns, metadata=metadata)
    back = from_arrow(table.slice(0, 0)).schema
    for name, dtype in frame.schema.items():
        if back[name] != dtype:
            raise FormatError(
                f"column {name!r} of type {dtype} would come back as {back[name]}. Cast it, or use TaskPickle."
            )
    return table


def _coded(series: pl.Series, dtype: pl.Enum) -> pa.Array:
    """An Enum as an ordered dictionary, which all frames of this dtype share."""
    import pyarrow as pa

    codes = series.to_physical().to_arrow().cast(pa.int32())
    categories = pa.array(dtype.categories.to_list(), pa.large_string())
    return pa.DictionaryArray.from_arrays(codes, categories, ordered=True)


def _stored(dtype: Any, column: str, name: str, top: bool = True) -> tuple[Any, Any]:
    """The dtype that a column, or what it holds, is stored as; and the note that brings it back, None if not needed."""
    if "\0" in name:
        raise FormatError(f"column {column!r} has a name with the character NUL, which Arrow cuts. Rename it.")
    if isinstance(dtype, pl.Object):
        raise FormatError(
            f"column {column!r} holds Python objects. Give it a dtype (pl.Series(values, dtype=...)), or use "
            "TaskPickle."
        )
    if isinstance(dtype, pl.Categorical):
        return pl.String, ["categorical", *_categories(dtype)]
    if isinstance(dtype, pl.Enum):
        return dtype if top else pl.String, ["enum", dtype.categories.to_list()]
    if isinstance(dtype, pl.List | pl.Array):
        inner, note = _stored(dtype.inner, column, name, False)
        if isinstance(dtype, pl.List):
            return pl.List(inner), note and ["list", note]
        if not dtype.size:
            raise FormatError(f"column {column!r} holds arrays of width 0, which polars cannot read. Use pl.List.")
        return pl.Array(inner, dtype.size), note and ["array", note]
    if isinstance(dtype, pl.Struct):
        found = {field.name: _stored(field.dtype, column, field.name, False) for field in dtype.fields}
        notes = {key: note for key, (_, note) in found.items() if note is not None}
        return pl.Struct({key: inner for key, (inner, _) in found.items()}), ["struct", notes] if notes else None
    wide = next((key for key, kind in _WIDE.items() if dtype == kind), None)
    return (pl.Decimal(38, 0), [wide]) if wide else (dtype, None)


def _dtype(note: Any, stored: Any) -> Any:
    """The dtype that was stored as another."""
    if note is None:
        return stored
    kind, *more = note
    if kind == "categorical":
        return _categorical(*more)
    if kind == "enum":
        return pl.Enum(more[0])
    if kind == "list":
        return pl.List(_dtype(more[0], stored.inner))
    if kind == "array":
        return pl.Array(_dtype(more[0], stored.inner), stored.size)
    if kind == "struct":
        return pl.Struct({field.name: _dtype(more[0].get(field.name), field.dtype) for field in stored.fields})
    return _WIDE[kind]


def _categories(dtype: Any) -> list[str]:
    """What tells a Categorical from others: nothing of the usual one."""
    known: Any = getattr(dtype, "categories", None)  # since polars 1.32
    if not hasattr(known, "is_global"):
        return [] if dtype == pl.Categorical() else [dtype.ordering]
    return [] if known.is_global() else [known.name(), known.namespace(), str(known.physical())]


def _categorical(*names: str) -> Any:
    if len(names) < 3:
        return pl.Categorical(*names)
    name, namespace, physical = names
    return pl.Categorical(pl.Categories(name, namespace, getattr(pl, physical)))


def _series(name: str, column: pa.ChunkedArray) -> pl.Series:
    """A column in the nearest dtype of polars."""
    import pyarrow as pa

    try:
        plain = _plain(column)
        series = pl.Series(name, pl.from_arrow(plain))
        if isinstance(plain.type, pa.DictionaryType) and plain.type.ordered:  # keep the order, and what no row uses
            series = series.cast(pl.Enum(plain.dictionary.to_pylist()))
    except (*_FAILURES, pa.ArrowException) as exc:
        raise FormatError(
            f"column {name!r} of type {column.type} has no counterpart in polars: {exc}. Load it as_='arrow'."
        ) from exc
    return series


def _plain(column: Any) -> Any:
    """The same values in a type that polars reads."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type))
    if isinstance(kind, pa.RunEndEncodedType):
        return _plain(pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], kind.value_type))
    if isinstance(kind, pa.DictionaryType):
        if pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type):
            return column.unify_dictionaries().combine_chunks()
        return _plain(column.cast(kind.value_type))
    if pa.types.is_timestamp(kind) and kind.tz and re.match(r"[+-]\d", kind.tz):
        return _plain(column.cast(pa.timestamp(kind.unit, "UTC")))  # the same moments
    if pa.types.is_timestamp(kind) and kind.unit == "s":
        return column.cast(pa.timestamp("ms", kind.tz))
    return column.cast(pa.duration("ms")) if kind == pa.duration("s") else column
