"""pandas frames <-> Arrow: whole, in parts, a part of one; and what others make of them."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from frames.checks import check_any_frame
from frames.pandas_cases import NAN, PARQUET, VALUES, indexed, labelled, objects, same_frame, same_value

import d6tstore
from d6tstore import content, frames, registry
from d6tstore.errors import FormatError
from d6tstore.frames import pandas as kind
from d6tstore.testing.formats import _dumped, _table, _task

FORMAT = registry.format_of("parquet")
CASES = VALUES | PARQUET
FULL = [name for name, frame in CASES.items() if len(frame) and frame.shape[1]]


@pytest.fixture
def save():
    """Save a frame, and get its target."""

    def saved(value):
        task = _task(FORMAT)
        task.save(value)
        return task.output()

    with d6tstore.use(d6tstore.open("memory://")):
        yield saved


def half(frame, target):
    """Half of the labels, backwards, give what pandas gives."""
    known = [(i, label) for i, label in enumerate(frame.columns) if not missing(label)]
    labels = []
    for _, label in known[::-2]:
        if not any(label == other for other in labels):
            labels.append(label)
    if any(label == other and not same_value(label, other) for label in labels for _, other in known):
        return  # 1, 1.0 and True, which pandas takes for one label
    places = [i for label in labels for i, other in known if label == other]
    if len(frame) and labels:
        same_frame(frame.iloc[:, places], target.load(columns=labels))


def missing(label):
    return any(map(missing, label)) if isinstance(label, tuple) else bool(pd.isna(label))


def test_any_frame_comes_back_equal():
    check_any_frame(FORMAT, also=half)


@pytest.mark.parametrize("name", FULL)
def test_half_of_the_columns(name, save):
    half(CASES[name], save(CASES[name]))


@pytest.mark.parametrize("name", FULL)
def test_the_first_row(name, save):
    same_frame(CASES[name].head(1), save(CASES[name]).load(limit=1))


def test_labels_and_levels_by_their_arrow_names():
    def fields(frame):
        return frames.fields(kind.to_arrow(frame).schema)

    day = pd.Timestamp("2020-01-01")
    assert fields(labelled(["a", "a", "a.1"])) == ([("a", "a"), ("a", "a.2"), ("a.1", "a.1")], [])
    assert fields(labelled([1, "1"])) == ([(1, "1"), ("1", "1.1")], [])
    assert fields(labelled(pd.DatetimeIndex([day]))) == ([(day, "2020-01-01 00:00:00")], [])
    assert fields(labelled(pd.MultiIndex.from_tuples([("a", 1)]))) == ([(("a", 1), "('a', '1')")], [])
    assert fields(indexed([3, 4], "a")) == ([("a", "a")], [("a", "__index_level_0__")])
    assert fields(indexed([3, 4], 7)) == ([("a", "a")], [(7, "__index_level_0__")])
    levels = pd.MultiIndex.from_arrays([["x"], [1]], names=["n", None])
    assert fields(indexed(levels)) == ([("a", "a")], [("n", "n"), (None, "__index_level_1__")])
    assert frames.fields(pa.schema([("a", pa.int8())])) == ([("a", "a")], [])
    assert fields(VALUES["label None"])[0] == [(None, "None")]


def test_a_filter_on_labels_and_levels(save):
    frame = labelled([1, "1", "a"]).loc[[0] * 4].set_index([[5, 7, 6, 8]])
    frame[1] = [1, 2, 3, 4]
    same_frame(frame[frame[1] > 2], save(frame).load(where=[(1, ">", 2)]))
    frame.index.name = "i"
    same_frame(frame[["a"]].loc[[6]], save(frame).load(columns=["a"], where=[("i", "==", 6)]))
    numbered = pd.DataFrame({"a": [1, 2, 3, 4]}, index=pd.RangeIndex(10, 2, -2, name="r"))
    found = save(numbered).load(where=[("a", ">", 2)])
    same_frame(found, pd.DataFrame({"a": [3, 4]}, index=pd.RangeIndex(10, 6, -2, name="r")))


# ------------------------------------------------------------------ parts


@pytest.mark.parametrize("starts", [(0, 2, 4), (0, 0, 0), (0, 0, 4)])
def test_rows_of_parts_are_numbered_through(starts, save):
    parts = [pd.DataFrame({"a": [i, i + 1]}, index=pd.RangeIndex(start, start + 2)) for i, start in enumerate(starts)]
    same_frame(save(iter(parts)).load(), pd.concat(parts, ignore_index=True))


def test_a_range_goes_on_in_the_next_part(save):
    frame = pd.DataFrame({"a": range(6)}, index=pd.RangeIndex(6, 24, 3, name="r"))
    same_frame(save(iter([frame[:2], frame[2:2], frame[2:5], frame[5:]])).load(), frame)


@pytest.mark.parametrize("rows", [([0, 2], [1]), ([2, 3], [0, 1]), ([0, 1], [5, 6]), ([0, 2, 4], [1, 3, 5])])
def test_rows_that_were_chosen_are_not_numbered_anew(rows, save):
    frame = pd.DataFrame({"a": range(8)})
    with pytest.raises(FormatError, match="part 2.*neither goes on.*reset_index"):  # pandas makes such indexes ranges
        save(frame.iloc[list(each)] for each in rows)


def test_parts_of_a_csv_file(tmp_path, save):
    pd.DataFrame({"a": range(10), "s": list("abcdefghij")}).to_csv(tmp_path / "x.csv", index=False)
    whole = pd.read_csv(tmp_path / "x.csv")
    with pd.read_csv(tmp_path / "x.csv", chunksize=3) as chunks:
        same_frame(save(chunks).load(), whole)


def test_real_indexes_of_parts_are_kept(save):
    parts = [indexed(pd.Index(["x", "y"], name="k")), indexed(pd.Index(["x"], name="k"))]
    same_frame(save(iter(parts)).load(), pd.concat(parts))
    days = indexed(pd.date_range("2020", periods=4))
    same_frame(save(iter([days[:1], days[1:]])).load(), days)
    loaded = save(iter([days[:2], days[3:]])).load()  # the second of them does not follow
    assert loaded.index.freq is None and loaded.index.equals(days.index.delete(2))


def test_a_frame_in_parts_has_the_content_of_the_whole():
    frame = pd.DataFrame({"a": range(6), "o": pd.Series(list("abcdef"), dtype=object)})
    frame.index = pd.RangeIndex(3, 15, 2)
    for one in (frame, frame.set_axis(["b", "b"], axis=1), frame.set_index("o"), frame.set_axis([1, "1"], axis=1)):
        whole = content.of_table(_table(FORMAT, one))
        for cut in (1, 5, 6):
            assert content.of_table(_table(FORMAT, iter([one[:cut], one[cut:]]))) == whole
        assert content.of_table(_table(FORMAT, one[:5])) != whole


def category(*values, categories):
    return pd.DataFrame({"c": pd.Categorical(values, categories)})


PARTS = {
    "null marks": (
        objects("a"),
        objects("a", NAN),
        "column 'o' marks missing values by nan in part 2.*None in the first",
    ),
    "null marks of nothing": (objects("a"), objects(NAN), "column 'o' marks missing values by nan in part 2"),
    "nullable": (
        pd.DataFrame({"a": [1]}),
        pd.DataFrame({"a": pd.array([1, None], "Int64")}),
        "'a' is Int64 in part 2.*int64.*astype",
    ),
    "not nullable": (
        pd.DataFrame({"a": pd.array([1], "Int64")}),
        pd.DataFrame({"a": [1]}),
        "'a' is int64 in part 2.*Int64",
    ),
    "strings": (pd.DataFrame({"o": ["a"]}), objects("a"), r"'o' is object \(python\) in part 2.*and str in the first"),
    "objects": (objects(1), objects(np.int64(1)), r"object \(numpy\) in part 2"),
    "floats": (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [0.5]}), "'a' is double in part 2.*int64 in the first"),
    "categories": (
        category("a", categories=["a"]),
        category("b", categories=["b"]),
        "categories of column 'c' change.*Categ",
    ),
    "order": (
        category("a", categories=["a", "b"]),
        category("b", categories=["b", "a"]),
        "categories of column 'c' change",
    ),
    "bins": (
        pd.DataFrame({"c": pd.cut([1, 2], [0, 1, 2])}),
        pd.DataFrame({"c": pd.cut([1, 2], [0, 1, 3])}),
        "column 'c' is of the categories.* in part 2",
    ),
    "index": (indexed([1, 2]), indexed(pd.RangeIndex(2)), "the index is another in part 2.*RangeIndex.*reset_index"),
    "names": (indexed([1, 2], "a"), indexed([1, 2], "b"), "the index is another in part 2.*'b'.*'a'.*rename_axis"),
    "odd names": (indexed([1, 2], 1), indexed([1, 2], 2), "the index is another in part 2"),
    "name of a range": (indexed(range(2)), indexed(range(2), "r"), "the index is another in part 2"),
    "levels": (indexed([1, 2]), indexed(pd.MultiIndex.from_tuples([(1, 2)])), "the index is another in part 2"),
    "gaps": (
        indexed(pd.MultiIndex.from_tuples([(1, "a")])),
        indexed(pd.MultiIndex(levels=[[1], ["a"]], codes=[[-1], [0]])),
        "Int64 in part 2.*int64 in the first",
    ),
    "labels": (labelled([1, "1"]), labelled(["1", 1]), "labels of the columns are others in part 2.*same columns"),
    "levels of labels": (
        labelled(["a"], columns="k"),
        labelled(["a"], columns="l"),
        "labels of the columns are others",
    ),
    "columns": (labelled(["a", "b"]), labelled(["b", "a"]), "part 2 of the frame has the columns"),
    "attrs": (objects(1), CASES["object int"].copy(), "the attrs are others in part 2"),
    "no columns": (
        pd.DataFrame(index=range(2)),
        pd.DataFrame(index=range(2)),
        "without columns cannot come in parts.*whole",
    ),
}
PARTS["attrs"][1].attrs["x"] = 1


@pytest.mark.parametrize("name", PARTS)
def test_parts_that_differ_are_refused(name, save):
    first, second, message = PARTS[name]
    with pytest.raises(FormatError, match=message):
        save(iter([first, second]))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (objects("a", NAN), objects("b")),
        (objects("a", NAN), objects(NAN)),
        (objects("a", None), objects(None)),
        (pd.DataFrame({"a": [0.5]}), pd.DataFrame({"a": [1]})),
        (pd.DataFrame({"a": np.array([1], "i8")}), pd.DataFrame({"a": np.array([1], "i2")})),
        (pd.DataFrame({"a": [pd.Timestamp("2020")]}), pd.DataFrame({"a": pd.to_datetime([None]).as_unit("us")})),
        (VALUES["NaN and NA"], VALUES["NaN and NA"][1:].reset_index(drop=True)),
        (PARQUET["bins"], PARQUET["bins"][:0]),
        (PARQUET["bins"][:0], PARQUET["bins"]),
        (CASES["decimals"], CASES["decimals"][1:].reset_index(drop=True)),
    ],
)
def test_parts_that_are_alike(first, second, save):
    expected = pd.concat([first, second.astype(first.dtypes)], ignore_index=True)
    same_frame(save(iter([first, second])).load(), expected)


# ------------------------------------------------------------------ what is loaded


@pytest.mark.parametrize("large", [True, False])
@pytest.mark.parametrize("name", [name for name in FULL if len(CASES[name]) > 1])
def test_what_is_loaded_can_be_written_to(name, large, monkeypatch):
    monkeypatch.setattr(kind, "_SPLIT", 0 if large else 1 << 60)
    table = kind.to_arrow(CASES[name])
    for i in range(CASES[name].shape[1]):
        loaded, expected = kind.from_arrow(table), CASES[name].copy()
        other = loaded.iloc[1, i]
        if isinstance(other, list | dict | np.ndarray) or i > 20:
            continue
        loaded.iloc[0, i] = expected.iloc[0, i] = other
        same_frame(expected, loaded)
    same_frame(CASES[name], kind.from_arrow(table))  # it was not written to


def test_what_is_loaded_can_be_computed_with(monkeypatch):
    monkeypatch.setattr(kind, "_SPLIT", 0)
    frame = pd.DataFrame({"a": [1, 2], "f": [0.5, NAN], "t": pd.to_datetime(["2020", None])})
    loaded = kind.from_arrow(kind.to_arrow(frame))
    loaded["a"] += 1
    loaded.loc[0, ["a", "f"]] = [7, 1.5]
    loaded.loc[loaded.f.isna(), "t"] = pd.Timestamp("2021")
    assert loaded.a.tolist() == [7, 3] and loaded.f[0] == 1.5 and loaded.t[1] == pd.Timestamp("2021")


def test_a_frame_is_not_copied_on_its_way_to_arrow():
    frame = pd.DataFrame({"f": np.arange(1e6), "i": np.arange(10**6), "s": pd.Series(["x"] * 10**6)})
    frame["g"] = frame["f"] * 2
    before = pa.total_allocated_bytes()
    table = kind.to_arrow(frame)
    assert table.nbytes > 24_000_000 and pa.total_allocated_bytes() - before < 2_000_000


def test_a_thousand_columns_are_few_blocks():
    table = kind.to_arrow(pd.DataFrame(np.ones((5000, 1000))))
    assert table.nbytes > kind._SPLIT
    assert len(kind.from_arrow(table)._mgr.blocks) < 10


@pytest.mark.parametrize("name", ["mixed labels", "int name", "daily", "int name of labels", "object str nan", "bins"])
def test_to_arrow_does_not_touch_the_frame(name):
    frame = CASES[name]
    before = frame.copy(deep=True)
    before.index = frame.index.copy()
    kind.to_arrow(frame)
    same_frame(frame, before)


def test_read_only_frames(save):
    values = np.arange(6.0).reshape(3, 2)
    values.flags.writeable = False
    frame = pd.DataFrame(values, columns=["a", "b"], copy=False)
    same_frame(frame, save(frame).load())


# ------------------------------------------------------------------ what others make of it


def test_the_notes_are_small_and_only_where_needed():
    assert b"d6tstore" not in kind.to_arrow(VALUES["plain"]).schema.metadata
    noted = json.loads(kind.to_arrow(VALUES["object str nan"]).schema.metadata[b"d6tstore"])
    assert noted == {"columns": {"o": {"object": "python", "null": "nan"}}}


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "int labels, no range",
        "levels",
        "two levels",
        "named index",
        "named labels",
        "nullable",
        "time zones",
        "attrs",
        "index named as a column",
        "many columns",
    ],
)
def test_pandas_alone_restores_what_it_can(name):
    table = kind.to_arrow(CASES[name])
    same_frame(CASES[name], table.to_pandas())


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # of intervals of integers with NULL
@pytest.mark.parametrize("name", CASES)
def test_pandas_alone_reads_everything(name):
    back = kind.to_arrow(CASES[name]).to_pandas()
    assert back.shape[1] == CASES[name].shape[1]


@pytest.mark.filterwarnings("ignore:The DataFrame has")
@pytest.mark.parametrize("name", CASES)
def test_tables_of_pyarrow_become_their_frames(name):
    """An Arrow table that somebody else made of a frame is what it makes of it."""
    try:
        table = pa.Table.from_pandas(CASES[name])
        expected = table.to_pandas()
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError):
        pytest.skip("pyarrow does not take it")
    found = kind.from_arrow(table)
    pd.testing.assert_index_equal(found.columns, expected.columns)
    assert found.shape[1] == expected.shape[1] and found.index.names == expected.index.names


def test_numbers_of_arrow_stay_what_they_are(save):
    table = pa.table(
        {
            "i": [2**53 + 1, None],
            "u": pa.array([255, None], pa.uint8()),
            "b": [True, None],
            "whole": [1, 2],
            "f": [0.5, None],
            "t": pa.array([1, None], pa.time64("ns")),
            "us": pa.array([1, None], pa.time64("us")),
            "l": [[2**53 + 1, None], None],
            "m": [[1], [2]],
            "n": pa.nulls(2),
        }
    )
    found = save(table).load()
    assert [str(dtype) for dtype in found.dtypes[:6]] == [
        "Int64",
        "UInt8",
        "boolean",
        "int64",
        "float64",
        "time64[ns][pyarrow]",
    ]
    assert found.i[0] == 2**53 + 1 and found.l[0] == [2**53 + 1, None]
    assert pa.array(found.t.array).cast(pa.int64()).to_pylist() == [1, None]
    assert (
        found.us[0] == dt.time(0, 0, 0, 1) and isinstance(found.m[0], np.ndarray) and found.n.tolist() == [None, None]
    )
    with d6tstore.use(d6tstore.open("memory://")):
        task = _task(registry.format_of("parquet-arrow"))
        task.save(table)
        same_frame(found, task.output().load(as_="pandas"))


def test_tables_whose_numbers_lost_some_rows():
    table = kind.to_arrow(pd.DataFrame({"a": [2**53 + 1, 2], "f": [0.5, 1]}))
    table = table.set_column(0, table.schema.field(0), pa.array([2**53 + 1, None]))
    found = kind.from_arrow(table)
    assert str(found.a.dtype) == "Int64" and found.a[0] == 2**53 + 1


def test_subclasses_are_refused(save):
    class GeoDataFrame(pd.DataFrame):
        pass

    with pytest.raises(FormatError, match=r"got a GeoDataFrame.*pd.DataFrame\(x\)"):
        save(GeoDataFrame({"a": [1]}))


def test_messages_are_short():
    frame = pd.DataFrame({"x" * 10_000: [1, "a"]})
    with pytest.raises(FormatError, match="mixes") as caught:
        kind.to_arrow(frame)
    assert len(str(caught.value)) < 400


def test_altered_notes_are_an_error_of_ours():
    table = kind.to_arrow(CASES["bins"])
    for altered in (
        b"{",
        b"[]",
        b'{"columns": {"c": {"what": 1}}}',
        b'{"labels": {}}',
        b'{"columns": {"c": {"categories": {}}}}',
    ):
        with pytest.raises(FormatError, match="Run the task again"):
            kind.from_arrow(table.replace_schema_metadata({**table.schema.metadata, b"d6tstore": altered}))


def test_bytes_are_the_same_each_time():
    for name in ("plain", "bins", "mixed labels"):
        assert _dumped(FORMAT, CASES[name], None) == _dumped(FORMAT, CASES[name], None)
