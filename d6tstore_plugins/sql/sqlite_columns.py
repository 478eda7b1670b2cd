"""How SQLite holds columns: it has integers, floats, text and bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from pyarrow import types as is_
from sqlalchemy.dialects import postgresql as pg

from d6tstore.errors import SelectionError
from d6tstore_plugins.sql import columns
from d6tstore_plugins.sql.file_columns import Count, Iso, Json, Plain
from d6tstore_plugins.sql.layout import Product


class Untyped(sa.types.UserDefinedType[Any]):
    """A column that keeps what it is given. REAL would make whole numbers of floats, and lose the sign of zero."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """No type at all."""
        return ""


def members(values: Iterable[Any]) -> Any:
    """A query that gives numbers or texts that are one parameter."""
    return sa.select(sa.func.json_each(json.dumps(list(values))).table_valued("value").c.value)


class _Listed(Plain):
    """A column of whole numbers, booleans, or text."""

    def many(self, values: list[Any]) -> Any:
        """See `Plain.many`."""
        if not all(isinstance(value, str | int) for value in values):
            raise SelectionError(f"SQLite takes no list of {len(values):,} bytes or floats. Load all, and filter that.")
        return members(values)


class _Iso(Iso, _Listed):  # type: ignore[misc]  # both are the same tuple
    """Dates and times."""


class _Count(Count, _Listed):  # type: ignore[misc]
    """Durations."""


class _Float(_Listed):
    """Floats. SQLite has no NaN, which is the text `NaN`, and no negative zero, which is the integer 0."""

    def is_number(self, column: Any) -> Any:
        """See `Column.is_number`."""
        return sa.func.typeof(column) != "text"


def column(type_: pa.DataType) -> columns.Column | str:
    """How SQLite holds a type, or why not."""
    found = columns.column(type_)
    if isinstance(found, str):
        return found
    sql, of = found.sql, found.value_type
    storage = of.storage_type if isinstance(of, pa.BaseExtensionType) else of
    if isinstance(sql, pg.JSONB | pg.ARRAY):
        return Json(found.type, sa.Text(), pa.large_string())
    if isinstance(sql, sa.Numeric):
        return f"the type {type_}: it has no exact numbers beyond 64 bits"
    if isinstance(sql, pg.INTERVAL):
        return _Count(found.type, sa.BigInteger(), pa.int64(), found.fine)
    if is_.is_temporal(storage):
        return _Iso(found.type, sa.Text(), pa.large_string(), found.fine)
    if is_.is_floating(storage):
        return _Float(found.type, Untyped(), pa.float64())
    if isinstance(sql, sa.Uuid):
        return _Listed(found.type, sa.LargeBinary(), pa.large_binary())
    return _Listed(found.type, sa.Text() if isinstance(sql, sa.JSON) else sql, found.wire)


SQLITE = Product("SQLite", column, 2_000, 1_000, None, frozenset({"rowid", "_rowid_", "oid"}), True, "rowid")
