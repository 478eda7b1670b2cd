"""Labels of a pandas frame, of its columns and its index: what Arrow's metadata does not bring back."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from d6tstore.errors import FormatError

if TYPE_CHECKING:
    import pandas as pd

_SCALARS = (str, int, float, bool, type(None))


def plain(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A shallow copy with labels that Arrow holds, and notes on those that it had."""
    import numpy as np
    import pandas as pd

    columns, index = frame.columns, frame.index
    notes: dict[str, Any] = {}
    if not isinstance(columns.dtype, np.dtype | pd.StringDtype | pd.DatetimeTZDtype):
        raise _refused(columns, "have no counterpart in Arrow")
    changed = frame.copy(deep=False)
    if isinstance(columns, pd.RangeIndex):
        notes["range"] = [columns.start, columns.stop, columns.step]
    elif str(columns.dtype) in ("object", "bool") and columns.nlevels == 1:
        if not all(map(_encodable, columns)):
            raise _refused(columns, "are neither text nor numbers")
        notes["labels"] = {str(label): _encode(label) for label in columns}
        notes["labels_dtype"] = str(columns.dtype)
        changed.columns = pd.Index([str(label) for label in columns], dtype=object, name=columns.name)
    if names := _odd_names(columns):
        notes["column_names"] = names
        changed.columns = changed.columns.set_names([None] * columns.nlevels)
    if names := _odd_names(index):
        notes["index_names"] = names
        changed.index = changed.index.set_names([None] * index.nlevels)
    levels = _levels(index)
    if any(freqs := [getattr(level, "freqstr", None) if _dated(level) else None for level in levels]):
        notes["index_freq"] = freqs
    if _dated(columns) and columns.freq is not None:  # type: ignore[attr-defined]
        notes["column_freq"] = columns.freqstr  # type: ignore[attr-defined]
    if texts := [i for i, level in enumerate(levels) if level.dtype == object and set(map(type, level)) == {str}]:
        notes["index_objects"] = texts
    return changed, notes


def restore(frame: pd.DataFrame, fields: list[str], notes: dict[str, Any]) -> pd.DataFrame:
    """Give a frame the labels that `plain` noted; `fields` are the names of its columns in Arrow."""
    import pandas as pd

    columns: Any = frame.columns
    index: Any = frame.index
    if (bounds := notes.get("range")) and len(steps := pd.RangeIndex(*bounds)) == len(fields):
        columns = steps.set_names(columns.names)
    if "labels" in notes:
        found = [_decode(notes["labels"][field]) for field in fields]
        columns = pd.Index(found, dtype=notes["labels_dtype"], name=columns.name, tupleize_cols=False)
    if "column_freq" in notes:
        columns = _with_freq(columns, notes["column_freq"])
    if "column_names" in notes:
        columns = columns.set_names([_decode(name) for name in notes["column_names"]])
    for i in notes.get("index_objects", []):
        index = _replaced(index, i, _levels(index)[i].astype(object))
    for i, freq in enumerate(notes.get("index_freq", [])):
        if freq:
            index = _replaced(index, i, _with_freq(_levels(index)[i], freq))
    if "index_names" in notes:
        index = index.set_names([_decode(name) for name in notes["index_names"]])
    frame.columns, frame.index = columns, index
    return frame


def compare(frame: pd.DataFrame, back: pd.DataFrame) -> None:
    """Refuse labels that would come back as others; `back` has no rows.

    Raises:
        FormatError: columns or index, rule, cure.
    """
    import pandas as pd

    old, new = frame.columns, back.columns
    same = type(old) is type(new) and old.dtype == new.dtype and old.identical(new)
    if not same or getattr(old, "freqstr", None) != getattr(new, "freqstr", None):
        raise _refused(old, f"would come back as {_shown(new)}")
    before, after = frame.index, back.index
    for a, b in zip(_levels(before), _levels(after), strict=True):
        named = before.names == after.names or isinstance(a, pd.RangeIndex)  # its name is lost with the rows only
        if a.dtype != b.dtype or type(a) is not type(b) or not named:
            raise FormatError(
                f"the index {_shown(before)} would come back as {_shown(after)}. Make it columns: df.reset_index()."
            )


def index_range(described: dict[str, Any]) -> pd.RangeIndex:
    """The RangeIndex that Arrow's metadata of pandas describes."""
    import pandas as pd

    return pd.RangeIndex(described["start"], described["stop"], described["step"], name=described["name"])


def _odd_names(index: Any) -> list[Any] | None:
    """Names that are no text, which Arrow would make text."""
    if all(name is None or type(name) is str for name in index.names):
        return None
    if not all(map(_encodable, index.names)):
        raise FormatError(
            f"the names {list(index.names)} of the index or columns are neither text nor numbers. "
            "Rename them: df.rename_axis(...)."
        )
    return [_encode(name) for name in index.names]


def _levels(index: Any) -> list[Any]:
    return list(index.levels) if index.nlevels > 1 else [index]


def _replaced(index: Any, i: int, level: Any) -> Any:
    return index.set_levels(level, level=i, verify_integrity=False) if index.nlevels > 1 else level


def _dated(index: Any) -> bool:
    import pandas as pd

    return isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex)


def _with_freq(index: Any, freq: str) -> Any:
    index = index[:]
    with contextlib.suppress(ValueError):  # a part of the rows has no frequency
        index.freq = freq
    return index


def _encodable(label: Any) -> bool:
    if type(label) is tuple:
        return all(type(part) in _SCALARS for part in label)
    return type(label) in _SCALARS and label == label


def _encode(label: Any) -> Any:
    return list(label) if isinstance(label, tuple) else label


def _decode(label: Any) -> Any:
    return tuple(label) if isinstance(label, list) else label


def _refused(columns: Any, problem: str) -> FormatError:
    return FormatError(
        f"the column labels {_shown(columns)} {problem}. Make them text: df.columns = df.columns.map(str)."
    )


def _shown(index: Any) -> str:
    text = " ".join(repr(index).split())
    return text if len(text) <= 100 else f"{text[:97]}..."
