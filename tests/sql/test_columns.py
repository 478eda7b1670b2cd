"""Columns of frames in Postgres: their types there, what is at the edge of them, and conditions on them."""

import contextlib
import datetime as dt
import decimal
import re
import uuid

import numpy as np
import pyarrow as pa
import pytest
from frames.arrow_cases import coded, column, same_table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres import Database, connect
from sqlalchemy.dialects import postgresql

import d6tstore
from d6tstore import registry
from d6tstore.errors import SelectionError, Unsupported
from d6tstore.testing.formats import _task
from d6tstore_plugins.sql.backend import PostgresBackend
from d6tstore_plugins.sql.filters import conditions
from d6tstore_plugins.sql.layout import Layout

D = decimal.Decimal
MOST = 2**63 - 1
LEAST = -(2**63)
NAN = float("nan")


@pytest.fixture(scope="module")
def place(postgres):
    return Database(postgres)


DATABASES = ["postgres", "sqlite", "duckdb"]


@pytest.fixture(scope="module")
def backend(place):
    backend = PostgresBackend.open(place.url)
    yield backend
    backend.close()


@pytest.fixture(scope="module", params=DATABASES)
def url(request, tmp_path_factory):
    """Of a database of each kind."""
    if request.param == "postgres":
        yield request.getfixturevalue("place").url
        return
    file = tmp_path_factory.mktemp("files") / "results.db"
    with contextlib.ExitStack() as held:
        if request.param == "duckdb":  # which takes 15 ms to open a file that is not open in this process
            held.enter_context(registry.open_backend(f"duckdb:///{file}")._connections.engine.connect())
        yield f"{request.param}:///{file}"


@pytest.fixture(scope="module")
def anywhere(url):
    backend = registry.open_backend(url)
    yield backend
    backend.close()


def written(backend, table, key="t/x"):
    assert backend.accepts(table.schema) is None
    backend.write_table(key, table.to_reader() if table.num_rows else pa.RecordBatchReader.from_batches(
        table.schema, [pa.RecordBatch.from_arrays([c.chunk(0) for c in table.columns], schema=table.schema)]
    ))  # fmt: skip
    return backend.read_table(key).read_all()


# ---------------------------------------------------------------------- types

TYPES = {
    pa.int8(): "smallint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.uint8(): "smallint",
    pa.uint16(): "integer",
    pa.uint32(): "bigint",
    pa.uint64(): "numeric(20,0)",
    pa.float16(): "real",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.bool_(): "boolean",
    pa.null(): "text",
    pa.string(): "text",
    pa.large_string(): "text",
    pa.string_view(): "text",
    pa.binary(): "bytea",
    pa.large_binary(): "bytea",
    pa.binary_view(): "bytea",
    pa.binary(16): "bytea",
    pa.decimal32(7, 2): "numeric(7,2)",
    pa.decimal64(17, 0): "numeric(17,0)",
    pa.decimal128(38, 38): "numeric(38,38)",
    pa.decimal256(76, 3): "numeric(76,3)",
    pa.date32(): "date",
    pa.date64(): "timestamp without time zone",
    pa.time32("s"): "time without time zone",
    pa.time64("us"): "time without time zone",
    pa.time64("ns"): "time without time zone + smallint",
    pa.timestamp("s"): "timestamp without time zone",
    pa.timestamp("us"): "timestamp without time zone",
    pa.timestamp("ns"): "timestamp without time zone + smallint",
    pa.timestamp("us", "Europe/Berlin"): "timestamp with time zone",
    pa.timestamp("ns", "UTC"): "timestamp with time zone + smallint",
    pa.duration("s"): "interval",
    pa.duration("us"): "interval",
    pa.duration("ns"): "interval + smallint",
    pa.uuid(): "uuid",
    pa.json_(): "json",
    pa.opaque(pa.int32(), "x", "y"): "integer",
    pa.dictionary(pa.int8(), pa.string()): "text",
    pa.dictionary(pa.int32(), pa.int16(), ordered=True): "smallint",
    pa.dictionary(pa.int32(), pa.timestamp("ns")): "timestamp without time zone + smallint",
    pa.list_(pa.int8()): "smallint[]",
    pa.list_(pa.int64()): "bigint[]",
    pa.large_list(pa.float32()): "real[]",
    pa.list_(pa.float64()): "double precision[]",
    pa.list_(pa.bool_()): "boolean[]",
    pa.list_(pa.string()): "text[]",
    pa.list_(pa.binary()): "bytea[]",
    pa.list_(pa.decimal128(9, 2)): "jsonb",
    pa.list_(pa.uint64()): "jsonb",
    pa.list_(pa.timestamp("us")): "jsonb",
    pa.list_(pa.list_(pa.int64())): "jsonb",
    pa.list_(pa.float32(), 3): "jsonb",
    pa.list_view(pa.int64()): "jsonb",
    pa.struct({"x": pa.int64()}): "jsonb",
    pa.map_(pa.string(), pa.int64()): "jsonb",
}
"""Types of Arrow and, as psql shows them, of the columns in Postgres; docs/databases.md has them for people."""


def test_types_in_the_database(place, backend):
    fields = [pa.field(f"c{i}", type_) for i, type_ in enumerate(TYPES)]
    backend.write_table("t/types", pa.RecordBatchReader.from_batches(pa.schema(fields), []))
    relation = backend.uri("t/types")
    with connect(place.admin) as cursor:
        cursor.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
            [relation],
        )
        found = dict(cursor.fetchall())
    shown = {f"c{i}": known.partition(" + ")[0] for i, known in enumerate(TYPES.values())}
    shown |= {f"c{i} ns": "smallint" for i, known in enumerate(TYPES.values()) if "+" in known}
    assert found == shown


NO_COLUMN = [
    pa.list_(pa.timestamp("ns")),
    pa.list_(pa.dictionary(pa.int32(), pa.string())),
    pa.struct([("a", pa.int64()), ("a", pa.int64())]),
    pa.struct([("a\0", pa.int64())]),
    pa.map_(pa.string(), pa.time64("ns")),
    pa.run_end_encoded(pa.int32(), pa.string()),
    pa.month_day_nano_interval(),
    pa.decimal128(5, -3),
    pa.decimal128(5, 7),
    pa.dictionary(pa.int32(), pa.list_(pa.int64())),
    pa.list_(pa.uuid()),
    pa.dense_union([pa.field("a", pa.int64())]),
]


@pytest.mark.parametrize("type_", NO_COLUMN, ids=lambda each: ascii(str(each)))
def test_what_has_no_column_is_refused_with_the_reason(type_, backend):
    schema = pa.schema([("odd", type_)])
    assert "'odd'" in backend.accepts(schema)
    with pytest.raises(Unsupported, match="'odd'"):
        backend.write_table("t/none", pa.RecordBatchReader.from_batches(schema, []))


# ------------------------------------------------------------ at the edge of types


def decimals(precision, scale):
    nines = D((0, (9,) * precision, -scale))
    type_ = (pa.decimal128 if precision < 39 else pa.decimal256)(precision, scale)
    return column([nines, nines.copy_negate(), D((0, (1,), -scale)), D(0), None], type_)


def extension(type_, values):
    return pa.table({"a": pa.ExtensionArray.from_storage(type_, pa.array(values, type_.storage_type))})


FIRST_US = -210_866_803_200_000_000  # 4714-11-24 BC
ODD = "a\"\\b\n'é😀\u2028%s"
EDGES = {
    "timestamps": column([MOST, FIRST_US, 0, None], pa.timestamp("us")),
    "zoned timestamps": column([MOST, FIRST_US, None], pa.timestamp("us", "Asia/Tokyo")),
    "timestamps ns": column([MOST, LEAST, LEAST + 1, -1, 999, 1000, None], pa.timestamp("ns")),
    "timestamps s": column([MOST // 10**6, FIRST_US // 10**6], pa.timestamp("s")),
    "dates": column([-2_440_588, 2_145_042_905, None], pa.date32()),
    "date64": column([86_400_000 * 5_000_000, -86_400_000 * 2_440_588, None], pa.date64()),
    "durations": column([MOST, LEAST, LEAST + 1, 1, -1, None], pa.duration("us")),
    "durations ns": column([MOST, LEAST, 1, -1, None], pa.duration("ns")),
    "durations s": column([MOST // 10**6, -(MOST // 10**6)], pa.duration("s")),
    "times": column([0, 86_399_999_999_999, 1, None], pa.time64("ns")),
    "doubles": column([-0.0, 0.0, np.inf, -np.inf, NAN, 5e-324, 1.7976931348623157e308, None]),
    "NaN payloads": pa.table({"a": pa.array(np.array([0x7FF8000000000001, 0xFFF8000000000000], "u8").view("f8"))}),
    "singles": column(np.array([-0.0, np.inf, NAN, 1e-45, 3.4e38], "f4")),
    "halves": column(np.array([-0.0, np.inf, NAN, 6e-8, 65504], "f2")),
    "uint64": column([2**64 - 1, 0, None], pa.uint64()),
    **{
        f"decimal {precision}, {scale}": decimals(precision, scale)
        for precision, scale in [(1, 0), (1, 1), (18, 0), (38, 0), (38, 38), (39, 1), (76, 0), (76, 38), (76, 76)]
    },
    "text views": column(["x" * 30, None, ""], pa.string_view()),
    "views of bytes": column([b"", None, b"\0" * 20], pa.binary_view()),
    "bytes": pa.table({"a": pa.array([b"\0" * 16, None], pa.binary(16)), "b": pa.array([b"", None], pa.binary(0))}),
    "uuid": column([uuid.UUID(int=2**128 - 1).bytes, None], pa.uuid()),
    "json": extension(pa.json_(), ['{"b":  1, "a":2, "b": 3}', None, "1e400", '"\\u0000"']),
    "large json": extension(pa.json_(pa.large_string()), ["[]"]),
    "bool8": extension(pa.bool8(), [1, 0, None]),
    "opaque": extension(pa.opaque(pa.timestamp("ns"), "x", "y"), [1, None]),
    # categories
    "unused": coded([1, None], pa.array([5, 4, 3])),
    "dates as categories": coded([0, None], pa.array([dt.date(1, 1, 1), dt.date(2, 1, 1)])),
    "decimals as categories": coded([1, None], pa.array([D("1.5"), D("-2.5")])),
    "nanoseconds as categories": coded([1, None, 0], pa.array([1, -1], pa.timestamp("ns", "Europe/Berlin"))),
    "durations as categories": coded([1, 0], pa.array([1, -1], pa.duration("ns"))),
    "0.0 and -0.0 as categories": coded([0, 1, None], pa.array([0.0, -0.0])),
    "halves as categories": coded([1, None], pa.array(np.array([0.1, -0.0], "f2"))),
    "singles as categories": coded([0], pa.array([0.1], pa.float32())),
    "uint64 as categories": coded([0, 1], pa.array([2**64 - 1, 0], pa.uint64())),
    "bytes as categories": coded([0, None], pa.array([b"ab"], pa.binary(2))),
    "no categories": coded([None, None], pa.array([], pa.string())),
    "categories without rows": coded([1, 0], pa.array(["b", "a", "c"]), pa.uint8(), ordered=True).slice(0, 0),
    # nested
    "struct": column(
        [
            {"x": -0.0, "y": ODD, "z": MOST, "u": 2**64 - 1, "f": 0.5},
            {"x": NAN, "y": "NaN", "z": LEAST, "u": 2**53 + 1, "f": float("-inf")},
            {"x": 1.7976931348623157e308, "y": None, "z": None, "u": None, "f": 1e-45},
            {"x": 5e-324, "y": "", "z": 2**53 + 1, "u": 0, "f": None},
            None,
        ],
        pa.struct({"x": pa.float64(), "y": pa.string(), "z": pa.int64(), "u": pa.uint64(), "f": pa.float32()}),
    ),
    "names of fields": column([{"": 1, "a b": 2, "A": 3, "a": 4, "x" * 300: 5, ODD: 6}]),
    "empty structs": column([{}, None], pa.struct([])),
    "halves in a list": column([[np.float16(1.5), None], None], pa.list_(pa.float16())),
    "list of views": column([["a" * 20, None]], pa.list_(pa.string_view())),
    "list view": column([[1, None], None, []], pa.list_view(pa.int64())),
    "list of fixed bytes": column([[b"ab", None]], pa.list_(pa.binary(2))),
    "fixed list": column([[1.5, None], None], pa.list_(pa.float32(), 2)),
    "lists in a fixed list": column([[[1], []], None], pa.list_(pa.list_(pa.int8()), 2)),
    "list of decimals": column([[D("1.50"), None], None, []], pa.list_(pa.decimal128(10, 2))),
    "list of uint64": column([[2**64 - 1, None]], pa.list_(pa.uint64())),
    "list of timestamps": column([[dt.datetime(1, 1, 1), None]], pa.list_(pa.timestamp("us"))),
    "list of zoned timestamps": column(
        [[dt.datetime(1850, 1, 1), dt.datetime(2026, 10, 25, 0, 30), dt.datetime(2026, 10, 25, 1, 30)]],
        pa.list_(pa.timestamp("us", "Europe/Berlin")),
    ),
    "list of durations": column([[MOST, LEAST, None]], pa.list_(pa.duration("us"))),
    "list of times": column([[dt.time(1, 2, 3), None]], pa.list_(pa.time32("s"))),
    "list of doubles": column([[1.5, -0.0, NAN, np.inf, None], [], None]),
    "list of text": column([["", None, "NULL", '"', "{}", ",", ODD], None, []]),
    "list of bytes": column([[b"\0\xff", None, b""], None]),
    "list of nulls": column([[None], [], None], pa.list_(pa.null())),
    "list of structs": column([[{"x": 1}, None], None]),
    "map": column([[("a", None), ("b", 1), ("a", 2)], None, []], pa.map_(pa.string(), pa.int64())),
    "maps in a map": column([[(1, [("x", -0.0)])]], pa.map_(pa.int64(), pa.map_(pa.string(), pa.float64()))),
}


REFUSED = {
    "sqlite": "no exact numbers|before the year 1|text with NUL|out of bounds",
    "duckdb": "at most 38 digits|text with NUL|4714 BC|out of bounds",
    "postgres": "nothing",
}


@pytest.mark.parametrize("name", EDGES)
def test_values_at_the_edge_come_back_equal(name, anywhere):
    reason = anywhere.accepts(EDGES[name].schema)
    kind = anywhere.url.partition(":")[0].removesuffix("ql") if "postgres" in anywhere.url else anywhere.scheme
    try:
        if reason:
            raise Unsupported(reason)
        found = written(anywhere, EDGES[name])
    except Unsupported as exc:
        assert re.search(REFUSED[kind], str(exc)), exc
        return
    same_table(EDGES[name], found)


BEYOND = {
    "timestamp": (column([FIRST_US - 1], pa.timestamp("us")), "4714 BC"),
    "first timestamp": (column([LEAST], pa.timestamp("us", "UTC")), "4714 BC"),
    "timestamp s": (column([MOST], pa.timestamp("s")), "out of bounds"),
    "early date": (column([-2_440_589], pa.date32()), "4714 BC"),
    "late date": (column([2_145_042_906], pa.date32()), "5874897"),
    "date64": (column([MOST // 86_400_000 * 86_400_000], pa.date64()), "out of bounds"),
    "duration": (column([MOST], pa.duration("s")), "out of bounds"),
    "NUL": (column(["a\0b"]), "NUL"),
    "NUL in a list": (column([["a\0"]]), "NUL"),
    "NUL in a struct": (column([{"x": "a\0"}]), "NUL"),
    "NUL in a category": (coded([0], pa.array(["\0"])), "NUL"),
    "no JSON": (extension(pa.json_(), ["{"]), "json"),
    "date in a list": (column([[10**7]], pa.list_(pa.date32())), "out of range"),
    "duration in a list": (column([[MOST]], pa.list_(pa.duration("s"))), "out of range"),
}


@pytest.mark.parametrize("name", BEYOND)
def test_values_beyond_are_refused_and_leave_nothing(name, backend, place):
    table, reason = BEYOND[name]
    with pytest.raises(Unsupported, match=reason):
        written(backend, table, "t/beyond")
    assert not backend.exists("t/beyond")
    with connect(place.admin) as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = %s AND tablename LIKE 't_beyond%%'", [place.schema]
        )
        assert cursor.fetchone() == (0,)


# ------------------------------------------------------------------- conditions

INTS = [0, 1, -1, 127, -128, 2**31 - 1, -(2**31), 2**53 + 1, MOST, LEAST, 2**64 - 1]
NUMBERS = [*INTS, 2**70, 0.5, -0.0, 1e300, 2.0**62, 9007199254740993.0, float("inf"), float("-inf"), D("1.5"), D(2**64)]
FLOATS = [0.0, -0.0, 0.5, 0.1, 1e300, float("inf"), float("-inf"), NAN, 3.0]
TEXT = ["", "a", "B", "b", "ä", "é", "a b", "10", "9", "%", "%s", "'; DROP TABLE x; --", "\\", "😀", "z"]
NS = [0, 1, -1, 999, 1000, 1_001, 10**18, 10**18 + 1, -(10**18), MOST, LEAST + 1]
DAYS = [dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(1970, 1, 1), dt.date(2026, 3, 1), dt.date(9999, 12, 31)]
MOMENTS = [
    *[dt.datetime.combine(day, dt.time(12, 30, 0, 5)) for day in DAYS],
    dt.datetime(1970, 1, 1), dt.datetime(1969, 12, 31, 23, 59, 59, 999999), dt.datetime(2026, 3, 1, 12, 30),
]  # fmt: skip
STAMPS = [np.datetime64(moment) for moment in MOMENTS] + [np.datetime64(value, "ns") for value in NS]
SPANS = [np.timedelta64(value, "ns") for value in NS] + [dt.timedelta(-1), dt.timedelta(days=400, microseconds=1)]
TIMES = [dt.time(0), dt.time(0, 0, 0, 1), dt.time(12, 30), dt.time(23, 59, 59, 999999)]
QUANTITIES = [D("0"), D("1.50"), D("-1.5"), D("1.51"), D("99999999.99"), D("-99999999.99")]
FILTERED = {
    **dict.fromkeys((pa.int8(), pa.uint8(), pa.int32(), pa.int64(), pa.uint64()), (INTS, NUMBERS)),
    pa.float64(): (FLOATS, [v for v in [*FLOATS, *INTS] if v == v]),
    pa.float32(): (FLOATS, [v for v in FLOATS if v == v]),
    pa.string(): (TEXT, [*TEXT, "a\0b", "\0"]),
    pa.binary(): ([b"", b"\0", b"a", b"B", b"\xff"], [b"", b"\0", b"a", b"'", b"\xff\0"]),
    pa.bool_(): ([True, False], [True, False]),
    pa.date32(): (DAYS, [*DAYS, *MOMENTS, "2026-03-01"]),
    pa.timestamp("s"): ([m.replace(microsecond=0) for m in MOMENTS], STAMPS),
    pa.timestamp("us"): (MOMENTS, [*STAMPS, *DAYS, "2026-03-01 12:30"]),
    pa.timestamp("ns"): (NS, STAMPS),
    pa.timestamp("us", "Europe/Berlin"): (MOMENTS[1:-1], [np.datetime64(m) for m in MOMENTS[1:-1]]),
    pa.timestamp("ns", "UTC"): (NS, STAMPS),
    pa.duration("us"): (INTS[:-2], SPANS),
    pa.duration("ns"): (NS, SPANS),
    pa.time32("ms"): ([0, 1, 45_000_000, 86_399_999], TIMES),
    pa.time64("us"): ([0, 1, 45_000_000_000, 86_399_999_999], TIMES),
    pa.decimal128(10, 2): (QUANTITIES, [*QUANTITIES, 1, -2, 0, D("1.505")]),
    pa.dictionary(pa.int32(), pa.string()): (TEXT, [*TEXT, "\0"]),
    pa.dictionary(pa.int8(), pa.int64()): ([0, 1, -1], [0, 1, 0.5, 2]),
}
LABEL = 'x"; DROP TABLE x; --%s'
OPERATORS = ["==", "!=", "<", "<=", ">", ">=", "in", "not in"]


def fits(value, type_):
    try:
        return pa.scalar(value, type_) is not None
    except (pa.ArrowException, OverflowError, ValueError):
        return False


def array(values, type_):
    if not pa.types.is_dictionary(type_):
        return pa.array([v for v in values if v is None or fits(v, type_)], type_)
    return pa.array(values, type_.value_type).dictionary_encode().cast(type_)


@pytest.fixture(scope="module")
def both(url):
    """A frame of all types in a database and in memory; `n` numbers the rows, and each type has a frame of its own."""
    format = registry.format_of("feather-arrow")
    stores = [d6tstore.open(url), d6tstore.open("memory://")]
    targets = {}
    for number, type_ in enumerate(FILTERED):
        values = array([None, *FILTERED[type_][0], None], type_)
        for store in stores:
            with d6tstore.use(store):
                task = _numbered(format, number)
                task.save(pa.table({"n": range(len(values)), LABEL: values}))
                targets.setdefault(type_, []).append((store, task))
    yield targets
    stores[0].close()


def _numbered(format, number):
    return type("Filtered", (type(_task(format)),), {"__annotations__": {"number": int}})(number=number)


def loaded(target, where, limit=None):
    store, task = target
    with d6tstore.use(store):
        try:
            found = task.output().load(columns=["n"], where=where, limit=limit)
        except SelectionError as exc:
            return type(exc), str(exc)
        return found["n"].to_pylist()


@pytest.mark.parametrize("type_", FILTERED, ids=str)
def test_conditions_mean_what_they_mean_in_memory(type_, both):
    ours, theirs = both[type_]
    for op in OPERATORS:
        values = [None, *FILTERED[type_][1]]
        if op in ("in", "not in"):
            values = [[], values[:2], values[1:4], values, values[1:]]
        for value in values:
            where = [(LABEL, op, value)]
            assert loaded(ours, where) == loaded(theirs, where), where


def test_conditions_hold_together_as_in_memory(both):
    @settings(max_examples=80, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data):
        type_ = data.draw(st.sampled_from(list(FILTERED)))
        values = st.sampled_from(FILTERED[type_][1])
        one = st.tuples(st.just(LABEL), st.sampled_from(OPERATORS[:6]), values)
        some = st.tuples(st.just(LABEL), st.sampled_from(OPERATORS[6:]), st.lists(st.none() | values, max_size=5))
        number = st.tuples(st.just("n"), st.sampled_from(OPERATORS[:6]), st.integers(-1, 20))
        where = data.draw(st.lists(one | some | number, min_size=1, max_size=4))
        limit = data.draw(st.none() | st.integers(0, 5))
        ours, theirs = both[type_]
        assert loaded(ours, where, limit) == loaded(theirs, where, limit)

    check()


def test_a_long_list_of_values_is_no_long_query_plan(both):
    ours, theirs = both[pa.int64()]
    where = [(LABEL, "in", range(-20_000, 20_000)), (LABEL, "not in", [*range(500), 0.5, 2**70])]
    assert loaded(ours, where) == loaded(theirs, where)


@pytest.mark.parametrize("value", TEXT)
def test_values_are_never_sql(value, anywhere):
    table = pa.table({value or "x": [value, f"{value}'", None]})
    written(anywhere, table, "t/injection")
    name = table.schema.names[0]
    found = anywhere.read_table("t/injection", where=[(name, "==", value)]).read_all()
    assert found.to_pylist() == [{name: value}]


def test_text_is_compared_by_code_point_whatever_the_language_of_the_database():
    layout = Layout.of(pa.schema({"s": pa.string()}))
    for op, value in [("<", "a"), ("==", "a"), ("in", ["a"])]:
        (test,) = conditions(layout, layout.table("x", "y"), [("s", op, value)])
        assert 'COLLATE "C"' in str(test.compile(dialect=postgresql.dialect()))
