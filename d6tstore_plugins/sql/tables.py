"""Frames as tables: written by COPY in the order of their rows, and read back as they were."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import pyarrow as pa
import sqlalchemy as sa
from pyarrow import types as is_

from d6tstore.errors import NotFound, Unsupported
from d6tstore_plugins.sql.errors import Gone
from d6tstore_plugins.sql.filters import conditions
from d6tstore_plugins.sql.layout import Layout, Product

_WHOLE = b"d6tstore.whole"  # of a schema: its columns with nanoseconds where all of them are 0


class Stored(NamedTuple):
    """A table of ours: the key of its object, its name, and the schema of its frame, with categories."""

    key: str
    relation: str
    db_schema: str | None
    arrow: bytes


def write(bulk: Any, product: Product, relation: str, db_schema: str | None, batches: pa.RecordBatchReader) -> bytes:
    """Make a table and fill it. Returns what reading it needs."""
    schema = batches.schema
    layout = Layout.of(schema, product)
    table = layout.table(relation, db_schema)
    bulk.execute(sa.schema.CreateTable(table))
    first: list[pa.RecordBatch] = []  # dictionaries are those of the first batch

    def seen() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if not first:
                first.append(_without_rows(batch))
            yield batch

    refused: list[Unsupported] = []
    whole = {name for name, (_, fine, _) in layout.columns.items() if fine}
    try:
        bulk.copy_in(table, layout.encoded(pa.RecordBatchReader.from_batches(schema, seen()), refused, whole))
    except Exception:
        if refused:
            raise refused[0] from None
        raise
    sink = pa.BufferOutputStream()
    described = schema.with_metadata({**(schema.metadata or {}), _WHOLE: json.dumps(sorted(whole))})
    with pa.ipc.new_stream(sink, described) as writer:
        for batch in first:
            writer.write_batch(batch.replace_schema_metadata(described.metadata))
    return bytes(sink.getvalue())


def read(
    connections: Any,
    product: Product,
    stored: Stored,
    columns: Sequence[str] | None,
    where: Sequence[tuple[str, str, Any]] | None,
    limit: int | None,
) -> pa.RecordBatchReader:
    """The part of a table that is asked for."""
    with pa.ipc.open_stream(stored.arrow) as reader:
        schema, empty = reader.schema, reader.read_all()
    noted = dict(schema.metadata or {})
    whole = json.loads(noted.pop(_WHOLE, b"[]"))
    layout = Layout.of(schema.with_metadata(noted or None), product)
    shown = layout.whole(whole)
    table = layout.table(stored.relation, stored.db_schema)
    names = list(schema.names if columns is None else columns)
    chosen = shown.selected(table, names) or [sa.literal(0).label("none")]
    query = sa.select(*chosen).select_from(table).where(*conditions(layout, table, where)).limit(limit)
    if product.order:
        query = query.order_by(sa.literal_column(product.order))
    dictionaries = {name: _dictionary(empty[name]) for name in names if is_.is_dictionary(schema.field(name).type)}

    def batches() -> Iterator[pa.RecordBatch | None]:
        with connections.bulk() as bulk, bulk.copy_out(query) as found:
            yield None
            yield from found

    begun = batches()
    try:
        next(begun)  # from here on nobody can take the table away; and a generator that has begun is cleaned up
    except Gone as exc:
        raise NotFound(f"{stored.key!r}: its table {stored.relation!r} is gone. Run its task again.") from exc
    return shown.decoded(cast("Iterator[pa.RecordBatch]", begun), names, dictionaries)


def _without_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """No rows, but dictionaries. A slice of no rows would not do: written, it may have all its buffers."""
    arrays = [
        pa.DictionaryArray.from_arrays(
            pa.array([], column.type.index_type), column.dictionary, ordered=column.type.ordered
        )
        if is_.is_dictionary(column.type)
        else pa.nulls(0, column.type)
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def _dictionary(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks:
        return column.chunk(0).dictionary
    return pa.array([], column.type.value_type)
