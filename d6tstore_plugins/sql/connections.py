"""Connections to Postgres: pooled, opened with secrets that are asked for when they are needed, apart per process."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from adbc_driver_manager import Error as AdbcError
from adbc_driver_postgresql import dbapi

from d6tstore.credentials import Credentials
from d6tstore_plugins.sql.errors import mapping

_IDLE = 4  # bulk connections that wait for the next use
# Rows come as they were written: no scan joins another one in its middle, none is shared out.
_SETTINGS = "SELECT " + ", ".join(
    f"set_config('{name}', '{value}', false)"
    for name, value in (("synchronize_seqscans", "off"), ("max_parallel_workers_per_gather", "0"), ("jit", "off"))
)
_left_behind: list[Any] = []  # connections of the parent: to close them here would end them there


class Connections:
    """Of one database, for one process: SQLAlchemy's for the catalogue, Arrow's (ADBC) for tables."""

    def __init__(self, url: sa.URL, credentials: Credentials, place: str) -> None:
        self._url, self._credentials, self._place = url, credentials, place
        self._lock = threading.Lock()
        self._pid = 0
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._bulk: list[Any] = []
        weakref.finalize(self, _close, self._bulk, self._pid)
        self._engine = sa.create_engine(
            self._url, pool_pre_ping=True, pool_size=4, max_overflow=16, hide_parameters=True, future=True
        )
        sa.event.listen(self._engine, "do_connect", self._connect)

    def _connect(self, dialect: Any, record: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        with self._credentials.guard(), self.mapping():
            found = self._credentials.find()
            if found is None:
                return dialect.connect(*args, **kwargs)
            return dialect.connect(*args, **{**kwargs, "password": found.reveal()})  # in no variable: frames tell those

    @property
    def _here(self) -> sa.Engine:
        """The engine of this process: after a fork, connections of the parent are left alone."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._engine.dispose(close=False)
                    _left_behind.extend(self._bulk)
                    self._begin()
        return self._engine

    def mapping(self) -> contextlib.AbstractContextManager[None]:
        """Within it errors of drivers become ours."""
        return mapping(self._place)

    def lasting(self) -> sa.Connection:
        """A connection that stays open, where each statement is a transaction; its user closes it."""
        with self.mapping():
            return self._here.connect().execution_options(isolation_level="AUTOCOMMIT")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A connection of SQLAlchemy within a transaction: all or nothing."""
        with mapping(self._place), self._here.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def bulk(self) -> Iterator[Bulk]:
        """A connection for tables, within a transaction: all or nothing."""
        engine = self._here
        with mapping(self._place):
            connection = self._taken()
            try:
                yield Bulk(connection, engine)
                connection.commit()
            except BaseException:
                with contextlib.suppress(AdbcError):
                    connection.rollback()
                with contextlib.suppress(AdbcError):
                    connection.close()
                raise
        with self._lock:
            if len(self._bulk) < _IDLE and self._pid == os.getpid():
                self._bulk.append(connection)
                return
        connection.close()

    def _taken(self) -> Any:
        while True:
            with self._lock:
                found = self._bulk.pop() if self._bulk else None
            if found is None:
                return self._opened()
            try:
                with found.cursor() as cursor:
                    cursor.execute("SELECT 1")
                    cursor.fetchone()
                return found
            except AdbcError:  # the server was restarted meanwhile
                with contextlib.suppress(AdbcError):
                    found.close()

    def _opened(self) -> Any:
        with self._credentials.guard(), self.mapping():
            connection = dbapi.connect(self._uri())
        try:
            with connection.cursor() as cursor:
                cursor.execute(_SETTINGS)
                cursor.fetchone()
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    def _uri(self) -> str:
        found = self._credentials.find()
        url = self._url.set(drivername="postgresql", password=None if found is None else found.reveal())
        place, mark, query = url.render_as_string(hide_password=False).partition("?")
        return place.replace(" ", "%20") + mark + query.replace("+", "%20")  # as libpq wants a space; its error tells all

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        engine = self._here
        with self._lock:
            _close(self._bulk, self._pid)
        engine.dispose()


def _close(connections: list[Any], pid: int) -> None:
    """Close the connections of a process; in a child of it, leave them alone."""
    while connections and pid == os.getpid():
        with contextlib.suppress(AdbcError):
            connections.pop().close()


class Bulk:
    """A transaction in which whole tables go in and out as Arrow data."""

    def __init__(self, connection: Any, engine: sa.Engine) -> None:
        self._connection, self._engine = connection, engine

    def _sql(self, statement: Any) -> str:
        """A statement as text, its values quoted by psycopg2: COPY takes no parameters."""
        compiled = statement.compile(self._engine)
        # Not empty, so that psycopg2 halves the percent signs that SQLAlchemy doubled.
        params = {**(compiled.params or {}), "": None}
        bound = getattr(compiled, "_bind_processors", {})  # a statement that defines has none
        processed = {name: bound[name](params[name]) for name in bound}
        with self._engine.connect() as quoting, quoting.connection.cursor() as cursor:  # type: ignore[attr-defined]
            text: bytes = cursor.mogrify(str(compiled), {**params, **processed})
        return text.decode()

    def execute(self, statement: Any) -> None:
        """Run a statement."""
        with self._connection.cursor() as cursor:
            cursor.execute(self._sql(statement))

    def rows(self, statement: Any) -> list[dict[str, Any]]:
        """Rows of a small query."""
        with self._connection.cursor() as cursor:
            cursor.execute(self._sql(statement))
            found: list[dict[str, Any]] = cursor.fetch_arrow_table().to_pylist()
            return found

    def copy_in(self, table: sa.Table, batches: pa.RecordBatchReader) -> None:
        """Add rows to a table."""
        with self._connection.cursor() as cursor:
            cursor.adbc_ingest(table.name, batches, mode="append", db_schema_name=table.schema)

    @contextlib.contextmanager
    def copy_out(self, statement: Any) -> Iterator[pa.RecordBatchReader]:
        """Rows of a query, in batches."""
        with self._connection.cursor() as cursor:
            cursor.execute(self._sql(statement))
            yield cursor.fetch_record_batch()
