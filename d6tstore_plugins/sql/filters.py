"""Conditions of a load as SQL. They mean what they mean everywhere: NULL satisfies only `== None`, NaN only `!=`."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from pyarrow import types as is_

from d6tstore_plugins.sql.columns import Column, split
from d6tstore_plugins.sql.layout import Layout

_COMPARE = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def condition(layout: Layout, table: sa.Table, name: str, op: str, value: Any) -> Any:
    """One condition on a column of the frame."""
    real, fine, how = layout.columns[name]
    column = table.c[real]
    if op in ("in", "not in"):
        listed = [_one(how, table, column, fine, "==", item) for item in value]
        if op == "in":
            return sa.or_(sa.false(), *listed)
        return sa.and_(column.is_not(None), *(sa.not_(each) for each in listed))
    return _one(how, table, column, fine, op, value)


def _one(how: Column, table: sa.Table, column: Any, fine: str | None, op: str, value: Any) -> Any:
    if value is None:
        return column.is_(None) if op == "==" else column.is_not(None)
    type_ = how.type.value_type if is_.is_dictionary(how.type) else how.type
    if fine:
        coarse, rest = split(value, type_)
        return _pair(column, table.c[fine], op, _bound(coarse, how), rest)
    if is_.is_floating(type_):  # of single precision, as the column has it
        value = float(pa.scalar(float(value), type_).as_py())
        test = _COMPARE[op](column, sa.cast(sa.bindparam(None, value), sa.Double))
        return sa.and_(test, column != sa.cast("NaN", how.sql)) if op in (">", ">=") else test
    if is_.is_integer(type_) or is_.is_decimal(type_):  # 1.5 and what is beyond the type compare as numbers
        return _COMPARE[op](column, sa.literal(value, sa.Numeric()))
    if isinstance(how.sql, sa.Text):
        return _COMPARE[op](column.collate("C"), value)  # by code point, whatever the language of the database
    return _COMPARE[op](column, _bound(value, how))


def _pair(column: Any, fine: Any, op: str, value: Any, rest: int) -> Any:
    """Of microseconds and the nanoseconds above them."""
    if op in ("==", "!="):
        same = sa.and_(column == value, fine == rest)
        return same if op == "==" else sa.and_(column.is_not(None), sa.not_(same))
    strict = _COMPARE[op[0]]
    return sa.or_(strict(column, value), sa.and_(column == value, _COMPARE[op](fine, rest)))


def _bound(value: Any, how: Column) -> Any:
    if is_.is_timestamp(how.wire):
        zone = how.wire.tz
        value = pa.scalar(value, pa.timestamp("us", zone)).as_py()
    elif is_.is_duration(how.wire):
        value = pa.scalar(value, pa.duration("us")).as_py()
    elif is_.is_time(how.wire):
        value = pa.scalar(value, pa.time64("us")).as_py()
    return sa.literal(value, how.sql)


def conditions(layout: Layout, table: sa.Table, where: Sequence[tuple[str, str, Any]] | None) -> list[Any]:
    """All of them."""
    return [condition(layout, table, *each) for each in where or ()]
