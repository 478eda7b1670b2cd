"""Frames of pandas, polars and Arrow in Postgres: equal as tables, or bytes with a note; never refused or different."""

import itertools
import re

import frames.test_polars as polars_cases
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from frames import arrow_cases, pandas_cases
from frames.strategies import cuts
from frames.strategies import frames as pandas_frames
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing.parametric import dataframes
from postgres import Database

import d6tstore
from d6tstore import context, registry
from d6tstore.errors import FormatError, Unsupported
from d6tstore.testing.formats import _task

ANY = settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
EQUAL = {
    "parquet": pandas_cases.same_frame,
    "parquet-arrow": arrow_cases.same_table,
    "feather-arrow": arrow_cases.same_table,
    "parquet-polars": polars_cases.same_frame,
}
BYTES = {
    "no columns": "no columns",
    "no columns, range": "no columns",
    "no columns, a named range": "no columns",
    "empty": "no columns",
    "text": "NUL",
    "texts and nulls": "NUL",
    "list of dictionaries": "nested dictionary",
    "struct of a dictionary": "nested dictionary",
    "intervals": "month_day_nano_interval",
    "runs": "run_end_encoded",
}
"""Cases that no table holds, and what the note says. (The text of polars has no NUL.)"""
CASES = {
    "parquet": pandas_cases.VALUES | pandas_cases.PARQUET,
    "parquet-arrow": arrow_cases.PLAIN | arrow_cases.FINE | arrow_cases.TYPED,
    "feather-arrow": arrow_cases.FEATHER | {"runs": arrow_cases.runs(pa.array(["x", None]), [1, 3])},
    "parquet-polars": polars_cases.PLAINER | polars_cases.RICHER | polars_cases.NESTED,
}


@pytest.fixture(scope="module")
def stored(postgres):
    """A store on a schema of its own, with one backend for all tests of this file."""
    store = d6tstore.open(Database(postgres).url)
    yield store
    store.close()


@pytest.fixture(autouse=True)
def current(stored):
    with d6tstore.use(stored):
        yield


def kept(format, value, parts=None):
    """Save and load. Gives what the record says of the output."""
    task = _task(registry.format_of(format))
    try:
        task.save(value if parts is None else iter(parts))
        EQUAL[format](value, task.output().load(verify=True))
        return context.current().history(task)[0].outputs["data"]
    finally:
        task.invalidate()


def check(output, name=None):
    note = BYTES.get(name, "")
    assert output.table == (not output.note)
    assert output.table or (note and note in output.note), output.note


@pytest.mark.parametrize(
    ("format", "name"), [(f, n) for f, cases in CASES.items() for n in cases], ids=lambda each: ascii(each)
)
def test_known_frames_come_back_equal_from_tables(format, name):
    output = kept(format, CASES[format][name])
    if (format, name) == ("parquet-polars", "text") or (format, name) == ("parquet-arrow", "text"):
        assert output.table
    else:
        check(output, name)


def _in_any_parts(data, value, cut):
    places = [0, *data.draw(cuts(len(value))), len(value)]
    return [cut(value, a, b) for a, b in itertools.pairwise(places)]


def _refused(exc):
    """A frame that no format takes, or parts that are no one frame: not for Postgres to say."""
    return not any(word in str(exc) for word in ("Postgres", "SQL", "table of this frame"))


def test_any_pandas_frame_comes_back_equal():
    @ANY
    @given(pandas_frames(), st.data())
    def check(frame, data):
        for parts in (None, _in_any_parts(data, frame, lambda f, a, b: f.iloc[a:b])):
            try:
                output = kept("parquet", frame, parts)
            except FormatError as exc:
                nul = parts and "no text with NUL" in str(exc) and "in one piece" in str(exc)
                assert nul or _refused(exc)
                continue
            assert output.table or output.note

    check()


def test_any_arrow_table_comes_back_equal_however_it_is_cut():
    @ANY
    @given(arrow_cases.tables(), st.data())
    def check(table, data):
        assert kept("feather-arrow", table).content == kept("feather-arrow", table.combine_chunks()).content
        parts = _in_any_parts(data, table.unify_dictionaries(), lambda t, a, b: t.slice(a, b - a))
        try:
            EQUAL["feather-arrow"](table, pa.concat_tables(parts))
            kept("feather-arrow", table, parts)
        except FormatError as exc:
            assert ("no text with NUL" in str(exc) and "in one piece" in str(exc)) or "NUL" in str(exc) or _refused(exc)

    check()


def test_part_of_a_list_of_nulls_comes_back_equal():
    lists = pa.array([[], [None, None]], pa.list_(pa.null()))
    for chunks in ([lists], [lists.slice(0, 0), lists.slice(1)], [lists.slice(1)]):
        assert kept("feather-arrow", pa.table({"x": pa.chunked_array(chunks)})).table


def test_any_polars_frame_comes_back_equal():
    @ANY
    @given(dataframes(max_cols=4, max_size=5, excluded_dtypes=[pl.Object], allow_chunks=True))
    def check(frame):
        try:
            output = kept("parquet-polars", frame)
        except FormatError as exc:
            assert _refused(exc)
            return
        assert output.table or output.note

    check()


# ------------------------------------------------------- values that no column holds


NUL = pa.table({"i": range(3), "s": ["x", "a\0b", None]})
REFUSED = {
    "NUL": (NUL, "NUL"),
    "NUL in jsonb": (pa.table({"a": [{"x": "a\0b"}]}), "NUL"),
    "time": (arrow_cases.column([-(2**63)], pa.timestamp("us")), "column 'a'.*4714 BC"),
    "wide rows": (pa.table({f"c{i}": ["x" * 40] for i in range(900)}), "too big"),
    "date in a list": (arrow_cases.column([[10**7]], pa.list_(pa.date32())), "column 'a'.*out of range"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_postgres_does_not_hold_are_stored_as_bytes_with_the_reason(name, stored):
    table, note = REFUSED[name]
    output = kept("feather-arrow", table)
    assert not output.table
    assert re.search(note, output.note), output.note


@pytest.mark.parametrize("name", REFUSED)
def test_in_parts_they_are_refused_with_the_cure(name, stored):
    table, note = REFUSED[name]
    task = _task(registry.format_of("feather-arrow"))
    before = {entry.key for entry in stored.repository.default.list()}
    for parts in (iter([table, table]), table.to_reader()):
        with pytest.raises(FormatError, match=f"(?s){note}.*in parts.*read_all.*pd.concat"):
            task.save(parts)
    assert not task.output().exists()
    assert {entry.key for entry in stored.repository.default.list()} == before


def test_bytes_give_way_to_a_table_and_back():
    task = _task(registry.format_of("feather-arrow"))
    clean = NUL.slice(0, 1)
    for table, native in ((clean, True), (NUL, False), (NUL, False), (clean, True), (clean, True)):
        task.save(table)
        assert context.current().history(task)[0].outputs["data"].table is native
        assert task.output().load().equals(table)
    task.invalidate()


def test_what_the_parts_themselves_raise_is_theirs():
    mine = Unsupported("mine")

    def parts():
        yield NUL.slice(0, 1)
        raise mine

    with pytest.raises(Unsupported) as caught:
        _task(registry.format_of("parquet-arrow")).save(parts())
    assert caught.value is mine


# -------------------------------------------------------------------- order and size


def test_many_rows_come_back_in_order():
    frame = pd.DataFrame({"n": range(200_000), "s": [str(i) * (i % 5) for i in range(200_000)]})
    assert kept("parquet", frame).table
    places = range(0, 200_001, 20_000)
    assert kept("parquet", frame, (frame.iloc[a : a + 20_000] for a in places)).table


def test_columns_with_nanoseconds_stand_beside_columns_of_that_name():
    times = pa.array([1_001, None, -1], pa.timestamp("ns"))
    for names in (["t", "t ns"], ["t ns", "t"], ["t", "t ns", "t ns ns"], ["x" * 63, "x" * 63 + " ns"], [""]):
        table = pa.table({name: times if i % 2 == 0 else ["a", None, "b"] for i, name in enumerate(names)})
        assert kept("feather-arrow", table).table
        both = pa.table(dict.fromkeys(names, times))
        assert kept("feather-arrow", both).table


NAMES = ["", "column 0", "a", "A", "a\0", "a\ufffd", "é", "e\u0301", "x" * 63, "x" * 64, "x" * 200, "%s", "%%", ":x",
         "😀" * 50, "ctid", "xmin", "oid", "none", "c0", "n0", '"', "'; DROP TABLE x; --", "a.b", "\\"]  # fmt: skip


def test_names_are_kept_together_and_each_alone():
    assert kept("feather-arrow", pa.table({name: [i] for i, name in enumerate(NAMES)})).table
    for name in NAMES:
        assert kept("feather-arrow", pa.table({name: [1]})).table


@pytest.mark.parametrize(("columns", "table"), [(1_001, True), (1_002, False)])
def test_a_row_fits_into_a_page_or_is_bytes(columns, table):
    output = kept("feather-arrow", pa.table({f"c{i}": [i] for i in range(columns)}))
    assert output.table is table
    assert table or "8,168 bytes do not fit into a page" in output.note
