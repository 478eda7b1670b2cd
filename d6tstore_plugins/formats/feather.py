"""Format `feather`: frames as Arrow itself lays them out (an IPC file), compressed by LZ4."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from d6tstore.errors import FormatError
from d6tstore.format import TableFormat

if TYPE_CHECKING:
    import pyarrow as pa

    from d6tstore.selection import Selection

_COMPRESSION = "lz4"


class FeatherFormat(TableFormat):
    """pandas frames as feather. Every type of Arrow is kept, and nothing is faster to load."""

    suffix = ".feather"

    def dump_table(self, batches: pa.RecordBatchReader, file: BinaryIO) -> None:
        """Write an IPC file, batch by batch."""
        import pyarrow as pa

        options = pa.ipc.IpcWriteOptions(compression=_COMPRESSION)
        with pa.ipc.new_file(file, batches.schema, options=options) as writer:
            for batch in batches:
                if not batch.num_columns:  # and so no rows, whatever Arrow says
                    continue
                try:
                    batch.validate(full=True)  # as when it is read
                    writer.write_batch(batch)
                except pa.ArrowException as exc:
                    raise FormatError(
                        f"feather cannot store the frame: {exc}. Change the column's type (astype, cast)."
                    ) from exc

    def load_table(self, file: BinaryIO, schema: pa.Schema | None = None) -> pa.Table:
        """Read an IPC file."""
        import pyarrow as pa

        with _reading():
            # Not by a memory map: it kills the process with SIGBUS when somebody truncates the file.
            return _alike(pa.ipc.open_file(file).read_all(), schema)

    def scan(self, file: BinaryIO, schema: pa.Schema, selection: Selection) -> pa.RecordBatchReader:
        """Read the columns that are needed, batch by batch, until there are as many rows as are asked for."""
        import pyarrow as pa

        needed = pa.schema([schema.field(name) for name in selection.needed(schema)], schema.metadata)

        def batches() -> Iterator[pa.RecordBatch]:
            with _reading():
                positions = sorted(schema.get_field_index(name) for name in needed.names)
                reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=positions))
                for i in range(reader.num_record_batches):
                    batch = reader.get_batch(i).select(needed.names)
                    _alike(pa.Table.from_batches([batch]), needed)
                    yield batch.replace_schema_metadata(needed.metadata)

        return selection.apply(pa.RecordBatchReader.from_batches(needed, batches()))


class FeatherArrowFormat(FeatherFormat):
    """Arrow tables as feather."""

    frame = "arrow"


def _alike(table: pa.Table, schema: pa.Schema | None) -> pa.Table:
    table.validate(full=True)  # altered bytes may be text that ends behind the end, and kill the process
    if schema is None or table.schema.equals(schema, check_metadata=True):
        return table
    if not table.schema.equals(schema):
        raise ValueError(f"the columns are {table.schema}, the record says {schema}")
    return table.replace_schema_metadata(schema.metadata)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Tell the user that the bytes are wrong; errors of the storage are its own."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError) as exc:
        if isinstance(exc, OSError) and exc.errno is not None:
            raise
        raise FormatError(f"these bytes are not the feather that was saved: {exc}. Run the task again.") from exc
