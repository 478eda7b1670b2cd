"""One column of two frames: the type in which they meet, where they differ, which rows have the same key."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_BLOCK = 65_536  # rows of which Arrow cannot compare the values, at a time


def shown_type(kind: pa.DataType) -> str:
    """A type for people; those that content does not tell apart look alike."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return f"category of {shown_type(kind.value_type)}"
    return str(kind).replace("large_", "").replace("_view", "")


def together(one: pa.ChunkedArray, other: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray] | None:
    """Two columns in one type that loses nothing; None if there is none. Times with a zone are compared as moments."""
    import pyarrow as pa

    one, other = _simple(one), _simple(other)
    if one.type != other.type:
        with contextlib.suppress(pa.ArrowException):
            schemas = [pa.schema([("column", column.type)]) for column in (one, other)]
            kind = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
            return one.cast(kind), other.cast(kind)
        return None
    return one, other


def _simple(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of a column without what says how they are stored."""
    import pyarrow as pa

    kind, types = column.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _simple(pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type))
    if types.is_dictionary(kind):
        return _simple(column.cast(kind.value_type))
    if types.is_string(kind) or types.is_string_view(kind):
        return column.cast(pa.large_string())
    if types.is_binary(kind) or types.is_binary_view(kind):
        return column.cast(pa.large_binary())
    if types.is_float16(kind):
        return column.cast(pa.float32())
    if types.is_timestamp(kind) and kind.tz:
        return column.cast(pa.timestamp(kind.unit, "UTC"))
    return column


def differing(one: pa.ChunkedArray, other: pa.ChunkedArray, tolerance: float) -> np.ndarray:
    """True for each row where two columns of one type and length differ. A null equals a null, a NaN a NaN.

    Args:
        one: column.
        other: column.
        tolerance: floats a and b are equal up to this times max(1, |a|, |b|).
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    nulls = [column.is_null().to_numpy() for column in (one, other)]
    if pa.types.is_null(one.type):
        return np.zeros(len(one), dtype=bool)
    if pa.types.is_floating(one.type):
        a, b = (column.to_numpy() for column in (one, other))
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        if tolerance:
            with np.errstate(invalid="ignore", over="ignore"):
                gap = np.abs(a - b)
                same |= np.isfinite(gap) & (gap <= tolerance * np.maximum(1.0, np.maximum(np.abs(a), np.abs(b))))
    else:
        try:
            same = pc.fill_null(pc.equal(one, other), False).to_numpy()
        except pa.ArrowNotImplementedError:
            same = _same_text(one, other)
    return np.asarray((nulls[0] != nulls[1]) | ~(same | nulls[0]))


def _same_text(one: pa.ChunkedArray, other: pa.ChunkedArray) -> np.ndarray:
    """Nested values, by their text: in it a NaN equals a NaN."""
    import numpy as np

    blocks = [
        [repr(a) == repr(b) for a, b in zip(x.to_pylist(), y.to_pylist(), strict=True)]
        for x, y in ((c.slice(i, _BLOCK) for c in (one, other)) for i in range(0, len(one), _BLOCK))
    ]
    return np.array([same for block in blocks for same in block], dtype=bool)


def keys(pairs: Sequence[tuple[pa.ChunkedArray, pa.ChunkedArray]]) -> tuple[np.ndarray, np.ndarray, int]:
    """Numbers for the keys of the rows of two frames: equal keys, and only these, have the same one.

    Args:
        pairs: for each part of the key its column in both frames, of one type.

    Returns:
        The numbers for the rows of the one, those for the other, and how many there are.

    Raises:
        NotImplementedError: of nested values.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    whole, count = np.zeros(0, dtype=np.int64), 1
    for one, other in pairs:
        numbers, found = _numbered(pa.chunked_array([*one.chunks, *other.chunks], one.type))
        if len(whole):
            whole, distinct = pd.factorize(whole * found + numbers)
            count = len(distinct)
        else:
            whole, count = numbers, found
    split = len(pairs[0][0])
    return whole[:split], whole[split:], count


def _numbered(column: pa.ChunkedArray) -> tuple[np.ndarray, int]:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, types = column.type, pa.types
    if types.is_floating(kind):
        column = pc.add(column, pa.scalar(0.0, kind))  # -0.0 is 0.0
    elif types.is_temporal(kind) and not types.is_interval(kind):
        column = column.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    if types.is_integer(column.type):  # three times as fast as what follows
        codes, distinct = pd.factorize(column.fill_null(0).to_numpy())
        if column.null_count:
            codes = np.where(column.is_null().to_numpy(), len(distinct), codes)
        return codes.astype(np.int64), len(distinct) + 1
    encoded = column.combine_chunks().dictionary_encode("encode")
    found: Any = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return found.indices.to_numpy(zero_copy_only=False).astype(np.int64), len(found.dictionary) + 1


def statistics(column: pa.ChunkedArray | None) -> dict[str, Any]:
    """Number of missing values (NaN too), and of numbers mean, least and greatest; None of what there is not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    told: dict[str, Any] = {"nulls": None, "mean": None, "min": None, "max": None}
    if column is None:
        return told
    column = _simple(column)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    told["nulls"] = column.null_count
    if is_numeric(column.type):
        bounds = pc.min_max(column).as_py()
        mean = pc.mean(column).as_py()
        told.update(bounds, mean=None if mean is None else float(mean))
    return told


def is_numeric(kind: pa.DataType) -> bool:
    """Are its values numbers?"""
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
