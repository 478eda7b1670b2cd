"""Frames of every kind <-> Arrow: what each library's frame needs to come back equal.

A kind names a library's frame: `pandas`, `polars` or `arrow`. A frame of that kind, or Arrow data in whatever
pieces, becomes an Arrow table or a reader; and a table becomes a frame of the kind that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from d6tstore.errors import FormatError
from d6tstore.frames import arrow, stream

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = ("pandas", "polars", "arrow")


def to_arrow(value: Any, kind: str) -> pa.Table | pa.RecordBatchReader:
    """A frame as Arrow data whose schema's metadata restores what Arrow does not express.

    Args:
        value: a frame of this kind; Arrow data (a table, a batch, a reader, or what has `__arrow_c_stream__`);
            or an iterator of these, which are the parts of one frame, in order.
        kind: one of `KINDS`.

    Returns:
        A table; a reader for what comes in parts.

    Raises:
        FormatError: no frame, or one that would not come back equal: column, rule, cure.
    """
    import pyarrow as pa

    data = _converted(value, kind)
    if data is not None:
        return data
    if isinstance(value, pa.RecordBatchReader):
        return stream.checked(value)
    if isinstance(value, Iterator):
        return stream.joined(value, lambda part: _part(part, kind))
    if (reader := _exported(value)) is not None:
        return stream.checked(reader)
    raise _refused(value, kind)


def from_arrow(table: pa.Table, kind: str) -> Any:
    """The frame of a kind that a table holds. FormatError: its bytes were altered."""
    return _module(kind).from_arrow(table)


def fields(schema: pa.Schema) -> tuple[list[tuple[Any, str]], list[tuple[Any, str]]]:
    """Labels and Arrow names of the columns, and of the levels of the index that are stored."""
    if schema.metadata and b"pandas" in schema.metadata:
        found: tuple[list[tuple[Any, str]], list[tuple[Any, str]]] = _module("pandas").fields(schema)
        return found
    return [(name, name) for name in schema.names], []


def _module(kind: str) -> Any:
    try:
        return import_module(f"d6tstore.frames.{kind}")
    except ModuleNotFoundError as exc:
        raise FormatError(f"frames of {kind} need {exc.name}, which is not installed: pip install {exc.name}.") from exc


def _converted(value: Any, kind: str) -> pa.Table | pa.RecordBatchReader | None:
    """One frame as a table, or as a reader if it is yet to be computed; None if it is something else."""
    import pyarrow as pa

    if isinstance(value, pa.RecordBatch):
        value = pa.Table.from_batches([value])
    if isinstance(value, pa.Table):
        return arrow.checked(value)
    data = _module(kind).to_arrow(value)
    return arrow.checked(data) if isinstance(data, pa.Table) else data


def _part(value: Any, kind: str) -> pa.Table:
    import pyarrow as pa

    data = _converted(value, kind)
    if data is None and (data := _exported(value)) is None:
        raise _refused(value, kind)
    return data if isinstance(data, pa.Table) else arrow.checked(data.read_all())


def _exported(value: Any) -> pa.RecordBatchReader | None:
    """What another library hands over as a stream of Arrow; None if it is none."""
    import pyarrow as pa

    # Of pandas and polars, Arrow would keep a part only (no index): their frames go by their own kinds.
    libraries = {base.__module__.partition(".")[0] for base in type(value).__mro__}
    if not hasattr(value, "__arrow_c_stream__") or libraries & {"pandas", "polars"}:
        return None
    try:
        return pa.RecordBatchReader.from_stream(value)
    except pa.ArrowInvalid:  # a column, not a table
        return None


def _refused(value: Any, kind: str) -> FormatError:
    names = {"pandas": "pandas DataFrames", "polars": "polars DataFrames", "arrow": "Arrow tables"}
    cures = {
        "pandas": "Save a frame (x.to_frame(), pd.DataFrame(x), x.to_pandas())",
        "polars": "Save a frame (pl.DataFrame(x), pl.from_pandas(x))",
        "arrow": "Save a table (pa.table(x), pa.Table.from_pandas(x), x.to_arrow())",
    }
    return FormatError(
        f"this task keeps {names[kind]}, got a {type(value).__name__}. {cures[kind]}, "
        "or use a task class of another format, such as TaskPickle."
    )
