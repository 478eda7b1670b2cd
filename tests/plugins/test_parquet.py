"""Format parquet of pandas frames."""

import io

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from frames.pandas_cases import PARQUET, REFUSED, VALUES, FrameTests, same_frame

from d6tstore import registry
from d6tstore.testing.formats import _dumped, _loaded


class TestParquet(FrameTests):
    values = VALUES | PARQUET
    refused = REFUSED

    @pytest.fixture
    def format(self):
        return registry.format_of("parquet")

    def test_others_read_the_file(self, format, tmp_path):
        frame = VALUES["plain"].assign(c=pd.Categorical([2, 1])).set_index("s")
        file = io.BytesIO(_dumped(format, frame, tmp_path)[0])
        assert pq.read_table(file).column_names == ["i", "f", "b", "c", "s"]
        pd.testing.assert_frame_equal(pd.read_parquet(file).astype({"c": "category"}), frame)

    @pytest.mark.parametrize("name", list(VALUES))
    def test_the_file_alone_restores_the_frame(self, format, name, tmp_path):
        if name in ("datetime s", "no dates"):
            pytest.skip("parquet has no times in seconds; the record's schema restores them")
        data, _ = _dumped(format, VALUES[name], tmp_path)
        same_frame(VALUES[name], _loaded(format, (data, None), tmp_path))

    def test_large_categories_over_chunks(self, format, tmp_path):
        cats = pd.Categorical(np.arange(200_000) % 70_001, categories=np.arange(70_001)[::-1], ordered=True)
        frame = pd.DataFrame({"c": cats})
        same_frame(frame, _loaded(format, _dumped(format, frame, tmp_path), tmp_path))
