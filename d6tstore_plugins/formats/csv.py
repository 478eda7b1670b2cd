"""Formats `csv` and `csv-gz`: frames as text that any tool reads."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from d6tstore.errors import FormatError
from d6tstore.format import TableFormat

if TYPE_CHECKING:
    import pyarrow as pa

    from d6tstore.selection import Selection

_TASKS = {"pandas": "TaskPqPandas", "polars": "TaskPqPolars", "arrow": "TaskPqArrow"}
_BLOCK = 1 << 23  # bytes of text that are read at once
_PIECE = 1 << 20  # bytes of it that one core parses
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
        wire = _wire(batches.schema)
        with csv.CSVWriter(file, wire, write_options=csv.WriteOptions(quoting_style="needed")) as writer:
            for batch in batches:
                _check_years(batch, task)
                try:
                    writer.write_table(pa.Table.from_batches([batch]).replace_schema_metadata().cast(wire))
                except pa.ArrowException as exc:
                    raise FormatError(f"CSV cannot store the frame: {exc}. Use {task}.") from exc

    def load_table(self, file: BinaryIO, schema: pa.Schema | None = None) -> pa.Table:
        """Read CSV into the types of `schema`; guess them when there is none."""
        import pyarrow as pa

        with _reading():
            if schema is None:
                return _guessed(file)
            return pa.Table.from_batches(_batches(file, schema, schema.names), schema)

    def scan(self, file: BinaryIO, schema: pa.Schema, selection: Selection) -> pa.RecordBatchReader:
        """Parse the columns that are needed, block by block, until there are as many rows as are asked for."""
        import pyarrow as pa

        names = selection.needed(schema)
        if not names:  # the rows of no columns are none
            return selection.apply(schema.empty_table())
        needed = pa.schema([schema.field(name) for name in names], schema.metadata)
        return selection.apply(pa.RecordBatchReader.from_batches(needed, _batches(file, schema, names)))


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


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Tell the user that the bytes are wrong; errors of the storage are its own."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, EOFError, ValueError, KeyError, zlib.error) as exc:
        if isinstance(exc, OSError) and exc.errno is not None:
            raise
        raise FormatError(f"these bytes are not the CSV that was saved: {exc}. Run the task again.") from exc


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


def _wire(schema: pa.Schema) -> pa.Schema:
    """The types that columns are written and read as."""
    import pyarrow as pa

    return pa.schema([(field.name, _wire_type(field.type)) for field in schema])


def _wire_type(kind: Any) -> Any:
    import pyarrow as pa

    types = pa.types
    if types.is_duration(kind):
        return pa.int64()
    if types.is_float16(kind):
        return pa.float32()
    if types.is_timestamp(kind) and kind.tz:
        return pa.timestamp(kind.unit, "UTC")
    if types.is_decimal(kind) and not types.is_decimal128(kind):
        return pa.string()
    return pa.string() if types.is_null(kind) or types.is_string_view(kind) else kind


def _batches(file: BinaryIO, schema: pa.Schema, names: list[str]) -> Iterator[pa.RecordBatch]:
    """Rows of a CSV file of ours, some of its columns, as they are read."""
    import pyarrow as pa
    from pyarrow import csv

    result = pa.schema([schema.field(name) for name in names], schema.metadata)
    if not names:
        return
    # By position: a header may hold any text.
    numbers = {name: str(i) for i, name in enumerate(schema.names)}
    parse = csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=len(schema) > 1)  # NULL alone is an empty line
    convert = csv.ConvertOptions(
        column_types={numbers[field.name]: field.type for field in _wire(result)},
        include_columns=[numbers[name] for name in names],
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    with _reading():
        for i, rows in enumerate(_rows(file)):
            if i == 0:
                _check_header(rows, schema.names)
                continue
            table = _parsed(rows, parse, convert, list(numbers.values()))
            columns = [_restored(column, field.type) for field, column in zip(result, table.columns, strict=True)]
            yield from pa.table(columns, schema=result).to_batches()


def _rows(file: BinaryIO) -> Iterator[bytes]:
    """The text of a CSV file in whole rows: first that of the header, then as many as a block holds.

    A row ends at a line feed outside of quotes, before which there is an even number of quotes.
    """
    text, header, size = b"", True, _PIECE
    while more := file.read(size):
        text += more
        if header:
            end, quotes = text.find(b"\n"), 0
            while end >= 0 and (quotes := text.count(b'"', 0, end)) % 2:
                end = text.find(b"\n", end + 1)
            if end < 0:
                size *= 2
                continue
            yield text[: end + 1]
            text, header = text[end + 1 :], False
        end, quotes = len(text), text.count(b'"')
        while (found := text.rfind(b"\n", 0, end)) >= 0:
            quotes -= text.count(b'"', found, end)
            end = found
            if quotes % 2 == 0:
                yield text[: end + 1]
                text = text[end + 1 :]
                break
        size = max(_BLOCK, 2 * len(text))  # a row that is longer than a block
    if text:
        yield text


def _parsed(rows: bytes, parse: Any, convert: Any, names: list[str]) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    if len(rows) >= 1 << 31:
        raise FormatError("a row of more than 2 GB cannot be read. Save it with TaskPqPandas.")
    try:
        if b"\r\n" not in rows:  # Arrow loses the line feed if a piece ends between the two, in quotes too
            pieces = csv.ReadOptions(block_size=_PIECE, column_names=names)
            return csv.read_csv(pa.BufferReader(rows), pieces, parse, convert)
    except pa.ArrowInvalid as exc:
        if "straddling" not in str(exc):
            raise
    whole = csv.ReadOptions(block_size=len(rows) + 1, column_names=names, use_threads=False)
    return csv.read_csv(pa.BufferReader(rows), whole, parse, convert)


def _check_header(text: bytes, names: list[str]) -> None:
    import pyarrow as pa
    from pyarrow import csv

    options = csv.ReadOptions(autogenerate_column_names=True, block_size=len(text) + 1)
    types = {f"f{i}": pa.string() for i in range(len(names))}
    parse, convert = csv.ParseOptions(newlines_in_values=True), csv.ConvertOptions(column_types=types)
    (found,) = csv.read_csv(pa.BufferReader(text), options, parse, convert).to_pylist() or [{}]
    if list(found.values()) != names:
        raise ValueError(f"the header is {list(found.values())}, the record says {names}")


def _restored(column: pa.ChunkedArray, kind: Any) -> Any:
    import pyarrow as pa

    return pa.nulls(len(column)) if pa.types.is_null(kind) else column.cast(kind)


def _guessed(file: BinaryIO) -> pa.Table:
    """A CSV file of somebody else, with larger blocks if a row does not fit."""
    import pyarrow as pa
    from pyarrow import csv

    parse = csv.ParseOptions(newlines_in_values=True)
    convert = csv.ConvertOptions(null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False)
    text = file.read()  # not the file itself: a failed attempt may still read ahead in it
    whole = (1 << 31) - 1
    for size in (whole,) if b'"' in text and b"\r\n" in text else (_PIECE, 1 << 26, whole):
        try:
            return csv.read_csv(pa.BufferReader(text), csv.ReadOptions(block_size=size), parse, convert)
        except pa.ArrowInvalid as exc:
            if "straddling" not in str(exc):
                raise
    raise FormatError("a row of more than 2 GB cannot be read. Split the file.")
