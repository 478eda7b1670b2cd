"""Format CSV of pandas frames."""

import io

import pandas as pd
import pyarrow as pa
import pytest
from frames.pandas_cases import NAN, PARQUET, REFUSED, VALUES, FrameTests

from d6tstore import registry
from d6tstore.testing import Refused
from d6tstore.testing.formats import _dumped


class TestCsv(FrameTests):
    values = VALUES
    refused = REFUSED | {
        "years that text cannot tell": Refused(
            pd.DataFrame({"t": pd.to_datetime([10**12], unit="s").as_unit("s")}),
            "column 't'.*year.*TaskPqPandas",
        ),
        "category": Refused(PARQUET["category"], "column 'c' is categorical.*TaskPqPandas"),
        "bytes": Refused(PARQUET["bytes"], "column 'o' of type binary.*TaskPqPandas"),
        "lists": Refused(PARQUET["lists"], "column 'o' of type list.*TaskPqPandas"),
        "dicts": Refused(PARQUET["dicts"], "column 'o' of type struct.*TaskPqPandas"),
        "period": Refused(PARQUET["period"], "column 'p' of type.*TaskPqPandas"),
    }

    @pytest.fixture
    def format(self):
        return registry.format_of("csv")

    def test_others_read_the_file(self, format, tmp_path):
        frame = pd.DataFrame(
            {"i": [1, 2], "f": [0.1, NAN], "s": ["x,y", None], "t": pd.to_datetime(["2020-01-01", None])}
        )
        data, _ = _dumped(format, frame, tmp_path)
        assert data.decode() == '"i","f","s","t"\n1,0.1,"x,y",2020-01-01 00:00:00.000000\n2,,,\n'
        pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(data), parse_dates=["t"]), frame, check_dtype=False)

    def test_nan_and_null_stay_apart(self, format):
        table, file = pa.table({"a": pa.array([0.5, NAN, None])}), io.BytesIO()
        format.dump_table(table.to_reader(), file)
        file.seek(0)
        assert format.load_table(file, table.schema).column("a").null_count == 1

    def test_without_a_schema_it_reads_as_csv_does(self, format):
        loaded = format.load(io.BytesIO(b"a,b\n1,x\n2,\n"))
        assert loaded.a.tolist() == [1, 2] and loaded.b.isna().tolist() == [False, True]
