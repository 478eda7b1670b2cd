"""Arrow tables that come back equal, or are refused, for the tests of all formats; and what equal means.

`PLAIN` come back from every format of Arrow tables, `TYPED` from those that have other types too; `REFUSED` are
refused by all of them.
"""

import contextlib
import datetime as dt
import decimal
import uuid

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from d6tstore import content
from d6tstore.testing import Refused

D = decimal.Decimal
NAN = float("nan")
UNITS = ("s", "ms", "us", "ns")


def column(values, type_=None):
    return pa.table({"a": pa.array(values, type_)})


def coded(indices, values, index=pa.int32(), **options):
    return pa.table({"a": pa.DictionaryArray.from_arrays(pa.array(indices, index), values, **options)})


def runs(values, ends):
    return pa.table({"a": pa.RunEndEncodedArray.from_arrays(pa.array(ends, pa.int32()), values)})


def with_field(values, **options):
    values = pa.array(values)
    return pa.table([values], schema=pa.schema([pa.field("a", values.type, **options)]))


class Own(pa.ExtensionType):
    def __init__(self):
        super().__init__(pa.int64(), "d6tstore.tests.own")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        return cls()


def same_table(a, b):
    """The same schema with all metadata, and the same values; NaN equals itself, 0.0 is not -0.0."""
    b.validate(full=True)
    assert a.schema.equals(b.schema, check_metadata=True), f"{a.schema}\n{b.schema}"
    assert a.num_rows == b.num_rows
    with contextlib.suppress(OverflowError):  # years that Python does not know
        assert repr(a.to_pylist()) == repr(b.to_pylist())
    assert content.of_table(a.unify_dictionaries()) == content.of_table(b)
    return True


PLAIN = {
    "ints": pa.table({str(t): pa.array([1, None, 0], t) for t in (pa.int8(), pa.int16(), pa.int32(), pa.int64())}),
    "unsigned": pa.table(
        {str(t): pa.array([1, None, 0], t) for t in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())}
    ),
    "floats": pa.table({"f": pa.array([0.1, None, -0.0], pa.float32()), "d": [1 / 3, None, -0.0]}),
    "half floats": column(np.array([1.5, 65504], "f2")),
    "text": pa.table(
        {
            "s": ["a", None, 'b\n,"'],
            "l": pa.array(["x", None, " y "], pa.large_string()),
            "v": pa.array(["x" * 30, None, "z"], pa.string_view()),
        }
    ),
    "small decimals": column([D("1.20"), None], pa.decimal128(10, 2)),
    "bools": column([True, None, False]),
    "nulls": column([None, None]),
    "dates": pa.table({"a": [dt.date(2020, 1, 1), None], "b": pa.array([dt.date(2020, 1, 1), None], pa.date64())}),
    "times": pa.table(
        {
            "s": pa.array([1, None], pa.time32("s")),
            "ms": pa.array([1, None], pa.time32("ms")),
            "us": pa.array([1000, None], pa.time64("us")),
            "ns": pa.array([10**6, None], pa.time64("ns")),
        }
    ),
    "timestamps": pa.table(
        {
            f"{unit} {zone}": pa.array([0, None, 10**9], pa.timestamp("s")).cast(pa.timestamp(unit, zone))
            for unit in UNITS
            for zone in (None, "UTC", "Europe/Berlin", "+05:30")
        }
    ),
    "durations": pa.table({u: pa.array([1, None, -1], pa.duration("s")).cast(pa.duration(u)) for u in UNITS}),
    "not nullable": with_field([1], nullable=False),
    "metadata": column([1]).replace_schema_metadata({"k": "v", "z": b"\xff"}),
    "metadata of a field": with_field([1], metadata={"k": "v"}),
    "no rows": pa.table({"a": pa.array([], pa.int64()), "s": pa.array([], pa.string())}),
    "no columns": pa.table({}),
    "odd names": pa.table({"": [1], " ": [2], 'a,"b\n': [4], "ü": [5], "a.b": [6], ".": [7], "=1": [8]}),
    "a slice": pa.table({"a": list(range(100)), "s": [str(i) for i in range(100)]}).slice(7, 50),
    "chunks": pa.table({"a": pa.chunked_array([[1], [], [2, 3]]), "b": pa.chunked_array([["x", "y"], ["z"]])}),
}

FINE = {
    "NaN": column([NAN, None, np.inf, -np.inf, 1e22, 5e-324]),
    "NaN in float32": column([NAN, None, np.inf], pa.float32()),
    "decimals": pa.table(
        {
            "a": pa.array([D("1e-20"), None], pa.decimal128(38, 20)),
            "b": pa.array([D("1e60"), None], pa.decimal256(76, 2)),
            "c": pa.array([D("1.2"), None], pa.decimal32(5, 1)),
            "d": pa.array([D("1.2"), None], pa.decimal64(12, 1)),
        }
    ),
    "texts and nulls": column(["", None, "a\r\nb", "\0", "_x000D_", "\ufeff", '"']),
    "fine times": pa.table({"us": pa.array([1], pa.time64("us")), "ns": pa.array([1], pa.timestamp("ns"))}),
    "old times": column([-(10**10), None], pa.timestamp("s")),
    "NUL in a name": pa.table({"a\0b": [3]}),
}

TYPED = {
    "bytes": pa.table(
        {
            "s": [b"a", None],
            "l": pa.array([b"", None], pa.large_binary()),
            "v": pa.array([b"x" * 30, None], pa.binary_view()),
            "f": pa.array([b"ab", None], pa.binary(2)),
        }
    ),
    "far years": column([10**12], pa.timestamp("s")),
    "dictionary": coded([0, None, 1], pa.array(["b", "a"])),
    "ordered dictionary": coded([0, None], pa.array(["b", "z", "a"]), ordered=True),
    "dictionary of ints": coded([0, None, 1], pa.array([5, 4])),
    "dictionary of bools": coded([0, None, 1], pa.array([True, False])),
    "dictionary of decimals": coded([0, None], pa.array([D("1.5")])),
    "dictionary of times": coded([0, None], pa.array([dt.datetime(2020, 1, 1)])),
    "dictionary of bytes": coded([0, None, 1], pa.array([b"a", b"b"])),
    "dictionary of large text": coded([0, None], pa.array(["b", "c"], pa.large_string())),
    "dictionary of nothing": coded([None, None], pa.nulls(0)),
    "small indices": coded([0, None], pa.array(["b", "c"]), pa.int8()),
    "large indices": coded([0, None], pa.array(["b", "c"]), pa.uint64()),
    "chunks of dictionaries": pa.concat_tables([coded([0], pa.array(["a"])), coded([0], pa.array(["b"]))]),
    "list": column([[1, None], None, []]),
    "large list": column([[1, None], None, []], pa.large_list(pa.int8())),
    "list view": column([[1, None], None, []], pa.list_view(pa.int8())),
    "fixed list": column([[1, 2], None], pa.list_(pa.int8(), 2)),
    "name of a list's field": column([[1, 2], None], pa.list_(pa.field("elt", pa.int8(), nullable=False))),
    "list of dictionaries": column([["a"], None, ["b", "a"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
    "list of views": column([["a"], None, ["b", "a"]], pa.list_(pa.string_view())),
    "list of nulls": column([[None], None, []], pa.list_(pa.null())),
    "list of seconds": column([[1], None], pa.list_(pa.timestamp("s"))),
    "struct": column([{"a": 1, "b": "x"}, None]),
    "struct of a dictionary": column([{"x": "a"}, None], pa.struct({"x": pa.dictionary(pa.int32(), pa.string())})),
    "map": column([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "sorted map": column([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64(), keys_sorted=True)),
    "uuid": column([uuid.UUID(int=1).bytes, None], pa.uuid()),
    "json": pa.table({"a": pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}", None]))}),
    "tensor": pa.table({"a": pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(8.0).reshape(2, 2, 2))}),
    "an extension that nobody knows": with_field([1], metadata={"ARROW:extension:name": "who.knows"}),
}

FEATHER = {
    "intervals": column([(1, 2, 3), None], pa.month_day_nano_interval()),
    "empty struct": column([{}, None], pa.struct([])),
    "no rows of a dictionary": coded([0], pa.array(["b", "z"])).slice(0, 0),
}

REFUSED = {
    "a list": Refused([1], "keeps Arrow tables, got a list.*TaskPickle"),
    "an array": Refused(pa.array([1]), r"got a Int64Array.*pa\.table"),
    "a name twice": Refused(pa.table([[1], [2]], names=["a", "a"]), "'a' occurs twice.*rename_columns"),
    "rows without columns": Refused(column([1, 2]).select([]), "2 rows has no columns"),
    "union": Refused(
        pa.table(
            {"a": pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])])}
        ),
        "column 'a'.*several types.*one column for each",
    ),
    "NULL in a dictionary": Refused(coded([0, 1], pa.array(["b", None])), "dictionary of column 'a'.*NULL"),
    "NaN in a dictionary": Refused(coded([0, 1], pa.array([0.5, NAN])), "dictionary of column 'a'.*dictionary_encode"),
    "a value twice": Refused(coded([0, 1], pa.array(["b", "b"])), "dictionary of column 'a'.*twice"),
    "dictionary of lists": Refused(coded([0], pa.array([[1]])), "column 'a'.*Cast it to list"),
    "dictionary of views": Refused(coded([0], pa.array(["a"], pa.string_view())), "column 'a'.*Cast it to string_view"),
    "dictionary of dictionaries": Refused(
        coded([0], pa.array(["x"]).dictionary_encode()), "column 'a'.*Cast it to dictionary"
    ),
    "numbers in a struct's dictionary": Refused(
        pa.table({"a": pa.StructArray.from_arrays([pa.array([7]).dictionary_encode()], ["x"])}), "'a'.*Cast it to int64"
    ),
    "lists of none": Refused(column([[], None], pa.list_(pa.int8(), 0)), "column 'a'.*fixed size 0"),
    "negative scale": Refused(column([D("1e5")], pa.decimal128(5, -3)), "column 'a'.*negative scale"),
    "an extension not registered": Refused(
        pa.table({"a": pa.ExtensionArray.from_storage(Own(), pa.array([1]))}), "column 'a'.*register_extension_type"
    ),
}


def tables():
    """Tables of many types, nested too, in chunks."""
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    small = st.integers(-128, 127)
    kinds = [
        (pa.int8(), small),
        (pa.uint64(), st.integers(0, 2**64 - 1)),
        (pa.float64(), st.floats()),
        (pa.float32(), st.floats(width=32)),
        (pa.string(), text),
        (pa.large_string(), text),
        (pa.string_view(), text),
        (pa.binary(), st.binary(max_size=3)),
        (pa.bool_(), st.booleans()),
        (pa.date32(), st.dates()),
        (pa.timestamp("us", "Europe/Berlin"), st.integers(-(10**15), 10**15)),
        (pa.timestamp("s"), st.integers(-(10**9), 10**9)),
        (pa.duration("ns"), st.integers(-(2**63) + 1, 2**63 - 1)),
        (pa.time64("ns"), st.integers(0, 86_399_999_999_999)),
        (pa.decimal128(20, 5), st.decimals(-(10**9), 10**9, places=5)),
        (pa.null(), st.none()),
        (pa.dictionary(pa.int32(), pa.string()), text),
        (pa.dictionary(pa.int8(), pa.int64(), ordered=True), small),
    ]
    plain = [(type_, values) for type_, values in kinds if not pa.types.is_dictionary(type_)]
    kinds += [(pa.list_(type_), st.lists(st.none() | values, max_size=2)) for type_, values in plain]
    kinds += [
        (pa.struct({"x": type_, "y": pa.string()}), st.fixed_dictionaries({"x": st.none() | values, "y": st.just("t")}))
        for type_, values in plain
    ]
    columns = {
        rows: [(t, st.lists(st.none() | v, min_size=rows, max_size=rows)) for t, v in kinds] for rows in range(6)
    }
    choices, names = st.integers(0, len(kinds) - 1), st.lists(text, max_size=4, unique=True)

    @st.composite
    def draw_table(draw):
        rows = draw(st.integers(0, 5))
        cut = draw(st.integers(0, rows))
        table = {}
        for name in draw(names):
            type_, values = columns[rows][draw(choices)]
            found = draw(values)
            table[name] = pa.chunked_array([pa.array(found[:cut], type_), pa.array(found[cut:], type_)])
        return pa.table(table)

    return draw_table()
