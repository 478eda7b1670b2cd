"""Formats `csv` and `csv-gz`: frames as text that any tool reads."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, BinaryIO, cast

from d6tstore.errors import FormatError
from d6tstore.format import TableFormat
from d6tstore_plugins.formats.csv_rows import guessed, reading, rows_of, wire

if TYPE_CHECKING:
    import pyarrow as pa

    from d6tstore.selection import Selection

_TASKS = {"pandas": "TaskPqPandas", "polars": "TaskPqPolars", "arrow": "TaskPqArrow"}
_LEVEL = 4  # of gzip: a fifth of the time of 9, the usual one, for 6 % more bytes
_YEARS = -719_162, 2_932_897  # 1 to 9999, in days since 1970
_PER_DAY = {"s": 86_400, "ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}


class CsvFormat(TableFormat):
    """pandas frames as CSV: a header, text quoted, NULL empty, UTF-8. Rows go through in blocks.

    The types do not lie in the file but in the record: with it a frame comes back equal, without it (another
    tool's reading) as CSV does.
    """

    suffix = ".csv"

    def dump_table(self, batches: pa.RecordBatchReader, file: BinaryIO) -> None:
        """Write CSV; nested columns, bytes and categories are refused."""
        import pyarrow as pa
        from pyarrow import csv

        task = _TASKS[self.frame]
        _check(batches.schema, task)
        types = wire(batches.schema)
        with csv.CSVWriter(file, types, write_options=csv.WriteOptions(quoting_style="needed")) as writer:
            for batch in batches:
                _check_years(batch, task)
                try:
                    writer.write_table(pa.Table.from_batches([batch]).replace_schema_metadata().cast(types))
                except pa.ArrowException as exc:
                    raise FormatError(f"CSV cannot store the frame: {exc}. Use {task}.") from exc

    def load_table(self, file: BinaryIO, schema: pa.Schema | None = None) -> pa.Table:
        """Read CSV into the types of `schema`; guess them when there is none."""
        import pyarrow as pa

        with reading():
            if schema is None:
                return guessed(file)
            return pa.Table.from_batches(rows_of(file, schema, schema.names), schema)

    def scan(self, file: BinaryIO, schema: pa.Schema, selection: Selection) -> pa.RecordBatchReader:
        """Parse the columns that are needed, block by block, until there are as many rows as are asked for."""
        import pyarrow as pa

        names = selection.needed(schema)
        if not names:  # the rows of no columns are none
            return selection.apply(schema.empty_table())
        needed = pa.schema([schema.field(name) for name in names], schema.metadata)
        return selection.apply(pa.RecordBatchReader.from_batches(needed, rows_of(file, schema, names)))


class CsvArrowFormat(CsvFormat):
    """Arrow tables as CSV."""

    frame = "arrow"


class CsvGzFormat(CsvFormat):
    """pandas frames as gzipped CSV. Equal frames are equal bytes: no time and no name is inside."""

    suffix = ".csv.gz"

    def dump_table(self, batches: pa.RecordBatchReader, file: BinaryIO) -> None:
        """Write gzipped CSV; see `CsvFormat`."""
        with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as zipped:
            super().dump_table(batches, cast(BinaryIO, zipped))

    def load_table(self, file: BinaryIO, schema: pa.Schema | None = None) -> pa.Table:
        """Read gzipped CSV; see `CsvFormat`."""
        return super().load_table(_unzipped(file), schema)

    def scan(self, file: BinaryIO, schema: pa.Schema, selection: Selection) -> pa.RecordBatchReader:
        """Read a part of gzipped CSV; see `CsvFormat`."""
        return super().scan(_unzipped(file), schema, selection)


class CsvGzArrowFormat(CsvGzFormat):
    """Arrow tables as gzipped CSV."""

    frame = "arrow"


def _unzipped(file: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb"))


def _check(schema: pa.Schema, task: str) -> None:
    import pyarrow as pa

    types = pa.types
    for field in schema:
        kind = field.type
        if types.is_dictionary(kind):
            raise FormatError(
                f"column {field.name!r} is categorical; CSV would lose its categories. "
                f"Use {task}, or make it text (astype(str), cast to a string type)."
            )
        plain = types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
        text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
        temporal = types.is_temporal(kind) and kind != pa.month_day_nano_interval()
        if not (plain or text or temporal or types.is_null(kind)):
            raise FormatError(
                f"column {field.name!r} of type {kind} does not fit into CSV. Use {task}, or make it text."
            )


def _check_years(batch: pa.RecordBatch, task: str) -> None:
    """Refuse times that have no text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for field, column in zip(batch.schema, batch.columns, strict=True):
        kind = field.type
        if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            continue
        days = kind == pa.date32()
        unit = 1 if days else _PER_DAY[kind.unit if pa.types.is_timestamp(kind) else "ms"]
        bounds = pc.min_max(column.view(pa.int32() if days else pa.int64())).as_py()
        if bounds["min"] is not None and not _YEARS[0] <= bounds["min"] // unit <= bounds["max"] // unit < _YEARS[1]:
            raise FormatError(f"column {field.name!r} holds times outside of the years 1 to 9999: no text. Use {task}.")
