"""Format CSV, gzipped; and how CSV streams."""

import gzip
import io

import pandas as pd
import pyarrow as pa
import pytest
from frames.pandas_cases import PARQUET, REFUSED, VALUES, FrameTests
from hypothesis import given, settings
from hypothesis import strategies as st

from d6tstore import registry
from d6tstore.errors import FormatError
from d6tstore.selection import Selection
from d6tstore.testing import Refused
from d6tstore.testing.formats import _dumped, _loaded
from d6tstore_plugins.formats import csv_rows


class TestCsvGz(FrameTests):
    values = VALUES
    refused = REFUSED | {"category": Refused(PARQUET["category"], "column 'c' is categorical.*TaskPqPandas")}

    @pytest.fixture
    def format(self):
        return registry.format_of("csv-gz")

    def test_others_read_the_file(self, format, tmp_path):
        data, _ = _dumped(format, VALUES["plain"], tmp_path)
        assert gzip.decompress(data) == _dumped(registry.format_of("csv"), VALUES["plain"], tmp_path)[0]
        path = tmp_path / "x.csv.gz"
        path.write_bytes(data)
        assert pd.read_csv(path).i.tolist() == [1, -2]

    def test_equal_frames_are_equal_bytes(self, format, tmp_path, monkeypatch):
        first = _dumped(format, VALUES["plain"], tmp_path)[0]
        monkeypatch.setattr("time.time", lambda: 2e9)
        assert _dumped(format, VALUES["plain"], tmp_path)[0] == first
        assert first[4:8] == bytes(4) and not first[3]  # no time, no name

    def test_without_a_schema_it_reads_as_csv_does(self, format):
        assert format.load(io.BytesIO(gzip.compress(b"a,b\n1,x\n2,\n"))).a.tolist() == [1, 2]


class Counting(io.BytesIO):
    """A file that knows how much was read of it, and at once."""

    read_bytes = largest = 0

    def read(self, size=-1):
        data = super().read(size)
        self.read_bytes += len(data)
        self.largest = max(self.largest, len(data))
        return data


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(csv_rows, "_BLOCK", 256)
    monkeypatch.setattr(csv_rows, "_PIECE", 128)


TABLE = pa.table({"n": range(500), "t": [f'"{i}",\n' * (i % 3) for i in range(500)], "x": [None, 0.5] * 250})


@pytest.mark.parametrize("name", ["csv-arrow", "csv-gz-arrow"])
def test_it_is_read_in_blocks(name, small_blocks):
    format = registry.format_of(name)
    file = Counting(_dumped(format, TABLE, None)[0])
    if name == "csv-arrow":
        assert format.load_table(file, TABLE.schema).equals(TABLE)
        assert file.largest <= 256 and len(file.getvalue()) > 4000
    file.seek(0)
    file.read_bytes = 0
    found = format.scan(file, TABLE.schema, Selection(["x", "n"], [("n", ">=", 3)], 4)).read_all()
    assert found.equals(TABLE.select(["x", "n"]).slice(3, 4))
    assert name != "csv-arrow" or file.read_bytes <= 1024


def test_columns_that_are_not_asked_for_are_not_parsed(small_blocks):
    data = _dumped(registry.format_of("csv-arrow"), TABLE, None)[0].replace(b"0.5", b"bad")
    format = registry.format_of("csv-arrow")
    assert format.scan(io.BytesIO(data), TABLE.schema, Selection(["n"])).read_all().num_rows == 500
    with pytest.raises(FormatError, match="not the CSV that was saved"):
        format.scan(io.BytesIO(data), TABLE.schema, Selection(["x"])).read_all()


@settings(max_examples=60, deadline=None, database=None)
@given(
    st.lists(st.text('a"\n\r,é', max_size=200) | st.none(), max_size=20),
    st.text('a"\n,', max_size=40),
    st.integers(1, 64),
)
def test_rows_are_cut_where_they_end(texts, name, size):
    table = pa.table({name: pa.array(texts, pa.string()), name + "n": pa.array(range(len(texts)), pa.int64())})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "_BLOCK", size)
        patch.setattr(csv_rows, "_PIECE", size)
        assert _loaded(
            registry.format_of("csv-arrow"), _dumped(registry.format_of("csv-arrow"), table, None), None
        ).equals(table)


def test_another_header_is_told():
    format, data = registry.format_of("csv-arrow"), b'"n","t"\n1,2\n'
    with pytest.raises(FormatError, match=r"header is \['n', 't'\]"):
        format.load_table(io.BytesIO(data), TABLE.schema)
    with pytest.raises(FormatError, match="header"):
        format.load_table(io.BytesIO(b'"t","n"\n1,2\n'), pa.schema({"n": pa.int64(), "t": pa.int64()}))


def test_a_column_is_refused_before_anything_is_written():
    def batches():
        raise AssertionError("read")
        yield

    file, schema = io.BytesIO(), pa.schema({"a": pa.binary()})
    with pytest.raises(FormatError, match="column 'a' of type binary"):
        registry.format_of("csv").dump_table(pa.RecordBatchReader.from_batches(schema, batches()), file)
    assert file.getvalue() == b""


@pytest.mark.parametrize("name", ["a", "aa"])  # with one of them a block ends within a line end, header and all
def test_line_ends_of_windows_in_text_are_kept_wherever_a_block_ends(name):
    format, table = registry.format_of("csv-arrow"), pa.table({name: ["\r\n" * 1000 + "y"] * 1800})
    data, schema = _dumped(format, table, None)
    assert len(data) > 3 << 20
    assert _loaded(format, (data, schema), None).equals(table)
    assert _loaded(format, (data, None), None).equals(table)  # somebody else's file, too
