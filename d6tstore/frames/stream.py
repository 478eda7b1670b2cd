"""A frame that comes in parts: never more than one of them in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from d6tstore.errors import FormatError

if TYPE_CHECKING:
    import pyarrow as pa


def reader(data: pa.Table | pa.RecordBatchReader, rows: int | None = None) -> pa.RecordBatchReader:
    """Batches of a table, of so many rows at most; a reader is handed through.

    Unlike `to_reader` of a table it gives a batch of a table without rows too, for that has the categories.
    """
    import pyarrow as pa

    if not isinstance(data, pa.Table):
        return data
    if data.num_rows or not data.num_columns:
        return data.to_reader(rows)
    chunks = [c.chunk(0) if c.num_chunks else pa.array([], c.type) for c in data.columns]
    batch = pa.RecordBatch.from_arrays(chunks, schema=data.schema)
    return pa.RecordBatchReader.from_batches(data.schema, [batch])


def checked(reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """The reader. FormatError: names of its columns that cannot be kept."""
    unique(reader.schema.names)
    return reader


def joined(parts: Iterator[Any], convert: Callable[[Any], pa.Table]) -> pa.RecordBatchReader:
    """A reader over the parts of one frame.

    The first part says which columns there are; the others have the same. Rows of parts that are numbered by
    a RangeIndex are numbered through.

    Args:
        parts: frames; taken one at a time, when the reader needs it.
        convert: makes one of them an Arrow table.

    Raises:
        FormatError: there is no part. While reading: a part differs from the first: part, column, rule, cure.
    """
    import pyarrow as pa

    numbered = enumerate(parts, start=1)
    try:
        first = convert(next(numbered)[1])
    except StopIteration:
        raise FormatError(
            "the iterator gave no frame, so nothing says which columns there are. "
            "Yield at least one, an empty frame if need be."
        ) from None
    schema = first.schema

    def batches() -> Iterator[pa.RecordBatch]:
        rest = (_alike(convert(part), schema, i) for i, part in numbered)
        for table in itertools.chain([first], rest):
            yield from table.to_batches()

    return pa.RecordBatchReader.from_batches(schema, batches())


def unique(names: list[str]) -> None:
    """Refuse Arrow names that occur twice."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise FormatError(
            f"column {twice!r} occurs twice; names of Arrow columns must be unique. Rename it: table.rename_columns(...)."
        )


def _alike(table: pa.Table, schema: pa.Schema, number: int) -> pa.Table:
    """A later part with the types of the first; only what changes no value is converted."""
    import pyarrow as pa

    if table.schema.names != schema.names:
        raise FormatError(
            f"part {number} of the frame has the columns {table.schema.names}, the first part has {schema.names}. "
            "Yield frames with the same columns in the same order (df[columns])."
        )
    for new, old in zip(table.schema, schema, strict=True):
        if new.type != old.type and not _same(new.type, old.type):
            raise FormatError(
                f"column {new.name!r} is {new.type} in part {number} of the frame and {old.type} in the first. "
                "Give every part the same dtypes: df.astype(...), or read_csv(dtype=...)."
            )
    try:
        table = table.cast(schema)
    except pa.ArrowException as exc:
        raise FormatError(f"part {number} of the frame does not fit the first: {exc}. Give all one dtype.") from exc
    return table


def _same(new: Any, old: Any) -> bool:
    """May one stand for the other without changing a value?"""
    import pyarrow as pa

    texts = (pa.string(), pa.large_string(), pa.string_view())
    octets = (pa.binary(), pa.large_binary(), pa.binary_view())
    return bool(pa.types.is_null(new)) or {new, old} <= set(texts) or {new, old} <= set(octets)
