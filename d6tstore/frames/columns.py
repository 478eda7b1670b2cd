"""A column of a pandas frame, or a level of an index <-> Arrow, with a note where pyarrow would not restore it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from d6tstore.frames import objects

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Note = dict[str, Any]
"""How `decode` restores a column; JSON."""
_JSON = (str, int, float, bool, type(None))


def encode(values: pd.Series[Any], name: str) -> tuple[Any, Note | None]:
    """Values as pyarrow takes them, and a note; None if pyarrow restores them without help.

    Args:
        values: of one column.
        name: of the column, for messages.

    Raises:
        FormatError: they would not come back equal: column, rule, cure.
    """
    import pandas as pd

    dtype: Any = values.dtype
    if dtype == "object":
        array, note = objects.encode(values.to_numpy(), name)
        return pd.arrays.ArrowExtensionArray(array), note
    if isinstance(dtype, pd.StringDtype) and dtype.storage == "python":
        return values, {"string": [dtype.storage, dtype.na_value is pd.NA]}
    if isinstance(dtype, pd.CategoricalDtype) and not _native(dtype.categories):
        texts = unique(map(str, dtype.categories))
        named = pd.Categorical.from_codes(values.cat.codes, pd.Index(texts), dtype.ordered)
        return named, {"categories": to_json(dtype.categories, f"{name}, in its categories,")}
    if isinstance(dtype, pd.ArrowDtype) and _parsed(dtype) != dtype:
        return values, {"arrow": True}
    if isinstance(dtype, pd.Float64Dtype | pd.Float32Dtype) and (array := _with_nan(values.array)) is not None:
        return pd.arrays.ArrowExtensionArray(array), {"floats": str(dtype)}
    return values, None


def decode(column: pa.ChunkedArray, note: Note) -> Any:
    """The array that `encode` was given."""
    import numpy as np
    import pandas as pd

    if "object" in note:
        return objects.decode(column, note)
    if "string" in note:
        storage, masked = note["string"]
        dtype: Any = pd.StringDtype(storage) if masked else pd.StringDtype(storage, na_value=float("nan"))
        return dtype.__from_arrow__(column)
    if "categories" in note:
        known, found = from_json(note["categories"]), column.to_pandas().cat
        places = pd.Index(unique(map(str, known))).get_indexer(found.categories)
        codes = np.append(places, -1)[found.codes]  # the last for -1, which is missing
        return pd.Categorical.from_codes(codes, known, found.ordered)
    if "floats" in note:
        data = column.fill_null(0).to_numpy().astype(note["floats"].lower())
        return pd.arrays.FloatingArray(data, column.is_null().to_numpy())
    if "dtype" in note:
        nullable: Any = pd.api.types.pandas_dtype(note["dtype"])
        return nullable.__from_arrow__(column)
    if "arrow" in note:
        return pd.arrays.ArrowExtensionArray(column.unify_dictionaries())
    raise ValueError(f"a column with the note {note}")


def foreign(table: pa.Table, entries: dict[str, Any]) -> dict[str, Note]:
    """Notes on columns that pyarrow would change: whole numbers with nulls, times of nanoseconds.

    Args:
        table: of which pandas describes not all columns, or has described others.
        entries: what it says, by their names.
    """
    import pyarrow as pa

    notes: dict[str, Note] = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        said = entries.get(field.name, {}).get("numpy_type", "bool")
        kind = str(field.type)
        if kind == "time64[ns]" and field.name not in entries:
            notes[field.name] = {"arrow": True}
        elif field.name not in entries and _holds_gaps(column):
            notes[field.name] = {"object": "python"}
        elif not column.null_count or not re.fullmatch(r"u?int\d+|bool", said):
            continue
        elif pa.types.is_integer(field.type):
            notes[field.name] = {"dtype": kind.replace("int", "Int").replace("u", "U")}
        elif pa.types.is_boolean(field.type):
            notes[field.name] = {"dtype": "boolean"}
    return notes


def to_json(values: Any, name: str) -> Note:
    """A few values, such as labels and categories, of any dtype as JSON. Raises as `encode`."""
    import pandas as pd
    import pyarrow as pa

    dtype = str(values.dtype)
    if dtype == "object" and all(map(is_json, values)):
        return {"json": [list(v) if type(v) is tuple else v for v in values], "dtype": dtype}
    if dtype in ("int64", "float64", "bool") or (dtype == "str" and pd.Index(["a"]).dtype == values.dtype):
        return {"json": [None if v != v and dtype == "str" else v for v in values.tolist()], "dtype": dtype}
    array, note = encode(pd.Series(values), name)
    table = pa.Table.from_pandas(pd.DataFrame({"0": array}), preserve_index=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return {"arrow": base64.b64encode(sink.getvalue()).decode(), "note": note}


def from_json(encoded: Note) -> Any:
    """The values that `to_json` was given."""
    import pandas as pd
    import pyarrow as pa

    if "json" in encoded:
        values = [tuple(v) if isinstance(v, list) else v for v in encoded["json"]]
        return pd.Index(values, dtype=encoded["dtype"], tupleize_cols=False)
    table = pa.ipc.open_stream(base64.b64decode(encoded["arrow"])).read_all()
    if encoded["note"]:
        array = decode(table.column(0), encoded["note"])
        return pd.Index(array, dtype=array.dtype, tupleize_cols=False)
    return pd.Index(table.to_pandas()["0"]).rename(None)


def unique(texts: Iterable[str]) -> list[str]:
    """Texts made different: of those that are equal, the second becomes `text.1`, and so on."""
    texts = list(texts)
    taken, count = set(texts), dict.fromkeys(texts, -1)
    found = []
    for text in texts:
        name = text
        count[text] += 1
        while count[text] and (name := f"{text}.{count[text]}") in taken:
            count[text] += 1
        taken.add(name)
        found.append(name)
    return found


def is_json(value: Any) -> bool:
    """Is a label text, a number, a bool, None, or a tuple of these?"""
    return type(value) in _JSON or (type(value) is tuple and all(type(part) in _JSON for part in value))


def _holds_gaps(column: Any) -> bool:
    """Are there nulls among whole numbers in lists, which pandas would make floats?"""
    import pyarrow as pa
    import pyarrow.compute as pc

    inner = column
    while isinstance(inner.type, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        inner = pc.list_flatten(inner)
    return inner is not column and pa.types.is_integer(inner.type) and inner.null_count > 0


def _with_nan(values: Any) -> Any:
    """Nullable floats that hold NaN beside NA, which pyarrow would take for the same; None if they do not."""
    import numpy as np
    import pyarrow as pa

    plain = values.to_numpy(values.dtype.numpy_dtype, na_value=0)
    return pa.array(plain, mask=np.asarray(values.isna()), from_pandas=False) if np.isnan(plain).any() else None


def _native(categories: Any) -> bool:
    """Are these categories, which Arrow and parquet keep as they are?"""
    import numpy as np
    import pandas as pd

    dtype = categories.dtype
    if not len(categories):  # of which Arrow does not keep the type
        return False
    return bool(dtype == pd.Index(["a"]).dtype != object or (isinstance(dtype, np.dtype) and dtype.kind in "iufbM"))


def _parsed(dtype: Any) -> Any:
    """What pandas makes of the name of a dtype, by which pyarrow restores it."""
    import pandas as pd

    try:
        return pd.api.types.pandas_dtype(str(dtype))
    except (TypeError, NotImplementedError, ValueError):
        return None
