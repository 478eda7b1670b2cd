"""Whole tables as Arrow data, by ADBC: nothing is faster from Python."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from adbc_driver_manager import Error as AdbcError
from adbc_driver_postgresql import dbapi

from d6tstore.credentials import Credentials
from d6tstore_plugins.sql.catalogue import bound
from d6tstore_plugins.sql.queries import Transfer
from d6tstore_plugins.sql.settings import SETTINGS

_IDLE = 4  # connections that wait for the next use


class Pool:
    """Connections of the process that makes it to one database. Opening one takes 50 ms, so some are kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._idle: list[Any] = []
        weakref.finalize(self, _close, self._idle, self._pid)

    @contextlib.contextmanager
    def taken(self, engine: sa.Engine, opened: Callable[[], Any]) -> Iterator[Bulk]:
        """A connection within a transaction: all or nothing.

        Args:
            engine: of the same database, which quotes values.
            opened: makes a new connection.
        """
        connection = self._taken() or opened()
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
            if len(self._idle) < _IDLE and self._pid == os.getpid():
                self._idle.append(connection)
                return
        connection.close()

    def _taken(self) -> Any:
        """One that is idle and still works; None if there is none."""
        while True:
            with self._lock:
                found = self._idle.pop() if self._idle else None
            if found is None:
                return None
            try:
                with found.cursor() as cursor:
                    cursor.execute("SELECT 1")
                    cursor.fetchone()
                return found
            except AdbcError:  # the server was restarted meanwhile
                with contextlib.suppress(AdbcError):
                    found.close()

    def close(self) -> None:
        """Close those that are idle."""
        with self._lock:
            _close(self._idle, self._pid)


def _close(connections: list[Any], pid: int) -> None:
    """Close the connections of a process; in a child of it, leave them alone."""
    while connections and pid == os.getpid():
        with contextlib.suppress(AdbcError):
            connections.pop().close()


def opened(url: sa.URL, credentials: Credentials) -> Any:
    """A new connection.

    Args:
        url: of the database, without a password.
        credentials: that password.
    """
    connection = dbapi.connect(_uri(url, credentials))
    try:
        with connection.cursor() as cursor:
            cursor.execute(SETTINGS)
            cursor.fetchone()
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def _uri(url: sa.URL, credentials: Credentials) -> str:
    """With the password, in no variable."""
    url = url.set(drivername="postgresql")
    found = credentials.find()
    if found is None:
        return _escaped(url.render_as_string(hide_password=False))
    return _escaped(url.set(password=found.reveal()).render_as_string(hide_password=False))


def _escaped(uri: str) -> str:
    """As libpq reads it: it takes no spaces, which SQLAlchemy leaves in passwords, and no plus sign for one."""
    place, mark, query = uri.partition("?")
    return place.replace(" ", "%20") + mark + query.replace("+", "%20")


class Bulk(Transfer):
    """A transaction in which whole tables go in and out as Arrow data."""

    def __init__(self, connection: Any, engine: sa.Engine) -> None:
        self._connection, self._engine = connection, engine

    def _sql(self, statement: Any) -> str:
        """A statement as text, its values quoted by psycopg2: COPY takes no parameters."""
        compiled = statement.compile(self._engine)
        # Not empty, so that psycopg2 halves the percent signs that SQLAlchemy doubled.
        params = {**bound(compiled), "": None}
        with self._engine.connect() as quoting, quoting.connection.cursor() as cursor:  # type: ignore[attr-defined]
            text: bytes = cursor.mogrify(str(compiled), params)
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
