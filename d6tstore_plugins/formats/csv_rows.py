"""Rows of CSV files, read in blocks: those of format `csv`, and of other tools."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from d6tstore.errors import FormatError

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1 << 23  # bytes of text that are read at once
_PIECE = 1 << 20  # bytes of it that one core parses


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Tell the user that the bytes are wrong; errors of the storage are its own."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, EOFError, ValueError, KeyError, zlib.error) as exc:
        if isinstance(exc, OSError) and exc.errno is not None:
            raise
        raise FormatError(f"these bytes are not the CSV that was saved: {exc}. Run the task again.") from exc


def wire(schema: pa.Schema) -> pa.Schema:
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


def rows_of(file: BinaryIO, schema: pa.Schema, names: list[str]) -> Iterator[pa.RecordBatch]:
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
        column_types={numbers[field.name]: field.type for field in wire(result)},
        include_columns=[numbers[name] for name in names],
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    with reading():
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


def guessed(file: BinaryIO) -> pa.Table:
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
