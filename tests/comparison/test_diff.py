"""`diff` of two outputs: what it finds, and what it need not load for it."""

from __future__ import annotations

import datetime
import decimal
import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from command_line import invoke
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import d6tstore
from d6tstore.comparison import side as frame_side
from d6tstore.comparison import values as value_difference
from d6tstore.errors import NeverRun, OutputMissing, SelectionError, UndeclaredLoad, UsageError

FRAMES: dict[str, object] = {}  # what the tasks below save, by name


class Frame(d6tstore.tasks.TaskPqPandas):
    name: str

    def run(self):
        self.save(FRAMES[self.name], metrics={"rows": len(FRAMES[self.name]), self.name: 1})


class Arrow(Frame):
    persist = {"data": "parquet-arrow"}


class Value(d6tstore.tasks.TaskJson):
    name: str

    def run(self):
        self.save(FRAMES[self.name])


class Text(Value):
    persist = {"data": "text"}


class Model(Value):
    persist = {"data": "pickle"}


class Two(d6tstore.tasks.Task):
    k: int = 0
    persist = {"one": "json", "two": "json"}

    def run(self):
        self.save({"one": 1, "two": self.k})


def of(before, after, cls=Frame, **options):
    """The difference of two values that are saved by tasks of a class."""
    FRAMES.update(before=before, after=after)
    tasks = [cls(name="before"), cls(name="after")]
    d6tstore.run(tasks, force=True)
    return d6tstore.diff(*tasks, **options)


def cells(found):
    """What changed: row, column, before, after."""
    return [(index, *row) for index, row in zip(found.changed.index, found.changed.itertuples(index=False, name=None))]


BEFORE = pd.DataFrame({"day": [1, 2, 3, 4], "x": [1.0, np.nan, 3.0, 4.0], "s": ["a", "b", None, "d"]})


@pytest.fixture(params=["whole", "by column"])
def reading(request, monkeypatch, any_store):
    """Small frames are read at once, others a column at a time."""
    if request.param == "by column":
        monkeypatch.setattr(frame_side, "_SMALL", 0)


def test_by_key(reading):
    after = BEFORE.iloc[[3, 1, 2]].reset_index(drop=True)
    after.loc[0, "x"] = 9.0
    after = pd.concat([after, pd.DataFrame({"day": [7], "x": [0.5], "s": ["z"]})], ignore_index=True)
    found = of(BEFORE, after, on=["day"])
    assert not found.equal and found.key == ["day"] and found.schema.empty
    assert found.counts == {"before": 4, "after": 4, "added": 1, "removed": 1, "changed": 1, "same": 2}
    assert cells(found) == [(4, "x", 4.0, 9.0)]
    assert found.added.reset_index().values.tolist() == [[7, 0.5, "z"]]
    assert found.removed.reset_index().values.tolist() == [[1, 1.0, "a"]]
    assert found.notes == ["the rows stand in another order"]
    summary = found.summary.loc["x"].to_dict()
    assert summary == {
        "changed": 1, "nulls_before": 1, "nulls_after": 1, "min_before": 1.0, "min_after": 0.5,
        "max_before": 4.0, "max_after": 9.0, "mean_before": 8 / 3, "mean_after": 12.5 / 3,
    }  # fmt: skip
    assert found.summary.loc["s", ["changed", "nulls_before", "mean_before"]].tolist() == [0, 1, pd.NA]
    assert found.metrics.loc["rows"].tolist() == [4, 4] and found.metrics.loc["before"].tolist() == [1, None]


def test_by_position(reading):
    found = of(BEFORE, BEFORE.iloc[1:].reset_index(drop=True))
    assert found.key == [] and found.counts["removed"] == 1 and found.counts["changed"] == 3
    assert cells(found)[:3] == [(0, "day", 1, 2), (0, "x", 1.0, None), (0, "s", "a", "b")]
    assert found.removed.index.tolist() == [3] and found.removed.day.tolist() == [4]
    assert "by position" in str(found) and "rows: 4 -> 3, 0 added, 1 removed, 3 changed, 0 the same" in str(found)


def test_by_a_named_index(reading):
    before, after = BEFORE.set_index("day"), BEFORE.set_index("day").drop(index=2)
    found = of(before, after)
    assert found.key == ["day"] and found.counts["removed"] == 1 and found.counts["changed"] == 0
    assert of(before, after, on=[]).counts["changed"] == 2
    both = ["day", "s"]
    whole = BEFORE.assign(s=list("abcd"), x=[1.0, 2.0, 3.0, 4.0]).set_index(both)
    found = of(whole, whole.assign(x=[1.0, 7.0, 3.0, 5.0]))
    assert found.key == both and found.changed.index.tolist() == [(2, "b"), (4, "d")]


def test_an_index_that_is_no_key(reading):
    before = BEFORE.assign(day=1).set_index("day")
    found = of(before, before.assign(x=0.0))
    assert found.key == [] and found.counts["changed"] == 4
    assert found.notes == [
        "rows are compared by position, for 4 rows of the first frame share their key with others (day=1)"
    ]
    with pytest.raises(SelectionError, match=r"on=\['day'\]: 4 rows of the first frame share their key"):
        of(before, before.assign(x=0.0), on=["day"])
    after = BEFORE.assign(s=["a", "b", "b", "d"])
    with pytest.raises(SelectionError, match=r"2 rows of the second frame share their key with others \(s='b'\)"):
        of(BEFORE, after, on=["s"])
    assert of(BEFORE, after, on=["s", "day"]).counts["added"] == 1


@pytest.mark.parametrize("on", [["dya"], "day", ["day", "day"]])
def test_a_key_that_is_none(any_store, on):
    with pytest.raises(SelectionError, match="Did you mean 'day'|give a list|each once"):
        of(BEFORE, BEFORE, on=on)  # even where nothing is loaded


def test_schema(reading):
    after = BEFORE.rename(columns={"s": "t"}).assign(day=BEFORE.day.astype("float64"))[["t", "x", "day"]]
    found = of(BEFORE, after, on=["day"])
    assert found.schema.to_dict("index") == {
        "day": {"before": "int64", "after": "double"},
        "s": {"before": "string", "after": None},
        "t": {"before": None, "after": "string"},
    }
    assert found.notes == ["the columns stand in another order"] and not found.equal
    assert found.counts["changed"] == found.counts["added"] == found.counts["removed"] == 0  # 1 is 1.0


DAY = datetime.date(2024, 5, 1)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (pa.array([None, 1.0, float("nan")]), pa.array([None, 1.0, float("nan")]), []),
        (pa.array([None, float("nan"), 0.0]), pa.array([float("nan"), None, -0.0]), [0, 1]),
        (pa.array([float("inf"), float("inf"), 1e308]), pa.array([float("inf"), float("-inf"), 1.0]), [1, 2]),
        (pa.array([1, 2], pa.int8()), pa.array([1, 3], pa.uint64()), [1]),
        (pa.array([2**53 + 1, 2]), pa.array([2.0**53, 2.0]), None),  # doubles cannot hold it
        (pa.array([1, 2]), pa.array(["1", "2"]), None),
        (pa.array([True, None]), pa.array([True, False]), [1]),
        (pa.array([None, None], pa.null()), pa.array([None, 1]), [1]),
        (pa.array([None, None], pa.null()), pa.array([None, None], pa.null()), []),
        (pa.array(["a", None]).dictionary_encode(), pa.array(["a", None]), []),
        (pa.array(["a", "b"]).dictionary_encode(), pa.array(["b", "b"]).dictionary_encode(), [0]),
        (pa.array(["a", "b"]), pa.array(["a", "c"], pa.large_string()), [1]),
        (pa.array([b"a", b"b"]), pa.array([b"a", b"c"], pa.large_binary()), [1]),
        (pa.array([0, 3600], pa.timestamp("s", "UTC")), pa.array([0, 7200], pa.timestamp("ns", "Asia/Tokyo")), [1]),
        (pa.array([0], pa.timestamp("s", "UTC")), pa.array([0], pa.timestamp("s")), None),
        (pa.array([DAY, None]), pa.array([None, DAY]), [0, 1]),
        (pa.array([decimal.Decimal("1.10"), None]), pa.array([decimal.Decimal("1.1"), None]), []),
        (pa.array([[1.0, float("nan")], [2.0], None]), pa.array([[1.0, float("nan")], [3.0], None]), [1]),
        (pa.array([{"a": 1}, {"a": None}]), pa.array([{"a": 1}, {"a": 2}]), [1]),
        (pa.array([1.5, 2.5], pa.float16()), pa.array([1.5, 2.0], pa.float64()), [1]),
        (pa.array([], pa.int64()), pa.array([], pa.string()), None),
    ],
    ids=str,
)  # fmt: skip
def test_values_of_every_type(reading, before, after, changed):
    rows = range(len(before))
    zeros = [pa.array([zero] * len(before), pa.float64()) for zero in (0.0, -0.0)]  # whose contents are never equal
    one, other = pa.table({"k": rows, "v": before, "z": zeros[0]}), pa.table({"k": rows, "v": after, "z": zeros[1]})
    found = of(one, other, Arrow, on=["k"])
    if changed is None:
        assert found.counts["changed"] == 0 and not found.equal and "have no type in common" in found.notes[0]
    else:
        assert [(row, column) for row, column, *_ in cells(found)] == [(row, "v") for row in changed]
        assert found.equal == (not changed and found.schema.empty)
    json.dumps(found.as_json(), allow_nan=False)
    assert found._repr_html_() and str(found)


@pytest.mark.parametrize(
    "keys",
    [
        pa.array([3, None, 1]),
        pa.array([0.5, float("nan"), None]),
        pa.array(["b", None, "a"]),
        pa.array(["b", None, "a"]).dictionary_encode(),
        pa.array([True, None, False]),
        pa.array([DAY, None, datetime.date(2020, 1, 1)]),
        pa.array([0, 1, None], pa.timestamp("ns", "UTC")),
        pa.array([0, 1, None], pa.time32("s")),
        pa.array([b"x", b"", None]),
        pa.array([decimal.Decimal("1.5"), decimal.Decimal("2.5"), None]),
        pa.array([2**64 - 1, 0, None], pa.uint64()),
    ],
    ids=lambda array: str(array.type),
)
def test_keys_of_every_type(any_store, keys):
    before = pa.table({"k": keys, "v": [1, 2, 3]})
    after = before.take(pa.array([2, 0, 1])).set_column(1, "v", pa.array([3, 1, 7]))
    found = of(before, after, Arrow, on=["k"])
    assert found.counts == {"before": 3, "after": 3, "added": 0, "removed": 0, "changed": 1, "same": 2}
    assert found.changed[["before", "after"]].values.tolist() == [[2, 7]]
    assert of(before, before.slice(1), Arrow, on=["k"]).counts["removed"] == 1


def test_keys_that_cannot_be(any_store):
    nested = pa.table({"k": [[1], [2]], "v": [1, 2]})
    with pytest.raises(SelectionError, match="nested values cannot be a key"):
        of(nested, nested.set_column(1, "v", pa.array([1, 3])), Arrow, on=["k"])
    with pytest.raises(SelectionError, match="'k' is of the types int64 and string, which cannot be equal"):
        of(pa.table({"k": [1]}), pa.table({"k": ["1"]}), Arrow, on=["k"])


def test_zero_is_zero_and_the_rest_is_said(any_store):
    found = of(pa.table({"x": [0.0, 1.0]}), pa.table({"x": [-0.0, 1.0]}), Arrow, on=["x"])
    assert found.equal and found.counts["same"] == 2 and "-0.0" in found.notes[0]


def test_the_last_digit_is_shown(any_store):
    found = of(pd.DataFrame({"x": [1000.0, None]}), pd.DataFrame({"x": [1000.0000001, 1.0]}))
    assert "1000.0000001" in str(found) and "1000.0000001" in found._repr_html_() and "null" in str(found)


def test_tolerance(any_store):
    before, after = pd.DataFrame({"x": [0.0, 1000.0, 1.0]}), pd.DataFrame({"x": [1e-7, 1000.0001, 1.1]})
    assert of(before, after).counts["changed"] == 3
    found = of(before, after, tolerance=1e-6)
    assert found.counts["changed"] == 1 and not found.equal
    assert of(before, after, tolerance=0.2).equal
    far = of(pd.DataFrame({"x": [np.inf, np.inf, -1e308]}), pd.DataFrame({"x": [1.0, np.inf, 1e308]}), tolerance=0.2)
    assert [row for row, *_ in cells(far)] == [0, 2]
    for options in (
        {"tolerance": -1.0},
        {"tolerance": float("nan")},
        {"tolerance": True},
        {"limit": -1},
        {"limit": 1.5},
    ):
        with pytest.raises(UsageError, match="give a number"):
            of(before, after, **options)


def test_labels_of_pandas(reading):
    before = pd.DataFrame([[1, 2, 3], [4, 5, 6]], columns=["a", "a", 7], index=[10, 20])
    found = of(before, before.set_axis([10, 30]), on=[7])
    assert found.counts["changed"] == 1 and found.counts["same"] == 1  # an index without a name is a column
    after = before.copy()
    after.iloc[1, 1] = 50
    found = of(before, after, on=[7])
    assert [row[2:] for row in cells(found)] == [(5, 50)] and found.counts["changed"] == 1


def test_labels_that_look_alike(reading):
    before = pd.DataFrame([[1, 2, 3], [4, 5, 6]], columns=[7, "7", "k"])
    after = pd.DataFrame([[1, 20, 3], [40, 5, 6]], columns=[7, "7", "k"])
    assert [(row, *values) for row, _, *values in cells(of(before, after, on=["k"]))] == [(3, 2, 20), (6, 4, 40)]


def test_a_key_of_several_columns(any_store):
    parts = [(a, b, c) for a in (1, 2, 3) for b in ("x", "y", None) for c in (0, 1)]
    before = pd.DataFrame(parts, columns=["a", "b", "c"]).assign(v=range(18))
    after = before.iloc[::-1].reset_index(drop=True).query("v != 4")
    after.loc[after.v == 9, "v"] = 90
    found = of(before, after.reset_index(drop=True), on=["c", "a", "b"])
    assert found.counts == {"before": 18, "after": 17, "added": 0, "removed": 1, "changed": 1, "same": 16}
    assert cells(found) == [((1, 2, "y"), "v", 9, 90)]


def test_many_differences_are_shown_in_part(reading):
    before = pd.DataFrame({"k": range(1000), "x": 0, "y": 0})
    after = before.assign(x=before.k % 3, y=(before.k > 5).astype("int64")).query("k != 500")
    after = pd.concat([after.iloc[::-1], pd.DataFrame({"k": range(2000, 2100), "x": 0, "y": 0})])
    found = of(before, after.reset_index(drop=True), on=["k"], limit=4)
    assert cells(found) == [(1, "x", 0, 1), (2, "x", 0, 2), (4, "x", 0, 1), (5, "x", 0, 2)]
    assert found.added.index.tolist() == [2000, 2001, 2002, 2003] and found.counts["added"] == 100
    assert "changed, the first 4 of 997 rows" in str(found) and "added, the first 4 of 100" in str(found)
    assert of(before, after.reset_index(drop=True), on=["k"], limit=0).counts == found.counts


def test_frames_without_rows_or_columns(reading):
    found = of(BEFORE, BEFORE.iloc[:0], on=["day"])
    assert found.counts["removed"] == 4 and found.summary.loc["x", "mean_after"] is pd.NA
    assert of(BEFORE.iloc[:0], BEFORE).counts["added"] == 4
    assert of(pd.DataFrame(), BEFORE).schema.index.tolist() == ["day", "x", "s"]


VALUES = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, -0.0, 1.0]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), keys=st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=12))
def test_a_diff_with_an_edited_copy_finds_just_the_edits(tmp_path_factory, data, keys):
    columns = data.draw(
        st.lists(st.tuples(VALUES, st.one_of(st.none(), st.text(max_size=3))), min_size=len(keys), max_size=len(keys))
    )
    rows = [(k, *c) for k, c in zip(keys, columns, strict=True)]
    action = [data.draw(st.sampled_from(["keep", "keep", "remove", "number", "text"])) for _ in rows]
    fresh = data.draw(st.lists(st.integers(-100, 100).filter(lambda k: k not in keys), unique=True, max_size=4))
    edited = []
    for (key, number, text), what in zip(rows, action, strict=True):
        if what == "number":
            number = 5.0 if number != 5.0 else None
        if what == "text":
            text = f"{text or ''}!"
        if what != "remove":
            edited.append((key, number, text))
    edited = data.draw(st.permutations([*edited, *((k, 0.5, "new") for k in fresh)]))
    schema = pa.schema([("k", pa.int64()), ("number", pa.float64()), ("text", pa.string())])

    def table(values):
        return pa.table([pa.array([row[i] for row in values], schema.types[i]) for i in range(3)], schema=schema)

    with d6tstore.use(d6tstore.open("memory://")):
        found = of(table(rows), table(edited), Arrow, on=["k"], limit=100)
    expected = {
        (row[0], what) for row, what in zip(rows, action, strict=True) if what in ("number", "text")
    }  # fmt: skip
    assert {(key, column) for key, column, _, _ in cells(found)} == expected
    if found.counts:
        assert set(found.added.index) == set(fresh)
        assert set(found.removed.index) == {row[0] for row, what in zip(rows, action, strict=True) if what == "remove"}
    assert found.equal == (not expected and not fresh and "remove" not in action)
    json.dumps(found.as_json(), allow_nan=False)


# --------------------------------------------------------------- other values


def test_json(any_store):
    before = {"a": {"b": [1, 2, 3], "c": float("nan")}, "gone": 1, "one": 1}
    after = {"a": {"b": [1, 5], "c": float("nan")}, "new ": None, "one": 1.0}
    found = of(before, after, Value)
    assert (found.kind, found.counts) == ("json", {"added": 1, "removed": 2, "changed": 2})
    assert cells(found) == [("$.a.b[1]", 2, 5), ("$.one", 1, 1.0)]
    assert found.removed.value.to_dict() == {"$.a.b[2]": 3, "$.gone": 1} and found.added.index.tolist() == ["$['new ']"]
    assert "$.a.b[1]" in str(found) and "changed, 2 values" in str(found)


def test_text(any_store):
    lines = [f"line {i}" for i in range(100)]
    found = of("\n".join(lines), "\n".join([*lines[:50], "new", *lines[51:]]), Text)
    assert found.kind == "text" and not found.equal
    assert found.lines == [
        "@@ -48,7 +48,7 @@", " line 47", " line 48", " line 49", "-line 50", "+new", " line 51", " line 52", " line 53",
    ]  # fmt: skip
    assert found.as_json()["lines"] == found.lines and "+new" in str(found) and "+new" in found._repr_html_()


def test_text_is_compared_as_diff_does():
    import difflib

    one = [str(i) for i in range(40)]
    for other in ([*one[:5], "x", *one[7:]], one[:-1], ["x", *one], [*one, "x"], one[3:], [], ["x"], one[::-1]):
        whole = list(difflib.unified_diff(one, other, lineterm=""))[2:]
        assert value_difference.of_text("\n".join(one), "\n".join(other)) == whole
    assert value_difference.of_text("a\n", "a") == ["@@ only the ends of lines differ @@"]
    many = "\n".join(map(str, range(50_000)))
    assert value_difference.of_text(many, many[::-1])[0].startswith("@@ from line")


def test_text_from_outside_is_shown_plainly(any_store):
    found = of("\x1b[31m<b>", "\x1b]0;x\x07<img src=x>", Text)
    assert "\x1b" not in str(found) and "<img" not in found._repr_html_()
    assert not re.search(r"https?:|src=(?!x)|@import|url\(", found._repr_html_())
    assert "\x1b" not in str(of({"\x1b": "\x1b"}, {"\x1b": 1}, Value))


def test_anything_else_is_told_by_its_content(any_store):
    found = of({1, 2}, {1, 3}, Model)
    assert (found.kind, found.equal) == ("content", False) and "compared by their content only" in found.notes[0]
    assert of({1, 2}, {1, 2}, Model).equal
    FRAMES["x"] = 1
    d6tstore.run([Value(name="x"), Model(name="x")])
    assert "json and pickle" in d6tstore.diff(Value(name="x"), Model(name="x")).notes[0]
    with pytest.raises(SelectionError, match="are not two frames"):
        of({1, 2}, {1, 3}, Model, on=["k"])


# --------------------------------------------------------------- what is compared


def test_equal_contents_are_not_loaded(store):
    FRAMES.update(a=BEFORE, b=BEFORE.copy())
    d6tstore.run([Frame(name="a"), Frame(name="b")])
    for name in "ab":
        Frame(name=name).output().path.unlink()
    found = d6tstore.diff(Frame(name="a"), Frame(name="b"))
    assert (
        found.equal and "equal" in str(found) and found.changed.empty and found.metrics.loc["a"].tolist() == [1, None]
    )
    FRAMES["b"] = BEFORE.assign(x=0.0)
    d6tstore.run(Frame(name="b"), force=True)
    with pytest.raises(OutputMissing):
        d6tstore.diff(Frame(name="a"), Frame(name="b"))


def test_pickles_are_never_opened(store, tmp_path):
    of({1, 2}, {1, 3}, Model)
    for name in ("before", "after"):
        Model(name=name).output().path.write_bytes(b"no pickle")
    assert not d6tstore.diff(Model(name="before"), Model(name="after")).equal


def test_versions(any_store):
    FRAMES["a"] = BEFORE
    d6tstore.run(Frame(name="a"))
    first = Frame(name="a").output().record().write_id
    FRAMES["a"] = BEFORE.assign(x=[1.0, None, 3.0, 8.0])
    d6tstore.run(Frame(name="a"), force=True)
    task = Frame(name="a")
    for before in ((task, first), (task.output(), first)):
        found = d6tstore.diff(before, task, on=["day"])
        assert cells(found) == [(4, "x", 4.0, 8.0)] and f"version {first} of 20" in found.before
    assert d6tstore.diff(task, (task, first), on=["day"]).changed.after.tolist() == [4.0]
    with pytest.raises(NeverRun, match="has no version 'nope'"):
        d6tstore.diff((task, "nope"), task)


def test_stores(any_store, tmp_path):
    there = d6tstore.open(tmp_path / "there")
    FRAMES["a"] = BEFORE
    d6tstore.run(Frame(name="a"))
    FRAMES["a"] = BEFORE.iloc[:3]
    there.run(Frame(name="a"))
    found = d6tstore.diff(Frame(name="a").output(), there.output(Frame(name="a")))
    assert found.counts["removed"] == 1 and str(tmp_path / "there") in found.after
    there.run(Frame(name="a"), force=True)
    with d6tstore.use(there):
        FRAMES["a"] = BEFORE
        d6tstore.run(Frame(name="a"), force=True)
    assert d6tstore.diff(Frame(name="a").output(), there.output(Frame(name="a"))).equal


def test_outputs(any_store):
    d6tstore.run([Two(), Two(k=1)])
    assert d6tstore.diff(Two(), Two(k=1), output="one").equal
    assert cells(d6tstore.diff(Two().output()["two"], Two(k=1), output="two")) == [("$", 0, 1)]
    with pytest.raises(UsageError, match="has several outputs: choose one of 'one', 'two'"):
        d6tstore.diff(Two(), Two(k=1))
    with pytest.raises(UsageError, match="has no output 'three'"):
        d6tstore.diff(Two(), Two(k=1), output="three")
    FRAMES["x"] = 1
    with pytest.raises(UsageError, match="has no output 'three', only 'data'"):
        d6tstore.diff(Value(name="x"), Value(name="x"), output="three")


@pytest.mark.parametrize("wrong", [3, None, (1, 2, 3), "Train", BEFORE])
def test_what_is_no_output(any_store, wrong):
    FRAMES["x"] = 1
    d6tstore.run(Value(name="x"))
    with pytest.raises(UsageError, match="diff takes tasks, targets"):
        d6tstore.diff(Value(name="x"), wrong)


def test_without_a_result(any_store):
    with pytest.raises(NeverRun, match="Run it first"):
        d6tstore.diff(Value(name="never"), Value(name="ever"))


class Peeks(d6tstore.tasks.TaskJson):
    def run(self):
        self.save(d6tstore.diff(Two(), Two(k=1), output="two").equal)


def test_within_a_run_it_is_a_hidden_input(any_store):
    d6tstore.run([Two(), Two(k=1)])
    with pytest.raises(d6tstore.errors.RunFailed) as failed:
        d6tstore.run(Peeks())
    assert isinstance(failed.value.__cause__, UndeclaredLoad)


# ------------------------------------------------------------------ the command

FLOW = """
    import pandas as pd, d6tstore

    class Clean(d6tstore.tasks.TaskPqPandas):
        factor: int = 1
        def run(self):
            self.save(pd.DataFrame({"day": [1, 2, 3][self.factor - 1:], "x": [1, 2, 3][self.factor - 1:]}))
"""


@pytest.fixture
def call(flow):
    flow(FLOW)
    invoke("run", "flow:Clean", "flow:Clean", "--factor", "2")
    return invoke


BOTH = ("flow:Clean", "flow:Clean", "--factor", "2")


def test_the_command(call, tmp_path):
    assert "rows: 3 -> 2, 0 added, 1 removed, 0 changed, 2 the same" in call("diff", *BOTH, "--on", "day").stdout
    assert json.loads(call("diff", *BOTH, "--by-position", "--json").stdout)["counts"]["changed"] == 2
    call("diff", *BOTH, "--exit-code", code=1)
    call("diff", "flow:Clean", "flow:Clean", "--exit-code")
    there = str(tmp_path / "there")
    call("--store", there, "run", "flow:Clean")
    assert "\nequal\n" in call("diff", "flow:Clean", "--other-store", there).stdout + "\n"


def test_the_command_with_a_version(call, flow):
    first = d6tstore.open("./data").history(flow(FLOW).Clean())[0].write_id
    flow(FLOW.replace("[1, 2, 3]", "[1, 2, 4]"))
    call("run", "flow:Clean")
    shown = call("diff", "flow:Clean", "--version", first, "--on", "day").stdout
    assert "1 added, 1 removed, 0 changed, 2 the same" in shown and first in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "which task?"),
        (("flow:Clean",), "takes two tasks, or one and either"),
        ((*BOTH, "--version", "x"), "takes two tasks, or one and either"),
        ((*BOTH, "flow:Clean"), "takes two tasks, or one and either"),
        ((*BOTH, "--on", "day", "--by-position"), "exclude each other"),
        ((*BOTH, "--on", "dya"), "Did you mean 'day'?"),
        (("flow:Clean", "--version", "nope"), "has no version 'nope'"),
    ],
)
def test_the_command_of_the_wrong_thing(call, words, message):
    assert message in call("diff", *words, code=2).stderr
