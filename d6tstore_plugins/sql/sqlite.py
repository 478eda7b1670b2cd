"""Backend `sqlite`: tables and all else in a file that any language and tool reads."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pyarrow import types as is_
from sqlalchemy.dialects import postgresql as pg

from d6tstore.errors import BackendError, Denied, SelectionError
from d6tstore_plugins.sql import columns
from d6tstore_plugins.sql.catalogue import qualified
from d6tstore_plugins.sql.errors import Gone
from d6tstore_plugins.sql.held import Count, Iso, Json, Plain
from d6tstore_plugins.sql.layout import Product
from d6tstore_plugins.sql.portable import PATIENCE, FileBackend, FileCatalogue, FileConnections
from d6tstore_plugins.sql.rows import Rows, inferred

_ROWS = 1 << 14  # of a batch: Python objects are larger than what they stand for


class _Untyped(sa.types.UserDefinedType[Any]):
    """A column that keeps what it is given. REAL would make whole numbers of floats, and lose the sign of zero."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """No type at all."""
        return ""


def _members(values: Iterable[Any]) -> Any:
    """A query that gives numbers or texts that are one parameter."""
    return sa.select(sa.func.json_each(json.dumps(list(values))).table_valued("value").c.value)


class _Listed(Plain):
    """A column of whole numbers, booleans, or text."""

    def many(self, values: list[Any]) -> Any:
        """See `Plain.many`."""
        if not all(isinstance(value, str | int) for value in values):
            raise SelectionError(f"SQLite takes no list of {len(values):,} bytes or floats. Load all, and filter that.")
        return _members(values)


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
        return _Float(found.type, _Untyped(), pa.float64())
    if isinstance(sql, sa.Uuid):
        return _Listed(found.type, sa.LargeBinary(), pa.large_binary())
    return _Listed(found.type, sa.Text() if isinstance(sql, sa.JSON) else sql, found.wire)


SQLITE = Product("SQLite", column, 2_000, 1_000, None, frozenset({"rowid", "_rowid_", "oid"}), True, "rowid")


class _Catalogue(FileCatalogue):
    text = "CAST(data AS TEXT)"
    each = "json_each(r.record, '$.outputs')"

    def among(self, keys: Iterable[str]) -> Any:
        """All keys as one value: there is a limit to their number."""
        return self.objects.c.key.in_(_members(keys))


class _Rows(Rows):
    """Whole tables, row by row."""

    def read_only(self) -> None:
        """To the end of the connection, which is that of the transaction."""
        self._connection.exec_driver_sql("PRAGMA query_only = ON")

    def copy_in(self, table: sa.Table, batches: pa.RecordBatchReader) -> None:
        """Add rows to a table."""
        marks = ", ".join("?" * len(table.columns))
        insert = f"INSERT INTO {qualified(table.schema, table.name)} VALUES ({marks})"  # noqa: S608 - quoted
        for batch in batches:
            for start in range(0, batch.num_rows, _ROWS):
                part = batch.slice(start, _ROWS)
                rows = list(zip(*map(_given, part.columns), strict=True))
                self._connection.exec_driver_sql(insert, rows)

    @contextlib.contextmanager
    def copy_out(self, statement: Any) -> Iterator[pa.RecordBatchReader]:
        """Rows of a query, in batches."""
        if isinstance(statement, sa.TextClause):
            yield inferred(self._connection.execute(statement))
            return
        makers = [_maker(column.type) for column in statement.selected_columns]
        schema = pa.schema([(c.name, t) for c, (t, _) in zip(statement.selected_columns, makers, strict=True)])
        result = self._connection.execution_options(stream_results=True, max_row_buffer=_ROWS).execute(statement)

        def batches() -> Iterator[pa.RecordBatch]:
            for rows in result.partitions(_ROWS):
                cells = zip(*rows, strict=True)
                arrays = [make(values) for values, (_, make) in zip(cells, makers, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

        with contextlib.closing(result):
            yield pa.RecordBatchReader.from_batches(schema, batches())


def _given(array: pa.Array) -> list[Any]:
    """Values as SQLite takes them."""
    values: list[Any] = array.to_pylist()
    if not is_.is_floating(array.type):
        return values
    zeros = pc.any(pc.equal(array, 0.0)).as_py()
    if zeros or pc.any(pc.is_nan(array)).as_py():
        return [_odd(value) for value in values]
    return values


def _odd(value: float | None) -> Any:
    if value == 0 and math.copysign(1, value) < 0:
        return 0
    return "NaN" if value is not None and value != value else value


def _float(value: Any) -> float | None:
    return -0.0 if type(value) is int else None if value is None else float(value)


def _maker(kind: Any) -> tuple[pa.DataType, Any]:
    """The Arrow type of a column that is read, and how its values become that."""
    if isinstance(kind, _Untyped):
        return pa.float64(), lambda values: pa.array(
            values if set(map(type, values)) <= {float, type(None)} else map(_float, values),
            pa.float64(), from_pandas=False,
        )  # fmt: skip
    types = {sa.Boolean: pa.bool_(), sa.Integer: pa.int64(), sa.LargeBinary: pa.large_binary()}
    type_ = next((type_ for sql, type_ in types.items() if isinstance(kind, sql)), pa.large_string())
    return type_, lambda values: pa.array(values, type_)


class _Connections(FileConnections):
    drivername = "sqlite+pysqlite"

    def arguments(self) -> dict[str, Any]:
        """Wait for other processes; a stream may be closed by another thread than opened it."""
        return {"timeout": PATIENCE, "check_same_thread": False}

    def set_up(self, engine: sa.Engine) -> None:
        """Transactions are ours to begin: the driver would begin them late, and leave definitions out."""
        sa.event.listen(engine, "connect", _connected)
        sa.event.listen(engine, "begin", _begin)

    def rows(self, connection: sa.Connection) -> Any:
        """See `FileConnections.rows`."""
        return _Rows(connection)

    def error(self, said: str) -> BackendError:
        """See `FileConnections.error`."""
        if "readonly" in said or "unable to open" in said:
            return Denied(f"{self._place}: {said}. You may not write there: ask for the rights, or use another file.")
        if "no such table" in said:
            return Gone(f"{self._place}: {said}.")
        if "not a database" in said:
            return BackendError(f"{self._place}: {said}. Use another file.")
        if "locked" in said:
            return BackendError(f"{self._place}: another process has been writing for {PATIENCE} s. Run again.")
        return super().error(said)


def _connected(connection: Any, record: Any) -> None:
    connection.isolation_level = None
    with contextlib.suppress(connection.OperationalError), contextlib.closing(connection.cursor()) as cursor:
        # Those who read do not wait for those who write. Where that cannot be had, nothing else changes.
        cursor.execute("PRAGMA journal_mode = WAL")


def _begin(connection: sa.Connection) -> None:
    writing = connection.get_execution_options().get("writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


class SqliteBackend(FileBackend):
    """A database of SQLite; see `FileBackend`. Not for network drives, which do not have the locks that it needs."""

    scheme = "sqlite"
    product = SQLITE
    connections = _Connections
    catalogue = _Catalogue
