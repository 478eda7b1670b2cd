"""A frame that comes in parts: never more than one of them in memory."""

from __future__ import annotations

import contextlib
import json
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from d6tstore.errors import FormatError
from d6tstore.frames import arrow, layout

if TYPE_CHECKING:
    import pyarrow as pa

_read: weakref.WeakSet[Any] = weakref.WeakSet()  # readers that were saved: a second time they would give nothing


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
    """The reader.

    Raises:
        FormatError: a column that no format brings back: column, rule, cure. While reading: its dictionary changes.
    """
    import pyarrow as pa

    arrow.check(reader.schema)
    if reader in _read:
        raise FormatError(
            "this reader was saved before, so its batches are gone. Save what was saved (output().load()), or make "
            "the reader again."
        )
    _read.add(reader)
    return pa.RecordBatchReader.from_batches(reader.schema, _one_dictionary(reader, reader.schema))


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

    try:
        tables = [convert(next(parts))]
    except StopIteration:
        raise FormatError(
            "the iterator gave no frame, so nothing says which columns there are. "
            "Yield at least one, an empty frame if need be."
        ) from None
    schema = tables[0].schema

    def batches() -> Iterator[pa.RecordBatch]:
        rows = tables[0].num_rows
        yield from reader(tables.pop())
        number = 2
        with contextlib.suppress(StopIteration):
            while True:  # no variable may hold a part while the next one is made
                tables.append(_alike(convert(next(parts)), schema, number, rows))
                rows += tables[0].num_rows
                yield from tables.pop().to_batches()
                number += 1

    return pa.RecordBatchReader.from_batches(schema, _one_dictionary(batches(), schema))


@contextlib.contextmanager
def closing(value: Any) -> Iterator[None]:
    """At the end, close what came in parts, if it is a generator: it may hold files, even if nobody reads on."""
    try:
        yield
    finally:
        if isinstance(value, Generator):
            value.close()


def _one_dictionary(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The batches. FormatError: the dictionary of a column is not the same in all of them.

    A batch without rows has any dictionaries, and is left out if there are others.
    """
    import pyarrow as pa

    coded = [i for i, field in enumerate(schema) if _holds_dictionary(field.type)]
    known: dict[int, list[pa.Array]] = {}
    empty = None
    for batch in batches:
        if not batch.num_rows:
            empty = batch if empty is None else empty
            continue
        for i in coded:
            found = list(_dictionaries(batch.column(i)))
            if i not in known:
                known[i] = found
                if arrow.is_dictionary(schema.field(i).type):
                    arrow.check_dictionary(schema.field(i).name, found[0])
            elif not all(map(_same_values, known[i], found)):
                raise FormatError(
                    f"the categories of column {schema.field(i).name!r} change in the course of the frame. Give all "
                    "parts the same (astype(CategoricalDtype(...)), pl.Enum), make the column plain (cast it to its "
                    "value type, read it without dictionaries), or save the frame in one piece (read_all())."
                )
        yield batch
        empty = False
    if isinstance(empty, pa.RecordBatch):
        yield empty


def _holds_dictionary(type_: Any) -> bool:
    import pyarrow as pa

    if isinstance(type_, pa.BaseExtensionType):
        return _holds_dictionary(type_.storage_type)
    if pa.types.is_run_end_encoded(type_):
        return _holds_dictionary(type_.value_type)
    return arrow.is_dictionary(type_) or any(_holds_dictionary(type_.field(i).type) for i in range(type_.num_fields))


def _dictionaries(array: Any) -> Iterator[pa.Array]:
    """The dictionaries of an array and of what it holds."""
    import pyarrow as pa

    if isinstance(array, pa.DictionaryArray):
        yield array.dictionary
    elif isinstance(array, pa.ExtensionArray):
        yield from _dictionaries(array.storage)
    elif isinstance(array, pa.StructArray):
        for i in range(array.type.num_fields):
            yield from _dictionaries(array.field(i))
    elif isinstance(array, pa.MapArray):
        yield from _dictionaries(array.keys)
        yield from _dictionaries(array.items)
    elif hasattr(array, "values"):
        yield from _dictionaries(array.values)


def _same_values(a: pa.Array, b: pa.Array) -> bool:
    places = [(len(each), each.offset, [part and part.address for part in each.buffers()]) for each in (a, b)]
    return places[0] == places[1] or bool(a.equals(b))


def _alike(table: pa.Table, schema: pa.Schema, number: int, rows: int) -> pa.Table:
    """A later part, after so many rows, with the types of the first; only what changes no value is converted."""
    import pyarrow as pa

    layout.check_part(table.schema, schema, number, rows)
    if table.schema.names != schema.names:
        raise FormatError(
            f"part {number} of the frame has the columns {table.schema.names}, the first part has {schema.names}. "
            "Yield frames with the same columns in the same order (df[columns])."
        )
    notes, known = _notes(table.schema), _notes(schema)
    for new, old in zip(table.schema, schema, strict=True):
        same = new.type == old.type or _fits(new.type, old.type)
        if not same or (old.name in known and notes.get(old.name) != known[old.name] and new.type != pa.null()):
            raise FormatError(
                f"column {new.name!r} is {new.type} in part {number} of the frame and {old.type} in the first, or of "
                "other categories. Give every part the same dtypes: df.astype(...), df.cast(...), read_csv(dtype=...)."
            )
    columns = []
    for name, old, column in zip(schema.names, schema.types, table.columns, strict=True):
        try:
            columns.append(column if column.type == old else column.cast(old))
        except pa.ArrowException as exc:
            raise FormatError(
                f"column {name!r} of part {number} of the frame does not fit {old}, the type of the first part: {exc}. "
                "Give every part the same dtypes: df.astype(...), df.cast(...), read_csv(dtype=...)."
            ) from exc
    return pa.table(columns, schema=schema)


def _notes(schema: pa.Schema) -> Any:
    """What polars notes of its dtypes."""
    return json.loads((schema.metadata or {}).get(b"d6tstore", b"{}")).get("polars", {})


def _fits(new: Any, old: Any) -> bool:
    """Can every value of a type, or any but integers too large for a float, be one of the other?"""
    import pyarrow as pa

    types = pa.types
    texts = (pa.string(), pa.large_string(), pa.string_view())
    octets = (pa.binary(), pa.large_binary(), pa.binary_view())
    if types.is_null(new) or new == old or {new, old} <= set(texts) or {new, old} <= set(octets):
        return True
    if types.is_integer(new):  # into a float: if it is exact, or the cast fails
        wider = types.is_integer(old) and old.bit_width > new.bit_width
        return old in (pa.float32(), pa.float64()) or (
            wider and (types.is_unsigned_integer(new) or types.is_signed_integer(old))
        )
    if types.is_decimal(new) and types.is_decimal(old):
        return bool(old.scale >= new.scale and old.precision - old.scale >= new.precision - new.scale)
    if types.is_floating(new):
        return bool(types.is_floating(old) and old.bit_width > new.bit_width)
    if types.is_dictionary(new):
        return types.is_dictionary(old) and new.ordered == old.ordered and _fits(new.value_type, old.value_type)
    lists = (pa.ListType, pa.LargeListType)
    if isinstance(new, lists) or (isinstance(new, pa.FixedSizeListType) and isinstance(old, pa.FixedSizeListType)):
        sized = isinstance(old, lists) or (isinstance(new, pa.FixedSizeListType) and new.list_size == old.list_size)
        return sized and _fits(new.value_type, old.value_type)
    if types.is_struct(new) and types.is_struct(old):
        pairs = list(zip(new, old, strict=False))
        return len(new) == len(old) and all(a.name == b.name and _fits(a.type, b.type) for a, b in pairs)
    return False
