"""Format `parquet`: frames by columns, compressed; the default of frames."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from d6tstore.errors import FormatError
from d6tstore.format import TableFormat

if TYPE_CHECKING:
    import pyarrow as pa

    from d6tstore.selection import Selection

_CATEGORIES = b"d6tstore.categories"
_GROUP = 1 << 19  # rows of a row group
_LARGE = 1 << 28  # bytes in memory that close a row group early
_NATIVE = 1 << 19  # bytes of categories that parquet may keep as its dictionary: it gives up at twice that


class ParquetFormat(TableFormat):
    """pandas frames as parquet, zstd. Rows go through in groups: no more than one of them is in memory."""

    suffix = ".parquet"

    def dump_table(self, batches: pa.RecordBatchReader, file: BinaryIO) -> None:
        """Write parquet with the Arrow schema inside, so that other readers restore the types too."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from d6tstore_plugins.formats import encodings

        groups = _groups(batches)
        first = next(groups)
        categories = _Categories.of(first)
        first = categories.out(first)
        try:
            with pq.ParquetWriter(file, first.schema, **encodings.choose(first, _GROUP)) as writer:
                writer.write_table(first, _GROUP)
                for group in groups:
                    writer.write_table(categories.out(group), _GROUP)
        except pa.ArrowException as exc:
            raise FormatError(f"parquet cannot store the frame: {exc}. Change the column's type (astype).") from exc

    def load_table(self, file: BinaryIO, schema: pa.Schema | None = None) -> pa.Table:
        """Read parquet."""
        return _whole(file, None, schema)

    def part(self, file: BinaryIO, schema: pa.Schema, selection: Selection) -> pa.Table:
        """Read a part; whole columns in parallel, for they need not be read group by group."""
        if not selection.columns or selection.where or selection.limit is not None:
            return super().part(file, schema, selection)
        return _whole(file, selection.columns, selection.schema(schema))

    def scan(self, file: BinaryIO, schema: pa.Schema, selection: Selection) -> pa.RecordBatchReader:
        """Read the columns that are needed, of the row groups whose statistics allow a match.

        Of a group, the columns of the conditions are read first, and the others only if a row matches.
        """
        import pyarrow as pa
        import pyarrow.dataset as ds
        import pyarrow.parquet as pq

        with _reading():
            file = _source(file)
            fragment = ds.ParquetFileFormat().make_fragment(file)
            parquet = pq.ParquetFile(file, metadata=fragment.metadata)
            categories = _Categories.kept(parquet.schema_arrow)
            test = selection.expression(schema)
            groups = list(range(parquet.num_row_groups))
            if test is not None:
                with contextlib.suppress(pa.ArrowNotImplementedError):  # statistics of an extension type
                    groups = [group.id for group in fragment.subset(test).row_groups]
        result = selection.schema(schema)

        def batches() -> Iterator[pa.RecordBatch]:
            left, given = selection.limit, False
            for group in groups:
                if left == 0:
                    break
                with _reading():
                    table = _group(parquet, group, selection, test, left)
                    table = _cast(categories.back(table).select(result.names), result)
                if left is not None:
                    table = table.slice(0, left)
                    left -= table.num_rows
                for batch in table.to_batches():
                    given = True
                    yield batch
            if not given and any(map(pa.types.is_dictionary, result.types)):
                with _reading():
                    table = parquet.read_row_group(0, result.names) if parquet.num_row_groups else parquet.read()
                    table = _cast(categories.back(table).select(result.names), result)
                yield _categories_only(table)

        return pa.RecordBatchReader.from_batches(result, batches())


class ParquetArrowFormat(ParquetFormat):
    """Arrow tables as parquet."""

    frame = "arrow"


def _whole(file: BinaryIO, columns: list[str] | None, schema: pa.Schema | None) -> pa.Table:
    """All rows of columns; those of a file on disk in parallel, by row groups and columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = _source(file)
    with _reading():
        if isinstance(source, pa.OSFile):
            table = pq.read_table(source, columns=columns, partitioning=None)
        else:  # threads of read_table outlive it; one with a Python file aborts the exit (apache/arrow#33975)
            table = pq.ParquetFile(source).read(columns)
        if columns is not None:
            table = table.select(columns)
        return _cast(_Categories.kept(table.schema).back(table), schema)


def _groups(batches: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Tables of one row group each; at least one, which may have no rows."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    rows = size = done = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        while rows >= _GROUP or size >= _LARGE:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, _GROUP)
            done += 1
            table = table.slice(_GROUP)
            waiting, rows, size = table.to_batches(), table.num_rows, table.nbytes
    if rows or not done:
        yield pa.Table.from_batches(waiting, batches.schema)


def _categories_only(table: pa.Table) -> pa.RecordBatch:
    """No rows of a table, but its dictionaries."""
    import pyarrow as pa

    parts = [c.chunk(0).slice(0, 0) if c.num_chunks else pa.array([], c.type) for c in table.columns]
    return pa.RecordBatch.from_arrays(parts, schema=table.schema)


def _group(parquet: Any, group: int, selection: Selection, test: Any, limit: int | None) -> pa.Table:
    """Rows of one row group that satisfy the conditions; other columns are read only if there are any."""
    import numpy as np
    import pyarrow as pa

    needed = selection.needed(parquet.schema_arrow)
    if test is None:
        return parquet.read_row_group(group, needed)
    tested = parquet.read_row_group(group, selection.tested)
    row = max(tested.column_names, key=len) + "#"  # a name that no column has
    numbered = tested.append_column(row, pa.array(np.arange(tested.num_rows)))
    found = selection.filtered(numbered, test).slice(0, limit)
    others = [name for name in needed if name not in tested.column_names]
    if not others or not found.num_rows:
        return found if not others else parquet.schema_arrow.empty_table()
    rest = parquet.read_row_group(group, others)
    if found.num_rows < rest.num_rows:
        rest = selection.taken(rest, found[row])
    for name in selection.tested:
        rest = rest.append_column(found.schema.field(name), found[name])
    return rest.replace_schema_metadata(parquet.schema_arrow.metadata)


def _cast(table: pa.Table, schema: pa.Schema | None) -> pa.Table:
    if schema is None or table.schema.equals(schema, check_metadata=True):
        return table
    import pyarrow as pa

    # Each by itself: the cast of a list of nulls to its own type breaks it (pyarrow 26).
    if table.column_names != schema.names:
        raise ValueError(f"the columns are {table.column_names}, the record says {schema.names}")
    pairs = zip(table.columns, schema.types, strict=True)
    return pa.table([column if column.type == type_ else column.cast(type_) for column, type_ in pairs], schema=schema)


def _source(file: Any) -> Any:
    """What pyarrow reads from: a file on disk by itself, for by way of Python it cannot read columns in parallel."""
    import pyarrow as pa

    if isinstance(file, io.BufferedReader) and isinstance(getattr(file, "name", None), str):
        with contextlib.suppress(OSError):  # removed meanwhile: the open file still has it
            return pa.OSFile(file.name)
    return file


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Tell the user that the bytes are wrong; errors of the storage are its own."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError) as exc:
        if isinstance(exc, OSError) and exc.errno is not None:
            raise
        raise FormatError(f"these bytes are not the parquet that was saved: {exc}. Run the task again.") from exc


class _Categories:
    """Dictionaries that parquet would not keep: those of other types than text, and long ones.

    Their columns are written as plain values; the dictionaries go into the metadata of the file.
    """

    def __init__(self, empty: pa.RecordBatch | None) -> None:
        self.empty = empty  # no rows, but dictionaries

    @classmethod
    def of(cls, table: pa.Table) -> _Categories:
        """Those of a table."""
        import pyarrow as pa

        kept = [f.name for f, column in zip(table.schema, table.columns, strict=True) if not _native(f.type, column)]
        if not kept:
            return cls(None)
        arrays = [table[name].combine_chunks().slice(0, 0) for name in kept]
        arrays = [a.combine_chunks() if isinstance(a, pa.ChunkedArray) else a for a in arrays]
        return cls(pa.record_batch(arrays, kept))

    @classmethod
    def kept(cls, schema: pa.Schema) -> _Categories:
        """Those that the metadata of a file holds."""
        import pyarrow as pa

        if not schema.metadata or _CATEGORIES not in schema.metadata:
            return cls(None)
        (empty,) = pa.ipc.open_stream(base64.b64decode(schema.metadata[_CATEGORIES]))
        return cls(empty)

    def out(self, table: pa.Table) -> pa.Table:
        """The table as it is written. FormatError: its dictionaries are not those of the first rows."""
        import pyarrow as pa

        if self.empty is None:
            return table
        for name, known in zip(self.empty.schema.names, self.empty.columns, strict=True):
            i = table.schema.get_field_index(name)
            for chunk in table.column(i).chunks:
                if not chunk.dictionary.equals(known.dictionary):
                    raise FormatError(
                        f"the categories of column {name!r} change in the course of the frame. Give all parts the same "
                        "(astype(CategoricalDtype(...)), unify_dictionaries()), or make the column plain."
                    )
            table = table.set_column(i, name, table.column(i).cast(known.type.value_type))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.empty.schema) as writer:
            writer.write_batch(self.empty)
        return table.replace_schema_metadata(
            {**(table.schema.metadata or {}), _CATEGORIES: base64.b64encode(sink.getvalue())}
        )

    def back(self, table: pa.Table) -> pa.Table:
        """The table as it was."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.empty is None:
            return table
        for field, known in zip(self.empty.schema, self.empty.columns, strict=True):
            i = table.schema.get_field_index(field.name)
            if i < 0:
                continue
            if pa.types.is_null(field.type.value_type):
                indices = pa.nulls(table.num_rows, field.type.index_type)
            else:
                values = table.column(i).combine_chunks()
                indices = pc.index_in(values, known.dictionary).cast(field.type.index_type)
            coded = pa.DictionaryArray.from_arrays(indices, known.dictionary, ordered=field.type.ordered)
            table = table.set_column(i, field.name, coded)
        metadata = {key: value for key, value in table.schema.metadata.items() if key != _CATEGORIES}
        return table.replace_schema_metadata(metadata)


def _native(type_: Any, column: pa.ChunkedArray) -> bool:
    """Does parquet itself keep the dictionary, if it is one, in its order and with what no row uses?"""
    import pyarrow as pa

    if not pa.types.is_dictionary(type_):
        return True
    text = pa.types.is_string(type_.value_type) or pa.types.is_large_string(type_.value_type)
    return bool(text and len(column) and column.chunk(0).dictionary.nbytes <= _NATIVE)
