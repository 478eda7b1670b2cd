"""Claims as advisory locks of Postgres, all on one connection of the process: they go with it, however it ends."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from d6tstore.errors import BackendError, Held
from d6tstore_plugins.sql.connections import Connections
from d6tstore_plugins.sql.schema import Schema


class Locks:
    """The claims that this process holds in one schema of a database.

    Args:
        connections: of the database.
        catalogue: of the schema; its `claims` say who holds which key. A row of a dead process means nothing.
    """

    def __init__(self, connections: Connections, catalogue: Schema) -> None:
        self._connections, self._catalogue, self._claims = connections, catalogue, catalogue.claims
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._connection: sa.Connection | None = None
        self._mine: dict[str, dict[str, str]] = {}  # a lock of Postgres is the connection's, whichever thread asks

    @contextlib.contextmanager
    def held(self, key: str, info: Mapping[str, str]) -> Iterator[None]:
        """Hold a key. Raises Held: somebody else has it, another thread perhaps."""
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            if key in self._mine:
                raise Held(f"{key} is being computed", info=self._mine[key])
            connection = self._connected()
            with self._connections.mapping():
                if not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(self._catalogue.lock(f"claim {key}")))):
                    raise Held(f"{key} is being computed", info=self._holder(connection, key))
                row = {"info": dict(info)}
                insert = pg.insert(self._claims).values(key=key, **row)
                try:
                    connection.execute(insert.on_conflict_do_update(index_elements=["key"], set_=row))
                except sa.exc.SQLAlchemyError:
                    connection.rollback()
                    connection.scalar(sa.select(sa.func.pg_advisory_unlock(self._catalogue.lock(f"claim {key}"))))
                    raise
            self._mine[key] = dict(info)
        try:
            yield
        finally:
            self._release(key)

    def _release(self, key: str) -> None:
        with self._lock:
            self._mine.pop(key, None)
            if self._connection is None:
                return
            with contextlib.suppress(sa.exc.SQLAlchemyError):  # it may not; a row that is left means nothing
                self._connection.execute(self._claims.delete().where(self._claims.c.key == key))
            with contextlib.suppress(sa.exc.SQLAlchemyError):  # the connection is gone, and the lock with it
                self._connection.rollback()
                self._connection.scalar(sa.select(sa.func.pg_advisory_unlock(self._catalogue.lock(f"claim {key}"))))

    def _holder(self, connection: sa.Connection, key: str) -> dict[str, str]:
        found = connection.scalar(sa.select(self._claims.c.info).where(self._claims.c.key == key))
        return {str(name): str(value) for name, value in (found or {}).items()}

    def _connected(self) -> sa.Connection:
        """The connection of this process; a new one if the server dropped it, and its locks with it."""
        if self._connection is not None:
            try:
                self._connection.scalar(sa.select(1))
                return self._connection
            except sa.exc.SQLAlchemyError:
                self._drop()
        self._connection = self._connections.lasting()
        self._connection.detach()  # from the pool, where its locks would stay, and which would reset it when it is dead
        return self._connection

    def close(self) -> None:
        """Give up all claims."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._mine.clear()


def refuse_pooler(connections: Connections, place: str) -> None:
    """Refuse a pooler that gives a connection for a transaction only: locks and settings would be those of others.

    Two connections tell it: while the second one holds the server's connection that the first one used, the first one
    gets another. (PgBouncer hands out the one that was used last.)

    Raises:
        BackendError: there is one.
    """
    pid = sa.select(sa.func.pg_backend_pid())
    first = connections.lasting()
    try:
        before = first.scalar(pid)
        with connections.transaction() as second:
            second.scalar(pid)
            pooled = first.scalar(pid) != before
    finally:
        first.close()
    if pooled:
        raise BackendError(
            f"{place} is reached through a pooler in transaction mode (PgBouncer), where a connection is not ours for "
            "longer than a transaction: claims would hold nothing. Use its session mode (pool_mode = session), or the "
            "port of the server itself."
        )
