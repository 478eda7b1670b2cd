"""Backend `postgresql`: frames are tables, records and all else are rows of a table of ours."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from d6tstore import record as records_
from d6tstore.credentials import Credentials
from d6tstore.record import Record
from d6tstore_plugins.sql import layout, views
from d6tstore_plugins.sql import url as urls
from d6tstore_plugins.sql.base import SqlBackend
from d6tstore_plugins.sql.connections import Connections
from d6tstore_plugins.sql.errors import Dependent
from d6tstore_plugins.sql.locks import Locks, refuse_pooler
from d6tstore_plugins.sql.schema import LISTING, Schema

if TYPE_CHECKING:
    import pyarrow as pa


class BackendWarning(UserWarning):
    """Something for people is not up to date. All results are whole."""


class PostgresBackend(SqlBackend):
    """A schema of a Postgres database.

    Args:
        url: such as `postgresql://etl@host/db?schema=features`; what it does not say libpq takes from its own
            variables and files. Parameters such as `sslmode` go to libpq.
        schema: goes before that of the URL; made when it is missing and you may. The default is `d6tstore`.
        driver: what moves tables: `adbc`, or `psycopg2`, which takes longer; None is the first one that is installed.
        credentials: the password, asked for at each connection.
    """

    product = layout.POSTGRES
    _catalogue: Schema

    def __init__(
        self, url: str, schema: str | None = None, driver: str | None = None, credentials: Credentials | None = None
    ) -> None:
        self.url = url
        self._address = urls.parse(url, schema)
        self._credentials, self._driver = credentials or Credentials(), driver
        self._open()

    @classmethod
    def open(  # type: ignore[override]  # its options by name, so that others are refused
        cls, url: str, credentials: Credentials | None = None, schema: str | None = None, driver: str | None = None
    ) -> PostgresBackend:
        """See `Backend.open`."""
        backend = cls(url, schema, driver, credentials)
        refuse_pooler(backend._connections, repr(backend))
        with backend._connections.transaction() as connection:
            backend._catalogue.prepare(connection, repr(backend))
        return backend

    def _open(self) -> None:
        self._connections = self._reached()
        self._catalogue = Schema(self._address.schema)
        self._locks = Locks(self._connections, self._catalogue)

    def _reached(self) -> Connections:
        return Connections(self._address.url, self._credentials, repr(self), self._driver)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url, self._address.schema, self._driver, self._credentials)

    def delete(self, key: str) -> None:
        """Remove an object. Raises BackendError: somebody's view depends on its table."""
        try:
            super().delete(key)
        except Dependent:
            self._show(key.partition("/")[0])  # our own view may show it still
            super().delete(key)
        if family := _family(key):
            self._show(family)

    def write_table(self, key: str, batches: pa.RecordBatchReader) -> None:
        """See `SqlBackend.write_table`; of a table that takes the place of another one our own view is made anew."""
        family, replaced = key.partition("/")[0], self.exists(key)
        if replaced:
            with self._connections.transaction() as connection:
                views.drop(connection, self._catalogue, family, [])
        try:
            super().write_table(key, batches)
        finally:
            if replaced:
                self._show(family)

    def publish(self, record: Record, previous: Record | None = None) -> None:
        """Make a record the result of its task, in one transaction with its history; then show it to people."""
        items = {} if previous is None else {previous.history_key: records_.encode(previous)}
        self.write_many({**items, record.key: records_.encode(record)})
        if any(output.table for each in (record, previous) if each for output in each.outputs.values()):
            self._show(record.family)

    def _show(self, family: str) -> None:
        """Bring the views of a family up to date; what fails costs no result."""
        try:
            with self._connections.transaction() as connection:
                views.refresh(connection, self._catalogue, family)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the result is there
            warnings.warn(
                f"the views of {family!r} for people are not up to date: {exc} The results are whole: drop what is in "
                f"the way, or read the tables that {LISTING!r} lists.", BackendWarning, stacklevel=3,
            )  # fmt: skip

    def claim(self, key: str, info: Mapping[str, str]) -> AbstractContextManager[None]:
        """An advisory lock: gone with the process that held it, however it died."""
        return self._locks.held(key, info)

    def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        self._locks.close()
        self._connections.close()


def _family(key: str) -> str | None:
    """The family of a current record; None if the key is of anything else."""
    return key.removeprefix(records_.RECORDS).partition("/")[0] if key.startswith(records_.RECORDS) else None
