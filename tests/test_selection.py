"""The part of a frame that is asked for: the same whatever the format, and nothing that was not asked for."""

import datetime as dt
import decimal
import io
import operator

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import d6tstore
from d6tstore import registry
from d6tstore.conditions import OPERATORS
from d6tstore.errors import SelectionError, UsageError
from d6tstore.frames import stream
from d6tstore.selection import Selection
from d6tstore_plugins.formats import parquet

NAN = float("nan")
BERLIN = pa.timestamp("us", "Europe/Berlin")
COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda a, b: a in [v for v in b if v is not None],
    "not in": lambda a, b: a not in [v for v in b if v is not None],
}

TABLE = pa.table(
    {
        "i": pa.array([3, None, -1, 2**62, 0], "int64"),
        "u": pa.array([3, None, 1, 2**64 - 1, 0], "uint64"),
        "small": pa.array([3, None, 1, 255, 0], "uint8"),
        "f": pa.array([0.5, None, NAN, float("inf"), -0.0]),
        "s": pa.array(["a", None, "", "ü", "b"]),
        "c": pa.array(["a", None, "", "ü", "b"]).dictionary_encode(),
        "ci": pa.array([3, None, 1, 3, 0]).dictionary_encode(),
        "b": pa.array([True, None, False, True, False]),
        "d": pa.array([dt.date(2020, 1, n) if n else None for n in (1, 0, 2, 3, 4)]),
        "t": pa.array([dt.datetime(2020, 1, n, 12) if n else None for n in (1, 0, 2, 3, 4)], pa.timestamp("ns")),
        "z": pa.array([dt.datetime(2020, 1, n, 12) if n else None for n in (1, 0, 2, 3, 4)], BERLIN),
        "td": pa.array([dt.timedelta(hours=n) if n else None for n in (1, 0, 2, 3, 4)], pa.duration("s")),
        "dec": pa.array([decimal.Decimal(n) / 4 if n else None for n in (1, 0, 2, 3, 4)], pa.decimal128(10, 2)),
        "list": pa.array([[1], None, [], [2], [3]]),
        "n": pa.array(range(5)),
    }
)  # fmt: skip


def matching(column, op, value, table=TABLE):
    """Rows that satisfy a condition, told one by one in Python."""
    rows = []
    for i, found in enumerate(table[column].to_pylist()):
        if value is None and op in ("==", "!="):
            keep = (found is None) == (op == "==")
        elif found is None:
            keep = op == "in" and None in value
        else:
            keep = bool(COMPARE[op](found, value))
        if keep:
            rows.append(i)
    return rows


def rows(selection, table=TABLE):
    return selection.apply(table).read_all()["n"].to_pylist()


CASES = [
    *[("i", op, value) for op in COMPARE for value in (3, -1, 0, 2**62) if "in" not in op],
    *[("f", op, 0.5) for op in COMPARE if "in" not in op],
    *[("s", op, "a") for op in OPERATORS[:6]],
    *[("c", op, "a") for op in ("==", "!=")],
    *[(c, op, None) for c in TABLE.column_names for op in ("==", "!=")],
    *[(c, op, v) for c in ("i", "ci", "u") for op in ("in", "not in") for v in ([3], [3, 0], [], [3, None], [None])],
    ("i", "in", list(range(-5, 50))),
    ("s", "in", ["a", "ü", "zz"]),
    ("s", "not in", ["a", "ü", "zz"]),
    ("c", "in", frozenset("a")),
    ("f", "in", [0.5, float("inf")]),
    ("f", "not in", [0.5]),
    ("f", "in", [0.0, 1.5]),
    ("f", "not in", [0]),
    ("i", ">", 2.5),
    ("i", "==", 2.5),
    ("i", "<", 1e300),
    *[(c, op, v) for c in ("i", "u") for op in OPERATORS[:6] for v in (-1.5, 2.5, 1e300, -(2**70), float("inf"))],
    ("i", "in", [2.5, 3.0, 1e300]),
    ("u", ">", -1),
    ("u", "==", 2**64 - 1),
    ("small", "<", 300),
    ("small", "==", 300),
    ("i", "==", decimal.Decimal("2.5")),
    ("i", "<", decimal.Decimal("2.5")),
    ("i", "in", [decimal.Decimal("2.5"), 3]),
    ("i", "in", range(4)),
    ("b", "==", True),
    ("b", "!=", True),
    ("b", "in", [False]),
    ("d", ">", dt.date(2020, 1, 2)),
    ("td", "<=", dt.timedelta(hours=2)),
    ("dec", ">", decimal.Decimal("0.5")),
    ("dec", "==", decimal.Decimal("0.25")),
    ("f", "==", -0.0),
]  # fmt: skip


@pytest.mark.parametrize("condition", CASES, ids=str)
def test_condition_means_what_python_says(condition):
    assert rows(Selection.of(TABLE.schema, where=[condition])) == matching(*condition)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (("t", ">", "2020-01-02"), [2, 3, 4]),
        (("t", "==", "2020-01-03 12:00"), [3]),
        (("t", ">=", pd.Timestamp("2020-01-03")), [3, 4]),
        (("t", "<", dt.date(2020, 1, 3)), [0, 2]),
        (("t", "in", ["2020-01-01T12:00", None]), [0, 1]),
        (("t", "<", np.datetime64("2020-01-02")), [0]),
        (("t", ">", "2020-01-03 12:00:00.000000001"), [4]),
        (("z", ">", "2020-01-02 12:59"), [2, 3, 4]),  # of the clock in Berlin, an hour before UTC
        (("z", ">", "2020-01-02 13:01"), [3, 4]),
        (("z", ">", pd.Timestamp("2020-01-02 12:01", tz="UTC")), [3, 4]),
        (("d", ">=", "2020-01-03"), [3, 4]),
        (("td", ">", "2h"), [3, 4]),
        (("i", "==", np.int64(3)), [0]),
        (("f", ">", np.float32(0.25)), [0, 3]),
        (("b", "==", np.bool_(True)), [0, 3]),
        (("i", "==", pd.NA), [1]),
        (("t", "==", pd.NaT), [1]),
        (("s", "==", np.str_("a")), [0]),
        (("i", "in", np.array([3, 0])), [0, 4]),
        (("i", "in", pd.Series([3])), [0]),
        (("t", "in", [pd.Timestamp("2020-01-01 12:00")]), [0]),
        (("t", "in", [pd.Timestamp("2020-01-01 12:00:00.000000001")]), []),
        (("d", "<", dt.datetime(2020, 1, 2, 12)), [0, 2]),
        (("d", "==", dt.datetime(2020, 1, 2, 12)), []),
        (("d", "in", [dt.datetime(2020, 1, 2), dt.datetime(2020, 1, 3, 12), pd.Timestamp("2020-01-04")]), [2, 4]),
        (("d", "in", list(np.array(["2020-01-02", "2020-01-03T12"], "datetime64[ns]"))), [2]),
        (("d", "not in", [pd.Timestamp("2020-01-02")]), [0, 3, 4]),
        (("d", ">", np.datetime64("2020-01-02T12", "ns")), [3, 4]),
        (("z", "==", "2020-01-01 13:00:00.000000001"), []),  # finer than the column
        (("z", "!=", "2020-01-01 13:00:00.000000001"), [0, 2, 3, 4]),
        (("z", "<", "2020-01-01 13:00:00.000000001"), [0]),
        (("z", ">=", "2020-01-01 13:00:00.000000001"), [2, 3, 4]),
        (("td", "==", "1h 0.5s"), []),
        (("td", "<", "1h 0.5s"), [0]),
    ],
    ids=str,
)
def test_values_may_be_given_as_users_have_them(condition, expected):
    assert rows(Selection.of(TABLE.schema, where=[condition])) == expected


def test_conditions_hold_together_and_the_first_rows_are_taken():
    assert rows(Selection.of(TABLE.schema, where=[("i", ">", -1), ("s", "!=", "a")])) == [3, 4]
    assert rows(Selection.of(TABLE.schema, where=[("i", ">", -1)], limit=1)) == [0]
    assert rows(Selection.of(TABLE.schema, where=iter([("i", ">", -1)]))) == [0, 3, 4]
    assert [rows(Selection.of(TABLE.schema, limit=n)) for n in (0, 2, 99)] == [[], [0, 1], [0, 1, 2, 3, 4]]
    assert not Selection.of(TABLE.schema, where=[]) and Selection.of(TABLE.schema, limit=0)


def test_columns_come_in_the_order_asked_for():
    part = Selection.of(TABLE.schema, columns=["s", "i"], where=[("n", "<", 2)]).apply(TABLE)
    assert part.schema.names == ["s", "i"] and part.read_all().num_rows == 2
    assert Selection.of(TABLE.schema, columns=[]).apply(TABLE).read_all().num_columns == 0
    assert Selection.of(TABLE.schema, columns=(c for c in "sb")).columns == ["s", "b"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"columns": ["smal"]}, "no column 'smal'. Did you mean 'small'.*There are 'i', 'u'"),
        ({"columns": "i"}, r"columns='i': give a list.*\['i'\]"),
        ({"columns": 5}, "give a list of labels"),
        ({"columns": ["i", "i"]}, "names a column twice"),
        ({"columns": [True]}, "no column True"),
        ({"columns": [["i"]]}, r"no column \['i'\]"),
        ({"where": [("c", ">", "a")]}, "column 'c' holds categories, which '>' would compare by their text"),
        ({"where": 3}, "where=3: give a list"),
        ({"limit": -1}, "limit=-1: give a number of rows"),
        ({"limit": True}, "limit=True"),
        ({"limit": 1.0}, "limit=1.0"),
        ({"where": [("i", "=", 1)]}, "operator '=' is unknown. Use one of ==,"),
        ({"where": [("i", "like", 1)]}, "operator 'like' is unknown"),
        ({"where": [("x", "==", 1)]}, "no column 'x'"),
        ({"where": ("i", "==", 1)}, r"where holds 'i'; it is a list of \(column"),
        ({"where": [("i", "==")]}, r"where holds \('i', '=='\)"),
        ({"where": [[("i", "==", 1)]]}, "all of which must hold"),
        ({"where": "i > 1"}, "where holds 'i'"),
        ({"where": [("i", "in", 1)]}, "'in' takes a list of values, not 1"),
        ({"where": [("i", "==", [1])]}, r"'==' takes one value, not \[1\]"),
        ({"where": [("i", "in", "abc")]}, "'in' takes a list"),
        ({"where": [("i", ">", None)]}, "'i' > None is never true"),
        ({"where": [("i", "==", "a")]}, "column 'i' of type int64 cannot be compared with 'a'.*filter after loading"),
        ({"where": [("s", ">", 1)]}, "column 's' of type string cannot be compared with 1"),
        ({"where": [("b", "==", 1)]}, "bools compare with bools only"),
        ({"where": [("i", "==", True)]}, "bools compare with bools only"),
        ({"where": [("f", "==", NAN)]}, "NaN equals nothing; a missing value is None"),
        ({"where": [("f", "in", [1.0, NAN])]}, "NaN equals nothing"),
        ({"where": [("t", ">", "yesterday-ish")]}, "column 't'"),
        ({"where": [("t", ">", pd.Timestamp("2020", tz="UTC"))]}, "the column has no time zone"),
        ({"where": [("list", "==", 1)]}, "column 'list' of type list"),
        ({"where": [("s", "==", dict)]}, "column 's'"),
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_fit_is_refused(asked, message):
    with pytest.raises(SelectionError, match=message) as caught:
        Selection.of(TABLE.schema, **asked)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, UsageError)


# ------------------------------------------------------------------- pushed down


class Counting(io.BytesIO):
    """A file that knows how many bytes were read of it."""

    count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data

    def readinto(self, buffer):
        size = super().readinto(buffer)
        self.count += size
        return size


def dumped(table, group=100):
    """The table as parquet, in row groups of so many rows."""
    file = Counting()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "_GROUP", group)
        registry.format_of("parquet-arrow").dump_table(stream.reader(table), file)
    return file


def scanned(file, table, **asked):
    file.count = 0
    selection = Selection.of(table.schema, **asked)
    return registry.format_of("parquet-arrow").scan(file, table.schema, selection).read_all()


@pytest.fixture(scope="module")
def wide():
    n = 100_000
    return pa.table(
        {
            "n": np.arange(n),
            "x": np.random.default_rng(0).random(n),
            "y": np.random.default_rng(1).random(n),
            "city": pa.array(np.repeat([f"city {i}" for i in range(0, 200, 2)], n // 100)),
            "mixed": pa.array(np.random.default_rng(2).permutation(n)),
        }
    )


def test_parquet_reads_only_what_is_asked_for(wide):
    file = dumped(wide, group=10_000)
    size = len(file.getvalue())
    assert scanned(file, wide).equals(wide)
    whole = file.count
    assert scanned(file, wide, columns=["x"]).num_rows == 100_000
    assert file.count < whole * 0.6 and whole >= size * 0.9
    assert scanned(file, wide, where=[("n", "==", 55_555)])["n"].to_pylist() == [55_555]  # by statistics
    assert file.count < whole * 0.25
    assert scanned(file, wide, limit=10).equals(wide.slice(0, 10))
    assert file.count < whole * 0.25
    assert scanned(file, wide, where=[("city", "==", "city 101")]).num_rows == 0  # no statistics exclude it
    assert file.count < whole * 0.25, "other columns are read although no row matches"
    assert scanned(file, wide, where=[("mixed", "==", 7)], limit=1)["mixed"].to_pylist() == [7]


def test_categories_are_filtered_too():
    values = pa.array(["b", "a", None, "b"] * 100).dictionary_encode()
    numbers = pa.array([7, 5, None, 7] * 100).dictionary_encode()
    table = pa.table({"c": values, "k": numbers, "n": range(400)})
    file = dumped(table, group=50)
    for asked in (
        {"where": [("c", "==", "a")]},
        {"where": [("k", "in", [7])]},
        {"columns": ["k"], "where": [("c", "in", ["b"])]},
    ):
        part = scanned(file, table, **asked)
        selection = Selection.of(table.schema, **asked)
        assert part.equals(selection.apply(table).read_all().unify_dictionaries()), asked
        assert part.num_rows and part.schema.equals(selection.schema(table.schema))


def test_names_that_look_like_paths_are_columns():
    names = ["a", "a.b", "a.b.list.element", "list", "", "\0row", "x.y"]
    table = pa.table([pa.array([i, i + 1]) for i in range(len(names))], names)
    table = table.append_column("nested", pa.array([{"a": 1}, {"a": 2}]))
    file = dumped(table)
    for name in names:
        part = scanned(file, table, columns=[name], where=[(name, ">=", names.index(name) + 1)])
        assert part.equals(table.select([name]).slice(1))
    assert scanned(file, table, columns=["nested"]).equals(table.select(["nested"]))


VALUES = {
    "i": st.none() | st.integers(-3, 3),
    "f": st.none() | st.floats(-2, 2, width=16),
    "s": st.none() | st.sampled_from(["", "a", "b", "ü"]),
    "b": st.none() | st.booleans(),
}
TYPES = {"i": pa.int16(), "f": pa.float64(), "s": pa.string(), "b": pa.bool_()}


@st.composite
def asked(draw):
    count = draw(st.integers(0, 40))
    data = {name: draw(st.lists(VALUES[name], min_size=count, max_size=count)) for name in VALUES}
    table = pa.table({**{k: pa.array(v, TYPES[k]) for k, v in data.items()}, "n": pa.array(range(count), pa.int64())})
    where = []
    for _ in range(draw(st.integers(0, 2))):
        name, op = draw(st.sampled_from(list(VALUES))), draw(st.sampled_from(OPERATORS))
        one = VALUES[name] if op in ("==", "!=") else VALUES[name].filter(lambda v: v is not None)
        where.append((name, op, draw(st.lists(VALUES[name], max_size=10) if "in" in op else one)))
    return table, where, draw(st.none() | st.integers(0, 10)), draw(st.sampled_from([1, 7, 100]))


@settings(max_examples=150, deadline=None, database=None)
@given(asked())
def test_parquet_and_memory_and_python_agree(case):
    table, where, limit, group = case
    expected = [i for i in range(table.num_rows) if all(i in matching(*c, table) for c in where)][:limit]
    selection = Selection.of(table.schema, where=where, limit=limit)
    assert rows(selection, table) == expected
    found = scanned(dumped(table, group), table, where=where, limit=limit)
    assert found.equals(table.take(pa.array(expected, pa.int64())))


# ------------------------------------------------------------------- of a target


@pytest.fixture
def prices(store):
    class Prices(d6tstore.tasks.TaskPqPandas):
        def run(self):
            pass

    frame = pd.DataFrame({"x": range(10), "y": list("abcdefghij")}, index=pd.Index(list(range(100, 110)), name="key"))
    with d6tstore.use(store):
        Prices().save(frame)
        yield Prices().output(), frame


def test_a_part_is_what_pandas_would_take(prices):
    target, frame = prices
    pd.testing.assert_frame_equal(target.load(columns=["y"]), frame[["y"]])
    pd.testing.assert_frame_equal(target.load(columns=["y", "x"], limit=3), frame[["y", "x"]].head(3))
    pd.testing.assert_frame_equal(target.load(where=[("x", ">", 7)]), frame[frame.x > 7])
    pd.testing.assert_frame_equal(target.load(where=[("key", "<", 102)]), frame.loc[:101])
    pd.testing.assert_frame_equal(target.load(columns=[], limit=2), frame[[]].head(2))
    pd.testing.assert_frame_equal(target.load(limit=0), frame.head(0))


def test_a_frame_comes_as_any_kind(prices):
    import polars as pl

    target, frame = prices
    arrow = target.load(as_="arrow", columns=["x"])
    assert type(arrow) is pa.Table and arrow.to_pydict() == {"x": list(range(10))}
    assert target.load(as_="polars", columns=["y", "x"], limit=1).equals(pl.DataFrame({"y": ["a"], "x": [0]}))
    assert target.load(as_="polars").columns == ["x", "y", "key"]
    with target.load(as_="batches", columns=["x"]) as reader:
        assert isinstance(reader, pa.RecordBatchReader)
        assert [b.num_rows for b in reader] == [10]
    pd.testing.assert_frame_equal(target.load(as_="pandas"), frame)


def test_batches_may_be_left_unread_while_the_result_is_replaced(prices):
    target, frame = prices
    reader = target.load(as_="batches")
    target.task.save(frame + frame)
    assert reader.read_all().num_rows == 10
    reader.close()
    target.load(as_="batches").close()
    del reader


def test_other_outputs_have_no_parts(store):
    class Note(d6tstore.tasks.TaskJson):
        def run(self):
            pass

    with d6tstore.use(store):
        Note().save({"a": 1})
        for asked in ({"columns": ["a"]}, {"limit": 1}, {"as_": "pandas"}, {"where": [("a", "==", 1)]}):
            with pytest.raises(SelectionError, match="an output of format 'json' is no frame. Load it whole"):
                Note().output().load(**asked)
        with pytest.raises(SelectionError, match="as_='dask': there is no such kind of frame. Use 'pandas'"):
            Note().output().load(as_="dask")


def test_live_frames_have_parts(store):
    class Live(d6tstore.tasks.TaskCachePandas):
        def run(self):
            pass

    class Object(d6tstore.tasks.TaskCache):
        def run(self):
            pass

    frame = pd.DataFrame({"a": [1, 2, 3], "b": list("xyz")})
    with d6tstore.use(store):
        Live().save(frame)
        Object().save({1: 2})
        pd.testing.assert_frame_equal(Live().output().load(columns=["b"], limit=2), frame[["b"]].head(2))
        assert Live().output().load(where=[("a", ">", 2)], as_="arrow").to_pydict() == {"a": [3], "b": ["z"]}
        with pytest.raises(SelectionError, match="this live object has no parts"):
            Object().output().load(limit=1)


def test_a_class_of_another_kind_loads_as_that(store):
    import polars as pl

    def task(base):
        return type("Kept", (base,), {"run": lambda self: None, "__module__": __name__})()

    with d6tstore.use(store):
        task(d6tstore.tasks.TaskPqPandas).save(pd.DataFrame({"x": [1]}))
        assert type(task(d6tstore.tasks.TaskPqPolars).output().load()) is pl.DataFrame
        assert type(task(d6tstore.tasks.TaskCSVArrow).output().load()) is pa.Table


def test_errors_name_the_task(prices):
    target, _ = prices
    with pytest.raises(SelectionError, match=r"^Prices\(\): there is no column 'z'"):
        target.load(columns=["z"])
    with target.path.open("r+b") as file:
        file.write(b"XXXX")
        file.seek(-4, 2)
        file.write(b"XXXX")
    for asked in ({}, {"columns": ["x"]}, {"as_": "batches"}):
        with pytest.raises(d6tstore.errors.FormatError, match=r"^Prices\(\), object 'Prices/.*parquet'"):
            target.load(**asked)


def test_a_reader_is_saved_once(store):
    class Kept(d6tstore.Task):
        persist = {"a": "parquet-arrow", "b": "parquet-arrow"}

    with d6tstore.use(store):
        reader = pa.table({"x": [1, 2]}).to_reader()
        with pytest.raises(d6tstore.errors.FormatError, match="output 'b'.*saved before, so its batches are gone"):
            Kept().save({"a": reader, "b": reader})


def test_a_format_that_leaves_rows_is_told(store):
    from d6tstore.format import TableFormat

    class Lazy(TableFormat):
        def dump_table(self, batches, file):
            file.write(str(next(iter(batches)).num_rows).encode())

        def load_table(self, file, schema=None):
            raise NotImplementedError

    class Kept(d6tstore.Task):
        format = Lazy

    with d6tstore.use(store), pytest.raises(d6tstore.errors.FormatError, match="did not read the frame to its end"):
        Kept().save(pd.DataFrame({"x": range(200_000)}))


def test_inputs_and_several_outputs_take_the_same_options(store):
    class Two(d6tstore.Task):
        persist = {"a": "parquet", "b": "csv"}

        def run(self):
            self.save({"a": pd.DataFrame({"x": [1, 2]}), "b": pd.DataFrame({"x": [3, 4]})})

    @d6tstore.requires({"two": Two})
    class Sum(d6tstore.tasks.TaskJson):
        def run(self):
            parts = self.input()["two"].load(where=[("x", ">", 1)], limit=1, as_="arrow")
            self.save([part["x"].to_pylist() for part in parts.values()])

    with d6tstore.use(store):
        d6tstore.run(Sum())
        assert Sum().output().load() == [[2], [3]]
