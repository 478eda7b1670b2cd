"""Cells of Excel: what they hold, and how values become cells and come back."""

from __future__ import annotations

import datetime as dt
import decimal
import re
from typing import TYPE_CHECKING, Any

from openpyxl.cell import WriteOnlyCell

from d6tstore.errors import FormatError

if TYPE_CHECKING:
    import pyarrow as pa

_TEXT = 32_767  # characters of a cell
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]")
_ESCAPE = re.compile("_x[0-9A-Fa-f]{4}_")
_SHOWN = {
    dt.datetime: "yyyy-mm-dd hh:mm:ss.000",
    dt.date: "yyyy-mm-dd",
    dt.time: "hh:mm:ss.000",
    dt.timedelta: "[h]:mm:ss.000",
}


def check_type(field: pa.Field, other: str) -> None:
    """Refuse a column of a type that Excel does not hold; `other` is the task class that would take it."""
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


def plain_values(field: pa.Field, column: pa.Array, other: str) -> list[Any]:
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
        if isinstance(value, str) and (problem := bad_text(value)):
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


def cell(sheet: Any, value: Any) -> Any:
    """What is written for a value."""
    if isinstance(value, str):
        return text_cell(sheet, value)
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


def text_cell(sheet: Any, value: str) -> Any:
    """A cell that is text even if it looks like a formula or an error."""
    cell = WriteOnlyCell(sheet, value)
    cell.data_type = "s"
    return cell


def bad_text(value: str) -> str:
    """What is wrong with a text; empty if nothing is."""
    if len(value.encode("utf-16-le")) // 2 > _TEXT:
        return f"has more than the {_TEXT:,} characters of a cell"
    if found := _CONTROL.search(value):
        return f"has the character {found[0]!r}, which Excel does not hold"
    if found := _ESCAPE.search(value):
        return f"has {found[0]!r}, which Excel reads as another character"
    return ""


def array(field: pa.Field, values: list[Any]) -> pa.Array:
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
