"""Strategies (hypothesis) of pandas frames, for the tests of all formats of frames.

`frames(PLAIN)` are those that text can hold too, `frames()` those of all kinds of columns.
"""

import datetime as dt
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import strategies as st

NAN = float("nan")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
STAMPS = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))
DATES = st.dates(dt.date(1, 1, 2), dt.date(9999, 12, 30))
DECIMALS = st.decimals(-(10**9), 10**9, places=3)
WHOLE = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats()


def whole(bits, signed=True):
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


def _typed(dtype):
    return lambda values: pd.array(values, dtype=dtype)


def _arrow(type_):
    return lambda values: pd.array(pa.array(values, type_, from_pandas=False), dtype=pd.ArrowDtype(type_))


def _objects(values):
    array = np.empty(len(values), object)
    array[:] = values
    return pd.Series(array, dtype=object).array


def _zoned(dtype):
    return lambda values: pd.Series(pd.to_datetime(values, utc=True)).astype(dtype).array


class Marked(NamedTuple):
    """Objects, of which those that are missing are marked in one way."""

    values: Any
    marks: tuple[Any, ...]


def _with_mark(values, *marks):
    return Marked(values, marks)


SIGNED = {f"int{bits}": (whole(bits), _typed(f"int{bits}")) for bits in (8, 16, 32, 64)}
UNSIGNED = {f"uint{bits}": (whole(bits, False), _typed(f"uint{bits}")) for bits in (8, 16, 32, 64)}
NULLABLE = {
    **{f"Int{bits}": (st.none() | whole(bits), _typed(f"Int{bits}")) for bits in (8, 64)},
    **{f"UInt{bits}": (st.none() | whole(bits, False), _typed(f"UInt{bits}")) for bits in (16, 64)},
    "boolean": (st.none() | st.booleans(), _typed("boolean")),
    "Float32": (st.none() | st.floats(width=32, allow_nan=False), _typed("Float32")),
    "Float64": (st.none() | st.floats(allow_nan=False), _typed("Float64")),
    "string": (st.none() | TEXT, _typed("string")),
    "string python": (st.none() | TEXT, _typed(pd.StringDtype("python"))),
}
TIMES = {
    **{
        f"datetime {unit}": (st.none() | STAMPS, lambda values, unit=unit: pd.to_datetime(values).as_unit(unit).array)
        for unit in ("ms", "us", "ns")
    },
    "datetime Berlin": (st.none() | STAMPS, _zoned("datetime64[us, Europe/Berlin]")),
    "datetime +05:30": (st.none() | STAMPS, _zoned(pd.DatetimeTZDtype("ns", dt.timezone(dt.timedelta(hours=5.5))))),
    "timedelta": (st.none() | st.integers(-(2**50), 2**50), _typed("timedelta64[us]")),
}
ARROW = {
    "arrow int8": (st.none() | whole(8), _arrow(pa.int8())),
    "arrow double": (st.none() | FLOATS, _arrow(pa.float64())),
    "arrow string": (st.none() | TEXT, _arrow(pa.string())),
    "arrow date": (st.none() | DATES, _arrow(pa.date32())),
    "arrow decimal": (st.none() | DECIMALS, _arrow(pa.decimal128(20, 3))),
    "arrow timestamp": (st.none() | STAMPS, _arrow(pa.timestamp("us", "Asia/Tokyo"))),
}
OBJECTS = {
    "object text": (_with_mark(TEXT, None, NAN, pd.NA), _objects),
    "object int": (_with_mark(WHOLE, None, NAN), _objects),
    "object float": (st.just(None) | FLOATS, _objects),
    "object bool": (_with_mark(st.booleans(), None, pd.NA), _objects),
    "object date": (_with_mark(DATES, None, pd.NaT), _objects),
    "object datetime": (st.none() | STAMPS, _objects),
    "object decimal": (st.none() | DECIMALS, _objects),
    "object time": (st.none() | st.times(), _objects),
    "object Timestamp": (_with_mark(STAMPS.map(pd.Timestamp), pd.NaT), _objects),
    "object numpy": (whole(32).map(np.int32), _objects),
    "object of all marks": (st.sampled_from([None, NAN, pd.NA, pd.NaT, "x"]), _objects),
    "object mixed": (st.none() | TEXT | WHOLE | st.booleans() | FLOATS | STAMPS, _objects),
    "nothing": (st.none(), _objects),
}
PLAIN = {
    **SIGNED,
    **UNSIGNED,
    "float64": (FLOATS, _typed("float64")),
    "float32": (st.floats(width=32), _typed("float32")),
    "bool": (st.booleans(), _typed("bool")),
    "str": (st.none() | TEXT, _typed("str")),
    **NULLABLE,
    **TIMES,
    **ARROW,
    **OBJECTS,
}


CATEGORIES = {
    name: (st.none() | values, lambda found, make=make: _categorical(found, make))
    for name, (values, make) in {
        "category of text": (TEXT, _typed("str")),
        "category of objects": (TEXT, _objects),
        "category of mixed objects": (TEXT | whole(8).filter(lambda i: i not in (0, 1)) | st.booleans(), _objects),
        "category of ints": (whole(64), _typed("int64")),
        "category of uint8": (whole(8, False), _typed("uint8")),
        "category of floats": (st.floats(allow_nan=False), _typed("float64")),
        "category of times": (STAMPS, lambda v: pd.to_datetime(v).as_unit("us").array),
        "category of zoned times": (STAMPS, _zoned("datetime64[us, Europe/Berlin]")),
        "category of dates": (DATES, _objects),
        "category of decimals": (DECIMALS, _objects),
        "category of periods": (whole(8), lambda v: pd.PeriodIndex.from_ordinals(v, freq="D").array),
        "category of intervals": (whole(8), lambda v: pd.IntervalIndex.from_tuples([(i, i + 1) for i in v]).array),
        "category of float intervals": (
            st.floats(0, 1),
            lambda v: pd.IntervalIndex.from_arrays([float(x) for x in v], [x + 1.0 for x in v], "left").array,
        ),
        "category of nullable": (whole(8), _typed("Int16")),
    }.items()
}


def _categorical(values, make):
    """Categories in the order in which they appear, backwards, and one that no row may use."""
    present = list(dict.fromkeys(v for v in values if v is not None))
    codes = [-1 if v is None else present.index(v) for v in values]
    return pd.Categorical.from_codes(codes, pd.Index(make(present), tupleize_cols=False), ordered=len(values) % 2 == 0)


def _periods(values):
    return pd.array([pd.NaT if i is None else pd.Period(ordinal=i, freq="M") for i in values], "period[M]")


def _intervals(values):
    return pd.IntervalIndex.from_tuples([(i, i + 2) for i in values], "both", dtype="interval[int64, both]").array


NESTED = {
    **CATEGORIES,
    "period": (st.none() | whole(16), _periods),
    "interval": (whole(16), _intervals),
    "bytes": (st.none() | st.binary(max_size=4), _objects),
    "lists": (st.none() | st.lists(st.none() | FLOATS, max_size=3), _objects),
    "lists of text": (st.none() | st.lists(st.none() | TEXT, max_size=3), _objects),
    "dicts": (st.none() | st.fixed_dictionaries({"a": st.none() | WHOLE, "b": st.lists(STAMPS, max_size=2)}), _objects),
    "arrow lists": (st.none() | st.lists(st.none() | WHOLE, max_size=3), _arrow(pa.list_(pa.int64()))),
    "arrow structs": (
        st.none() | st.fixed_dictionaries({"x": st.none() | whole(8), "y": st.lists(st.none() | TEXT, max_size=2)}),
        _arrow(pa.struct([("x", pa.int8()), ("y", pa.list_(pa.string()))])),
    ),
    "arrow maps": (
        st.none() | st.dictionaries(TEXT, st.none() | FLOATS, max_size=2).map(lambda d: list(d.items())),
        _arrow(pa.map_(pa.string(), pa.float64())),
    ),
}
ALL = PLAIN | NESTED
INDEXED = [
    "int8",
    "int64",
    "uint64",
    "float64",
    "float32",
    "bool",
    "str",
    "string",
    "Int64",
    "boolean",
    "datetime ns",
    "datetime Berlin",
    "timedelta",
    "arrow int8",
    "arrow decimal",
    "object text",
    "object int",
    "object date",
    "category of text",
    "category of intervals",
    "category of objects",
    "period",
    "interval",
]
"""Kinds of columns that are tried as levels of an index too."""


@st.composite
def columns(draw, kind, rows, kinds=ALL):
    """An array of a kind."""
    values, make = kinds[kind]
    if isinstance(values, Marked):
        values = st.just(draw(st.sampled_from(values.marks))) | values.values
    return make(draw(st.lists(values, min_size=rows, max_size=rows)))


@st.composite
def labels(draw, count, kinds=ALL):
    """Labels of so many columns or, with names, levels of an index."""
    usual = st.lists(TEXT, min_size=count, max_size=count, unique=True).map(lambda names: pd.Index(names, dtype="str"))
    repeated = st.lists(st.sampled_from(["a", "b", "a.1", "1"]), min_size=count, max_size=count).map(pd.Index)
    mixed = st.lists(st.sampled_from([1, "1", 1.5, None, True, ("a", 1), "a"]), min_size=count, max_size=count)
    mixed = mixed.map(lambda found: pd.Index(found, dtype=object, tupleize_cols=False))
    levels = [kind for kind in INDEXED if kind in kinds]
    one = (
        st.sampled_from(levels)
        .flatmap(lambda kind: columns(kind, count))
        .map(lambda found: pd.Index(found, tupleize_cols=False))
    )
    ranges = st.integers(-3, 3).map(lambda start: pd.RangeIndex(start, start + 2 * count, 2))
    found = draw(
        st.one_of(usual, usual, repeated, mixed, one, ranges, st.tuples(one, one).map(pd.MultiIndex.from_arrays))
    )
    names = st.none() | TEXT | st.integers(0, 3) | st.tuples(TEXT, st.integers(0, 2))
    return found.set_names(draw(st.lists(names, min_size=found.nlevels, max_size=found.nlevels)))


@st.composite
def indexes(draw, rows, kinds=ALL):
    """An index of so many rows: a range, one level, or several."""
    count = draw(st.integers(0, 3))
    names = st.none() | st.sampled_from(["a", "b", "i"]) | st.integers(0, 2)
    name = draw(st.lists(names, min_size=max(count, 1), max_size=max(count, 1)))
    if not count:
        start, step = draw(st.integers(-5, 5)), draw(st.sampled_from([1, 2, -3]))
        return pd.RangeIndex(start, start + rows * step, step, name=name[0])
    chosen = draw(
        st.lists(st.sampled_from([kind for kind in INDEXED if kind in kinds]), min_size=count, max_size=count)
    )
    levels = [pd.Index(draw(columns(kind, rows)), tupleize_cols=False) for kind in chosen]
    return levels[0].set_names(name) if count == 1 else pd.MultiIndex.from_arrays(levels, names=name)


@st.composite
def frames(draw, kinds=ALL, max_rows=6, max_columns=4):
    """Frames of these kinds of columns (a part of `ALL`), with labels and an index of all kinds.

    Some hold what no format takes (objects of several types, or of several marks for what is missing).
    """
    rows, count = draw(st.integers(0, max_rows)), draw(st.integers(0, max_columns))
    chosen = draw(st.lists(st.sampled_from(sorted(kinds)), min_size=count, max_size=count))
    data = {i: pd.Series(draw(columns(kind, rows))) for i, kind in enumerate(chosen)}
    frame = pd.DataFrame(data, index=range(rows))
    frame.columns = draw(labels(count, kinds))
    frame.index = draw(indexes(rows, kinds))
    return frame


@st.composite
def cuts(draw, rows):
    """Places at which a frame of so many rows is cut into parts."""
    return sorted(draw(st.lists(st.integers(0, rows), max_size=3)))
