"""pandas frames: what comes back equal, and what is refused because it would not."""

import json

import pytest
from frames.pandas_cases import VALUES, same_frame
from frames.strategies import frames
from hypothesis import given, settings

from d6tstore import registry
from d6tstore.errors import FormatError
from d6tstore.testing.formats import _dumped, _loaded


@pytest.mark.parametrize("name", ["parquet", "csv"])
def test_any_frame_comes_back_equal(name):
    format = registry.format_of(name)

    @settings(max_examples=150, deadline=None, database=None)
    @given(frames())
    def check(frame):
        try:
            dumped = _dumped(format, frame, None)
        except FormatError as exc:
            assert "index" in str(exc)  # nullable dtypes in an index
            return
        same_frame(frame, _loaded(format, dumped, None))

    check()


def test_the_notes_are_small_and_only_where_needed():
    format = registry.format_of("parquet")
    assert b"d6tstore" not in format.to_arrow(VALUES["plain"]).schema.metadata
    noted = json.loads(format.to_arrow(VALUES["object str nan"]).schema.metadata[b"d6tstore"])
    assert noted == {"objects": {"o": "nan"}}


def test_to_arrow_does_not_touch_the_frame():
    for frame in [VALUES["mixed labels"], VALUES["int name"], VALUES["daily"], VALUES["int name of labels"]]:
        before = frame.copy(deep=True)
        before.index = frame.index.copy()
        registry.format_of("parquet").to_arrow(frame)
        same_frame(frame, before)
