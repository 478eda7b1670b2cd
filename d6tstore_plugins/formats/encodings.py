"""How to write each column of a parquet file: encodings and compression, chosen by measuring a sample.

Only encodings that other readers know too: BYTE_STREAM_SPLIT for single and double floats (DuckDB did not read it for
integers, Polars not for half floats), the DELTA encodings for integers and texts. zstd of level 1: higher levels cost
much time and gain clearly on few columns only. `benchmarks/README.md` has the measurements.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_FEW = 50_000  # rows up to which nothing is measured
_SLICES, _SLICE = 8, 1024  # the sample: so many runs of so many neighbours, evenly spread
_DICTIONARY = 1 << 20  # bytes at which parquet gives a dictionary up
_MARGIN = 0.99  # of the size: what a slower encoding, or compression at all, must gain
_LEVEL = 0.92  # of the size: what a higher level must gain
_FLOATS = ("PLAIN", "BYTE_STREAM_SPLIT")
_NUMBERS = ("PLAIN", "DELTA_BINARY_PACKED")
_TEXTS = ("PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY")


def choose(table: pa.Table, group: int = 1 << 20) -> dict[str, Any]:
    """Options for `pyarrow.parquet.ParquetWriter` that write such a table small and fast.

    Args:
        table: all rows, or the first ones. Up to 50,000 rows the answer is fixed; above, a sample of 8,192 is
            written to memory with each encoding that suits the type of a column.
        group: rows of a row group.

    Returns:
        `compression`, `compression_level` and, if it was measured, `use_dictionary` and `column_encoding`, by the
        paths of parquet's columns (`"tags.list.element"`). The same for the same table.

    Raises:
        pa.ArrowException: parquet cannot store a column; writing the table would raise it too.

    Example:
        >>> choose(pa.table({"id": pa.array(range(100_000))}))["column_encoding"]
        {'id': 'DELTA_BINARY_PACKED'}
    """
    paths = _paths(table.schema)
    if table.num_rows <= _FEW or len(set(paths)) < len(paths):  # the latter: "a.b" beside a struct "a" with a "b"
        return {"compression": "zstd", "compression_level": 1}
    rows = min(table.num_rows, group)
    compression, levels, dictionaries, encodings = {}, {}, [], {}
    for path, slices in zip(paths, _leaves(_slices(table)), strict=True):
        encoding, compression[path], level = _measure(slices, rows)
        if level:
            levels[path] = level
        if encoding:
            encodings[path] = encoding
        else:
            dictionaries.append(path)
    return {
        "compression": compression,
        "compression_level": levels,
        "use_dictionary": dictionaries,
        "column_encoding": encodings,
    }


def _paths(schema: pa.Schema) -> list[str]:
    """What parquet calls its columns: a nested one has several."""
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, schema).close()
    found = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [found.column(i).path for i in range(len(found))]


def _slices(table: pa.Table) -> list[list[pa.Array]]:
    """The sample: for each column some runs of neighbours."""
    starts = [i * (table.num_rows - _SLICE) // (_SLICES - 1) for i in range(_SLICES)]
    return [[pa.concat_arrays(column.slice(start, _SLICE).chunks) for start in starts] for column in table.columns]


def _leaves(columns: list[list[pa.Array]]) -> Iterator[list[pa.Array]]:
    """Parquet's columns within columns: values without the structure around them."""
    for slices in columns:
        kind = slices[0].type
        if isinstance(kind, pa.BaseExtensionType):
            yield from _leaves([[part.storage for part in slices]])
        elif pa.types.is_struct(kind):
            yield from _leaves([[part.field(i) for part in slices] for i in range(kind.num_fields)])
        elif pa.types.is_map(kind):
            yield from _leaves([[part.keys for part in slices], [part.items for part in slices]])
        elif pa.types.is_nested(kind):
            yield from _leaves([[part.flatten() for part in slices]])
        else:
            yield slices


def _measure(slices: list[pa.Array], rows: int) -> tuple[str, str, int]:
    """Encoding ("": a dictionary, where it fits), codec and level for a column of so many rows in a group."""
    kind, values = slices[0].type, pa.chunked_array(slices)
    if pa.types.is_boolean(kind):
        return "PLAIN", "zstd", 9  # of an eighth of a byte per row, where no level takes time
    encodings = _suitable(kind)
    if not encodings or values.null_count == len(values):
        return "", "zstd", 1
    rows = rows * len(values) // (_SLICES * _SLICE)  # within lists there are more, or fewer
    best, size, chosen = "", math.inf, None  # type: str, float, Any
    seen, distinct = _distinct(slices, rows)
    width = pc.mean(pc.binary_length(values)).as_py() + 4 if encodings == _TEXTS else kind.bit_width / 8
    if distinct * width < _DICTIONARY:
        chosen = _written(values)
        page = chosen.data_page_offset - chosen.dictionary_page_offset
        wider = math.log2(max(distinct, 2)) / math.log2(max(seen, 2))  # indices of all rows beside the sample's
        size = (chosen.total_compressed_size - page) * wider + page * distinct / seen * len(values) / rows
        if encodings == _TEXTS and distinct < rows / 100:  # no other comes near
            encodings = ()
    for encoding in encodings:
        column = _written(values, encoding)
        if column.total_compressed_size < size * _MARGIN:
            best, size, chosen = encoding, column.total_compressed_size, column
    if best not in _FLOATS and chosen.total_compressed_size > chosen.total_uncompressed_size * _MARGIN:
        return best, "none", 0  # it packs by itself; plain bytes may yet repeat further on
    higher = _written(values, best, level=3).total_compressed_size
    return best, "zstd", 3 if higher < chosen.total_compressed_size * _LEVEL else 1


def _suitable(kind: pa.DataType) -> tuple[str, ...]:
    """Encodings for a type beside the dictionary, the fastest first; none where only the dictionary will do."""
    types = pa.types
    if types.is_float32(kind) or types.is_float64(kind):
        return _FLOATS
    if types.is_integer(kind) or (types.is_temporal(kind) and kind.bit_width <= 64):
        return _NUMBERS
    if types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        return _TEXTS
    if types.is_decimal128(kind) or types.is_decimal256(kind) or types.is_fixed_size_binary(kind):
        return ("PLAIN",)
    return ()


def _distinct(slices: list[pa.Array], rows: int) -> tuple[int, float]:
    """How many values the sample has, and how many `rows` rows may have.

    Chao (1987), "Estimating the population size for capture-recapture data with unequal catchability": from how
    many values are in one slice only, and in two.
    """
    counts = pc.value_counts(pa.concat_arrays([part.unique() for part in slices])).field(1).to_numpy()
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    unseen = (len(slices) - 1) / len(slices) * once * (once - 1) / (2 * twice + 2)
    return len(counts), min(len(counts) + unseen, len(counts) * rows / sum(map(len, slices)))


def _written(values: pa.ChunkedArray, encoding: str = "", level: int = 1) -> Any:
    """What parquet says of the values as a column of their own."""
    sink = pa.BufferOutputStream()
    options = {"column_encoding": {"": encoding}} if encoding else {}
    pq.write_table(
        pa.table([values], [""]),
        sink,
        compression="zstd",
        compression_level=level,
        use_dictionary=not encoding,
        **options,
    )
    return pq.read_metadata(pa.BufferReader(sink.getvalue())).row_group(0).column(0)
