"""Format `excel`: frames as a workbook that a person opens."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import openpyxl
from openpyxl.cell import WriteOnlyCell

from d6tstore.errors import FormatError
from d6tstore.format import TableFormat

if TYPE_CHECKING:
    import pyarrow as pa

    from d6tstore.selection import Selection

_ROWS, _COLUMNS, _TEXT = 1_048_575, 16_384, 32_767  # what a sheet holds below its header, and characters of a cell
_BATCH = 1 << 14  # rows that are read at once
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]")
_ESCAPE = re.compile("_x[0-9A-Fa-f]{4}_")
_SHOWN = {
    dt.datetime: "yyyy-mm-dd hh:mm:ss.000",
    dt.date: "yyyy-mm-dd",
    dt.time: "hh:mm:ss.000",
    dt.timedelta: "[h]:mm:ss.000",
}


class ExcelFormat(TableFormat):
    """pandas frames as an Excel workbook: one sheet, a header, cells that Excel calculates with.

    The types do not lie in the file but in the record. Excel holds numbers of 53 bits and times to the millisecond;
    what it would change is refused. For tables that people read: a million rows take minutes.
    """

    suffix = ".xlsx"

    def dump_table(self, batches: pa.RecordBatchReader, file: BinaryIO) -> None:
        """Write a workbook, and read it again to see that nothing was changed."""
        table = self._checked(batches)
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet("data")
        sheet.append([_text(sheet, name) for name in table.column_names])
        for batch in table.to_batches(_BATCH):
            cells = [
                [value if value is None else _cell(sheet, value) for value in _values(field, column, self._other)]
                for field, column in zip(batch.schema, batch.columns, strict=True)
            ]
            for row in zip(*cells, strict=True):
                sheet.append(row)
        with tempfile.TemporaryFile() as copy:
            book.save(copy)
            copy.seek(0)
            back = self.load_table(copy, table.schema)
            for name, old, new in zip(table.column_names, table.columns, back.columns, strict=True):
                if not old.equals(new):
                    raise FormatError(
                        f"column {name!r} would come back from Excel as something else. Use {self._other}."
                    )
            copy.seek(0)
            shutil.copyfileobj(copy, file)

    def load_table(self, file: BinaryIO, schema: pa.Schema | None = None) -> pa.Table:
        """Read the first sheet into the types of `schema`; as pandas reads it when there is none."""
        import pandas as pd
        import pyarrow as pa

        with _reading():
            if schema is None:
                return pa.Table.from_pandas(pd.read_excel(file, engine="openpyxl"), preserve_index=False)
            return pa.Table.from_batches(_batches(file, schema, schema.names), schema)

    def scan(self, file: BinaryIO, schema: pa.Schema, selection: Selection) -> pa.RecordBatchReader:
        """Read the sheet row by row, as far as is needed."""
        import pyarrow as pa

        names = selection.needed(schema)
        needed = pa.schema([schema.field(name) for name in names], schema.metadata)
        return selection.apply(pa.RecordBatchReader.from_batches(needed, _batches(file, schema, names)))

    @property
    def _other(self) -> str:
        return {"pandas": "TaskPqPandas", "polars": "TaskPqPolars", "arrow": "TaskPqArrow"}[self.frame]

    def _checked(self, batches: pa.RecordBatchReader) -> pa.Table:
        """All rows. FormatError: Excel does not hold them; nothing was written yet."""
        import pyarrow as pa

        names, found, rows = batches.schema.names, [], 0
        if len(names) > _COLUMNS:
            raise FormatError(f"the frame has {len(names):,} columns, Excel holds {_COLUMNS:,}. Use {self._other}.")
        for field in batches.schema:
            if problem := _bad_text(field.name):
                raise FormatError(f"the name of column {field.name!r} {problem}. Rename it, or use {self._other}.")
            _check_type(field, self._other)
        for batch in batches:
            found.append(batch)
            rows += batch.num_rows
            if rows > _ROWS:
                raise FormatError(f"the frame has more than the {_ROWS:,} rows that Excel holds. Use {self._other}.")
            for field, column in zip(batch.schema, batch.columns, strict=True):
                _values(field, column, self._other)
        return pa.Table.from_batches(found, batches.schema)


class ExcelArrowFormat(ExcelFormat):
    """Arrow tables as an Excel workbook."""

    frame = "arrow"


def _check_type(field: pa.Field, other: str) -> None:
    import pyarrow as pa

    types, type_ = pa.types, field.type
    if types.is_decimal(type_) and type_.precision > 15:
        raise FormatError(
            f"column {field.name!r} of type {type_} has more than 15 digits, and Excel keeps 15. Round it and cast "
            f"it, or use {other}."
        )
    number = types.is_integer(type_) or types.is_floating(type_) or types.is_decimal(type_) or types.is_boolean(type_)
    text = types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_)
    temporal = types.is_temporal(type_) and type_ != pa.month_day_nano_interval()
    if not (number or text or temporal or types.is_null(type_)):
        what = "is categorical" if types.is_dictionary(type_) else f"of type {type_} does not fit into Excel"
        raise FormatError(f"column {field.name!r} {what}. Use {other}, or make it text (astype(str), cast).")


def _values(field: pa.Field, column: pa.Array, other: str) -> list[Any]:
    """The values of a column, as Excel knows them. FormatError: column, rule, cure."""
    import pyarrow as pa

    type_, name = field.type, field.name
    coarse = {pa.types.is_timestamp: pa.timestamp, pa.types.is_duration: pa.duration}
    try:
        if pa.types.is_time(type_):
            column = column.cast(pa.time32("ms"))
        for test, make in coarse.items():
            if test(type_):  # in UTC
                column = column.cast(make("ms"))
        values: list[Any] = column.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError) as exc:
        raise FormatError(
            f"column {name!r} holds times that are finer than milliseconds or out of range, which Excel does not "
            f"hold: {exc}. Round them (dt.floor('ms'), dt.truncate('1ms')), or use {other}."
        ) from exc
    for value in values:
        if value == "":
            raise FormatError(
                f"column {name!r} holds '', NULL to Excel. Make it so (x.replace('', None)) or use {other}."
            )
        if isinstance(value, str) and (problem := _bad_text(value)):
            raise FormatError(f"column {name!r} holds a text that {problem}. Change it, or use {other}.")
        if isinstance(value, int) and abs(value) > 1 << 53:
            raise FormatError(
                f"column {name!r} holds {value}, and Excel rounds integers beyond 2**53. Make it text (astype(str), "
                f"cast), or use {other}."
            )
        if isinstance(value, float) and value - value != 0:
            raise FormatError(
                f"column {name!r} holds {value}, which is no number for Excel. Make it NULL "
                f"(x.replace({{...: None}}), fill_nan(None)), or use {other}."
            )
        if isinstance(value, dt.date) and value.year < 1900:
            raise FormatError(f"column {name!r} holds dates before 1900, which Excel does not know. Use {other}.")
    return values


def _cell(sheet: Any, value: Any) -> Any:
    """What is written for a value."""
    if isinstance(value, str):
        return _text(sheet, value)
    if isinstance(value, float):
        if value and float(f"{value:.16g}") == value:
            return value  # as openpyxl writes it
        cell = WriteOnlyCell(sheet, repr(value))
        cell.data_type = "n"
        return cell
    for kind, shown in _SHOWN.items():
        if isinstance(value, kind):
            cell = WriteOnlyCell(sheet, value)
            whole = not getattr(value, "microsecond", 0) and not getattr(value, "microseconds", 0)
            cell.number_format = shown.removesuffix(".000") if whole else shown
            return cell
    return value


def _text(sheet: Any, value: str) -> Any:
    """A cell that is text even if it looks like a formula or an error."""
    cell = WriteOnlyCell(sheet, value)
    cell.data_type = "s"
    return cell


def _bad_text(value: str) -> str:
    if len(value.encode("utf-16-le")) // 2 > _TEXT:
        return f"has more than the {_TEXT:,} characters of a cell"
    if found := _CONTROL.search(value):
        return f"has the character {found[0]!r}, which Excel does not hold"
    if found := _ESCAPE.search(value):
        return f"has {found[0]!r}, which Excel reads as another character"
    return ""


def _batches(file: BinaryIO, schema: pa.Schema, names: list[str]) -> Iterator[pa.RecordBatch]:
    """Rows of a sheet of ours, some of its columns, as they are read."""
    import pyarrow as pa

    fields = [schema.field(name) for name in names]
    places = [schema.get_field_index(name) for name in names]
    result = pa.schema(fields, schema.metadata)
    if not len(schema):
        return
    with _reading():
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        with contextlib.closing(book):
            book.worksheets[0].reset_dimensions()  # what another program wrote there may be wrong
            rows = book.worksheets[0].iter_rows(values_only=True, max_col=len(schema))
            header = ["" if name is None else name for name in next(rows, ())]
            if header + [""] * (len(schema) - len(header)) != schema.names:
                raise ValueError(f"the header is {header}, the record says {schema.names}")
            while part := _first(rows, _BATCH):
                columns = [[row[i] if i < len(row) else None for row in part] for i in places]
                arrays = [_array(field, values) for field, values in zip(fields, columns, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=result)


def _first(rows: Iterator[Any], count: int) -> list[Any]:
    return [row for _, row in zip(range(count), rows, strict=False)]


def _array(field: pa.Field, values: list[Any]) -> pa.Array:
    """Values of cells in the type of a column."""
    import pyarrow as pa

    types, type_ = pa.types, field.type
    if types.is_floating(type_):
        return pa.array([v if v is None else float(v) for v in values], pa.float64()).cast(type_)
    if types.is_decimal(type_):
        return pa.array([v if v is None else decimal.Decimal(str(v)) for v in values]).cast(type_)
    if types.is_timestamp(type_):
        return pa.array(values, pa.timestamp("ms")).cast(pa.timestamp(type_.unit)).cast(type_)
    if types.is_duration(type_):
        return pa.array(values, pa.duration("ms")).cast(type_)
    if types.is_time(type_):
        return pa.array(values, pa.time32("ms")).cast(type_)
    if types.is_date(type_):
        return pa.array([v.date() if isinstance(v, dt.datetime) else v for v in values], pa.date32()).cast(type_)
    if types.is_integer(type_):
        return pa.array([int(v) if isinstance(v, float) and v.is_integer() else v for v in values], type_)
    return pa.array(values, type_)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Tell the user that the bytes are wrong; errors of the storage are its own."""
    try:
        yield
    except FormatError:
        raise
    except Exception as exc:  # damaged bytes make openpyxl raise anything
        if isinstance(exc, OSError) and exc.errno is not None:
            raise
        raise FormatError(
            f"these bytes are not the workbook that was saved: {type(exc).__name__}: {exc}. Run the task again."
        ) from exc
