"""How a column of Arrow data becomes one column of Postgres, or two, and comes back equal.

Nanoseconds, which Postgres does not have, lie in a second column `<name> ns`: what is below a microsecond (0 to 999).
uint64 is numeric(20), durations are intervals of microseconds, categories are their values (the list of them stands in
the catalogue), structs, maps and lists of what has no array are jsonb.
"""

from __future__ import annotations

import decimal
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pyarrow import types as is_
from sqlalchemy.dialects import postgresql as pg

from d6tstore.errors import Unsupported
from d6tstore_plugins.sql import nested

_INTEGERS: dict[Any, tuple[Any, pa.DataType]] = {
    pa.int8(): (sa.SmallInteger(), pa.int16()),
    pa.int16(): (sa.SmallInteger(), pa.int16()),
    pa.int32(): (sa.Integer(), pa.int32()),
    pa.int64(): (sa.BigInteger(), pa.int64()),
    pa.uint8(): (sa.SmallInteger(), pa.int16()),
    pa.uint16(): (sa.Integer(), pa.int32()),
    pa.uint32(): (sa.BigInteger(), pa.int64()),
    pa.uint64(): (sa.Numeric(20, 0), pa.decimal128(20, 0)),
}
_ELEMENTS = (
    sa.SmallInteger, sa.Integer, sa.BigInteger, pg.REAL, pg.DOUBLE_PRECISION, sa.Boolean, sa.Text, sa.LargeBinary,
)  # fmt: skip
_TEXTS = (is_.is_null, is_.is_string, is_.is_large_string, is_.is_string_view)
DAY = 86_400_000_000  # microseconds
_FIRST_DAY, _LAST_DAY = -2_440_588, 2_145_042_905  # 4714-11-24 BC to 5874897-12-31, in days from 1970
_MOST = 2**63 - 1


class Column(NamedTuple):
    """A column of a frame in a table: its types in Arrow, in SQL, with drivers; and whether it has a second one."""

    type: pa.DataType
    sql: Any
    wire: pa.DataType
    fine: bool = False

    def end(self, start: int) -> int:
        """Where it ends in a row, in bytes, if it starts there. What varies in length counts as 8."""
        size = {sa.Boolean: 1, sa.SmallInteger: 2, sa.Integer: 4, pg.REAL: 4, sa.Date: 4, pg.INTERVAL: 16}.get(
            type(self.sql), 8
        )
        varies = isinstance(self.sql, sa.Text | sa.LargeBinary | sa.Numeric | pg.ARRAY | pg.JSONB | sa.JSON | sa.Uuid)
        end = start + (0 if varies else -start % min(size, 8)) + size
        return end + end % 2 + 2 if self.fine else end

    def encode(self, array: pa.Array) -> list[pa.Array]:
        """What drivers are given. Raises Unsupported: a value that the SQL type does not hold."""
        if is_.is_dictionary(array.type):
            array = array.dictionary_decode()
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        if isinstance(self.sql, pg.JSONB):
            return [nested.encode(array)]
        fine = []
        if self.fine:
            coarse, rest = _split(array.cast(pa.int64()))
            array, fine = coarse.cast(_coarse(array.type)), [rest]
        try:
            array = array.cast(self.wire)
        except pa.ArrowInvalid as exc:
            raise Unsupported(f"the database does not hold all of its values ({exc})") from exc
        self.check(array)
        return [array, *fine]

    def check(self, array: pa.Array) -> None:
        """Drivers wrap what is too early or too late. Raises Unsupported."""
        if not (self.in_days or is_.is_timestamp(array.type)):
            return
        found = pc.min_max(array.cast(pa.int32() if self.in_days else pa.int64())).as_py()
        first, last = self.bounds
        if found["min"] is not None and not first <= found["min"] <= found["max"] <= last:
            raise Unsupported(self.beyond)

    @property
    def beyond(self) -> str:
        """What is said of a time that is out of bounds."""
        return "databases have no times before 4714 BC, and no dates after the year 5874897"

    @property
    def value_type(self) -> pa.DataType:
        """The type of its values: of categories, that of what they list."""
        return self.type.value_type if is_.is_dictionary(self.type) else self.type

    @property
    def in_days(self) -> bool:
        """Does it count days? All other times are counted in microseconds."""
        return bool(is_.is_date32(self.value_type))

    @property
    def bounds(self) -> tuple[int, int]:
        """The first and the last that a column of days or microseconds holds, from 1970 on."""
        if self.in_days:
            return _FIRST_DAY, _LAST_DAY
        return (_FIRST_DAY * DAY if is_.is_timestamp(self.wire) else -_MOST - 1), _MOST

    # --------------------------------------------------------------- conditions

    def compared(self, column: Any) -> Any:
        """The column in conditions; text by code point, whatever the language of the database."""
        return column.collate("C") if isinstance(self.sql, sa.Text) else column

    def listed(self, column: Any, values: list[Any]) -> Any:
        """The condition on what `compared` gave that it is one of some values."""
        return column.in_(values)

    def is_number(self, column: Any) -> Any:
        """The condition on a column of floats that it is not NaN, which Postgres has above all numbers."""
        return column != sa.cast("NaN", self.sql)

    def whole(self, number: int) -> Any:
        """A whole number in SQL; of a time, so many days or microseconds: Python's own know fewer years."""
        if is_.is_integer(self.value_type):
            return sa.literal(decimal.Decimal(number) if isinstance(self.sql, sa.Numeric) else number, self.sql)
        if self.in_days:
            return sa.cast("1970-01-01", sa.Date) + sa.cast(number, sa.Integer)
        days, rest = divmod(number, DAY)
        if is_.is_time(self.wire):
            return sa.cast("00:00", sa.Time) + sa.cast(f"{rest} microseconds", pg.INTERVAL)
        interval = sa.cast(f"{days} days {rest} microseconds", pg.INTERVAL)
        if is_.is_duration(self.wire):
            return interval
        moment = sa.cast("1970-01-01", sa.TIMESTAMP) + interval
        return sa.func.timezone("UTC", moment) if self.wire.tz else moment

    # ------------------------------------------------------------------- reading

    def select(self, column: Any) -> Any:
        """What is asked of the database, such that drivers give all of it."""
        if isinstance(self.sql, pg.INTERVAL):
            return sa.cast(sa.extract("epoch", column) * 1_000_000, sa.BigInteger)
        return column

    def decode(self, arrays: list[Any]) -> Any:
        """What drivers gave as the type of the frame; of a dictionary, as its values."""
        array = arrays[0]
        type_ = self.value_type
        storage = type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        if isinstance(self.sql, pg.JSONB):
            array = nested.decode(array, storage)
        elif is_.is_null(storage):
            array = pa.nulls(len(array))
        elif self.fine:
            whole = pc.multiply(array.cast(pa.int64()), 1000)
            array = pc.add(whole, arrays[1].cast(pa.int64())).cast(storage)
        elif isinstance(self.sql, pg.INTERVAL):
            array = array.cast(pa.duration("us")).cast(storage)
        elif is_.is_decimal(self.wire) or is_.is_fixed_size_binary(storage) or is_.is_timestamp(storage):
            array = array.cast(self.wire).cast(storage)
        else:
            array = array.cast(storage)
        return pa.ExtensionArray.from_storage(type_, array) if isinstance(type_, pa.BaseExtensionType) else array


def column(type_: pa.DataType) -> Column | str:
    """How a type is held, or the reason why it is not."""
    inner = type_.value_type if is_.is_dictionary(type_) else type_
    named = getattr(type_, "extension_name", "")
    if named == "arrow.uuid":
        return Column(type_, sa.Uuid(), pa.binary(16))
    if is_.is_dictionary(type_) and is_.is_nested(inner):
        return "categories that are lists or structs"
    if named == "arrow.json":
        return Column(type_, sa.JSON(), pa.large_string())  # jsonb would not keep the text as it is
    if isinstance(type_, pa.BaseExtensionType):
        found = column(type_.storage_type)
        plain = isinstance(found, Column) and not is_.is_dictionary(type_.storage_type)
        return found._replace(type=type_) if isinstance(found, Column) and plain else f"the extension type {type_}"
    if (element := _element(type_)) is not None:
        return Column(type_, pg.ARRAY(element.sql), pa.list_(element.wire))
    if is_.is_nested(type_):
        reason = nested.refusal(type_)
        return reason or Column(type_, pg.JSONB(), pa.binary())
    scalar = _scalar(inner)
    return f"the type {type_}" if scalar is None else scalar._replace(type=type_)


def _element(type_: pa.DataType) -> Column | None:
    """Of a list that is an array in Postgres, the column of its values."""
    if not (is_.is_list(type_) or is_.is_large_list(type_)) or is_.is_nested(type_.value_type):
        return None
    found = column(type_.value_type)
    simple = isinstance(found, Column) and isinstance(found.sql, _ELEMENTS)
    if not simple or is_.is_null(type_.value_type) or is_.is_dictionary(type_.value_type):
        return None
    return found if isinstance(found, Column) and not isinstance(type_.value_type, pa.BaseExtensionType) else None


def _scalar(type_: pa.DataType) -> Column | None:
    fine = getattr(type_, "unit", None) == "ns"
    if type_ in _INTEGERS:
        return Column(type_, *_INTEGERS[type_])
    if is_.is_float16(type_) or is_.is_float32(type_):
        return Column(type_, pg.REAL(), pa.float32())
    if is_.is_float64(type_):
        return Column(type_, pg.DOUBLE_PRECISION(), pa.float64())
    if is_.is_boolean(type_):
        return Column(type_, sa.Boolean(), pa.bool_())
    if any(test(type_) for test in _TEXTS):
        return Column(type_, sa.Text(), pa.large_string())
    if nested.is_bytes(type_):
        return Column(type_, sa.LargeBinary(), pa.large_binary())
    if is_.is_decimal(type_):
        if not 0 <= type_.scale <= type_.precision:
            return None
        wide = pa.decimal256 if is_.is_decimal256(type_) else pa.decimal128
        return Column(type_, sa.Numeric(type_.precision, type_.scale), wide(type_.precision, type_.scale))
    if is_.is_date32(type_):
        return Column(type_, sa.Date(), pa.date32())
    if is_.is_date64(type_):
        return Column(type_, sa.TIMESTAMP(), pa.timestamp("us"))
    if is_.is_timestamp(type_):
        return Column(type_, sa.TIMESTAMP(timezone=bool(type_.tz)), pa.timestamp("us", type_.tz and "UTC"), fine)
    if is_.is_time(type_):
        return Column(type_, sa.Time(), pa.time64("us"), fine)
    if is_.is_duration(type_):
        return Column(type_, pg.INTERVAL(), pa.duration("us"), fine)
    return None


def _coarse(type_: pa.DataType) -> pa.DataType:
    """The type with microseconds in the place of nanoseconds."""
    if is_.is_timestamp(type_):
        return pa.timestamp("us", type_.tz)
    return pa.duration("us") if is_.is_duration(type_) else pa.time64("us")


def _split(nanoseconds: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Whole microseconds and what is above them, 0 to 999: such pairs compare as their parts do."""
    down = pc.divide(nanoseconds, 1000)
    rest = pc.subtract(nanoseconds, pc.multiply(down, 1000))
    below = pc.less(rest, 0)
    down = pc.subtract(down, below.cast(pa.int64()))
    return down, pc.if_else(below, pc.add(rest, 1000), rest).cast(pa.int16())
