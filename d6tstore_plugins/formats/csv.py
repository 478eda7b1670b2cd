"""Format `csv`: pandas frames as text that any tool reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from d6tstore.errors import FormatError
from d6tstore.format import TableFormat

if TYPE_CHECKING:
    import pyarrow as pa


class CsvFormat(TableFormat):
    """pandas frames as CSV: a header, text quoted, NULL empty, UTF-8.

    The types do not lie in the file but in the record: with it a frame comes back equal, without it (another
    tool's reading) as CSV does.
    """

    suffix = ".csv"

    def dump_table(self, batches: pa.RecordBatchReader, file: BinaryIO) -> None:
        """Write CSV; nested columns, bytes and categories are refused."""
        import pyarrow as pa
        import pyarrow.compute as pc
        from pyarrow import csv

        table = batches.read_all()
        _check(table)
        columns, names = [], table.column_names
        for column in table.columns:
            if pa.types.is_float16(column.type):
                column = column.cast(pa.float32())
            elif pa.types.is_duration(column.type):
                column = column.cast(pa.int64())
            elif pa.types.is_null(column.type):
                column = column.cast(pa.string())
            elif pa.types.is_timestamp(column.type) and column.type.tz:
                column = pc.cast(column, pa.timestamp(column.type.unit, "UTC"))
            columns.append(column)
        try:
            plain = pa.table(columns, names=names)
            csv.write_csv(plain, file, csv.WriteOptions(quoting_style="needed"))
        except pa.ArrowException as exc:
            raise FormatError(f"CSV cannot store the frame: {exc}. Use TaskPqPandas.") from exc

    def load_table(self, file: BinaryIO, schema: pa.Schema | None = None) -> pa.Table:
        """Read CSV into the types of `schema`; guess them when there is none."""
        import pyarrow as pa
        from pyarrow import csv

        types = {} if schema is None else {f.name: _wire_type(f.type) for f in schema}
        # NULL in the only column is an empty line.
        parse = csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=len(types) != 1)
        convert = csv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        )
        try:
            if schema is not None and not schema.names:
                return schema.empty_table()
            table = _read(file, parse, convert)
            return table if schema is None else _restore(table, schema)
        except (pa.ArrowException, ValueError) as exc:
            raise FormatError(f"these bytes are not the CSV that was saved: {exc}. Run the task again.") from exc


def _check(table: pa.Table) -> None:
    import pyarrow as pa

    for field in table.schema:
        kind = field.type
        if pa.types.is_dictionary(kind):
            raise FormatError(
                f"column {field.name!r} is categorical; CSV would lose its categories. "
                "Use TaskPqPandas, or astype(str)."
            )
        plain = not isinstance(kind, pa.BaseExtensionType) and not pa.types.is_nested(kind)
        if not plain or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise FormatError(
                f"column {field.name!r} of type {kind} does not fit into CSV. Use TaskPqPandas, or make it text."
            )
        if pa.types.is_timestamp(kind) and not _four_digits(table[field.name]):
            raise FormatError(
                f"column {field.name!r} holds times outside of the years 1 to 9999: no text. Use TaskPqPandas."
            )


def _read(file: BinaryIO, parse: Any, convert: Any) -> Any:
    """Read in blocks, larger ones if a row does not fit."""
    import pyarrow as pa
    from pyarrow import csv

    data = pa.py_buffer(file.read())  # not the file itself: a failed attempt may still read ahead in it
    for size in (1 << 20, 1 << 26, (1 << 31) - 1):
        try:
            return csv.read_csv(pa.BufferReader(data), csv.ReadOptions(block_size=size), parse, convert)
        except pa.ArrowInvalid as exc:
            if "straddling" not in str(exc):
                raise
    raise FormatError("a row of more than 2 GB cannot be read. Save it with TaskPqPandas.")


def _four_digits(column: Any) -> bool:
    """Are all times within the years 1 to 9999?"""
    import pyarrow as pa
    import pyarrow.compute as pc

    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit]
    bounds = pc.min_max(column.cast(pa.int64())).as_py()
    if bounds["min"] is None:
        return True
    return bool(bounds["min"] // per_second >= -62_135_596_800 and bounds["max"] // per_second <= 253_402_300_799)


def _wire_type(kind: Any) -> Any:
    """The type that the text of a column is read as."""
    import pyarrow as pa

    if pa.types.is_duration(kind):
        return pa.int64()
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_timestamp(kind) and kind.tz:
        return pa.timestamp(kind.unit, "UTC")
    return kind


def _restore(table: Any, schema: Any) -> Any:
    import pyarrow as pa

    columns = [
        pa.nulls(len(column)) if pa.types.is_null(field.type) else column.cast(field.type)
        for field, column in zip(schema, table.columns, strict=True)
    ]
    return pa.table(columns, schema=schema)
