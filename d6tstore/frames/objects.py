"""Columns of Python objects: which of them Arrow gives back as they are."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any

from d6tstore.errors import FormatError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_PLAIN = (str, int, float, bool, bytes, decimal.Decimal, datetime.date, datetime.datetime, datetime.time,
          datetime.timedelta)  # fmt: skip
_CURES: dict[type, str] = {
    tuple: "Make them lists",
    set: "Make them sorted lists",
    frozenset: "Make them sorted lists",
    bytearray: "Make them bytes",
}


def check(column: pd.Series[Any], name: str) -> str | None:
    """How missing values of a column of objects are written (`None`, `nan`, `NA`, `NaT`).

    None is returned when Arrow restores the column without help (arrays).

    Raises:
        FormatError: values of several types, or of one that would come back as another: column, rule, cure.
    """
    import numpy as np
    import pandas as pd

    values = column.tolist()
    kinds = set(map(type, values))
    marks = {"None": type(None), "NA": type(pd.NA), "NaT": type(pd.NaT)}
    nulls = [mark for mark, kind in marks.items() if kind in kinds]
    kinds.difference_update(marks.values())
    if float in kinds and any(v != v for v in values if type(v) is float):
        nulls.append("nan")
        if not any(v == v for v in values if type(v) is float):
            kinds.discard(float)
    if len(nulls) > 1:
        raise _refused(
            name,
            f"marks missing values both by {' and '.join(nulls)}",
            "Use one of them (x.where(x.notna(), None))",
        )
    present = [v for v in values if type(v) in kinds] if nulls else values
    if kinds == {np.ndarray}:
        _check_arrays(present, name, nulls)
        return None
    _check_kinds(kinds, present, name)
    return nulls[0] if nulls else "None"


def _check_kinds(kinds: set[type], present: Iterable[Any], name: str) -> None:
    if len(kinds) > 1:
        named = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise _refused(name, f"mixes values of types {named}", "Give it one type (astype)")
    if not kinds:
        return
    (kind,) = kinds
    if kind is list:
        _check_inner(list(chain.from_iterable(present)), f"{name}, in its lists,")
    elif kind is dict:
        present = list(present)
        keys = set(map(tuple, present))
        if len(keys) > 1 or keys == {()} or any(type(key) is not str for key in next(iter(keys))):
            raise _refused(name, "holds dicts whose keys differ or are no text", "Store JSON text (map(json.dumps))")
        for key in next(iter(keys)):
            _check_inner([item[key] for item in present], f"{name}[{key!r}]")
    elif kind not in _PLAIN:
        cure = _CURES.get(kind, "Convert it (infer_objects(), astype(str), pd.to_datetime)")
        raise _refused(name, f"holds values of type {kind.__module__}.{kind.__qualname__}", cure)
    elif kind is decimal.Decimal and any(not v.is_finite() for v in present):
        raise _refused(name, "holds a Decimal that is no number", "Use None for it")
    elif kind is datetime.datetime and any(v.tzinfo for v in present):
        raise _refused(name, "holds datetime objects with a time zone", "Convert it (pd.to_datetime(x, utc=True))")
    elif kind is datetime.time and any(v.tzinfo for v in present):
        raise _refused(name, "holds times with a time zone", "Remove it (replace(tzinfo=None))")


def _check_inner(values: list[Any], name: str) -> None:
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {float} and any(v != v for v in values if v is not None):
        raise _refused(name, "holds NaN, which would come back as None", "Make the lists arrays (np.asarray)")
    _check_kinds(kinds, [v for v in values if v is not None], name)


def _check_arrays(arrays: list[Any], name: str, nulls: list[str]) -> None:
    kinds = {(a.ndim, a.dtype.str) for a in arrays}
    dimensions, dtype = next(iter(kinds))
    if len(kinds) > 1 or dimensions != 1 or dtype[1] not in "iuf" or dtype == "<f2" or nulls not in ([], ["None"]):
        raise _refused(
            name,
            "holds arrays that are not all one-dimensional numbers of one dtype",
            "Make them lists (tolist())",
        )


def restore(column: pa.ChunkedArray, null: str) -> Any:
    """The values of a column as an array of Python objects."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        values = np.array(column.to_numpy(zero_copy_only=False), dtype=object)
    else:
        values = np.empty(len(column), dtype=object)
        values[:] = column.to_pylist()
    if null != "None" and column.null_count:
        missing = column.is_null().to_numpy(zero_copy_only=False)
        values[missing] = {"nan": float("nan"), "NA": pd.NA, "NaT": pd.NaT}[null]
    return values


def _refused(name: str, rule: str, cure: str) -> FormatError:
    return FormatError(f"column {name} {rule}; it would not come back equal. {cure}, or use TaskPickle.")
