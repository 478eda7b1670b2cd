"""pandas frames that come back equal or are refused, for the tests of all formats; and what equal means.

`VALUES` come back from every format of pandas frames, `PARQUET` from those that have every Arrow type; `REFUSED` are
refused by all of them.
"""

import datetime as dt
import decimal
import zoneinfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import d6tstore
from d6tstore.errors import FormatError
from d6tstore.testing import FormatTests, Refused
from d6tstore.testing.formats import _dumped, _loaded, _task

D = decimal.Decimal
NAN = float("nan")


def objects(*values, **more):
    return pd.DataFrame({"o": pd.Series(list(values), dtype=object), **more})


def series(values, dtype):
    return pd.DataFrame({"a": pd.array(values, dtype=dtype)})


def indexed(index, name=None):
    frame = pd.DataFrame({"a": range(len(index))}, index=index)
    return frame if name is None else frame.rename_axis(name)


def labelled(labels, **names):
    frame = pd.DataFrame([range(len(labels))], columns=labels)
    return frame.rename_axis(**names) if names else frame


def times(*values, unit, tz=None):
    return pd.DataFrame({"t": pd.to_datetime(list(values)).as_unit(unit).tz_localize(tz)})


def with_attrs(attrs):
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = attrs
    return frame


def same_frame(a, b):
    """Stricter than pandas: the same dtypes, null marks, types of objects, kind of index, attrs."""
    pd.testing.assert_frame_equal(_typed(a), _typed(b), check_exact=True, check_column_type=True, check_freq=True)
    assert a.attrs == b.attrs
    for old, new in [(a.index, b.index), (a.columns, b.columns)]:
        assert type(old) is type(new) and old.names == new.names and old.nlevels == new.nlevels
        assert getattr(old, "freq", None) == getattr(new, "freq", None)
        old, new = (each.set_names([None] * each.nlevels) for each in (old, new))  # numbers could be names
        for i in range(old.nlevels):
            _same_values(old.get_level_values(i), new.get_level_values(i))
    for i in range(a.shape[1]):
        _same_values(a.iloc[:, i], b.iloc[:, i])
    return True


def _typed(frame):
    """Without what the pandas of the day cannot compare: objects, which may hold NaN, and nested values."""
    frame = frame.copy(deep=False)
    for i, dtype in enumerate(frame.dtypes):
        if dtype == "object" or isinstance(dtype, pd.ArrowDtype):
            frame.isetitem(i, 0)
    return frame


def _same_values(old, new):
    assert old.dtype == new.dtype
    if not isinstance(old.dtype, pd.ArrowDtype):  # in which names of the items of lists do not count
        assert repr(old.dtype) == repr(new.dtype)
    if isinstance(old.dtype, np.dtype) and old.dtype.kind == "f":
        assert np.array_equal(np.signbit(old[old.notna()]), np.signbit(new[new.notna()]))
    elif isinstance(old.dtype, pd.CategoricalDtype):
        _same_values(pd.Series(old.dtype.categories), pd.Series(new.dtype.categories))
    elif old.dtype == object:
        assert all(map(same_value, old, new)), f"{old.tolist()} came back as {new.tolist()}"
    elif isinstance(old.dtype, pd.ArrowDtype | pd.Float64Dtype | pd.Float32Dtype):  # NaN and NULL
        old, new = (pa.array(pd.Series(each).array).to_pylist() for each in (old, new))
        assert all(map(same_value, old, new)), f"{old} came back as {new}"


def same_value(a, b):
    """One object, and what it holds: the same type and value; NaN is NaN."""
    if type(a) is not type(b):
        return False
    if a is b:
        return True
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_value, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same_value(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, pd.Timestamp | pd.Timedelta):
        return a == b and a.unit == b.unit and str(getattr(a, "tz", None)) == str(getattr(b, "tz", None))
    return bool(a == b or (a != a and b != b))


VALUES = {
    "plain": pd.DataFrame({"i": [1, -2], "f": [0.5, NAN], "s": ["x", None], "b": [True, False]}),
    "small ints": pd.DataFrame({k: np.array([0, 1], k) for k in ("i1", "i2", "i4", "u1", "u2", "u4", "u8")}),
    "large ints": pd.DataFrame({"u": np.array([0, 2**64 - 1], "u8"), "i": [-(2**63), 2**63 - 1]}),
    "floats": pd.DataFrame({"a": [0.1, NAN, -0.0, 1e308, 5e-324, np.inf, -np.inf, 1e22, 123456789012345680.0, 1 / 3]}),
    "float32": pd.DataFrame({"a": np.array([0.1, NAN, np.inf, 1e-45], "f4")}),
    "float16": pd.DataFrame({"a": np.array([0.1, NAN, 65504], "f2")}),
    "nullable": pd.DataFrame(
        {
            "i": pd.array([1, None], "Int64"),
            "u": pd.array([2**64 - 1, None], "UInt64"),
            "b": pd.array([True, None], "boolean"),
            "f": pd.array([0.5, None], "Float32"),
            "s": pd.array(["", None], "string"),
            "t": pd.array(["", None], "str"),
        }
    ),
    "nullable without nulls": pd.DataFrame({"i": pd.array([1, 2], "Int8"), "b": pd.array([True, False], "boolean")}),
    "arrow dtypes": pd.DataFrame(
        {"i": pd.array([1, None], "int64[pyarrow]"), "s": pd.array(["a", None], "string[pyarrow]")}
    ),
    "python strings": pd.DataFrame(
        {
            "a": pd.array(["x", None], pd.StringDtype("python")),
            "b": pd.array(["x", None], pd.StringDtype("python", na_value=NAN)),
        }
    ),
    **{f"datetime {unit}": times("2020-02-29 12:34:56", None, unit=unit) for unit in ("s", "ms", "us", "ns")},
    "nanosecond": pd.DataFrame({"t": pd.to_datetime([1, -1, None], unit="ns")}),
    "far dates": times(pd.Timestamp("0001-01-01"), pd.Timestamp("9999-12-31 23:59:59.999999"), unit="us"),
    "time zones": pd.DataFrame(
        {
            "utc": pd.to_datetime(["2020-10-25 00:30", None]).tz_localize("UTC"),
            "name": pd.to_datetime(["2020-10-25", None]).tz_localize("Europe/Berlin"),
            "info": pd.to_datetime(["2020-10-25", None]).tz_localize(zoneinfo.ZoneInfo("Asia/Tokyo")),
            "fixed": pd.to_datetime(["2020-10-25", None]).tz_localize(dt.timezone(dt.timedelta(hours=5, minutes=30))),
            "fold": pd.to_datetime(["2020-10-25 00:30", "2020-10-25 01:30"])
            .tz_localize("UTC")
            .tz_convert("Europe/Berlin")
            .as_unit("ns"),
        }
    ),
    "timedelta": pd.DataFrame(
        {
            "s": pd.to_timedelta([1, None], unit="s").as_unit("s"),
            "ns": pd.to_timedelta([1, None], unit="ns").as_unit("ns"),
        }
    ),
    "dates": objects(dt.date(2020, 1, 1), None, dt.date(1, 1, 1)),
    "times": objects(dt.time(1, 2, 3, 4), None),
    "decimals": objects(D("1.10"), D("-2.2"), None),
    "long decimal": objects(D("12345678901234567890123456789012.12")),
    "text": pd.DataFrame(
        {
            "a": [
                "",
                None,
                '"',
                'a"b',
                "a,b",
                "a\nb",
                "a\r\nb",
                "\r",
                " lead",
                "trail ",
                "NULL",
                "nan",
                "NA",
                "None",
                "é\U0001f600",
                "\0",
                "'",
                "\ufeff",
                "\t",
                "#",
                "true",
                "1",
                "1e5",
                "2020-01-01",
                "=1+1",
                ";",
                "\\",
                "\\n",
                '""',
            ]
        }
    ),
    "a column with nulls": series(["x", None, "y", None], "str"),
    "a column of nulls and ''": series(["", None, ""], "str"),
    "a nullable column": series([1, None, 3], "Int64"),
    "nothing but nulls": pd.DataFrame({"a": [None, None], "b": [NAN, NAN]}),
    "one null": pd.DataFrame({"a": [None]}),
    "only NaN": pd.DataFrame({"a": [NAN, NAN]}),
    "no rows": pd.DataFrame(
        {
            "a": pd.Series([], dtype="i8"),
            "s": pd.Series([], dtype="str"),
            "o": pd.Series([], dtype=object),
            "t": pd.Series([], dtype="datetime64[ns]"),
        }
    ),
    "empty": pd.DataFrame(),
    "no columns": pd.DataFrame(index=["x", "y"]),
    "no columns, range": pd.DataFrame(index=range(5)),
    "many columns": pd.DataFrame({f"c{i}": [i] for i in range(1000)}),
    # objects: their kind is kept, and how nulls are written
    **{
        f"object {name}": objects(*values)
        for name, values in {
            "str": ("a", "b"),
            "str None": ("a", None),
            "str nan": ("a", NAN),
            "str NA": ("a", pd.NA),
            "int": (1, 2),
            "int None": (1, None),
            "int nan": (1, NAN),
            "large int": (2**63 - 1, None),
            "bool": (True, False),
            "bool None": (True, None),
            "float": (1.5, 2.0),
            "float None": (1.5, None),
            "float NaN": (1.5, NAN),
            "None": (None, None),
            "nan": (NAN, NAN),
            "NA": (pd.NA,),
            "NaT": (pd.NaT, pd.NaT),
            "datetime": (dt.datetime(2020, 1, 1, 0, 0, 0, 1), None),
            "datetime NaT": (dt.datetime(9999, 1, 1), pd.NaT),
            "timedelta": (dt.timedelta(1, 2, 3), None),
            "Decimal nan": (D("1"), NAN),
        }.items()
    },
    # labels of columns
    "int labels": pd.DataFrame(np.eye(2)),
    "int labels, no range": labelled([5, 3]),
    "int32 labels": labelled(pd.Index(np.array([5, 3], "i4"))),
    "range labels": labelled(pd.RangeIndex(2, 6, 2)),
    "float labels": labelled([0.5, 1.5]),
    "bool labels": labelled([True, False]),
    "tuple labels": pd.DataFrame({("a", 1): [1]}),
    "levels": labelled(pd.MultiIndex.from_tuples([("a", "x"), ("b", "y")], names=["n", "m"])),
    "mixed labels": labelled(["a", 1, None, 2.5, True]),
    "label None": labelled([None]),
    "object labels": labelled(pd.Index(["a", "b"], dtype=object)),
    "dates as labels": labelled(pd.date_range("2020", periods=2)),
    "some tuples": labelled(pd.Index([("a", 1), "b"], dtype=object, tupleize_cols=False)),
    "named labels": labelled(["a", "b"], columns="k"),
    "int name of labels": labelled(["a", "b"], columns=7),
    "odd labels": labelled(['a"b', "a,b", "a\nb", "a\r\nb", " ", "", "é\U0001f600", "'"]),
    "one empty label": labelled([""]),
    # index
    "text index": indexed(["x", "y"]),
    "named index": indexed(["x", "y"], "k"),
    "index named as a column": indexed([3, 4], "a"),
    "range index": indexed(pd.RangeIndex(3, 9, 3)),
    "named range": indexed(pd.RangeIndex(2), "r"),
    "int8 index": indexed(pd.Index(np.array([3, 4], "i1"))),
    "float index": indexed([NAN, 1.5]),
    "bool index": indexed([True, False]),
    "repeated index": indexed([1, 1]),
    "int name": indexed([3, 4], 5),
    "tuple name": indexed([3, 4]).rename_axis([("x", 1)]),
    "object index": indexed(pd.Index(["x", "y"], dtype=object)),
    "daily": indexed(pd.date_range("2020", periods=3)),
    "month ends": indexed(pd.date_range("2020", periods=3, freq="ME"), "t"),
    "zoned index": indexed(pd.date_range("2020", periods=2, tz="US/Pacific")),
    "irregular dates": indexed(pd.to_datetime(["2020-01-01", "2020-01-03", "2020-01-01"])),
    "no dates": indexed(pd.DatetimeIndex([])),
    "timedelta index": indexed(pd.to_timedelta([1, 2], unit="s")),
    "index of dates": indexed(pd.Index([dt.date(2020, 1, 1)])),
    "two levels": indexed(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["n", None])),
    "dates by names": indexed(pd.MultiIndex.from_product([pd.date_range("2020", periods=2), ["x", "y"]])),
    "levels of one name": indexed(pd.MultiIndex.from_tuples([("a", 1)], names=["n", "n"])),
    "unused level": indexed(pd.MultiIndex.from_product([["a", "b", "c"], [1]]))[:2],
    "__index_level_0__": pd.DataFrame({"__index_level_0__": [1, 2]}, index=[5, 3]),
    "sorted": pd.DataFrame({"a": [3, 1, 2]}).sort_values("a"),
    "filtered": pd.DataFrame({"a": range(9)}).query("a % 2"),
    "attrs": with_attrs({"unit": "m", "n": [1, None]}),
    "attrs of text": with_attrs({"a": "\u00e9\U0001f600", "nested": {"x": [1.5, {"y": True}]}}),
    # what pandas users meet less often
    "object float None NaN": objects(1.5, None, NAN),
    "object None NaN": objects(None, NAN, None),
    "object float NA NaN": objects(1.5, pd.NA, NAN),
    "object Timestamps": objects(pd.Timestamp("2020-01-01 00:00:00.000000001"), pd.NaT),
    "object Timestamps None": objects(pd.Timestamp("2020"), None),
    "object zoned Timestamps": objects(
        pd.Timestamp("2020", tz="Europe/Berlin"), pd.Timestamp("2021", tz="Europe/Berlin")
    ),
    "object Timedeltas": objects(pd.Timedelta("1s"), None, pd.Timedelta("2s")),
    "object int64": objects(np.int64(1), np.int64(2)),
    "object float64": objects(np.float64(1.5), np.float64("nan"), None),
    "object float64 nan": objects(np.float64(1.5), NAN),
    "object bool_": objects(np.bool_(True), pd.NA),
    "object uint8 nan": objects(np.uint8(255), NAN),
    "NaN and NA": pd.DataFrame(
        {
            "d": pd.arrays.FloatingArray(np.array([NAN, 1.5, 0.0]), np.array([False, False, True])),
            "f": pd.arrays.FloatingArray(np.array([NAN, 1.5, 0.0], "f4"), np.array([False, False, True])),
            "a": pd.array(pa.array([NAN, 1.5, None]), pd.ArrowDtype(pa.float64())),
        }
    ),
    "arrow times": pd.DataFrame(
        {
            "t": pd.array([dt.datetime(2020, 1, 1), None], pd.ArrowDtype(pa.timestamp("ns", "Europe/Berlin"))),
            "u": pd.array([dt.datetime(2020, 1, 1), None], pd.ArrowDtype(pa.timestamp("us"))),
            "d": pd.array([dt.date(2020, 1, 1), None], pd.ArrowDtype(pa.date32())),
            "i": pd.array([dt.timedelta(1), None], pd.ArrowDtype(pa.duration("us"))),
            "o": pd.array([dt.time(1, 2, 3, 4), None], pd.ArrowDtype(pa.time64("us"))),
            "n": pd.array([D("1.5"), None], pd.ArrowDtype(pa.decimal128(7, 2))),
            "s": pd.array(["x", None], pd.ArrowDtype(pa.string())),
            "b": pd.array([True, None], pd.ArrowDtype(pa.bool_())),
            "0": pd.array([None, None], pd.ArrowDtype(pa.null())),
        }
    ),
    "repeated labels": labelled(["a", "a", "a.1", "b", "a"]),
    "1 and '1'": labelled([1, "1"]),
    "repeated int labels": labelled([1, 1, 2]),
    "repeated levels": labelled(pd.MultiIndex.from_tuples([("a", 1), ("a", 1), ("b", 1)])),
    "index named as repeated labels": labelled(["a", "a"]).rename_axis("a"),
    "categories as labels": labelled(pd.CategoricalIndex(["a", "b"], categories=["b", "a"], ordered=True)),
    "periods as labels": labelled(pd.period_range("2020", periods=2, freq="M", name="month")),
    "intervals as labels": labelled(pd.interval_range(0, 2)),
    "zoned dates as labels": labelled(pd.to_datetime(["2020-01-01", "2020-01-03"]).tz_localize("Europe/Berlin")),
    "dates as labels, objects": labelled(pd.Index([dt.date(2020, 1, 1), dt.date(2020, 1, 2)])),
    "timedeltas as labels": labelled(pd.to_timedelta([1, 2], unit="h")),
    "nullable labels": labelled(pd.Index(pd.array([1, None], "Int64"))),
    "label NaN": labelled(pd.Index(["a", NAN])),
    "labels 0.0 and -0.0": labelled([0.0, -0.0, 1.0]),
    "float label NaN": labelled([1.5, NAN]),
    "levels of dates and categories": labelled(
        pd.MultiIndex.from_arrays([pd.date_range("2020", periods=2), pd.Categorical(["x", "y"])], names=["d", 3])
    ),
    "levels with NaN": labelled(pd.MultiIndex.from_tuples([("a", NAN), ("a", 1.0), (NAN, 2.0)])),
    "one level of labels": labelled(pd.MultiIndex.from_arrays([["a", "b"]], names=["n"])),
    "no labels of text": pd.DataFrame(columns=pd.Index([], dtype="str"), index=[1, 2]),
    "labels without rows": pd.DataFrame(columns=[3, 1]),
    "long labels": labelled(["x" * 10_000, "x" * 9_999 + "y"]),
    "one level": indexed(pd.MultiIndex.from_arrays([[1, 2]], names=["n"])),
    "nullable index": indexed(pd.Index(pd.array([5, None], "Int64"), name="i")),
    "nullable bool index": indexed(pd.Index(pd.array([True, None], "boolean"))),
    "string index": indexed(pd.Index(pd.array(["x", None], "string"))),
    "arrow index": indexed(pd.Index(pd.array([1, None], "int8[pyarrow]"))),
    "arrow decimal index": indexed(pd.Index(pd.array([D("1.5"), None], pd.ArrowDtype(pa.decimal128(5, 2))))),
    "object index with None": indexed(pd.Index(["x", None], dtype=object)),
    "object index with NaN": indexed(pd.Index(["x", NAN], dtype=object)),
    "index of Timestamps": indexed(pd.Index([pd.Timestamp("2020"), pd.NaT], dtype=object)),
    "levels with the numbers of others": indexed(
        pd.MultiIndex.from_arrays([[1, 2], ["x", "y"], [1.5, 2]], names=[1, 2, 0])
    ),
    "labels with the numbers of others": labelled(pd.MultiIndex.from_arrays([[1, 2], ["x", "y"]], names=[1, 0])),
    "levels of nullable and text": indexed(
        pd.MultiIndex.from_arrays([pd.array([1, None], "Int64"), ["x", None], [NAN, 1.5]], names=["n", 7, None])
    ),
    "levels of objects": indexed(
        pd.MultiIndex.from_arrays([[dt.date(2020, 1, 1)] * 2, pd.Index([1, None], dtype=object)])
    ),
    "levels with NaN codes": indexed(pd.MultiIndex(levels=[["a", "b"], [1, 2]], codes=[[0, -1], [-1, 1]])),
    "index named as a label": indexed(pd.Index([3, 4], name="a")),
    "levels named as labels": indexed(pd.MultiIndex.from_tuples([(1, 2), (3, 4)], names=["a", "a"])),
    "only an index": pd.DataFrame(index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["n", "m"])),
    "no rows of an index": indexed(
        pd.MultiIndex.from_arrays([pd.array([], "Int64"), pd.to_datetime([]).as_unit("us")])
    ),
    "range from the end": indexed(pd.RangeIndex(9, 1, -3)),
    "range that ends early": indexed(pd.RangeIndex(0, 5, 2)),
    "range without rows": indexed(pd.RangeIndex(5, 5, 2)),
    "no columns, a named range": pd.DataFrame(index=pd.RangeIndex(5, 20, 5, name="r")),
    "daily in reverse": indexed(pd.date_range("2020-01-03", periods=3, freq="-1D")),
    "hourly timedeltas": indexed(pd.timedelta_range(0, periods=3, freq="h", name=("a", 1))),
}

PARQUET = {
    "category": pd.DataFrame({"c": pd.Categorical(["a", None, "b"], categories=["z", "b", "a"], ordered=True)}),
    "category of objects": pd.DataFrame({"c": pd.Categorical(pd.Series(["a", "b"], dtype=object))}),
    "category of numbers": pd.DataFrame(
        {
            "i": pd.Categorical([1, 2, None], categories=[9, 2, 1]),
            "f": pd.Categorical([0.5, 1.5, 0.5], ordered=True),
        }
    ),
    "category of dates": pd.DataFrame({"c": pd.Categorical(pd.to_datetime(["2020-01-02", "2020-01-01"]))}),
    "category of bools": pd.DataFrame({"c": pd.Categorical([True, False])}),
    "category of nothing": pd.DataFrame({"c": pd.Categorical([None, None])}),
    "category index": indexed(pd.CategoricalIndex(["p", "q"])),
    "category without rows": pd.DataFrame({"c": pd.Categorical([3, 1], categories=[3, 1, 2])})[:0],
    "no categories of text": pd.DataFrame({"c": pd.Categorical([None], categories=pd.Index([], dtype="str"))}),
    "category of text without rows": pd.DataFrame({"c": pd.Categorical(["b", "a"], categories=["b", "a", "c"])})[:0],
    "period": pd.DataFrame({"p": pd.period_range("2020", periods=2, freq="M")}),
    "interval": pd.DataFrame({"p": pd.interval_range(0, 2)}),
    "period index": indexed(pd.period_range("2020", periods=2, freq="M")),
    "bytes": objects(b"\x00\xff", b"", None),
    "lists": objects([1, 2], [], None),
    "lists of text": objects(["a", None], []),
    "lists of lists": objects([[1.5], []], [None]),
    "arrays": objects(np.array([1.5, NAN]), np.array([]), None),
    "int arrays": objects(np.array([1, 2], "i2"), np.array([], "i2")),
    "dicts": objects({"a": 1, "b": ["x"]}, {"a": None, "b": []}, None),
    "lists of dicts": objects([{"a": 1}], []),
    "lists with NaN": objects([1.0, NAN, None], [], None),
    "lists in dicts with NaN": objects({"a": [NAN]}, {"a": [1.5, None]}),
    "object Periods": objects(pd.Period("2020-01", "M"), pd.NaT),
    "object Intervals": objects(pd.Interval(0, 1), None, pd.Interval(1, 2)),
    "bins": pd.DataFrame({"c": pd.cut([1, 2, 3, 30], [0, 2, 4])}),
    "bins without rows": pd.DataFrame({"c": pd.cut([1, 2, 3, 30], [0, 2, 4])})[:0],
    "quantiles": pd.DataFrame({"c": pd.qcut(np.arange(9) / 7, 4)}),
    "bins of times": pd.DataFrame({"c": pd.cut(pd.date_range("2020", periods=3), 2)}),
    "bins as index": indexed(pd.CategoricalIndex(pd.cut([1, 2, 3], 3), name="bin")),
    "bins by names": indexed(pd.MultiIndex.from_arrays([pd.cut([1, 2], 2), ["x", "y"]])),
    "intervals as index": indexed(pd.interval_range(0, 2, closed="both")),
    "intervals of times": pd.DataFrame({"i": pd.interval_range(pd.Timestamp("2020"), periods=2)}),
    "levels of periods": indexed(pd.MultiIndex.from_product([pd.period_range("2020", periods=2, freq="Q"), [1]])),
    "category of periods": pd.DataFrame(
        {"c": pd.Categorical(pd.period_range("2020", periods=2, freq="M"), ordered=True)}
    ),
    "category of timedeltas": pd.DataFrame({"c": pd.Categorical(pd.to_timedelta([2, 1, None], unit="s"))}),
    "category of zoned dates": pd.DataFrame(
        {"c": pd.Categorical(pd.to_datetime(["2020-01-02", None]).tz_localize("Europe/Berlin"))}
    ),
    "category of nullables": pd.DataFrame({"c": pd.Categorical(pd.array([3, None, 1], "Int64"))}),
    "category of objects, mixed": pd.DataFrame({"c": pd.Categorical([1, "1", None, "b"])}),
    "category of dates of Python": pd.DataFrame({"c": pd.Categorical([dt.date(2020, 1, 1), None])}),
    "category of decimals": pd.DataFrame({"c": pd.Categorical([D("1.5"), D("-2.5")])}),
    "category of tuples": pd.DataFrame({"c": pd.Categorical(pd.Index([("a", 1), ("b", 2)], tupleize_cols=False))}),
    "category of bytes": pd.DataFrame({"c": pd.Categorical([b"a", b"\xff"])}),
    "category of strings": pd.DataFrame({"c": pd.Categorical(pd.array(["b", "a", None], "string"))}),
    "category of Arrow text": pd.DataFrame({"c": pd.array(["b", "a"], pd.ArrowDtype(pa.string()))}).astype("category"),
    "arrow lists": series([[1], [], [None], None], pd.ArrowDtype(pa.list_(pa.int64()))),
    "arrow structs": series(
        [{"x": 1, "y": "a"}, None], pd.ArrowDtype(pa.struct([("x", pa.int8()), ("y", pa.string())]))
    ),
    "arrow maps": series([[("a", 1)], [], None], pd.ArrowDtype(pa.map_(pa.string(), pa.int64()))),
    "arrow deep": series(
        [[{"x": [1, None]}, None], None], pd.ArrowDtype(pa.list_(pa.struct([("x", pa.list_(pa.int64()))])))
    ),
    "arrow dictionary": pd.DataFrame(
        {
            "a": pd.array(
                pa.array(["x", None, "y"]).dictionary_encode(), pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))
            )
        }
    ),
    "arrow binary": series([b"\xff", None], pd.ArrowDtype(pa.binary())),
}

REFUSED = {
    "a list": Refused([1], "keeps pandas DataFrames, got a list.*TaskPickle"),
    "a series": Refused(pd.Series([1]), r"got a Series.*to_frame\(\)"),
    "mixed types": Refused(objects(1, "a"), "column 'o' mixes values of types int, str.*astype"),
    "int and float": Refused(objects(1, 2.5), "column 'o' mixes values of types float, int"),
    "bool and int": Refused(objects(True, 1), "column 'o' mixes values of types bool, int"),
    "None and nan": Refused(objects("a", None, NAN), "column 'o' marks missing values both by None and nan"),
    "date and datetime": Refused(objects(dt.date(2020, 1, 1), dt.datetime(2020, 1, 1)), "column 'o' mixes"),
    "tuples": Refused(objects((1, 2)), "column 'o' holds values of type builtins.tuple.*Make them lists"),
    "sets": Refused(objects({1}), "column 'o'.*builtins.set.*lists"),
    "aware datetimes": Refused(
        objects(dt.datetime(2020, 1, 1, tzinfo=dt.UTC)), "column 'o'.*time zone.*pd.to_datetime"
    ),
    "mixed list": Refused(objects([1], ["a"]), "column 'o', in its lists, mixes"),
    "matrices": Refused(objects(np.eye(2)), "column 'o' holds arrays.*tolist"),
    "dicts of other keys": Refused(objects({"a": 1}, {"b": 2}), "column 'o' holds dicts.*json"),
    "int keys": Refused(objects({1: 2}), "column 'o' holds dicts"),
    "an object": Refused(objects(1, z=[object()]).drop(columns="o"), "column 'z' holds values of type builtins.object"),
    "NaN as Decimal": Refused(objects(D("nan"), D(1)), "column 'o' holds a Decimal"),
    "large object ints": Refused(objects(2**70), "column 'o' cannot be stored.*astype"),
    "surrogate": Refused(objects("\ud800"), "column 'o' cannot be stored"),
    "complex": Refused(pd.DataFrame({"x": [1], "p": [1j]}), "column 'p' cannot be stored"),
    "sparse": Refused(pd.DataFrame({"p": pd.arrays.SparseArray([0, 1])}), "column 'p'"),
    "index of mixed types": Refused(indexed(pd.Index(["x", 1], dtype=object)), r"index"),
    "objects as labels": Refused(labelled([b"a", "b"]), "column labels.*neither text nor numbers"),
    "an object as name": Refused(indexed([1]).rename_axis([(1, (2,))]), "names.*neither text.*rename_axis"),
    "attrs": Refused(with_attrs({"x": (1, 2)}), r"attrs.*df.attrs = \{\}"),
    "a subclass": Refused(type("Sub", (pd.DataFrame,), {})({"a": [1]}), r"got a Sub.*pd.DataFrame\(x\)"),
}


class FrameTests(FormatTests):
    def equal(self, saved, loaded):
        return same_frame(saved, loaded)

    def test_many_rows_come_back_in_order(self, format, tmp_path):
        numbers = np.random.default_rng(0).integers(0, 2**63, 100_000, dtype="u8")
        text = [None if n % 7 == 0 else 'line\nbreak, "quote"' * (n % 3) for n in numbers.tolist()]
        frame = pd.DataFrame({"n": numbers, "f": numbers.view("f8"), "s": text})
        same_frame(frame, _loaded(format, _dumped(format, frame, tmp_path), tmp_path))

    def test_a_very_long_text_comes_back(self, format, tmp_path):
        frame = pd.DataFrame({"a": ["x", "long, \n" * 700_000, None], "b": [1, 2, 3]})
        same_frame(frame, _loaded(format, _dumped(format, frame, tmp_path), tmp_path))

    def test_an_arrow_table_is_stored_too(self, store, format):
        with d6tstore.use(store):
            task = _task(format)
            task.save(pa.table({"a": [1, None], "b": ["x", "y"]}))
            assert task.output().load().to_dict("list")["b"] == ["x", "y"]
            with pytest.raises(FormatError, match="'a' occurs twice"):
                task.save(pa.table([[1], [2]], names=["a", "a"]))
