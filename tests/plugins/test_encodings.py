"""`encodings.choose`: small files of every kind of column, that every reader reads."""

import decimal
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from d6tstore_plugins.formats.encodings import choose

ROWS = 60_000
RNG = np.random.default_rng(0)  # of COLUMNS only


def written(table, **options):
    """The bytes of a file, and what parquet says of each of its columns."""
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    group = pq.read_metadata(file).row_group(0)
    return file, {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}


def labels(rng, count, rows=ROWS):
    return pa.array([f"label {i:06d}" for i in range(count)]).take(pa.array(rng.integers(0, count, rows)))


@pytest.fixture
def rng():
    return np.random.default_rng(1)


COLUMNS = {  # what is chosen: the encoding, or a dictionary
    "normal": (RNG.standard_normal(ROWS), "BYTE_STREAM_SPLIT"),
    "single": (RNG.random(ROWS).astype("f4"), "BYTE_STREAM_SPLIT"),
    "prices": (np.round(RNG.lognormal(3, 1, ROWS), 1), "dictionary"),
    "random": (RNG.integers(-(2**63), 2**63 - 1, ROWS), "PLAIN"),
    "billions": (RNG.integers(0, 10**9, ROWS), "DELTA_BINARY_PACKED"),
    "ids": (np.arange(ROWS), "DELTA_BINARY_PACKED"),
    "times": (np.datetime64("2024-01-01", "us") + np.arange(ROWS).astype("m8[s]"), "DELTA_BINARY_PACKED"),
    "groups": (np.sort(RNG.integers(0, ROWS // 3, ROWS)), "DELTA_BINARY_PACKED"),
    "small": (RNG.integers(0, 100, ROWS).astype("i1"), "dictionary"),
    "constant": (np.zeros(ROWS), "dictionary"),
    "yes": (RNG.random(ROWS) < 0.5, "PLAIN"),
    "few": (labels(RNG, 20), "dictionary"),
    "some": (labels(RNG, 3000), "dictionary"),
    "names": (pa.array([f"name {i:09d}" for i in range(ROWS)]), "DELTA_BYTE_ARRAY"),
    "hex": (pa.array([f"{i:016x}" for i in RNG.integers(0, 2**62, ROWS)]), "DELTA_LENGTH_BYTE_ARRAY"),
    "categories": (labels(RNG, 20).dictionary_encode(), "dictionary"),
    "unknown": (pa.nulls(ROWS, pa.int64()), "dictionary"),
    "nothing": (pa.nulls(ROWS), "dictionary"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_the_encoding_suits_the_column(name):
    values, expected = COLUMNS[name]
    options = choose(pa.table({name: values}))
    assert options["column_encoding"].get(name, "dictionary") == expected
    assert options["use_dictionary"] == [name] * (expected == "dictionary")


def test_the_file_is_smaller_than_by_default_and_reads_equal():
    table = pa.table({name: values for name, (values, _) in COLUMNS.items()})
    file, columns = written(table, **choose(table))
    assert pq.read_table(file).equals(table)
    _, usual = written(table, compression="zstd", compression_level=1)
    for name in columns:
        assert columns[name].total_compressed_size <= usual[name].total_compressed_size * 1.02, name
    ours, theirs = (sum(c.total_compressed_size for c in x.values()) for x in (columns, usual))
    assert ours < 0.75 * theirs


def test_cardinality_is_that_of_the_row_group_not_of_the_sample(rng):
    many = labels(rng, 20_000)  # nearly all different in a sample; each three times in the whole
    assert choose(pa.table({"a": many}))["use_dictionary"] == ["a"]
    assert choose(pa.table({"a": many}), group=20_000)["use_dictionary"] == []


def test_a_dictionary_that_parquet_would_give_up_is_not_begun(rng):
    wide = pa.array([f"{i:06d}" + "x" * 200 for i in range(8000)]).take(pa.array(rng.integers(0, 8000, ROWS)))
    assert choose(pa.table({"a": wide}))["use_dictionary"] == []
    assert choose(pa.table({"a": wide.dictionary_encode()}))["use_dictionary"] == ["a"]  # which Arrow has already


def test_higher_levels_and_no_compression_where_they_gain(rng):
    words = np.array(
        ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), rng.integers(2, 10))) for _ in range(4000)]
    )
    often = 1 / np.arange(1, 4001)  # as in a language
    text = pa.array([" ".join(line) for line in rng.choice(words, (ROWS, 12), p=often / often.sum())])
    table = pa.table({"text": text, "random": rng.standard_normal(ROWS), "packed": rng.integers(0, 2**20, ROWS)})
    options = choose(table)
    assert options["compression"] == {"text": "zstd", "random": "zstd", "packed": "none"}
    assert options["compression_level"] == {"text": 3, "random": 1}


def test_nested_columns_are_chosen_by_their_leaves(rng):
    counts = rng.integers(0, 4, ROWS)
    ends = pa.array(np.append(0, counts.cumsum()), pa.int32())
    total = int(counts.sum())
    numbers, names = pa.array(rng.integers(0, 10**9, total)), labels(rng, 20, total)
    table = pa.table(
        {
            "list": pa.ListArray.from_arrays(ends, numbers),
            "map": pa.MapArray.from_arrays(ends, names, numbers),
            "struct": pa.StructArray.from_arrays([pa.array(rng.random(ROWS)), labels(rng, 20)], ["x", "kind"]),
            "empty": pa.array([[]] * ROWS, pa.list_(pa.int64())),
        }
    )
    table = pa.concat_tables([table.slice(0, 17), table.slice(17, 30_000), table.slice(30_017)])
    options = choose(table)
    assert options["column_encoding"] == {
        "list.list.element": "DELTA_BINARY_PACKED",
        "map.key_value.value": "DELTA_BINARY_PACKED",
        "struct.x": "BYTE_STREAM_SPLIT",
    }
    file, columns = written(table, **options)
    assert set(columns) == set(options["compression"])
    assert pq.read_table(file).equals(table)
    for path, encoding in options["column_encoding"].items():
        assert encoding in columns[path].encodings


def test_cardinality_within_lists_is_that_of_all_their_values(rng):
    values = rng.integers(0, 150_000, 20_000).take(rng.integers(0, 20_000, 10 * ROWS))
    table = pa.table({"a": pa.FixedSizeListArray.from_arrays(pa.array(values), 10)})
    assert choose(table)["use_dictionary"] == ["a.list.element"]


def test_only_a_sample_is_measured(monkeypatch):
    measured = []
    monkeypatch.setattr(
        "d6tstore_plugins.formats.encodings._measure",
        lambda slices, rows: (measured.append(sum(map(len, slices))), ("", "zstd", 1))[1],
    )
    ends, numbers = pa.array(np.arange(0, 2 * ROWS + 1, 2), pa.int32()), pa.array(np.arange(2 * ROWS))
    choose(
        pa.table(
            {
                "flat": numbers[:ROWS],
                "list": pa.ListArray.from_arrays(ends, numbers),
                "map": pa.MapArray.from_arrays(ends, numbers, numbers),
                "struct": pa.StructArray.from_arrays([numbers[:ROWS]], ["x"]),
            }
        )
    )
    assert measured == [8192, 2 * 8192, 2 * 8192, 2 * 8192, 8192]


def test_types_of_which_only_some_readers_know_more(rng):
    cents = pa.array([decimal.Decimal(i) / 100 for i in range(1000)], pa.decimal128(12, 2))
    table = pa.table(
        {
            "half": pa.array(rng.random(ROWS).astype("f2")),
            "decimal": cents.take(pa.array(rng.integers(0, 1000, ROWS))),
            "wide": pa.array([decimal.Decimal(i) / 7 for i in range(ROWS)], pa.decimal256(60, 30)),
            "fixed": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(16), ROWS, [None, pa.py_buffer(rng.bytes(16 * ROWS))]
            ),
        }
    )
    options = choose(table)
    assert options["column_encoding"] == {"wide": "PLAIN", "fixed": "PLAIN"}
    file, _ = written(table, **options)
    assert pq.read_table(file).equals(table)


def test_names_are_no_paths(rng):
    values = rng.integers(0, 10**9, ROWS)
    names = ["a.b", "", " ", "ä", "x" * 300, "list.list.element", "0"]
    table = pa.table([values] * len(names), names)
    options = choose(table)
    assert options["column_encoding"] == dict.fromkeys(names, "DELTA_BINARY_PACKED")
    file, _ = written(table, **options)
    assert pq.read_table(file).equals(table)


def test_columns_that_parquet_calls_the_same_are_left_to_parquet(rng):
    inner = pa.StructArray.from_arrays([labels(rng, 20)], ["b"])
    table = pa.table({"a": inner, "a.b": rng.random(ROWS)})
    options = choose(table)
    assert options == {"compression": "zstd", "compression_level": 1}
    file, _ = written(table, **options)
    assert pq.ParquetFile(file).read().equals(table)


@pytest.mark.parametrize("rows", [0, 1, 50_000])
def test_small_tables_are_not_measured(rows, monkeypatch):
    monkeypatch.setattr("d6tstore_plugins.formats.encodings._measure", None)
    table = pa.table({"a": np.arange(rows), "b": [[1]] * rows})
    options = choose(table)
    assert options == {"compression": "zstd", "compression_level": 1}
    written(table, **options)


def test_the_answer_does_not_depend_on_chunks():
    table = pa.table({name: values for name, (values, _) in COLUMNS.items()})
    pieces = [table.slice(start, 777) for start in range(0, ROWS, 777)]
    assert choose(pa.concat_tables(pieces)) == choose(table) == choose(table)


def test_what_parquet_cannot_store_raises_as_writing_does():
    union = pa.UnionArray.from_dense(
        pa.array([0] * ROWS, pa.int8()), pa.array(range(ROWS), pa.int32()), [pa.array(range(ROWS))]
    )
    with pytest.raises(pa.ArrowNotImplementedError):
        choose(pa.table({"a": union}))
