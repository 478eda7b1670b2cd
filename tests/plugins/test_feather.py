"""Format feather of pandas frames."""

import io

import pandas as pd
import pyarrow as pa
import pytest
from frames.pandas_cases import PARQUET, REFUSED, VALUES, FrameTests, same_frame

from d6tstore import registry
from d6tstore.errors import FormatError
from d6tstore.selection import Selection
from d6tstore.testing.formats import _dumped, _loaded


class TestFeather(FrameTests):
    values = VALUES | PARQUET
    refused = REFUSED

    @pytest.fixture
    def format(self):
        return registry.format_of("feather")

    def test_others_read_the_file(self, format, tmp_path):
        frame = VALUES["plain"].assign(c=pd.Categorical([2, 1]))
        pd.testing.assert_frame_equal(pd.read_feather(io.BytesIO(_dumped(format, frame, tmp_path)[0])), frame)

    @pytest.mark.parametrize("name", VALUES | PARQUET)
    def test_the_file_alone_restores_the_frame(self, format, name, tmp_path):
        frame = (VALUES | PARQUET)[name]
        same_frame(frame, _loaded(format, (_dumped(format, frame, tmp_path)[0], None), tmp_path))

    def test_what_was_loaded_can_be_edited(self, format, tmp_path):
        frame = pd.DataFrame({"a": [1.0, 2.0]})
        loaded = _loaded(format, _dumped(format, frame, tmp_path), tmp_path)
        loaded.loc[0, "a"] = 5.0
        assert loaded.a.tolist() == [5.0, 2.0]


class Counting(io.BytesIO):
    count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data


def test_only_what_is_asked_for_is_read():
    format = registry.format_of("feather-arrow")
    table = pa.table({"a": range(200_000), "b": [str(i) for i in range(200_000)], "c": [0.5] * 200_000})
    file = Counting(_dumped(format, table, None)[0])
    whole = len(file.getvalue())
    found = format.scan(file, table.schema, Selection(["c", "a"], None, 10)).read_all()
    assert found.equals(table.select(["c", "a"]).slice(0, 10)) and file.count < whole
    file.count = 0
    assert format.scan(file, table.schema, Selection(["c"])).read_all().equals(table.select(["c"]))
    assert file.count < whole / 3


def test_altered_bytes_do_not_reach_the_user():
    format, table = registry.format_of("feather-arrow"), pa.table({"a": ["x" * 50, "y", None] * 10})
    data = _dumped(format, table, None)[0]
    for place in range(0, len(data), 7):
        altered = data[:place] + b"\xff\xff\x7f" + data[place + 3 :]
        try:
            format.load_table(io.BytesIO(altered), table.schema).validate(full=True)
        except FormatError as exc:
            assert "not the feather that was saved" in str(exc)


def test_text_that_is_no_utf8_is_refused_before_it_is_lost():
    text = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    with pytest.raises(FormatError, match="feather cannot store the frame.*UTF8"):
        registry.format_of("feather-arrow").dump_table(pa.table({"a": text}).to_reader(), io.BytesIO())
