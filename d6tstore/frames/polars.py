"""polars frame <-> Arrow table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    import pyarrow as pa


def to_arrow(value: Any) -> pa.Table | None:
    """A polars DataFrame as an Arrow table; None if it is none."""
    if type(value) is not pl.DataFrame:
        return None
    return value.to_arrow()


def from_arrow(table: pa.Table) -> pl.DataFrame:
    """The DataFrame that a table holds."""
    found = pl.from_arrow(table)
    assert isinstance(found, pl.DataFrame)
    return found
