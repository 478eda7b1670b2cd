"""Formats `object` and `object-pandas`: live objects in the memory of this process."""

from __future__ import annotations

import sys
from typing import Any, BinaryIO

from d6tstore.errors import FormatError
from d6tstore.format import Format


class ObjectFormat(Format):
    """A Python object as it is. pandas frames are copied: no reader edits another's. Others are shared."""

    live = True

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Refused: a live object has no bytes."""
        raise FormatError(
            "a live object has no bytes. Set backend = 'memory' on the task, or use a format such as pickle."
        )

    def load(self, file: BinaryIO) -> Any:
        """Refused: a live object has no bytes."""
        raise FormatError("a live object has no bytes. Run its task in this process.")

    def check(self, value: Any) -> Any:
        """The value to keep, or to hand out."""
        pandas = sys.modules.get("pandas")
        return value.copy() if pandas and isinstance(value, pandas.DataFrame | pandas.Series) else value


class ObjectPandasFormat(ObjectFormat):
    """A pandas frame, kept in memory."""

    def check(self, value: Any) -> Any:
        """A copy of the frame. Raises FormatError for anything else."""
        import pandas as pd

        if not isinstance(value, pd.DataFrame):
            raise FormatError(
                f"TaskCachePandas keeps DataFrames, got a {type(value).__name__}. Save a frame, or use TaskCache."
            )
        return value.copy()
