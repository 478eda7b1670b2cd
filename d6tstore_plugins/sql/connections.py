"""Connections to Postgres: pooled, opened with secrets that are asked for when they are needed, apart per process."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import psycopg2  # noqa: F401 - SQLAlchemy's driver: who lacks it hears from the registry which extra brings it
import sqlalchemy as sa

from d6tstore.credentials import Credentials
from d6tstore.errors import UsageError
from d6tstore_plugins.sql import rows
from d6tstore_plugins.sql.errors import mapping
from d6tstore_plugins.sql.settings import SETTINGS

try:
    from d6tstore_plugins.sql import adbc
except ModuleNotFoundError:  # psycopg2 does the whole job, in more time
    adbc = None  # type: ignore[assignment]

DRIVERS = ("adbc", "psycopg2")
_left_behind: list[Any] = []  # pools of the parent: to close their connections here would end them there


class Connections:
    """Of one database, for one process: SQLAlchemy's for the catalogue, Arrow's (ADBC) for tables.

    Args:
        url: of the database, without a password.
        credentials: the password.
        place: how messages name the database.
        driver: of tables: `adbc`, `psycopg2`, or None for the first of them that is installed.
    """

    def __init__(self, url: sa.URL, credentials: Credentials, place: str, driver: str | None = None) -> None:
        if driver not in (None, *DRIVERS) or (driver == "adbc" and adbc is None):
            raise UsageError(
                f"driver={driver!r} is unknown or not installed. Use one of {', '.join(DRIVERS)}, or none."
            )
        self._url, self._credentials, self._place = url, credentials, place
        self._lock = threading.Lock()
        self._driver = driver
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._arrow = None if adbc is None or self._driver == "psycopg2" else adbc.Pool()
        self._engine = sa.create_engine(
            self._url,
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            pool_size=4,
            max_overflow=16,
            hide_parameters=True,
            future=True,
        )
        connect: Any = weakref.WeakMethod(self._connect)  # caches of SQLAlchemy keep dialects and their listeners
        sa.event.listen(self._engine, "do_connect", lambda *given: connect()(*given))
        sa.event.listen(self._engine, "connect", _set_up)

    def _connect(self, dialect: Any, record: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        with self._credentials.guard(), self.mapping():
            found = self._credentials.find()
            if found is None:
                return dialect.connect(*args, **kwargs)
            return dialect.connect(*args, **{**kwargs, "password": found.reveal()})  # in no variable: frames tell those

    def target(self) -> sa.URL:
        """Where a new connection goes, without a password."""
        return self._url

    def mapping(self) -> contextlib.AbstractContextManager[None]:
        """Within it errors of drivers become ours."""
        return mapping(self._place)

    def _opened(self) -> Any:
        with self._credentials.guard(), self.mapping():
            return adbc.opened(self.target(), self._credentials)

    def lasting(self) -> sa.Connection:
        """A connection that stays open, where each statement is a transaction; its user closes it."""
        with self.mapping():
            return self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A connection of SQLAlchemy within a transaction: all or nothing."""
        with self.mapping(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """As `transaction`, to read as of one moment."""
        with self.mapping(), self.engine.connect() as connection:
            connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @property
    def engine(self) -> sa.Engine:
        """The engine of this process: after a fork, connections of the parent are left alone."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._engine.dispose(close=False)
                    _left_behind.append(self._arrow)
                    self._begin()
        return self._engine

    @contextlib.contextmanager
    def bulk(self, writing: bool = False) -> Iterator[Any]:
        """A connection for tables, within a transaction: all or nothing."""
        if self._arrow is None:
            with self.transaction() as connection:
                yield rows.Rows(connection)
            return
        engine = self.engine  # first, for it may be that of a new process
        with self.mapping(), self._arrow.taken(engine, self._opened) as bulk:
            yield bulk

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        engine = self.engine
        if self._arrow is not None:
            self._arrow.close()
        engine.dispose()


def _set_up(connection: Any, record: Any) -> None:
    """Make the settings of a new connection."""
    with connection.cursor() as cursor:
        cursor.execute(SETTINGS)
    connection.commit()
