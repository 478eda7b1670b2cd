"""Arrow tables, which are kept as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def to_arrow(value: Any) -> pa.Table | None:
    """None: tables need no conversion, and nothing else is one."""
    return None


def from_arrow(table: pa.Table) -> pa.Table:
    """The table."""
    return table
