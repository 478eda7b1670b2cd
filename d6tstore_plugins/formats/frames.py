"""pandas frame <-> Arrow table, for all formats of pandas frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from d6tstore.errors import FormatError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def to_arrow(value: Any) -> pa.Table:
    """A DataFrame as an Arrow table whose metadata restores index and dtypes.

    Raises:
        FormatError: it is no frame, or a column cannot be stored: column, rule, cure.
    """
    import pandas as pd
    import pyarrow as pa

    if isinstance(value, pa.Table):
        return value
    if not isinstance(value, pd.DataFrame):
        raise FormatError(
            f"this task keeps DataFrames, got a {type(value).__name__}. Save a frame (x.to_frame(), "
            "pd.DataFrame(x)), or use a task class of another format, such as TaskPickle."
        )
    if not value.columns.is_unique:
        twice = sorted({str(c) for c in value.columns[value.columns.duplicated()]})
        raise FormatError(f"columns {', '.join(twice)} occur twice; names must be unique. Rename them.")
    try:
        return pa.Table.from_pandas(value)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, ValueError) as exc:
        raise FormatError(
            f"column {_culprit(value)} cannot be stored: {exc}. Give it one type (astype), or save it with TaskPickle."
        ) from exc


def _culprit(frame: pd.DataFrame) -> str:
    """The first column that Arrow refuses."""
    import pyarrow as pa

    for name in frame.columns:
        try:
            pa.Array.from_pandas(frame[name])
        except (pa.ArrowException, TypeError, ValueError):
            return repr(name)
    return "(index)"


def from_arrow(table: pa.Table) -> pd.DataFrame:
    """The DataFrame that became this table."""
    frame: pd.DataFrame = table.to_pandas()
    return frame
