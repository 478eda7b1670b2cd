"""Backend `duckdb`: tables and all else in a file of DuckDB, for queries over many rows."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import duckdb
import duckdb_sqlalchemy  # noqa: F401 - who lacks it hears from the registry which extra brings it
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from d6tstore.errors import BackendError, Denied, PluginError, SelectionError
from d6tstore_plugins.sql import columns
from d6tstore_plugins.sql.catalogue import bound, qualified
from d6tstore_plugins.sql.errors import Gone
from d6tstore_plugins.sql.file_columns import Count, Json, Plain
from d6tstore_plugins.sql.files import PATIENCE, FileBackend, FileCatalogue, FileConnections
from d6tstore_plugins.sql.layout import Product
from d6tstore_plugins.sql.rows import Rows

_ROWS = 1 << 17  # of a batch
_BUSY = ("lock on file", "Unique file handle conflict")  # another process has it; a thread of ours is closing it
_connecting = threading.Lock()
_LATEST = 9 * 10**18  # microseconds; the last that there are mean infinity


class _Held(Plain):
    @property
    def bounds(self) -> tuple[int, int]:
        """See `Column.bounds`."""
        first, last = super().bounds
        return first, last if self.in_days else _LATEST


def column(type_: pa.DataType) -> columns.Column | str:
    """How DuckDB holds a type, or why not."""
    found = columns.column(type_)
    if isinstance(found, str):
        return found
    sql = found.sql
    if isinstance(sql, pg.JSONB):
        return Json(found.type, sa.Text(), pa.large_string())
    if isinstance(sql, sa.Numeric) and (sql.precision or 0) > 38:
        return f"the type {type_}: its numbers have at most 38 digits"
    if isinstance(sql, pg.INTERVAL):
        return Count(found.type, sa.BigInteger(), pa.int64(), found.fine)
    if isinstance(sql, sa.Uuid):
        return Plain(found.type, sa.LargeBinary(), pa.large_binary())
    return _Held(found.type, sa.Text() if isinstance(sql, sa.JSON) else sql, found.wire, found.fine)


DUCKDB = Product("DuckDB", column, 2_000, 1_000, None, frozenset({"rowid"}), True, None)


class _Catalogue(FileCatalogue):
    text = "decode(data)"
    each = "json_each(r.record, '$.outputs')"


class _Rows(Rows):
    """Whole tables as Arrow data."""

    def read_only(self) -> None:
        """Begin anew, as a transaction that can change nothing; `copy_out` refuses what is outside of transactions."""
        driver: Any = self._connection.connection.driver_connection
        driver.execute("ROLLBACK")
        driver.execute("BEGIN TRANSACTION READ ONLY")

    def copy_in(self, table: sa.Table, batches: pa.RecordBatchReader) -> None:
        """Add rows to a table."""
        driver: Any = self._connection.connection.driver_connection
        for batch in batches:  # here, not by the threads of DuckDB: they may run code of the user's
            driver.register("d6tstore_batch", pa.Table.from_batches([batch]))
            self._connection.exec_driver_sql(
                f"INSERT INTO {qualified(table.schema, table.name)} SELECT * FROM d6tstore_batch"  # noqa: S608 - quoted
            )
            driver.unregister("d6tstore_batch")

    @contextlib.contextmanager
    def copy_out(self, statement: Any) -> Iterator[pa.RecordBatchReader]:
        """Rows of a query, in batches."""
        compiled = statement.compile(self._connection.engine, compile_kwargs={"render_postcompile": True})
        if isinstance(statement, sa.TextClause):
            _refuse_changes(str(compiled))
        values = bound(compiled)
        given = [values[name] for name in compiled.positiontup]
        driver: Any = self._connection.connection.driver_connection
        # A cursor's result would be copied as a whole before the first batch.
        try:
            found = driver.sql(str(compiled), params=given).to_arrow_reader(_ROWS)
        except duckdb.Error as exc:
            if isinstance(statement, sa.TextClause):
                raise SelectionError(f"DuckDB refuses the query: {exc}.") from exc
            raise
        with contextlib.closing(found) as reader:
            yield reader


def _refuse_changes(query: str) -> None:
    try:
        found = duckdb.extract_statements(query)
    except duckdb.Error as exc:
        raise SelectionError(f"DuckDB does not understand the query: {exc}.") from exc
    if [statement.type for statement in found] != [duckdb.StatementType.SELECT]:
        raise SelectionError("a query is one SELECT, which changes nothing.")


class _Connections(FileConnections):
    drivername = "duckdb"
    errors = (*FileConnections.errors, duckdb.Error)
    readers_may_fork = False  # a child would write to what its parent has in memory

    def arguments(self) -> dict[str, Any]:
        """Who may not write opens the file to read."""
        return {"read_only": True} if os.path.exists(self._file) and not os.access(self._file, os.W_OK) else {}

    def set_up(self, engine: sa.Engine) -> None:
        """A file of DuckDB is open in one process at a time."""
        sa.event.listen(engine, "do_connect", _connect)

    def rows(self, connection: sa.Connection) -> Any:
        """See `FileConnections.rows`."""
        return _Rows(connection)

    def error(self, exc: BaseException, said: str) -> BackendError:
        """See `FileConnections.error`."""
        if "lock on file" in said:
            return BackendError(
                f"{self._place}: another process has the file, and DuckDB gives it to one at a time ({said}). Close it "
                f"there (we waited {PATIENCE} s), or use sqlite or Postgres, which many can use."
            )
        if "different configuration" in said:
            return BackendError(f"{self._place}: this process has the file open elsewhere ({said}). Close it there.")
        if "does not exist" in said:
            return Gone(f"{self._place}: {said}. Somebody removed it, or the whole file: run the tasks again.")
        if "Permission denied" in said:
            return Denied(f"{self._place}: {said}. Ask for the rights, or use another file.")
        return super().error(exc, said)


def _in_child() -> None:
    global _connecting
    _connecting = threading.Lock()  # the parent's thread is not here to give it back


os.register_at_fork(after_in_child=_in_child)


def _connect(dialect: Any, record: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    if _is_sqlite(args[0] if args else kwargs.get("database", "")):
        raise duckdb.IOException("it is a database of SQLite")  # for which DuckDB would fetch an extension
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with _connecting:  # DuckDB gives a second thread what the first one has not made ready yet
                return dialect.connect(*args, **kwargs)
        except duckdb.Error as exc:
            if not any(sign in str(exc) for sign in _BUSY) or time.monotonic() > end:
                raise
        time.sleep(0.02)


def _is_sqlite(file: Any) -> bool:
    try:
        with open(file, "rb") as opened:
            return opened.read(15) == b"SQLite format 3"
    except OSError:
        return False


class DuckdbBackend(FileBackend):
    """A database of DuckDB; see `FileBackend`. One process at a time has the file, for one transaction each.

    Raises:
        PluginError: DuckDB is older than 2.0, which does not keep the sign of zero.
    """

    scheme = "duckdb"
    product = DUCKDB
    connections = _Connections
    catalogue = _Catalogue

    def __init__(self, url: str) -> None:
        if duckdb.__version__.startswith(("0.", "1.")):
            raise PluginError(
                f"{url!r} needs DuckDB 2.0, for {duckdb.__version__} stores -0.0 as 0.0 in some columns: "
                "pip install 'd6tstore[duckdb]'"
            )
        super().__init__(url)
