"""How columns are held where there are no types for them: times as ISO texts, all that is nested as JSON."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pyarrow import types as is_

from d6tstore.errors import Unsupported
from d6tstore_plugins.sql import nested
from d6tstore_plugins.sql.columns import DAY, Column

_EPOCH = dt.datetime(1970, 1, 1)
_FIRST, _LAST = dt.date(1, 1, 1).toordinal() - _EPOCH.toordinal(), dt.date.max.toordinal() - _EPOCH.toordinal()

_PARAMETERS = 10_000


class Plain(Column):
    """A column as it is; text compares by code point without more words."""

    def compared(self, column: Any) -> Any:
        """See `Column.compared`."""
        return column

    def listed(self, column: Any, values: list[Any]) -> Any:
        """See `Column.listed`. A statement has a limited number of parameters: a longer list is one of them."""
        return column.in_(values if len(values) <= _PARAMETERS else self.many([_value(each) for each in values]))

    def many(self, values: list[Any]) -> Any:
        """A query that gives the values of a long list."""
        return sa.select(sa.func.unnest(sa.literal(values, sa.ARRAY(self.sql))))

    def encode(self, array: pa.Array) -> list[pa.Array]:
        """See `Column.encode`; text without NUL, at which the shells of databases stop."""
        arrays = super().encode(array)
        if is_.is_large_string(self.wire) and pc.any(pc.match_substring(arrays[0], "\0")).as_py():
            raise Unsupported("text with NUL is not held in tables")
        return arrays


class Count(Plain):
    """Durations as whole microseconds."""

    @property
    def _counted(self) -> Column:
        return Column(self.type, self.sql, pa.duration("us"), self.fine)

    def encode(self, array: pa.Array) -> list[pa.Array]:
        """See `Column.encode`."""
        micro, *fine = self._counted.encode(array)
        return [micro.cast(pa.int64()), *fine]

    def whole(self, number: int) -> Any:
        """See `Column.whole`."""
        return sa.literal(number, sa.BigInteger())

    def decode(self, arrays: list[Any]) -> Any:
        """See `Column.decode`."""
        return self._counted.decode([arrays[0].cast(pa.int64()).cast(pa.duration("us")), *arrays[1:]])


class Iso(Plain):
    """Dates and times as texts of one length, of the years 1 to 9999; those with a zone in UTC, with a Z."""

    @property
    def _timed(self) -> Column:
        type_ = self.value_type
        if is_.is_date32(type_) or is_.is_time(type_):
            coarse = pa.date32() if is_.is_date32(type_) else pa.time64("us")
        else:
            coarse = pa.timestamp("us", getattr(type_, "tz", None) and "UTC")
        return Column(self.type, self.sql, coarse, self.fine)

    @property
    def bounds(self) -> tuple[int, int]:
        """See `Column.bounds`."""
        return (_FIRST, _LAST) if self.in_days else (_FIRST * DAY, (_LAST + 1) * DAY - 1)

    def encode(self, array: pa.Array) -> list[pa.Array]:
        """See `Column.encode`."""
        coarse, *fine = self._timed.encode(array)
        self.check(coarse)
        return [coarse.cast(pa.large_string()), *fine]

    @property
    def beyond(self) -> str:
        """See `Column.beyond`."""
        return "times before the year 1 or after 9999 are not held in tables"

    def whole(self, number: int) -> Any:
        """See `Column.whole`."""
        counted = pa.array([number], pa.int32() if self.in_days else pa.int64())
        return sa.literal(counted.cast(self._timed.wire).cast(pa.string())[0].as_py(), sa.Text())

    def decode(self, arrays: list[Any]) -> Any:
        """See `Column.decode`."""
        texts, timed = arrays[0].cast(pa.string()), self._timed
        if is_.is_time(timed.wire):  # Arrow reads no times of day
            texts = pc.binary_join_element_wise("1970-01-01", texts, " ").cast(pa.timestamp("us"))
        return timed.decode([texts.cast(timed.wire), *arrays[1:]])


class Json(Plain):
    """Lists, structs and maps as JSON."""

    def encode(self, array: pa.Array) -> list[pa.Array]:
        """See `Column.encode`."""
        storage = array.storage if isinstance(array, pa.ExtensionArray) else array
        encoded = nested.encode(storage).to_pylist()
        return [pa.array([value and value[1:].decode() for value in encoded], pa.large_string())]

    def decode(self, arrays: list[Any]) -> Any:
        """See `Column.decode`."""
        if isinstance(self.type, pa.BaseExtensionType):
            return pa.ExtensionArray.from_storage(self.type, nested.decode(arrays[0], self.type.storage_type))
        return nested.decode(arrays[0], self.type)


def _value(literal: Any) -> Any:
    """The value of a literal, or of a cast of one."""
    return _value(literal.clause) if isinstance(literal, sa.Cast) else literal.value
