"""Conditions of a load as SQL. They mean what they mean everywhere: NULL satisfies only `== None`, NaN only `!=`."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import operator
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from pyarrow import types as is_

from d6tstore_plugins.sql.columns import DAY, Column
from d6tstore_plugins.sql.layout import Layout

_COMPARE = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_UNITS = {"D": DAY * 1000, "h": 3_600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 1_000, "ns": 1}
_NANOSECONDS = (-(2**63), 2**63 - 1)


def conditions(layout: Layout, table: sa.Table, where: Sequence[tuple[str, str, Any]] | None) -> list[Any]:
    """Conditions on columns of the frame, all of which must hold."""
    found = []
    for name, op, value in where or ():
        real, fine, how = layout.columns[name]
        tested = _Tested(table.c[real], table.c[fine] if fine is not None else None, how)
        found.append(tested.listed(op, value) if op in ("in", "not in") else tested.satisfies(op, value))
    return found


class _Tested(NamedTuple):
    """A column, that of its nanoseconds, and how it is held."""

    column: Any
    fine: Any
    how: Column

    def listed(self, op: str, values: Sequence[Any]) -> Any:
        found = [equal for value in values if value is not None and (equal := self._equal(value)) is not None]
        if self.fine is not None:
            test = sa.or_(sa.false(), *(sa.and_(self.column == whole, self.fine == rest) for whole, rest in found))
        else:
            test = self.how.listed(self.how.compared(self.column), found) if found else sa.false()
        if op == "not in":
            return sa.and_(self.column.is_not(None), sa.not_(test))
        test = sa.and_(self.column.is_not(None), test)
        return sa.or_(test, self.column.is_(None)) if None in list(values) else test

    def satisfies(self, op: str, value: Any) -> Any:
        if value is None:
            return self.column.is_(None) if op == "==" else self.column.is_not(None)
        if op == "!=":
            return sa.and_(self.column.is_not(None), sa.not_(self.satisfies("==", value)))
        if op == "==":
            equal = self._equal(value)
            if equal is None:
                return sa.false()
            if self.fine is not None:
                return sa.and_(self.column == equal[0], self.fine == equal[1])
            return self.how.compared(self.column) == equal
        return self._ordered(op, value)

    @property
    def _type(self) -> Any:
        return self.how.value_type

    def _equal(self, value: Any) -> Any:
        """What equals a value; None if nothing does. Of a column with nanoseconds, a pair."""
        if (exact := self._exact(value)) is not None:
            whole, (first, last) = math.floor(exact) if _finite(exact) else None, self._bounds
            return self._literal(whole) if whole == exact and first <= whole <= last else None
        if isinstance(self.how.sql, sa.Numeric) and not _finite(value):
            return None
        return None if isinstance(value, str) and "\0" in value else self._plain(value)

    def _ordered(self, op: str, value: Any) -> Any:
        if (exact := self._exact(value)) is not None:
            (first, last), below = self._bounds, op[0] == "<"
            if not first <= exact <= last:
                return self.column.is_not(None) if below == (exact > last) else sa.false()
            whole = math.floor(exact)
            if whole != exact:  # nothing lies between it and the next whole one
                op = "<=" if below else ">"
            literal, compare = self._literal(whole), _COMPARE[op]
            if self.fine is None:
                return compare(self.column, literal)
            same = sa.and_(self.column == literal[0], compare(self.fine, literal[1]))
            return sa.or_(_COMPARE[op[0]](self.column, literal[0]), same)
        if isinstance(self.how.sql, sa.Numeric) and not _finite(value):
            return self.column.is_not(None) if (op[0] == "<") == (value > 0) else sa.false()
        if isinstance(value, str) and "\0" in value:  # no column has such text: next to it is what is before the NUL
            value, op = value.partition("\0")[0], "<=" if op[0] == "<" else ">"
        test = _COMPARE[op](self.how.compared(self.column), self._plain(value))
        if is_.is_floating(self._type) and op[0] == ">":  # which NaN would be
            return sa.and_(test, self.how.is_number(self.column))
        return test

    def _plain(self, value: Any) -> Any:
        if is_.is_floating(self._type):  # of single precision, as the column has it
            return sa.cast(sa.literal(pa.scalar(float(value), self._type).as_py(), sa.Double()), sa.Double)
        if isinstance(self.how.sql, sa.Numeric):
            return sa.literal(decimal.Decimal(value), sa.Numeric())
        return sa.literal(value, self.how.sql)

    @property
    def _bounds(self) -> tuple[int, int]:
        """The least and the greatest number that the column can have, as `_exact` counts."""
        if is_.is_integer(self._type):
            signed = is_.is_signed_integer(self._type)
            bits = self._type.bit_width - signed
            return (-(2**bits) if signed else 0), 2**bits - 1
        return _NANOSECONDS if self.fine is not None else self.how.bounds

    def _exact(self, value: Any) -> Any:
        """A value in the whole numbers that the column has: units, days, microseconds or nanoseconds. Else None."""
        if is_.is_integer(self._type):
            return value
        if is_.is_temporal(self._type):
            unit = "ns" if self.fine is not None else "D" if self.how.in_days else "us"
            return Fraction(_nanoseconds(value), _UNITS[unit])
        return None

    def _literal(self, whole: int) -> Any:
        if self.fine is None:
            return self.how.whole(whole)
        micro, rest = divmod(whole, 1_000)
        return self.how.whole(micro), rest


def _finite(value: Any) -> bool:
    return not isinstance(value, float | decimal.Decimal) or math.isfinite(value)


def _nanoseconds(value: Any) -> int:
    """A time of Python, numpy or pandas, from 1970 or midnight on. One with a zone counts in UTC."""
    if isinstance(value, dt.time):
        since = dt.timedelta(0, value.second, value.microsecond, 0, value.minute, value.hour)
        return since // dt.timedelta(microseconds=1) * 1_000
    if not hasattr(value, "asm8"):
        if isinstance(value, dt.datetime) and value.tzinfo is not None:
            value = value.astimezone(dt.UTC).replace(tzinfo=None)
        value = np.timedelta64(value) if isinstance(value, dt.timedelta) else np.datetime64(value)
    found = getattr(value, "asm8", value)
    unit, count = np.datetime_data(found.dtype)
    return int(found.astype("i8")) * count * _UNITS[unit]
