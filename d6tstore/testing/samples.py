"""Tables that backends are tried with, and what a part of one must be."""

from __future__ import annotations

import datetime as dt
import operator
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from d6tstore import content

_DAY = dt.datetime(2026, 3, 1, 12, 30, 15, 123456)
_ANCIENT = dt.datetime(1700, 1, 1)
_INTS = {
    pa.type_for_alias(f"{sign}int{bits}"): [0, 1, 2 ** (bits - (not sign)) - 1, 0 if sign else -(2 ** (bits - 1))]
    for sign in ("", "u") for bits in (8, 16, 32, 64)
}  # fmt: skip
_FLOATS = [-0.0, 0.0, float("inf"), float("-inf"), float("nan")]
TEXTS = [
    "",
    "b",
    "B",
    "a",
    "ä",
    "é\u0301",
    "a b ",
    "10",
    "9",
    "null",
    "%",
    "_",
    "\\",
    "'; DROP TABLE x; --",
    '"',
    "\n",
    "😀",
]
COLUMNS: dict[pa.DataType, list[Any]] = {
    **_INTS,
    pa.bool_(): [True, False],
    pa.float32(): [0.5, *_FLOATS, 3.4028234663852886e38, 1.401298464324817e-45],
    pa.float64(): [0.1, *_FLOATS, 1.7976931348623157e308, 5e-324],
    pa.string(): TEXTS,
    pa.large_string(): TEXTS,
    pa.binary(): [b"", b"\0", b"a", b"B", b"\xff\xfe", b"'"],
    pa.large_binary(): [b"", b"\0\xff"],
    pa.binary(2): [b"ab", b"\0\xff"],
    pa.decimal128(38, 10): [Decimal("1e-10"), Decimal("-9999999999999999999999999999.9999999999")],
    pa.decimal256(70, 2): [Decimal("1.50"), Decimal("-" + "9" * 68 + ".99")],
    pa.date32(): [dt.date(1, 1, 1), _DAY.date(), dt.date(9999, 12, 31)],
    pa.time32("ms"): [dt.time(0), dt.time(23, 59, 59, 999000)],
    pa.time64("us"): [dt.time(0), dt.time(23, 59, 59, 999999)],
    pa.timestamp("s"): [_DAY.replace(microsecond=0), _ANCIENT],
    pa.timestamp("us"): [_DAY, _ANCIENT, dt.datetime(9999, 12, 31)],
    pa.timestamp("ns"): [1, -1, 1_772_368_215_123_456_789],
    pa.timestamp("us", "Europe/Berlin"): [_DAY.replace(tzinfo=dt.UTC), _ANCIENT.replace(tzinfo=dt.UTC)],
    pa.timestamp("ns", "UTC"): [1, 1_772_368_215_123_456_789],
    pa.duration("us"): [dt.timedelta(0), dt.timedelta(days=-400, microseconds=1)],
    pa.duration("ns"): [1, -1, 2**60],
    pa.dictionary(pa.int8(), pa.string()): ["b", "a", "b"],
    pa.dictionary(pa.int32(), pa.string(), ordered=True): ["low", "high", "low"],
    pa.null(): [],
    pa.list_(pa.int64()): [[], [1, None, 3]],
    pa.struct({"x": pa.int64(), "y": pa.string()}): [{"x": 1, "y": None}],
}  # fmt: skip
"""Types of columns and some values of each; NULL comes in between. A backend may refuse a type, or keep it."""

NAMES = {
    "quotes": ['"', "'", '"x"', "`", "a'b", "[a]", "a\"\"b", "\\", "\\'"],
    "spaces": [" ", " a", "a ", "a  b", "tab\t", "line\nend"],
    "unicode": ["ü", "u\u0308", "价格", "😀", "ß", "ẞ"],
    "long": ["l" * 60, "l" * 63, "l" * 64, "l" * 64 + "x", "l" * 64 + "y", "ü" * 60, "l" * 500],
    "case": ["price", "Price", "PRICE"],
    "words": ["select", "order", "group", "rowid", "oid", "ctid", "index", "key", "position", "_"],
    "signs": ["%", "%s", "%(a)s", ":a", "?", "$1", "{x}", "a.b", "a;b", "--", "/*", "1", "-1", "a,b", "@a", "#"],
    "injections": ['x"; DROP TABLE t; --', "x') ; DELETE FROM t; --", 'a" INTEGER, "b', "x' OR '1'='1"],
    "empty": [""],
    "many": [f"column {i}" for i in range(1_700)],
}  # fmt: skip
"""Names of columns; a backend may refuse a group of them, or keep it."""

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "in": lambda x, values: x in values, "not in": lambda x, values: x not in values,
}  # fmt: skip
Condition = tuple[str, str, Any]


def mixed(rows: int) -> pa.Table:
    """A table of the types that each backend accepts, with NULL in each column."""
    order = random.Random(rows)
    columns = {
        "i": (pa.int64(), [*range(-2, 8), None]),
        "f": (pa.float64(), [*COLUMNS[pa.float64()], 0.5, None]),
        "s": (pa.string(), [*TEXTS, None]),
        "b": (pa.bool_(), [True, False, None]),
    }
    return pa.table({name: pa.array(order.choices(values, k=rows), type_) for name, (type_, values) in columns.items()})


def numbered(number: int) -> pa.Table:
    """A table that tells whether it is whole: of each row the number, and which it is."""
    rows = 1_000 + 500 * (number % 3)
    return pa.table({"n": pa.array([number] * rows, pa.int64()), "row": range(rows)})


def part(
    table: pa.Table, columns: Sequence[str] | None, where: Sequence[Condition] | None, limit: int | None
) -> pa.Table:
    """What `TableBackend.read_table` must give, taken row by row."""
    rows = list(range(table.num_rows))
    for name, op, value in where or ():
        data = table[name].to_pylist()
        rows = [row for row in rows if _satisfies(data[row], op, value)]
    return table.select(table.schema.names if columns is None else columns).take(pa.array(rows[:limit], pa.int64()))


def _satisfies(x: Any, op: str, value: Any) -> bool:
    """NULL satisfies nothing but == None, and `in` a list that has it."""
    if value is None:
        return (x is None) == (op == "==")
    if x is None:
        return op == "in" and None in value
    return COMPARE[op](x, value)


def same(found: pa.Table, expected: pa.Table) -> None:
    """Equal in names, order, values and, as d6tstore restores them, in types."""
    assert found.schema.names == expected.schema.names
    assert found.num_rows == expected.num_rows
    found = found.cast(expected.schema)
    for name, one, two in zip(found.schema.names, found.columns, expected.columns, strict=True):
        assert one.equals(two) or str(one.to_pylist()) == str(two.to_pylist()), f"column {name!r} of type {one.type}"
    assert content.of_table(found) == content.of_table(expected)
