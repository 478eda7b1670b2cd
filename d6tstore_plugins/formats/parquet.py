"""Format `parquet`: pandas frames."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, BinaryIO

from d6tstore.errors import FormatError
from d6tstore.format import TableFormat
from d6tstore_plugins.formats import frames

if TYPE_CHECKING:
    import pyarrow as pa

_CATEGORIES = b"d6tstore.categories"


class ParquetFormat(TableFormat):
    """pandas frames as parquet, zstd."""

    suffix = ".parquet"

    def to_arrow(self, value: Any) -> pa.Table:
        """See `TableFormat.to_arrow`; categories that are intervals are refused."""
        return frames.to_arrow(value)

    def from_arrow(self, table: pa.Table) -> Any:
        """See `TableFormat.from_arrow`."""
        return frames.from_arrow(table)

    def dump_table(self, table: pa.Table, file: BinaryIO) -> None:
        """Write parquet with the Arrow schema inside, so that other readers restore the types too."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            pq.write_table(_without_categories(table), file, compression="zstd")
        except pa.ArrowException as exc:
            raise FormatError(f"parquet cannot store the frame: {exc}. Change the column's type (astype).") from exc

    def load_table(self, file: BinaryIO, schema: pa.Schema | None = None) -> pa.Table:
        """Read parquet."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = _with_categories(pq.ParquetFile(file).read())
        except (pa.ArrowException, OSError, ValueError, KeyError) as exc:
            if isinstance(exc, OSError) and exc.errno is not None:  # the storage, not the bytes
                raise
            raise FormatError(f"these bytes are no parquet: {exc}. Run the task again.") from exc
        if schema is None or table.schema.equals(schema, check_metadata=True):
            return table
        try:
            return table.cast(schema)
        except (pa.ArrowException, ValueError) as exc:
            raise FormatError(f"these bytes are not the table that was saved: {exc}. Run the task again.") from exc


def _without_categories(table: pa.Table) -> pa.Table:
    """Parquet keeps the categories of texts only: those of other types go into the metadata of the file."""
    import pyarrow as pa

    types = pa.types
    kept = [
        i
        for i, field in enumerate(table.schema)
        if types.is_dictionary(field.type)
        and not (types.is_string(field.type.value_type) or types.is_large_string(field.type.value_type))
    ]
    if not kept:
        return table
    table = table.unify_dictionaries()
    empty = pa.record_batch(
        [table.column(i).combine_chunks().slice(0, 0) for i in kept], [table.column_names[i] for i in kept]
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, empty.schema) as writer:
        writer.write_batch(empty)
    metadata = {**(table.schema.metadata or {}), _CATEGORIES: base64.b64encode(sink.getvalue())}
    for i in kept:
        plain = table.column(i).cast(table.schema.field(i).type.value_type)
        table = table.set_column(i, table.column_names[i], plain)
    return table.replace_schema_metadata(metadata)


def _with_categories(table: pa.Table) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    metadata = dict(table.schema.metadata or {})
    if _CATEGORIES not in metadata:
        return table
    (empty,) = pa.ipc.open_stream(base64.b64decode(metadata.pop(_CATEGORIES)))
    for field, column in zip(empty.schema, empty.columns, strict=True):
        if pa.types.is_null(field.type.value_type):
            indices = pa.nulls(table.num_rows, field.type.index_type)
        else:
            values = table[field.name].combine_chunks()
            indices = pc.index_in(values, column.dictionary).cast(field.type.index_type)
        coded = pa.DictionaryArray.from_arrays(indices, column.dictionary, ordered=field.type.ordered)
        table = table.set_column(table.column_names.index(field.name), field.name, coded)
    return table.replace_schema_metadata(metadata)
