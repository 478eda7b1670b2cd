"""Backend `sqlite`: tables and all else in a file that any language and tool reads."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import math
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pyarrow import types as is_

from d6tstore.errors import BackendError, Denied, SelectionError
from d6tstore_plugins.sql.catalogue import qualified
from d6tstore_plugins.sql.errors import Gone
from d6tstore_plugins.sql.files import PATIENCE, FileBackend, FileCatalogue, FileConnections
from d6tstore_plugins.sql.layout import damaged
from d6tstore_plugins.sql.rows import Rows, inferred
from d6tstore_plugins.sql.sqlite_columns import SQLITE, Untyped, members

_READING = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
_ROWS = 1 << 14  # of a batch: Python objects are larger than what they stand for


class _Catalogue(FileCatalogue):
    text = "CAST(data AS TEXT)"
    each = "json_each(r.record, '$.outputs')"

    def among(self, keys: Iterable[str]) -> Any:
        """All keys as one value: there is a limit to their number."""
        return self.objects.c.key.in_(members(keys))


class _Rows(Rows):
    """Whole tables, row by row."""

    def given(self, value: Any) -> Any:
        """Times as they are stored."""
        if isinstance(value, dt.datetime):
            zone = "" if value.tzinfo is None else "Z"
            utc = value.astimezone(dt.UTC).replace(tzinfo=None) if zone else value
            return f"{utc.isoformat(' ', 'microseconds')}{zone}"
        if isinstance(value, dt.timedelta):
            return value // dt.timedelta(microseconds=1)
        if isinstance(value, dt.time):
            return value.isoformat("microseconds")
        if isinstance(value, dt.date):
            return value.isoformat()
        return float(value) if isinstance(value, decimal.Decimal) else value

    def read_only(self) -> None:
        """Each query is looked at as a whole: see `copy_out`."""

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
            yield self._asked(statement)
            return
        makers = [_maker(column.type) for column in statement.selected_columns]
        schema = pa.schema([(c.name, t) for c, (t, _) in zip(statement.selected_columns, makers, strict=True)])
        result = self._connection.execution_options(stream_results=True, max_row_buffer=_ROWS).execute(statement)

        def batches() -> Iterator[pa.RecordBatch]:
            for rows in result.partitions(_ROWS):
                cells = zip(*rows, strict=True)
                try:
                    arrays = [make(values) for values, (_, make) in zip(cells, makers, strict=True)]
                except (pa.ArrowException, ValueError, TypeError) as exc:
                    raise damaged(f"a column holds what was not saved there ({exc})") from exc
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

        with contextlib.closing(result):
            yield pa.RecordBatchReader.from_batches(schema, batches())

    def _asked(self, statement: Any) -> pa.RecordBatchReader:
        """The answer to a query of the user's. Raises SelectionError: it is none, or would change something."""
        driver: Any = self._connection.connection.driver_connection
        driver.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY)
        try:
            streamed = self._connection.execution_options(stream_results=True, max_row_buffer=_ROWS)
            return inferred(streamed.execute(statement))
        except sa.exc.SQLAlchemyError as exc:
            said = getattr(exc, "orig", exc)
            raise SelectionError(f"SQLite refuses the query: {said}. It takes one SELECT.") from exc
        finally:
            driver.set_authorizer(None)


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
    if isinstance(kind, Untyped):
        return pa.float64(), lambda values: pa.array(
            values if set(map(type, values)) <= {float, type(None)} else map(_float, values),
            pa.float64(), from_pandas=False,
        )  # fmt: skip
    types = {sa.Boolean: pa.bool_(), sa.Integer: pa.int64(), sa.LargeBinary: pa.large_binary()}
    type_ = next((type_ for sql, type_ in types.items() if isinstance(kind, sql)), pa.large_string())
    return type_, lambda values: pa.array(values, type_)


class _Connections(FileConnections):
    drivername = "sqlite+pysqlite"

    readers_may_fork = True

    def arguments(self) -> dict[str, Any]:
        """A stream may be closed by another thread than opened it. To write we wait on our own: see `_begin`."""
        return {"timeout": 1, "check_same_thread": False}

    def set_up(self, engine: sa.Engine) -> None:
        """Transactions are ours to begin: the driver would begin them late, and leave definitions out."""
        sa.event.listen(engine, "connect", _connected)
        sa.event.listen(engine, "begin", _begin)

    def rows(self, connection: sa.Connection) -> Any:
        """See `FileConnections.rows`."""
        return _Rows(connection)

    def error(self, exc: BaseException, said: str) -> BackendError:
        """See `FileConnections.error`."""
        kind = getattr(exc, "sqlite_errorname", "")
        if kind.startswith(("SQLITE_READONLY", "SQLITE_PERM")):
            return Denied(f"{self._place}: {said}. You may not write there: ask for the rights, or use another file.")
        if kind.startswith("SQLITE_CANTOPEN"):
            if not os.access(self._file.parent, os.W_OK) and self._file.parent.exists():
                return Denied(f"{self._place}: {said}. You may not use its folder: ask for the rights, or use another.")
            return BackendError(f"{self._place}: {said}. Is it a folder, or has its folder gone? Use another file.")
        if said.startswith("no such table"):
            return Gone(f"{self._place}: {said}. Somebody removed it, or the whole file: run the tasks again.")
        if kind == "SQLITE_NOTADB":
            return BackendError(f"{self._place}: {said}. Use another file.")
        if kind.startswith("SQLITE_BUSY"):
            return BackendError(f"{self._place}: {said}. Another process has been writing for {PATIENCE} s. Run again.")
        return super().error(exc, said)


def _connected(connection: Any, record: Any) -> None:
    connection.isolation_level = None
    with contextlib.suppress(connection.OperationalError), contextlib.closing(connection.cursor()) as cursor:
        # Those who read do not wait for those who write. Where that cannot be had, nothing else changes.
        cursor.execute("PRAGMA journal_mode = WAL")


def _begin(connection: sa.Connection) -> None:
    if not connection.get_execution_options().get("writing"):
        connection.exec_driver_sql("BEGIN")
        return
    end = time.monotonic() + PATIENCE
    while True:  # here, where Ctrl-C is heard: SQLite would not hear it
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except sa.exc.OperationalError as exc:
            if getattr(exc.orig, "sqlite_errorname", "") != "SQLITE_BUSY" or time.monotonic() > end:
                raise
        else:
            return


class SqliteBackend(FileBackend):
    """A database of SQLite; see `FileBackend`. Not for network drives, which do not have the locks that it needs."""

    scheme = "sqlite"
    product = SQLITE
    connections = _Connections
    catalogue = _Catalogue
