"""Format `parquet`: pandas frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from d6tstore.errors import FormatError
from d6tstore.format import TableFormat
from d6tstore_plugins.formats import frames

if TYPE_CHECKING:
    import pyarrow as pa


class ParquetFormat(TableFormat):
    """pandas frames as parquet, zstd."""

    suffix = ".parquet"

    def to_arrow(self, value: Any) -> pa.Table:
        """See `TableFormat.to_arrow`."""
        return frames.to_arrow(value)

    def from_arrow(self, table: pa.Table) -> Any:
        """See `TableFormat.from_arrow`."""
        return frames.from_arrow(table)

    def dump_table(self, table: pa.Table, file: BinaryIO) -> None:
        """Write parquet with the Arrow schema inside, so that other readers restore the types too."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            pq.write_table(table, file, compression="zstd")
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
            raise FormatError(
                f"parquet cannot store the frame: {exc}. Change the column's type (astype)."
            ) from exc

    def load_table(self, file: BinaryIO, schema: pa.Schema | None = None) -> pa.Table:
        """Read parquet."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(file).read()
        except pa.ArrowInvalid as exc:
            raise FormatError(f"these bytes are no parquet: {exc}. Run the task again.") from exc
        if schema is None or table.schema.equals(schema, check_metadata=True):
            return table
        return table.cast(schema) if table.schema.names == schema.names else table
