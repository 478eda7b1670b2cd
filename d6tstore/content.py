"""Content hashes: of bytes, of files, and the logical hash of Arrow tables.

The hash of a table depends on what it says, not on how Arrow holds it: chunks, slices, garbage under nulls,
widths of offsets and indices, views and runs do not matter. A column is hashed in blocks of 65,536 rows: how
many rows and nulls, a bitmap of the nulls, and the values that are there (to leave nulls out says the same as
zeroing them). Texts and lists are all their lengths, then all that they hold; children of lists and structs
follow the same rule. Numbers are little-endian.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from blake3 import blake3

from d6tstore.errors import FormatError

if TYPE_CHECKING:
    import pyarrow as pa

_VERSION = "d6tstore-content-1"  # part of every hash of a table, so that the scheme can change
_BLOCK = 65_536  # rows
_TEXTS = ("string", "large_string", "binary", "large_binary")
_VIEWS = {"string_view": "large_string", "binary_view": "large_binary"}
_LISTS = ("list", "large_list", "list_view", "large_list_view", "map", "fixed_size_list")


def of_bytes(data: bytes | memoryview) -> str:
    """The hash of some bytes: the first 16 bytes of BLAKE3, as 32 hexadecimal digits.

    Example:
        >>> of_bytes(b"")
        'af1349b9f5f9a1a6a0404dea36dcc949'
    """
    return blake3(data).hexdigest(length=16)


class Hasher:
    """The hash of bytes that come one after the other, equal to `of_bytes` of them all."""

    def __init__(self) -> None:
        self._hasher = blake3()

    def update(self, data: bytes) -> None:
        """Add bytes."""
        self._hasher.update(data)

    def digest(self) -> str:
        """The hash of all that were added."""
        return self._hasher.hexdigest(length=16)


def of_file(path: Path) -> str:
    """The hash of the bytes of a file, equal to `of_bytes` of them. Raises OSError if it cannot be read."""
    # Not by mmap: it gains 10 % and kills the process with SIGBUS when somebody truncates the file meanwhile.
    out, buffer = blake3(), memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            out.update(buffer[:size])
    return out.hexdigest(length=16)


def of_stream(file: BinaryIO) -> tuple[str, int]:
    """Hash of what is left in an open file, and its length in bytes."""
    hasher, length = blake3(), 0
    while chunk := file.read(1 << 20):
        hasher.update(chunk)
        length += len(chunk)
    return hasher.hexdigest(length=16), length


def of_table(table: pa.Table | pa.RecordBatchReader) -> str:
    """The logical hash of a table, 32 hexadecimal digits. A reader is consumed. Raises as `TableHasher`.

    Example:
        >>> import pyarrow as pa
        >>> of_table(pa.table({"a": [1, 2]})) == of_table(pa.table({"a": pa.chunked_array([[1], [2]])}))
        True
    """
    hasher = TableHasher(table.schema)
    for batch in table if hasattr(table, "read_next_batch") else [table]:
        hasher.update(batch)
    return hasher.digest()


class TableHasher:
    """The logical hash of a table that comes in pieces; keeps fewer than 65,536 rows of each column.

    Names, order and types of the columns count. A dictionary (categorical) counts as its values, whether its
    categories are ordered, and all of them by first appearance (the last not inside of lists and structs).
    Of the metadata counts what pandas says of the index and of the column labels.

    Args:
        schema: of all pieces, which may differ in layout (widths of indices and offsets).

    Raises:
        FormatError: a column of a type without hash (unions), or metadata of pandas that cannot be read.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.rows = 0
        self._schema, self._index = schema, _index(schema)
        self._columns = [_Column(name, type_) for name, type_ in _types(schema)]
        self._digest = ""

    def update(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Take in the next rows. FormatError: columns other than the schema's, or after `digest`."""
        if self._digest:
            raise FormatError("TableHasher: no rows can follow digest(). Make a new one for another table.")
        if not batch.schema.equals(self._schema):
            found, known = _types(batch.schema), [(column.name, column.type) for column in self._columns]
            if found != known:
                raise FormatError(f"TableHasher: all batches need the columns {known}, not {found}. Cast it.")
        for column, data in zip(self._columns, batch.columns, strict=True):
            for array in getattr(data, "chunks", [data]):  # each column by its own chunks, which may differ
                column.add(array)
        self.rows += batch.num_rows

    def digest(self) -> str:
        """The hash of all rows, 32 hexadecimal digits. No rows can follow."""
        if not self._digest:
            columns = [column.digest() for column in self._columns]
            self._digest = of_bytes(json.dumps([_VERSION, self.rows, columns, self._index]).encode())
        return self._digest


class _Column:
    """The hasher of one column, the parts of its unfinished block, and all categories so far."""

    def __init__(self, name: str, type_: str) -> None:
        self.name, self.type, self.hash = name, type_, blake3()
        self.parts: list[Any] = []
        self.room = _BLOCK
        self.categories: Any = []

    def add(self, array: Any) -> None:
        if _kind(array.type) == "dictionary":
            with _decoding(self):
                self.categories = _union(self.categories, array.dictionary)
        start = 0
        while start < len(array):
            self.parts.append(part := array.slice(start, self.room))
            start += len(part)
            self.room -= len(part)
            if not self.room:
                self.flush()

    def flush(self) -> None:
        with _decoding(self):
            _feed(self.hash, self.parts)
        self.parts, self.room = [], _BLOCK

    def digest(self) -> list[str]:
        self.flush()
        categories = blake3()
        with _decoding(self):
            _feed(categories, [self.categories])
        return [self.name, self.type, *(out.hexdigest(length=16) for out in (categories, self.hash))]


@contextlib.contextmanager
def _decoding(column: _Column) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except pa.ArrowException as exc:
        raise FormatError(
            f"Column {column.name!r} of type {column.type} cannot be hashed: pyarrow cannot decode it "
            f"({exc}). Cast the column to a plain type, or install a newer pyarrow."
        ) from exc


def _feed(out: blake3, parts: list[Any]) -> None:
    """Write the canonical form of an array, given in parts of one logical type; see the module."""
    import numpy as np

    parts = [_plain(part) for part in parts if len(part)]
    rows, nulls = sum(map(len, parts)), sum(part.null_count for part in parts)
    out.update(struct.pack("<QQ", rows, nulls))
    if rows == nulls:
        return
    if nulls:
        _pack(out, [_bits(part, 0) for part in parts])
        parts = [piece for part in parts for piece in _present(part)]
    type_ = parts[0].type
    kind = _kind(type_)
    if kind == "bool":
        _pack(out, [_bits(part, 1) for part in parts])
    elif kind == "struct":
        for i in range(type_.num_fields):
            _feed(out, [part.field(i) for part in parts])
    elif kind in _LISTS:
        if kind != "fixed_size_list":
            _lengths(out, [part.value_lengths().to_numpy() for part in parts])
        _feed(out, [part.flatten() for part in parts])
    elif kind in _TEXTS:
        offsets = [_offsets(part) for part in parts]
        _lengths(out, [np.diff(each) for each in offsets])
        for part, each in zip(parts, offsets, strict=True):
            if size := int(each[-1] - each[0]):
                out.update(part.buffers()[2].slice(int(each[0]), size))
    elif width := type_.bit_width // 8:
        for part in parts:
            data = part.buffers()[1].slice(part.offset * width, len(part) * width)
            if kind in ("halffloat", "float", "double"):
                values = np.frombuffer(data, f"f{width}")
                if (nan := np.isnan(values)).any():
                    data = np.where(nan, values.dtype.type("nan"), values).view("u1")  # one NaN for all
            out.update(data)


def _offsets(array: Any) -> Any:
    import numpy as np

    width = 8 if _kind(array.type).startswith("large") else 4
    return np.frombuffer(array.buffers()[1], f"i{width}", len(array) + 1, array.offset * width)


def _pack(out: blake3, bits: list[Any]) -> None:
    import numpy as np

    out.update(np.packbits(np.concatenate(bits), bitorder="little").data)


def _lengths(out: blake3, lengths: list[Any]) -> None:
    """Write lengths in 32 bits, or in 64 if their sum needs it, however wide the offsets are."""
    total = sum(int(each.sum(dtype="i8")) for each in lengths)
    out.update(struct.pack("<Q", total))
    for each in lengths:
        out.update(each.astype("u4" if total < 1 << 32 else "u8").view("u1"))


def _plain(array: Any) -> Any:
    """The same values without extension, dictionary, runs, view or map at the top."""
    kind = _kind(array.type)
    if kind == "extension":
        return _plain(array.storage)
    if kind == "dictionary":
        return _plain(array.dictionary).take(array.indices)
    if kind == "run_end_encoded":
        import numpy as np
        import pyarrow as pa

        rows = np.arange(array.offset, array.offset + len(array))
        return _plain(array.values).take(pa.array(np.searchsorted(array.run_ends.to_numpy(), rows, "right")))
    if kind == "map":
        import pyarrow as pa

        # Not by cast: with a value type that holds nulls only, pyarrow 26 makes an invalid list, and aborts later.
        entries = pa.StructArray.from_arrays([array.keys, array.items], ["key", "value"])
        list_type = pa.list_(entries.type)
        return pa.Array.from_buffers(
            list_type, len(array), array.buffers()[:2], offset=array.offset, children=[entries]
        )
    return array.cast(_VIEWS[kind]) if kind in _VIEWS else array


def _present(array: Any) -> list[Any]:
    """The rows that are not null."""
    import numpy as np

    try:
        return [array.drop_null()] if array.null_count else [array]
    except NotImplementedError:  # structs of views, say: cutting at the nulls always works, but is slower
        edges = np.flatnonzero(np.diff(_bits(array, 0), prepend=0, append=0)).tolist()
        return [array.slice(a, b - a) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _bits(array: Any, number: int) -> Any:
    """A bitmap with one byte per row; a bitmap that is not there is all ones."""
    import numpy as np

    skip, size = array.offset % 8, len(array)
    if (buffer := array.buffers()[number]) is None:
        return np.ones(size, "u1")
    octets = np.frombuffer(buffer, "u1", (skip + size + 7) // 8, array.offset // 8)
    return np.unpackbits(octets, bitorder="little")[skip : skip + size]


def _union(known: Any, new: Any) -> Any:
    """All categories by first appearance: as unifying the chunks gives them, however the rows are cut."""
    import pyarrow as pa

    where = [(len(a), a.offset, [b and b.address for b in a.buffers()]) for a in (known, new) if len(a)]
    if len(where) < 2 or where[0] == where[1] or new.equals(known):
        return known if len(known) else new
    return pa.concat_arrays([_plain(known), _plain(new)]).unique()


def _kind(type_: Any) -> str:
    """What pyarrow calls a type, without its parameters."""
    return re.split(r"\W", str(type_), maxsplit=1)[0]


def _types(schema: pa.Schema) -> list[tuple[str, str]]:
    """Name and canonical type of every column."""
    types = []
    for field in schema:
        try:
            types.append((field.name, json.dumps(_type(field.type, field.metadata))))
        except ValueError:
            raise FormatError(
                f"Column {field.name!r}: a column of type {field.type} has no content hash. "
                "Cast it, or choose a format that is hashed by its bytes."
            ) from None
    return types


def _type(type_: Any, metadata: Any = None) -> Any:
    """A type as JSON, the same for all layouts of the same values; ValueError if it has no hash."""
    kind = _kind(type_)
    if kind == "extension":
        parameters = getattr(type_, "__arrow_ext_serialize__", bytes)()
        # Arrow's own types do not serialize; these attributes tell its tensors and opaque types apart.
        names = ("shape", "dim_names", "permutation", "type_name", "vendor_name")
        more = [repr(value) for name in names if (value := getattr(type_, name, None)) is not None]
        return [kind, type_.extension_name, parameters.decode("latin-1"), *more, _type(type_.storage_type)]
    if metadata and b"ARROW:extension:name" in metadata:  # not registered here, still the same type
        name, parameters = (metadata.get(b"ARROW:extension:" + key, b"") for key in (b"name", b"metadata"))
        return ["extension", name.decode(), parameters.decode("latin-1"), _type(type_)]
    if kind == "dictionary":
        return [kind, type_.ordered, _type(type_.value_type)]
    if kind == "run_end_encoded":
        return _type(type_.value_type)
    fields = [type_.field(i) for i in range(type_.num_fields)]
    nested = [_type(field.type, field.metadata) for field in fields]
    if kind == "struct":
        return [kind, [field.name for field in fields], nested]
    if kind == "map":
        return [kind, nested[0][2]]  # the names of keys, values and items do not count
    if kind in _LISTS:
        return ["list", getattr(type_, "list_size", -1), nested]
    if kind in _TEXTS or kind in _VIEWS:
        return "string" if "string" in kind else "binary"
    if kind not in ("null", "bool") and type_.bit_width % 8:  # which is a ValueError if the width varies
        raise ValueError(kind)
    return str(type_)


def _index(schema: pa.Schema) -> Any:
    """What pandas says of the index and of the column labels, without what varies with its version.

    The stop of a RangeIndex follows from the rows and is left out: who saves a frame in parts does not know it when
    the first of them is written. Only where there are no columns it says how many rows there are.
    """
    if (text := (schema.metadata or {}).get(b"pandas")) is None:
        return None
    try:
        meta, labels = json.loads(text), []
        for level in meta["column_indexes"]:
            kind = "unicode" if level["pandas_type"] == "string" else level["pandas_type"]
            details = {key: value for key, value in (level["metadata"] or {}).items() if key != "encoding"}
            labels.append([level["name"], kind, details])
        # Where a name is not the field's: of an index level without a name or with that of a column.
        names = [[c["field_name"], c["name"]] for c in meta["columns"] if c["field_name"] != c["name"]]
        left_out = {"stop"} if meta["columns"] else set()
        index = [
            {key: value for key, value in each.items() if key not in left_out} if isinstance(each, dict) else each
            for each in meta["index_columns"]
        ]
        noted = json.loads(schema.metadata.get(b"d6tstore", b"{}"))  # see d6tstore.frames.pandas
        more = [_stable(noted[key]) for key in ("labels", "names") if key in noted]
        return [index, labels, names, *more]
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise FormatError(
            f"The 'pandas' metadata of the table cannot be read ({exc!r}). Remove it with "
            "table.replace_schema_metadata(), or make the table with pa.Table.from_pandas."
        ) from exc


def _stable(note: Any) -> Any:
    """A note with the hashes of the Arrow data in it, whose bytes vary with the version of Arrow."""
    import pyarrow as pa

    if isinstance(note, list):
        return list(map(_stable, note))
    if not isinstance(note, dict):
        return note
    if "arrow" in note:
        return {**note, "arrow": of_table(pa.ipc.open_stream(base64.b64decode(note["arrow"])))}
    return {key: _stable(value) for key, value in note.items()}
