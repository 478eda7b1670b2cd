"""Format Excel of pandas frames."""

import datetime as dt
import decimal
import io
import zipfile

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pytest
from frames.pandas_cases import NAN, PARQUET, VALUES, indexed, objects, same_frame, times
from hypothesis import given, settings
from hypothesis import strategies as st

from d6tstore import registry
from d6tstore.errors import FormatError
from d6tstore.selection import Selection
from d6tstore.testing import FormatTests, Refused
from d6tstore.testing.formats import _dumped, _loaded
from d6tstore_plugins.formats import excel_cells

NAMES = ["plain", "small ints", "nullable without nulls", "time zones", "no rows", "empty",
         "no columns", "nothing but nulls", "object str None", "object bool None", "int labels", "levels", "text index",
         "named range", "two levels", "dates by names", "attrs", "datetime s", "datetime ns"]  # fmt: skip
ODD = ["=1+1", "+1", "-1", "@x", "#N/A", "a\nb", "\ta", " lead", "trail ", "1", "TRUE", "2020-01-01", "é😀", "<&>", " "]


class TestExcel(FormatTests):
    values = {name: VALUES[name] for name in NAMES} | {
        "odd text": pd.DataFrame({"a": [*ODD, None]}),
        "ints": pd.DataFrame({"a": [2**53, -(2**53), 0]}),
        "floats": pd.DataFrame({"a": [0.1, -0.0, 1e22, 5e-324, 1e308, 1 / 3, 1.0, NAN, 123456789012345680.0]}),
        "decimals": objects(decimal.Decimal("1.10"), decimal.Decimal("-9999999999999.99"), None),
        "dates": objects(dt.date(1900, 1, 1), dt.date(1900, 2, 28), dt.date(1900, 3, 1), dt.date(9999, 12, 31)),
        "first moments": times(
            *map(pd.Timestamp, ["1900-01-01", "1900-02-28 23:59:59.999", "9999-12-31", None]), unit="ms"
        ),
        "times": objects(dt.time(0), dt.time(23, 59, 59, 999_000), None),
        "timedeltas": pd.DataFrame({"a": pd.to_timedelta([0, -1, 10**10, None], unit="ms")}),
        "null at the end": pd.DataFrame({"a": pd.array([1, None, None], "Int64")}),
        "odd names": pd.DataFrame([[1, 2, 3]], columns=["", "=1", " x\n"]),
    }
    refused = {
        name: Refused(frame, match)
        for name, (frame, match) in {
            "long text": (pd.DataFrame({"a": ["x" * 32_768]}), "column 'a'.*32,767 characters"),
            "long text in UTF-16": (pd.DataFrame({"a": ["😀" * 16_384]}), "column 'a'.*32,767"),
            "control": (pd.DataFrame({"a": ["\x07"]}), r"column 'a'.*'\\x07'"),
            "carriage return": (pd.DataFrame({"a": ["a\r\nb"]}), r"column 'a'.*'\\r'"),
            "escape": (pd.DataFrame({"a": ["_x000D_"]}), "column 'a'.*'_x000D_'"),
            "empty text": (pd.DataFrame({"a": ["", None]}), r"column 'a' holds ''.*replace"),
            "inf": (pd.DataFrame({"a": [np.inf]}), "column 'a' holds inf.*NULL"),
            "large ints": (pd.DataFrame({"a": [2**53 + 1]}), r"column 'a' holds 9007199254740993.*2\*\*53"),
            "fine times": (times(pd.Timestamp("2020-01-01 00:00:00.000001"), unit="us"), "column 't'.*milliseconds"),
            "old times": (times("1899-12-31", unit="us"), "column 't'.*before 1900"),
            "old dates": (objects(dt.date(1899, 12, 31)), "column 'o'.*before 1900"),
            "far times": (times(pd.Timestamp(10**12, unit="s"), unit="s"), "column 't'.*out of range"),
            "many digits": (VALUES["long decimal"], "column 'o'.*15 digits"),
            "bytes": (PARQUET["bytes"], "column 'o' of type binary"),
            "lists": (PARQUET["lists"], "column 'o' of type list"),
            "categories": (PARQUET["category"], "column 'c' is categorical"),
            "columns": (pd.DataFrame(np.zeros((1, 16_385))).add_prefix("c"), "16,385 columns"),
            "a name": (pd.DataFrame({"\x07": [1]}), "name of column.*Rename"),
        }.items()
    }

    @pytest.fixture
    def format(self):
        return registry.format_of("excel")

    def equal(self, saved, loaded):
        return same_frame(saved, loaded)

    def test_a_person_finds_cells_to_work_with(self, format, tmp_path):
        frame = pd.DataFrame(
            {
                "n": [1.5],
                "s": ["=1+1"],
                "b": [True],
                "t": pd.to_datetime(["2020-01-02 03:04:05"]),
                "z": pd.to_datetime(["2020-06-01 12:00"]).tz_localize("Europe/Berlin"),
                "d": [dt.timedelta(hours=30)],
            }
        )
        sheet = openpyxl.load_workbook(io.BytesIO(_dumped(format, frame, tmp_path)[0])).active
        header, row = sheet.iter_rows()
        assert [cell.value for cell in header] == list(frame)
        assert [cell.data_type for cell in row] == ["n", "s", "b", "d", "d", "d"]
        assert [cell.value for cell in row][:4] == [1.5, "=1+1", True, dt.datetime(2020, 1, 2, 3, 4, 5)]
        assert row[4].value == dt.datetime(2020, 6, 1, 10) and row[5].number_format == "[h]:mm:ss"

    def test_blanks_are_kept_by_excel_too(self, format, tmp_path):
        data, _ = _dumped(format, pd.DataFrame({"a": [" lead"]}), tmp_path)
        texts = zipfile.ZipFile(io.BytesIO(data)).read("xl/worksheets/sheet1.xml").decode()
        assert 'xml:space="preserve"> lead<' in texts

    def test_pandas_reads_the_file(self, format, tmp_path):
        frame = pd.DataFrame({"i": [1, 2], "s": ["x", None]})
        pd.testing.assert_frame_equal(pd.read_excel(io.BytesIO(_dumped(format, frame, tmp_path)[0])), frame)

    def test_a_foreign_workbook_reads_as_pandas_reads_it(self, format):
        file, frame = io.BytesIO(), pd.DataFrame({"i": [1, 2], "f": [0.5, NAN], "s": ["x", "y"]})
        frame.to_excel(file, index=False)
        file.seek(0)
        pd.testing.assert_frame_equal(format.load(file), frame)


def test_too_many_rows_are_refused_before_they_are_written():
    batch = pa.record_batch({"a": pa.nulls(1_048_575)})
    reader = pa.RecordBatchReader.from_batches(batch.schema, [batch, batch.slice(0, 1)])
    with pytest.raises(FormatError, match="more than the 1,048,575 rows"):
        registry.format_of("excel").dump_table(reader, io.BytesIO())


def test_what_excel_changed_is_found(monkeypatch):
    monkeypatch.setattr(excel_cells, "text_cell", lambda sheet, value: value.upper())
    with pytest.raises(FormatError, match="column 'A' would come back"):
        registry.format_of("excel").dump_table(pa.table({"A": ["x"]}).to_reader(), io.BytesIO())


def test_a_part_is_read_row_by_row():
    format = registry.format_of("excel-arrow")
    table = pa.table({"a": range(100), "b": [str(i) for i in range(100)], "c": [None] * 100})
    file = io.BytesIO(_dumped(format, table, None)[0])
    found = format.scan(file, table.schema, Selection(["c", "b"], [("a", ">", 90)], 3)).read_all()
    assert found.equals(table.select(["c", "b"]).slice(91, 3))


@settings(max_examples=25, deadline=None, database=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.text(max_size=5),
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
            st.none() | st.integers(-(2**53), 2**53),
            st.none() | st.integers(-2_208_988_800_000, 253_402_300_799_999),
            st.none() | st.integers(-(10**12), 10**12),
            st.none() | st.dates(dt.date(1900, 1, 1)),
            st.none() | st.booleans(),
        ),
        max_size=6,
    )
)
def test_any_table_comes_back_equal(rows):
    types = [pa.string(), pa.float64(), pa.int64(), pa.timestamp("ms"), pa.duration("ms"), pa.date32(), pa.bool_()]
    columns = [pa.array([row[i] for row in rows], type_) for i, type_ in enumerate(types)]
    table, format = pa.table(columns, names=list("abcdefg")), registry.format_of("excel-arrow")
    try:
        dumped = _dumped(format, table, None)
    except FormatError as exc:
        assert "column 'a'" in str(exc) and "''" in str(exc) or "which Excel" in str(exc)
        return
    assert _loaded(format, dumped, None).equals(table)


def test_an_index_comes_back():
    format, frame = registry.format_of("excel"), indexed(["x", "y"], "k")
    same_frame(frame, _loaded(format, _dumped(format, frame, None), None))
