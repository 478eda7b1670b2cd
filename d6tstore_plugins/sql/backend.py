"""Backend `postgresql`: frames are tables, records and all else are rows of a table of ours."""

from __future__ import annotations

import contextlib
import re
import secrets
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import sqlalchemy as sa

from d6tstore import record as records_
from d6tstore.backend import Entry, TableBackend, check_key
from d6tstore.credentials import Credentials
from d6tstore.errors import NotFound
from d6tstore.record import Record
from d6tstore_plugins.sql import layout, queries, tables, views
from d6tstore_plugins.sql import url as urls
from d6tstore_plugins.sql.catalogue import CHUNK, LISTING, Catalogue, qualified
from d6tstore_plugins.sql.connections import Connections
from d6tstore_plugins.sql.errors import Dependent
from d6tstore_plugins.sql.locks import Locks, refuse_pooler
from d6tstore_plugins.sql.objects import Objects


class BackendWarning(UserWarning):
    """Something for people is not up to date. All results are whole."""


class PostgresBackend(TableBackend):
    """A schema of a Postgres database.

    Args:
        url: such as `postgresql://etl@host/db?schema=features`; what it does not say libpq takes from its own
            variables and files. Parameters such as `sslmode` go to libpq.
        schema: goes before that of the URL; made when it is missing and you may. The default is `d6tstore`.
        driver: what moves tables: `adbc`, or `psycopg2`, which takes longer; None is the first one that is installed.
        credentials: the password, asked for at each connection.
    """

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
        self._catalogue = Catalogue(self._address.schema)
        self._objects = Objects(self._catalogue)
        self._locks = Locks(self._connections, self._catalogue)

    def _reached(self) -> Connections:
        return Connections(self._address.url, self._credentials, repr(self), self._driver)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url, self._address.schema, self._driver, self._credentials)

    # ------------------------------------------------------------------ objects

    def read(self, key: str) -> bytes:
        """The bytes of an object."""
        found = self.read_many([key])
        if key not in found:
            raise self._missing(key)
        return found[key]

    def read_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The bytes of those that exist, in one query."""
        with self._connections.transaction(snapshot=True) as connection:
            return dict(self._objects.read(connection, self._catalogue.among(map(check_key, keys))))

    def open_read(self, key: str) -> BinaryIO:
        """A file of an object; of a large one in a temporary file, not in memory."""
        with contextlib.ExitStack() as failing:
            file = failing.enter_context(tempfile.SpooledTemporaryFile(max_size=CHUNK))
            with self._connections.transaction(snapshot=True) as connection:
                if not self._objects.copy(connection, check_key(key), cast("BinaryIO", file)):
                    raise self._missing(key)
            file.seek(0)
            failing.pop_all()
        return cast("BinaryIO", file)

    def _missing(self, key: str) -> NotFound:
        return NotFound(f"no object under {key!r} in {self!r}. Run its task again.")

    def write(self, key: str, data: bytes | Path) -> None:
        """Store an object in one transaction."""
        self.write_many({key: data})

    def write_many(self, items: Mapping[str, bytes | Path]) -> None:
        """Store several objects: all of them, or none."""
        for key in items:
            check_key(key)
        with self._connections.transaction() as connection:
            for key, data in sorted(items.items(), key=lambda item: item[0]):  # locks in one order
                self._objects.write(connection, key, data)
        for data in items.values():
            if isinstance(data, Path):
                data.unlink()

    def delete(self, key: str) -> None:
        """Remove an object. Raises BackendError: somebody's view depends on its table."""
        check_key(key)
        try:
            self._delete(key)
        except Dependent:
            self._show(key.partition("/")[0])  # our own view may show it still
            self._delete(key)
        if family := _family(key):
            self._show(family)

    def _delete(self, key: str) -> None:
        with self._connections.transaction() as connection:
            self._objects.delete(connection, key)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Objects by the beginning of their key."""
        with self._connections.transaction() as connection:
            return iter(self._objects.entries(connection, self._catalogue.under(prefix)))

    def stat(self, keys: Iterable[str]) -> dict[str, Entry]:
        """The entries of those that exist, in one query."""
        with self._connections.transaction() as connection:
            found = self._objects.entries(connection, self._catalogue.among(map(check_key, keys)))
        return {entry.key: entry for entry in found}

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

    def records(self, family: str) -> Iterator[tuple[str, bytes]]:
        """Current records of a family, in one query."""
        which = self._catalogue.under(records_.records_prefix(family))
        with self._connections.transaction(snapshot=True) as connection:
            return iter(list(self._objects.read(connection, which)))

    def uri(self, key: str) -> str:
        """The relation of a table; of all else the URL with the key."""
        relation = self._row(key, self._catalogue.objects.c.relation)
        return qualified(self._address.schema, relation[0]) if relation and relation[0] else f"{self.url}#{key}"

    def claim(self, key: str, info: Mapping[str, str]) -> AbstractContextManager[None]:
        """An advisory lock: gone with the process that held it, however it died."""
        return self._locks.held(key, info)

    # ------------------------------------------------------------------- tables

    def accepts(self, schema: pa.Schema) -> str | None:
        """None if a table can hold frames of this schema, else why not."""
        return layout.refusal(schema)

    def write_table(self, key: str, batches: pa.RecordBatchReader) -> None:
        """Store a frame as a new table, by COPY. Raises Unsupported: a value that Postgres does not hold."""
        check_key(key)
        relation = _relation(key)
        with self._connections.bulk() as bulk:
            described = tables.write(bulk, relation, self._address.schema, batches)
            self._objects.replace(bulk, key, relation=relation, arrow=described)

    def read_table(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        where: Sequence[tuple[str, str, Any]] | None = None,
        limit: int | None = None,
    ) -> pa.RecordBatchReader:
        """A table, or a part of it, in the order of its rows."""
        objects, tried = self._catalogue.objects, None
        while True:
            row = self._row(key, objects.c.relation, objects.c.arrow)
            if row is None or row.relation is None:
                there = "is bytes, no table" if row else "is not there"
                raise NotFound(f"{key!r} {there} in {self!r}. Run its task again.")
            stored = tables.Stored(key, row.relation, self._address.schema, row.arrow)
            try:
                return tables.read(self._connections, stored, columns, where, limit)
            except NotFound:
                if tried == row.relation:  # else it was replaced after we looked
                    raise
                tried = row.relation

    def query(self, query: str, tables: Mapping[str, str], params: Mapping[str, Any]) -> pa.RecordBatchReader:
        """Rows of a query of the user's, in a transaction that can change nothing."""
        return queries.run(self._connections, query, {name: self.uri(key) for name, key in tables.items()}, params)

    def _row(self, key: str, *columns: Any) -> Any:
        query = sa.select(*columns).where(self._catalogue.objects.c.key == check_key(key))
        with self._connections.transaction() as connection:
            return connection.execute(query).first()

    def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        self._locks.close()
        self._connections.close()


def _family(key: str) -> str | None:
    """The family of a current record; None if the key is of anything else."""
    return key.removeprefix(records_.RECORDS).partition("/")[0] if key.startswith(records_.RECORDS) else None


def _relation(key: str) -> str:
    """A name that a person recognises, and that was never used before."""
    first, last = key.split("/")[0], key.split("/")[-1]
    words = re.sub(r"[^a-z0-9]+", "_", f"{first}_{last.rpartition('-')[0] or last}".lower()).strip("_")
    return f"{words[:46]}_{secrets.token_hex(8)}" if words else f"t_{secrets.token_hex(8)}"
