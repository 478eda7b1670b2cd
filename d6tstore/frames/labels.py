"""Labels of a pandas frame: those of its columns, and the names, the range and the frequency of its index."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from d6tstore.errors import FormatError
from d6tstore.frames import columns

if TYPE_CHECKING:
    import pandas as pd


def plain(labels: Any) -> tuple[Any, dict[str, Any] | None]:
    """Labels that pyarrow takes and whose text is unique, and a note for `decode`; None if they are text anyway.

    Labels that other tools would restore by the metadata of pandas stay as they are.

    Raises:
        FormatError: labels that cannot be kept: rule, cure.
    """
    import pandas as pd

    usual = type(labels) is pd.Index and labels.dtype == pd.Index(["a"]).dtype
    texts = [str(label) for label in labels]
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as exc:
        raise refused(labels, f"have no UTF-8 ({exc.reason})") from None
    unique = len(set(texts)) == len(texts) and labels.is_unique
    text = all(type(label) is str for label in labels)
    if usual and texts and unique and text and _texts(labels.names):
        return labels, None
    note = _encoded(labels)
    if unique and all(map(_readable, levels(labels))) and _texts(labels.names):
        return labels, note
    return pd.Index(columns.unique(texts), dtype=object), note


def decode(note: dict[str, Any], places: list[int] | None = None) -> Any:
    """The labels of which `plain` made this note, or those at some places."""
    import pandas as pd

    found: Any
    if "range" in note:
        found = pd.RangeIndex(*note["range"])
    else:
        values = [columns.from_json(level) for level in note["levels"]]
        found = multi(values, note["multi"]) if "multi" in note else values[0]
    found = found.set_names([name_of(name) for name in note["names"]])
    if "freqs" in note:
        found = with_freqs(found, note["freqs"])
    return found if places is None or places == list(range(len(found))) else found.take(places)


def encoded_names(index: Any) -> list[Any] | None:
    """Names of an index, as JSON; None if they are text or absent. FormatError: they cannot be kept."""
    return None if _texts(index.names) else _names(index)


def name_of(name: Any) -> Any:
    """A name that was JSON."""
    return tuple(name) if isinstance(name, list) else name


def levels(index: Any) -> list[Any]:
    """The values of each level. Whole numbers with gaps are nullable, not floats."""
    import pandas as pd

    if not isinstance(index, pd.MultiIndex):
        return [index]
    index = _unnamed(index)
    found = [index.get_level_values(i) for i in range(index.nlevels)]
    for i, dtype in enumerate(gaps(index)):
        if dtype:
            nullable = dtype.replace("int", "Int").replace("u", "U").replace("bool", "boolean")
            found[i] = pd.Index(index.levels[i].array.astype(nullable).take(index.codes[i], allow_fill=True))
    return found


def gaps(index: Any) -> list[str]:
    """For each level, the dtype of whole numbers of which some are missing; empty for others."""
    import numpy as np

    pairs = zip(index.levels, index.codes, strict=True)
    return [
        str(level.dtype)
        if isinstance(level.dtype, np.dtype) and level.dtype.kind in "iub" and (codes < 0).any()
        else ""
        for level, codes in pairs
    ]


def multi(values: list[Any], gaps: list[str] | None) -> Any:
    """The MultiIndex that had these `levels` and `gaps`."""
    import pandas as pd

    index: Any = pd.MultiIndex.from_arrays(values)
    for i, dtype in enumerate(gaps or []):
        if dtype:
            index = index.set_levels(index.levels[i].astype(dtype), level=i, verify_integrity=False)
    return index


def freqs(index: Any) -> list[str | None] | None:
    """Frequencies of the levels, as far as they are dates (that of periods is in their dtype); None if none has one."""
    import pandas as pd

    levels = index.levels if isinstance(index, pd.MultiIndex) else [index]
    found = [each.freqstr if isinstance(each, pd.DatetimeIndex | pd.TimedeltaIndex) else None for each in levels]
    return found if any(found) else None


def with_freqs(index: Any, found: list[str | None]) -> Any:
    """An index whose dates have their frequencies, as far as they still have."""
    import pandas as pd

    names, index = index.names, _unnamed(index)
    for i, freq in enumerate(found):
        many = isinstance(index, pd.MultiIndex)
        level = (index.levels[i] if many else index)[:]
        with contextlib.suppress(ValueError, AttributeError):  # a part of the rows has none
            level.freq = freq
        index = index.set_levels(level, level=i, verify_integrity=False) if many else level
    return index.set_names(names)


def _unnamed(index: Any) -> Any:
    """An index whose levels go by their numbers, which could be names of others."""
    return index.set_names([None] * index.nlevels)


def compare(frame: pd.DataFrame, back: pd.DataFrame) -> None:
    """Refuse labels that would come back as others; `back` has no rows.

    Raises:
        FormatError: columns or index, rule, cure.
    """
    import pandas as pd

    old, new = frame.columns, back.columns
    if not _alike(old, new) or not old.identical(new):
        raise refused(old, f"would come back as {shown(new)}")
    before: Any = frame.index
    after: Any = back.index
    pairs = zip(*(list(each.levels) if each.nlevels > 1 else [each] for each in (before, after)), strict=False)
    if not _alike(before, after):
        raise _changed(before, type(before).__name__, type(after).__name__)
    for a, b in pairs:
        if not _alike(a, b) and not (isinstance(a, pd.RangeIndex) and before.nlevels > 1 and a.dtype == b.dtype):
            raise _changed(before, f"{type(a).__name__} of {a.dtype}", f"{type(b).__name__} of {b.dtype}")


def _changed(index: Any, old: str, new: str) -> FormatError:
    return FormatError(
        f"the index {shown(index)} would come back with a {new} in the place of a {old}. "
        "Make it columns: df.reset_index()."
    )


def refused(labels: Any, problem: str) -> FormatError:
    """The error of column labels."""
    return FormatError(
        f"the column labels {shown(labels)} {problem}. Make them text: df.columns = df.columns.map(str)."
    )


def shown(value: Any) -> str:
    """A value as a message shows it."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:97]}..."


def _encoded(labels: Any) -> dict[str, Any]:
    import pandas as pd

    note: dict[str, Any] = {"names": _names(labels)}
    if isinstance(labels, pd.RangeIndex):
        return {"range": [labels.start, labels.stop, labels.step], **note}
    try:
        note["levels"] = [columns.to_json(level, "labels") for level in levels(labels)]
    except FormatError as exc:
        raise refused(labels, "are neither text nor numbers, nor values of one type that Arrow has") from exc
    if isinstance(labels, pd.MultiIndex):
        note["multi"] = gaps(labels)
    if found := freqs(labels):
        note["freqs"] = found
    return note


def _names(index: Any) -> list[Any]:
    if not all(map(columns.is_json, index.names)):
        raise FormatError(
            f"the names {shown(list(index.names))} of the index or columns are neither text nor numbers. "
            "Rename them: df.rename_axis(...)."
        )
    return [list(name) if isinstance(name, tuple) else name for name in index.names]


def _texts(names: Iterable[Any]) -> bool:
    return all(name is None or type(name) is str for name in names)


def _readable(level: Any) -> bool:
    import numpy as np
    import pandas as pd

    numbers = isinstance(level.dtype, np.dtype) and level.dtype.kind in "iuf"
    texts = isinstance(level.dtype, np.dtype | pd.StringDtype) and all(type(label) is str for label in level)
    return numbers or texts


def _alike(a: Any, b: Any) -> bool:
    same = type(a) is type(b) and a.dtype == b.dtype and repr(a.dtype) == repr(b.dtype) and a.nlevels == b.nlevels
    return bool(same and a.names == b.names)
