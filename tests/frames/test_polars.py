"""polars frames in every format: equal, or refused; and frames of one library loaded as another's."""

import datetime as dt
import decimal
import io

import polars as pl
import polars.testing
import pyarrow as pa
import pytest
from frames.arrow_cases import FEATHER, FINE, PLAIN, TYPED
from frames.pandas_cases import PARQUET
from frames.pandas_cases import VALUES as PANDAS
from hypothesis import given, settings
from polars.testing.parametric import dataframes

import d6tstore
from d6tstore import content, frames, registry
from d6tstore.errors import FormatError
from d6tstore.testing import FormatTests, Refused
from d6tstore.testing.formats import _dumped, _loaded, _task

D = decimal.Decimal


def one(values, dtype=None):
    return pl.DataFrame({"a": pl.Series(values, dtype=dtype)})


def same_frame(a, b):
    pl.testing.assert_frame_equal(a, b, check_exact=True)
    assert a.schema == b.schema
    return True


PLAINER = {
    "ints": pl.DataFrame({str(t): pl.Series([1, None, 0], dtype=t) for t in pl.datatypes.group.INTEGER_DTYPES}),
    "floats": pl.DataFrame({"f": pl.Series([0.1, None], dtype=pl.Float32), "d": [1 / 3, None]}),
    "text": one([" a\n", None, "ü"]),
    "bools": one([True, None]),
    "dates": one([dt.date(2020, 1, 1), None]),
    "times": one([dt.time(1, 2, 3), None]),
    "decimals": one([D("1.10"), None], pl.Decimal(10, 2)),
    "nulls": one([None, None], pl.Null),
    **{f"datetimes {unit}": one([dt.datetime(2020, 1, 1), None], pl.Datetime(unit)) for unit in ("ms", "us", "ns")},
    **{f"durations {unit}": one([dt.timedelta(days=-1), None], pl.Duration(unit)) for unit in ("ms", "us", "ns")},
    "zones": one([dt.datetime(2020, 10, 25, 0, 30), None], pl.Datetime("us", "Europe/Berlin")),
    "categorical": one(["b", "a", None, "b"], pl.Categorical),
    "named categories": one(["b", None], pl.Categorical(pl.Categories("x", "space", pl.UInt8))),
    "no rows": one([], pl.String),
    "no columns": pl.DataFrame(),
    "odd names": pl.DataFrame({"": [1], " ": [2], 'a,"b': [3], "ü": [4]}),
    "chunks": pl.concat([one(["a", "b"], pl.Categorical), one(["c", "a"], pl.Categorical)], rechunk=False),
}

RICHER = {
    "wide ints": one([10**37, -1, None], pl.Int128),
    "NaN": one([float("nan"), None, float("inf"), -0.0]),
    "fine times": one([1, None], pl.Time),
    "empty text": one(["", None]),
}

NESTED = {
    "bytes": one([b"\0", b"", None]),
    "enum": one(["b", "a", None], pl.Enum(["z", "b", "a"])),
    "enum without rows": one([], pl.Enum(["z", "b", "a"])),
    "empty enum": one([None], pl.Enum([])),
    "list": one([[1, None], None, []]),
    "list of categoricals": one([["x", None], None, []], pl.List(pl.Categorical)),
    "array": one([[1, 2], None], pl.Array(pl.Int8, 2)),
    "array of arrays": one([[[1, 2], [3, 4]], None], pl.Array(pl.Int8, (2, 2))),
    "struct": one([{"x": 1, "y": "a"}, None, {"x": None, "y": None}]),
    "deep": one(
        [[{"x": ["a"], "y": 1}], None, [None]],
        pl.List(pl.Struct({"x": pl.Array(pl.Enum(["b", "a"]), 1), "y": pl.Int128})),
    ),
}

REFUSED = {
    "a dict": Refused({"a": [1]}, r"keeps polars DataFrames, got a dict.*pl\.DataFrame"),
    "objects": Refused(one([object()], pl.Object), "column 'a' holds Python objects.*TaskPickle"),
    "39 digits": Refused(one([10**38], pl.Int128), "38 digits.*column 'a'.*Cast the column to String"),
    "width 0": Refused(one([[]], pl.Array(pl.Int8, 0)), "column 'a'.*width 0"),
    "NUL in a name": Refused(pl.DataFrame({"a\0": [1]}), "NUL.*Rename"),
    "NUL in a field": Refused(one([{"x\0": 1}]), "column 'a'.*NUL"),
    "rows without columns": Refused(one([1, 2]).drop("a"), "2 rows has no columns"),
}


class PolarsTests(FormatTests):
    def equal(self, saved, loaded):
        return same_frame(saved, loaded)


class TestParquet(PolarsTests):
    values = PLAINER | RICHER | NESTED
    refused = REFUSED

    @pytest.fixture
    def format(self):
        return registry.format_of("parquet-polars")

    def test_polars_reads_the_file(self, format, tmp_path):
        data, _ = _dumped(format, PLAINER["text"], tmp_path)
        assert pl.read_parquet(io.BytesIO(data)).equals(PLAINER["text"])


class TestFeather(PolarsTests):
    values = PLAINER | RICHER | NESTED
    refused = REFUSED

    @pytest.fixture
    def format(self):
        return registry.format_of("feather-polars")

    @pytest.mark.parametrize("name", ["text", "zones", "list", "no rows"])
    def test_polars_reads_the_file(self, format, name, tmp_path):
        value = (PLAINER | NESTED)[name]
        assert pl.read_ipc(io.BytesIO(_dumped(format, value, tmp_path)[0])).equals(value)


class TestCsv(PolarsTests):
    values = PLAINER | RICHER
    refused = REFUSED | {name: Refused(frame, "column 'a'.*TaskPqPolars") for name, frame in NESTED.items()}

    @pytest.fixture
    def format(self):
        return registry.format_of("csv-polars")


class TestExcel(PolarsTests):
    values = {n: f for n, f in PLAINER.items() if n != "ints"}
    refused = {name: Refused(frame, "column 'a'.*TaskPqPolars") for name, frame in (RICHER | NESTED).items()}

    @pytest.fixture
    def format(self):
        return registry.format_of("excel-polars")


@pytest.mark.parametrize("name", ["parquet-polars", "feather-polars", "csv-polars", "csv-gz-polars"])
def test_any_frame_comes_back_equal(name):
    format = registry.format_of(name)
    left_out = [pl.Object, *((pl.List, pl.Array, pl.Struct, pl.Binary, pl.Enum) if "csv" in name else ())]

    @settings(max_examples=40, deadline=None, database=None)
    @given(dataframes(max_cols=4, max_size=5, excluded_dtypes=left_out, allow_chunks=True))
    def check(frame):
        try:
            dumped = _dumped(format, frame, None)
        except FormatError as exc:
            assert any(
                reason in str(exc) for reason in ("NUL", "width 0", "38 digits", "years", "no child", "of type Ext")
            )
            return
        same_frame(frame, _loaded(format, dumped, None))

    check()


@pytest.mark.parametrize("name", PLAINER | RICHER | NESTED)
def test_chunks_do_not_change_the_content(name):
    frame = (PLAINER | RICHER | NESTED)[name]
    cut = pl.concat([frame[:1], frame[1:]], rechunk=False) if frame.width else frame
    first, second = frames.to_arrow(frame, "polars"), frames.to_arrow(cut, "polars")
    assert content.of_table(first) == content.of_table(second)


def test_what_was_computed_before_does_not_change_a_categorical():
    alone = frames.to_arrow(one(["q"], pl.Categorical), "polars")
    one(["z", "y", "q"], pl.Categorical)
    assert frames.to_arrow(one(["q"], pl.Categorical), "polars").equals(alone)


# ------------------------------------------------------------------- lazy frames


def test_a_lazy_frame_is_collected_in_batches(store):
    lazy = pl.LazyFrame({"a": range(1000), "c": ["x", "y"] * 500}).with_columns(pl.col.c.cast(pl.Categorical))
    task = _task(registry.format_of("parquet-polars"))
    task.save(lazy.filter(pl.col.a > 10))
    same_frame(task.output().load(), lazy.filter(pl.col.a > 10).collect())
    task.save(lazy.filter(pl.col.a < 0))
    same_frame(task.output().load(), lazy.clear().collect())
    with pytest.raises(pl.exceptions.ComputeError):
        task.save(lazy.select(pl.col.c.cast(pl.String).str.to_integer(strict=True)))


def test_without_batches_a_lazy_frame_is_refused(monkeypatch):
    monkeypatch.delattr(pl.LazyFrame, "collect_batches")
    with pytest.raises(FormatError, match=r"x\.collect\(\)"):
        frames.to_arrow(pl.LazyFrame({"a": [1]}), "polars")


# --------------------------------------------------------------- other libraries


@pytest.mark.parametrize("name", PANDAS | PARQUET)
def test_a_pandas_frame_loads_as_polars(name):
    table = frames.to_arrow((PANDAS | PARQUET)[name], "pandas")
    found = frames.from_arrow(table, "polars")
    assert found.columns == table.column_names
    assert found.height == table.num_rows or not found.width
    for field, series in zip(table.schema, found, strict=True):
        assert series.null_count() == table[field.name].null_count


def test_an_index_stays_as_columns():
    found = frames.from_arrow(frames.to_arrow(PANDAS["two levels"], "pandas"), "polars")
    assert found.to_dict(as_series=False) == {"a": [0, 1], "n": ["a", "b"], "__index_level_1__": [1, 2]}


def test_ordered_categories_of_pandas_are_an_enum():
    found = frames.from_arrow(frames.to_arrow(PARQUET["category"], "pandas"), "polars")
    same_frame(found, pl.DataFrame({"c": ["a", None, "b"]}, schema={"c": pl.Enum(["z", "b", "a"])}))


@pytest.mark.parametrize("name", PLAINER | RICHER | NESTED)
def test_a_polars_frame_loads_as_pandas(name):
    frame = (PLAINER | RICHER | NESTED)[name]
    try:
        found = frames.from_arrow(frames.to_arrow(frame, "polars"), "pandas")
    except FormatError as exc:
        assert name == "fine times" and "nanoseconds" in str(exc)  # Python has none: no data is lost
        return
    assert found.shape == frame.shape
    assert found.columns.tolist() == frame.columns


@pytest.mark.parametrize("name", PLAIN | FINE | TYPED | FEATHER)
def test_an_arrow_table_loads_as_polars_or_is_refused(name):
    table = (PLAIN | FINE | TYPED | FEATHER)[name]
    try:
        found = frames.from_arrow(table, "polars")
    except FormatError as exc:
        assert "has no counterpart in polars" in str(exc) and "as_='arrow'" in str(exc)
        assert name in ("intervals", "decimals", "list view", "NUL in a name")
        return
    assert found.shape == table.shape


def test_seconds_that_polars_cannot_hold_are_no_other_time():
    with pytest.raises(FormatError, match="column 'a'.*as_='arrow'"):
        frames.from_arrow(pa.table({"a": pa.array([2**62], pa.timestamp("s"))}), "polars")


def test_a_target_loads_as_another_library(store):
    class Prices(d6tstore.tasks.TaskPqPolars):
        def run(self):
            self.save(pl.DataFrame({"x": [1, 2], "e": pl.Series(["b", "a"], dtype=pl.Enum(["b", "a"]))}))

    Prices().run()
    found = Prices().output().load(as_="pandas")
    assert found.e.cat.ordered and found.e.cat.categories.tolist() == ["b", "a"]
    assert Prices().output().load(columns=["e"]).schema == {"e": pl.Enum(["b", "a"])}
