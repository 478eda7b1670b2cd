"""Frames that come in parts."""

import gc
import io
import traceback
import weakref

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import d6tstore
from d6tstore import frames, registry
from d6tstore.errors import FormatError
from d6tstore.testing.formats import _task

FORMATS = ["parquet-arrow", "feather-arrow", "csv-arrow", "csv-gz-arrow"]


def read(parts, kind="arrow"):
    return frames.to_arrow(iter(parts), kind).read_all()


def array(values, type_=None):
    return pa.table({"a": pa.array(values, type_)})


@pytest.mark.parametrize("name", FORMATS)
def test_no_more_than_two_parts_are_in_memory(name):
    living, most = {}, 0

    def parts():
        nonlocal most
        for i in range(20):
            numbers = np.full(1000, i)
            living[i] = weakref.ref(numbers)
            most = max(most, sum(ref() is not None for ref in living.values()))
            yield pa.table({"a": pa.Array.from_buffers(pa.int64(), 1000, [None, pa.py_buffer(numbers)])})
            del numbers

    format = registry.format_of(name)
    # parquet gathers a row group of 262,144 rows: as many as these parts have
    limit = 20 if name.startswith("parquet") else 2
    gc.disable()
    try:
        format.dump_table(format.to_arrow(parts()), io.BytesIO())
    finally:
        gc.enable()
    assert len(living) == 20 and 1 <= most <= limit


@pytest.mark.parametrize("kind", frames.KINDS)
def test_no_part_is_no_frame(kind):
    with pytest.raises(FormatError, match="no frame.*Yield at least one"):
        frames.to_arrow(iter([]), kind)


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (pa.large_string(), pa.string()),
        (pa.string_view(), pa.large_string()),
        (pa.int64(), pa.null()),
        (pa.string(), pa.null()),
        (pa.int64(), pa.int8()),
        (pa.int16(), pa.uint8()),
        (pa.float64(), pa.int64()),
        (pa.float64(), pa.float32()),
        (pa.large_list(pa.int64()), pa.list_(pa.int8())),
        (pa.struct({"x": pa.large_string()}), pa.struct({"x": pa.string()})),
    ],
    ids=str,
)
def test_parts_of_other_layout_are_one_frame(first, later):
    found = read([array([None], first), array([None], later)])
    assert found.schema.field("a").type == first and found.num_rows == 2


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (pa.int64(), pa.float64()),
        (pa.int8(), pa.int64()),
        (pa.uint64(), pa.int64()),
        (pa.int64(), pa.uint64()),
        (pa.null(), pa.int64()),
        (pa.string(), pa.int64()),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.struct({"x": pa.int64()}), pa.struct({"y": pa.int64()})),
        (pa.list_(pa.int64(), 1), pa.list_(pa.int64(), 2)),
    ],
    ids=str,
)
def test_parts_of_other_types_are_refused(first, later):
    with pytest.raises(FormatError, match="column 'a' is .* in part 2 .*Give every part the same dtypes"):
        read([array([None], first), array([None], later)])


def test_integers_that_are_too_large_for_a_float_are_refused():
    assert read([array([0.5]), array([2**53])]).column(0).to_pylist() == [0.5, 2.0**53]
    with pytest.raises(FormatError, match="column 'a' of part 2 .* does not fit double"):
        read([array([0.5]), array([2**53 + 1])])


def test_other_columns_are_refused():
    with pytest.raises(FormatError, match=r"part 2 .* columns \['b'\].*df\[columns\]"):
        read([pa.table({"a": [1]}), pa.table({"b": [1]})])


def test_what_is_no_frame_is_refused():
    with pytest.raises(FormatError, match="keeps Arrow tables, got a int"):
        read([pa.table({"a": [1]}), 7])


def test_parts_of_pandas_are_numbered_through(store):
    task = _task(registry.format_of("parquet"))
    task.save(pd.DataFrame({"a": [i, i], "s": ["x", None]}) for i in range(3))
    expected = pd.DataFrame({"a": [0, 0, 1, 1, 2, 2], "s": ["x", None] * 3})
    pd.testing.assert_frame_equal(task.output().load(), expected)


# ------------------------------------------------------------------ dictionaries


def changing():
    """A reader whose dictionaries change, as that of a parquet file read with dictionaries."""
    batches = [pa.record_batch({"a": pa.array([text]).dictionary_encode()}) for text in "xy"]
    return pa.RecordBatchReader.from_batches(batches[0].schema, batches)


@pytest.mark.parametrize("name", FORMATS)
def test_categories_that_change_are_refused_with_the_cures(name, store):
    task = _task(registry.format_of(name))
    match = "categorical" if "csv" in name else "categories of column 'a' change.*cast it.*read_all"
    with pytest.raises(FormatError, match=match):
        task.save(changing())
    assert not task.output().exists()
    if "csv" not in name:
        task.save(changing().read_all())
        assert task.output().load()["a"].to_pylist() == ["x", "y"]


def test_categories_in_lists_may_not_change_either():
    kind = pa.list_(pa.dictionary(pa.int32(), pa.string()))
    batches = [pa.record_batch({"a": pa.array([[text]], kind)}) for text in "xy"]
    with pytest.raises(FormatError, match="categories of column 'a' change"):
        frames.to_arrow(pa.RecordBatchReader.from_batches(batches[0].schema, batches), "arrow").read_all()


def test_parts_without_rows_have_any_categories():
    none, some = (pa.array(values, pa.string()).dictionary_encode() for values in ([], ["x"]))
    assert read([pa.table({"a": none}), pa.table({"a": some}), pa.table({"a": none})]).num_rows == 1
    kept = frames.to_arrow(iter([pa.table({"a": some}).slice(0, 0)]), "arrow")
    assert [batch.column(0).dictionary.to_pylist() for batch in kept] == [["x"]]


def test_categories_of_polars_stream_and_enums_must_be_the_same(store):
    task = _task(registry.format_of("parquet-polars"))
    task.save(pl.DataFrame({"a": pl.Series([text], dtype=pl.Categorical)}) for text in "xy")
    assert task.output().load().equals(pl.DataFrame({"a": pl.Series(["x", "y"], dtype=pl.Categorical)}))
    for dtype in (lambda text: pl.Enum([text]), lambda text: pl.List(pl.Enum([text]))):
        with pytest.raises(FormatError, match="column 'a'.*part 2"):
            task.save(pl.DataFrame({"a": pl.Series([None], dtype=dtype(text))}) for text in "xy")


# ------------------------------------------------------- errors of the user's own


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("error", [OSError(2, "mine"), pa.ArrowInvalid("mine"), ValueError("mine"), KeyError("mine")])
def test_what_a_generator_raises_reaches_the_user(name, error, store):
    def parts():
        yield pa.table({"a": [1]})
        raise error

    task = _task(registry.format_of(name))
    with pytest.raises(type(error)) as caught:
        task.save(parts())
    assert caught.value is error and error.__cause__ is None
    assert traceback.extract_tb(error.__traceback__)[-1].name == "parts"
    assert not task.output().exists()


@pytest.mark.parametrize("name", FORMATS)
def test_a_generator_is_closed_when_writing_fails(name, store, monkeypatch):
    closed = []

    def parts():
        try:
            for i in range(10):
                yield pa.table({"a" if i < 5 else "other": [i]})
        finally:
            closed.append(i)

    with pytest.raises(FormatError, match="part 6") as caught:
        _task(registry.format_of(name)).save(parts())
    assert closed == [5], caught


def test_a_reader_streams_through_a_task(store):
    class Numbers(d6tstore.tasks.TaskFeatherArrow):
        def run(self):
            schema = pa.schema({"a": pa.int64()})
            batches = (pa.record_batch({"a": [i]}) for i in range(5))
            self.save(pa.RecordBatchReader.from_batches(schema, batches))

    Numbers().run()
    assert Numbers().output().load()["a"].to_pylist() == list(range(5))
