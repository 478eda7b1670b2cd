"""Columns of Python objects <-> Arrow: only values that come back as the same objects are taken."""

from __future__ import annotations

import datetime
import decimal
from itertools import chain
from typing import TYPE_CHECKING, Any

from d6tstore.errors import FormatError

if TYPE_CHECKING:
    import pyarrow as pa

_PLAIN = (str, int, float, bool, bytes, decimal.Decimal, datetime.date, datetime.datetime, datetime.time,
          datetime.timedelta)  # fmt: skip
_CURES: dict[type, str] = {
    tuple: "Make them lists",
    set: "Make them sorted lists",
    frozenset: "Make them sorted lists",
    bytearray: "Make them bytes",
}


def encode(values: Any, name: str) -> tuple[Any, dict[str, str]]:
    """Objects as Arrow data, and a note on what they were: `object` is their kind, `null` the mark of nulls.

    Args:
        values: numpy array of objects.
        name: of their column, for messages.

    Raises:
        FormatError: values of several types, or of one that would come back as another: column, rule, cure.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    kinds = set(map(type, values))
    marks: dict[str, type] = {"None": type(None), "NA": type(pd.NA), "NaT": type(pd.NaT)}
    nulls = [mark for mark, kind in marks.items() if kind in kinds]
    kinds.difference_update(marks.values())
    # Beside None, the NaN of floats are values. Elsewhere they are marks of what is missing.
    if float in kinds and (kinds != {float} or not nulls) and all(v != v for v in values if type(v) is float):
        nulls.append("nan")
        marks["nan"] = float
        kinds.discard(float)
    if len(nulls) > 1:
        cure = "Use one of them (x.where(x.notna(), None))"
        raise refused(name, f"marks missing values both by {' and '.join(nulls)}", cure)
    missing = np.array([type(v) is marks[nulls[0]] for v in values], dtype=bool) if nulls else None
    present = values[~missing] if missing is not None else values
    kind = _kind(kinds, present, name)
    note = {"object": kind, **({"null": nulls[0]} if nulls else {})}
    if kind == "boxed":
        array = _boxed(present, name)
        if missing is not None:
            places = np.cumsum(~missing) - 1
            array = array.take(pa.array(places, mask=missing))
        return array, note
    if kind == "arrays":
        return pa.array(values, mask=missing), note
    if kind == "numpy":
        plain: Any = np.zeros(len(values), next(iter(kinds)))
        plain[slice(None) if missing is None else ~missing] = present
        return pa.array(plain, mask=missing, from_pandas=False), note
    array = pa.array(values, mask=missing, from_pandas=False)
    if (type_ := _solid(array.type)) != array.type and array.type != pa.null():
        array = pa.array(values, type_, mask=missing, from_pandas=False)
    return array, note


def _solid(type_: Any) -> Any:
    """A type in which lists hold something: pyarrow 26 breaks lists of nulls when it casts them."""
    import pyarrow as pa

    if pa.types.is_list(type_):
        return pa.list_(_solid(type_.value_type))
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, _solid(field.type)) for field in type_])
    return pa.bool_() if pa.types.is_null(type_) else type_


def decode(column: pa.ChunkedArray, note: dict[str, str]) -> Any:
    """The numpy array of objects that `encode` was given."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    kind, type_ = note["object"], column.type
    if kind in ("boxed", "arrays"):  # without nulls, which would make intervals of integers those of floats
        values = np.empty(len(column), object)
        values[column.is_valid().to_numpy()] = column.drop_null().to_pandas().astype(object)
    elif kind == "numpy":
        values = np.empty(len(column), object)
        values[:] = list(_filled(column))
    elif _direct(type_):
        values = _filled(column).astype(object)
    elif pa.types.is_string(type_) or pa.types.is_large_string(type_):
        values = np.array(column.to_numpy(zero_copy_only=False), dtype=object)
    else:
        values = np.empty(len(column), dtype=object)
        values[:] = column.to_pylist()
    if column.null_count:
        mark = {"None": None, "nan": float("nan"), "NA": pd.NA, "NaT": pd.NaT}[note.get("null", "None")]
        values[column.is_null().to_numpy()] = mark
    return values


def refused(name: str, rule: str, cure: str) -> FormatError:
    """The error of a column of objects."""
    return FormatError(f"column {name} {rule}; it would not come back equal. {cure}, or use TaskPickle.")


def _direct(type_: Any) -> bool:
    """Does numpy make the same objects of this type?"""
    import pyarrow as pa

    us = pa.timestamp("us"), pa.duration("us")
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or type_ in (pa.bool_(), pa.date32(), *us))


def _filled(column: pa.ChunkedArray) -> Any:
    """Numbers or times as a numpy array; what stands in the place of nulls does not matter."""
    import pyarrow as pa

    if column.null_count:
        bits = 64 if column.type.bit_width == 64 else 32
        zero = pa.scalar(0, f"int{bits}") if pa.types.is_temporal(column.type) else pa.scalar(0)
        column = column.fill_null(zero.cast(column.type))
    return column.to_numpy(zero_copy_only=False)


def _kind(kinds: set[type], present: Any, name: str) -> str:
    """How the values that are there come back: as Python objects, or as those of pandas or numpy."""
    import numpy as np
    import pandas as pd

    if kinds == {np.ndarray}:
        _check_arrays(present, name)
        return "arrays"
    if len(kinds) == 1:
        (only,) = kinds
        if only in (pd.Timestamp, pd.Timedelta, pd.Period, pd.Interval):
            return "boxed"
        if issubclass(only, np.bool_ | np.integer | np.floating) and only is not np.longdouble:
            return "numpy"
    _check_kinds(kinds, present, name)
    return "python"


def _boxed(present: Any, name: str) -> Any:
    """Timestamps, ... as the column of times that they make up."""
    import pandas as pd
    import pyarrow as pa

    typed = pd.Series(present, dtype=object).infer_objects()
    back = typed.astype(object)
    alike = typed.dtype != object and all(
        a == b and getattr(a, "unit", None) == getattr(b, "unit", None) for a, b in zip(present, back, strict=True)
    )
    if not alike:
        raise refused(name, f"holds {type(present[0]).__name__}s of several units, zones or kinds", "Make them alike")
    return pa.array(typed)


def _check_kinds(kinds: set[type], present: Any, name: str) -> None:
    if len(kinds) > 1:
        named = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise refused(name, f"mixes values of types {named}", "Give it one type (astype)")
    if not kinds:
        return
    (kind,) = kinds
    if kind is list:
        _check_inner(list(chain.from_iterable(present)), f"{name}, in its lists,")
    elif kind is dict:
        keys = set(map(tuple, present))
        if len(keys) > 1 or keys == {()} or any(type(key) is not str for key in next(iter(keys))):
            raise refused(name, "holds dicts whose keys differ or are no text", "Store JSON text (map(json.dumps))")
        for key in next(iter(keys)):
            _check_inner([item[key] for item in present], f"{name}[{key!r}]")
    elif kind not in _PLAIN:
        cure = _CURES.get(kind, "Convert it (infer_objects(), astype(str), pd.to_datetime)")
        raise refused(name, f"holds values of type {kind.__module__}.{kind.__qualname__}", cure)
    elif kind is decimal.Decimal and any(not v.is_finite() for v in present):
        raise refused(name, "holds a Decimal that is no number", "Use None for it")
    elif kind is datetime.datetime and any(v.tzinfo for v in present):
        raise refused(name, "holds datetime objects with a time zone", "Convert it (pd.to_datetime(x, utc=True))")
    elif kind is datetime.time and any(v.tzinfo for v in present):
        raise refused(name, "holds times with a time zone", "Remove it (replace(tzinfo=None))")


def _check_inner(values: list[Any], name: str) -> None:
    present = [v for v in values if v is not None]
    _check_kinds(set(map(type, present)), present, name)


def _check_arrays(arrays: Any, name: str) -> None:
    kinds = {(a.ndim, a.dtype.str) for a in arrays}
    dimensions, dtype = next(iter(kinds))
    if len(kinds) > 1 or dimensions != 1 or dtype[1] not in "iuf" or dtype == "<f2":
        rule = "holds arrays that are not all one-dimensional numbers of one dtype"
        raise refused(name, rule, "Make them lists (tolist())")
