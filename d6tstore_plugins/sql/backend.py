"""Backend `postgresql`: frames are tables, records and all else are rows of a table of ours."""

from __future__ import annotations

import functools
import re
import secrets
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from d6tstore import record as records_
from d6tstore.backend import Entry, TableBackend, check_key
from d6tstore.credentials import Credentials
from d6tstore.errors import BackendError, NotFound, Unsupported
from d6tstore.record import Record
from d6tstore_plugins.sql import layout, tables, url as urls
from d6tstore_plugins.sql.catalogue import CHUNK, Catalogue
from d6tstore_plugins.sql.connections import Connections


class PostgresBackend(TableBackend):
    """A schema of a Postgres database.

    Args:
        url: such as `postgresql://etl@host/db?schema=features`; what it does not say libpq takes from its own
            variables and files. Parameters such as `sslmode` go to libpq.
        schema: goes before that of the URL; made when it is missing and you may. The default is `d6tstore`.
        credentials: the password, asked for at each connection.
    """

    def __init__(self, url: str, schema: str | None = None, credentials: Credentials | None = None) -> None:
        self.url = url
        self._address = urls.parse(url, schema)
        self._credentials = credentials or Credentials()
        self._open()

    @classmethod
    def open(cls, url: str, credentials: Credentials | None = None, **options: Any) -> PostgresBackend:
        """See `Backend.open`."""
        backend = cls(url, credentials=credentials, **options)
        with backend._connections.transaction() as connection:
            backend._catalogue.prepare(connection, repr(backend))
        return backend

    def _open(self) -> None:
        self._connections = Connections(self._address.url, self._credentials, repr(self))
        self._catalogue = Catalogue(self._address.schema)
        self._objects, self._chunks = self._catalogue.objects, self._catalogue.chunks

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url, self._address.schema, self._credentials)

    # ------------------------------------------------------------------ objects

    def read(self, key: str) -> bytes:
        """The bytes of an object."""
        found = self.read_many([key])
        if key not in found:
            raise NotFound(f"no object under {key!r} in {self!r}. Run its task again.")
        return found[key]

    def read_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The bytes of those that exist, in one query."""
        return {key: data for key, data in self._read(self._objects.c.key == sa.any_(_array(keys)))}

    def _read(self, which: Any) -> Iterator[tuple[str, bytes]]:
        objects, chunks = self._objects, self._chunks
        query = sa.select(objects.c.key, objects.c.version, objects.c.size, objects.c.data)
        with self._connections.transaction() as connection:
            for key, version, size, data in connection.execute(query.where(which, objects.c.relation.is_(None))):
                if size > CHUNK:
                    rest = sa.select(chunks.c.data).where(chunks.c.version == version).order_by(chunks.c.number)
                    data = b"".join([data, *connection.scalars(rest)])
                yield key, bytes(data)

    def write(self, key: str, data: bytes | Path) -> None:
        """Store an object in one transaction."""
        self.write_many({key: data})

    def write_many(self, items: Mapping[str, bytes | Path]) -> None:
        """Store several objects: all of them, or none."""
        for key in items:
            check_key(key)
        with self._connections.transaction() as connection:
            for key, data in items.items():
                self._put(connection, key, data)
        for data in items.values():
            if isinstance(data, Path):
                data.unlink()

    def _put(self, connection: sa.Connection, key: str, data: bytes | Path) -> None:
        version = uuid.uuid4()
        first, *rest = _pieces(data)
        size = len(first)
        for number, piece in enumerate(rest, 1):
            size += len(piece)
            connection.execute(self._chunks.insert().values(version=version, number=number, data=piece))
        self._replace(connection, key, version=version, size=size, data=first)

    def _replace(self, connection: sa.Connection, key: str, **values: Any) -> None:
        """The row of an object; what it was before is removed in the same transaction."""
        self._remove(connection, key, keep=True)
        row = {"data": None, "relation": None, "arrow": None, **values, "modified": sa.func.clock_timestamp()}
        insert = pg.insert(self._objects).values(key=key, **row)
        connection.execute(insert.on_conflict_do_update(index_elements=["key"], set_=row))

    def delete(self, key: str) -> None:
        """Remove an object."""
        check_key(key)
        with self._connections.transaction() as connection:
            self._remove(connection, key)

    def _remove(self, connection: sa.Connection, key: str, keep: bool = False) -> None:
        objects = self._objects
        query = sa.select(objects.c.version, objects.c.size, objects.c.relation).where(objects.c.key == key)
        for version, size, relation in connection.execute(query.with_for_update()).all():
            if relation is not None:
                connection.execute(sa.schema.DropTable(tables.named(relation, self._address.schema), if_exists=True))
            if size > CHUNK:
                connection.execute(self._chunks.delete().where(self._chunks.c.version == version))
            if not keep:
                connection.execute(objects.delete().where(objects.c.key == key))

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Objects by the beginning of their key."""
        return iter(self._entries(self._objects.c.key.startswith(prefix, autoescape=True)))

    def stat(self, keys: Iterable[str]) -> dict[str, Entry]:
        """The entries of those that exist, in one query."""
        return {entry.key: entry for entry in self._entries(self._objects.c.key == sa.any_(_array(keys)))}

    def _entries(self, which: Any) -> Sequence[Entry]:
        objects = self._objects
        modified = sa.cast(sa.extract("epoch", objects.c.modified), sa.Double)
        query = sa.select(objects.c.key, objects.c.size, objects.c.version, modified).where(which)
        with self._connections.transaction() as connection:
            return [Entry(key, size, str(version), at) for key, size, version, at in connection.execute(query)]

    def publish(self, record: Record, previous: Record | None = None) -> None:
        """Make a record the result of its task, in one transaction with its history."""
        items = {} if previous is None else {previous.history_key: records_.encode(previous)}
        self.write_many({**items, record.key: records_.encode(record)})

    def records(self, family: str) -> Iterator[tuple[str, bytes]]:
        """Current records of a family, in one query."""
        prefix = records_.record_key(family, "").removesuffix(".json")
        return iter(list(self._read(self._objects.c.key.startswith(prefix, autoescape=True))))

    def uri(self, key: str) -> str:
        """The relation of a table; of all else the URL with the key."""
        query = sa.select(self._objects.c.relation).where(self._objects.c.key == key)
        with self._connections.transaction() as connection:
            relation = connection.scalar(query)
        quote = pg.dialect().identifier_preparer.quote
        return f"{quote(self._address.schema)}.{quote(relation)}" if relation else f"{self.url}#{key}"

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
            old = bulk.rows(sa.select(self._objects.c.relation).where(self._objects.c.key == key).with_for_update())
            row = {
                "size": 0, "relation": relation, "arrow": described, "data": None, "version": sa.func.gen_random_uuid(),
                "modified": sa.func.clock_timestamp(),
            }  # fmt: skip
            insert = pg.insert(self._objects).values(key=key, **row)
            bulk.execute(insert.on_conflict_do_update(index_elements=["key"], set_=row))
            for replaced in old:
                if replaced["relation"] is not None:
                    bulk.execute(sa.schema.DropTable(tables.named(replaced["relation"], self._address.schema)))

    def read_table(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        where: Sequence[tuple[str, str, Any]] | None = None,
        limit: int | None = None,
    ) -> pa.RecordBatchReader:
        """A table, or a part of it, in the order of its rows."""
        query = sa.select(self._objects.c.relation, self._objects.c.arrow).where(self._objects.c.key == check_key(key))
        tried = None
        while True:
            with self._connections.transaction() as connection:
                row = connection.execute(query).first()
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

    def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        self._connections.close()


def _array(keys: Iterable[str]) -> Any:
    return sa.literal([check_key(key) for key in keys], pg.ARRAY(sa.Text))


def _pieces(data: bytes | Path) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield data[:CHUNK]
        for start in range(CHUNK, len(data), CHUNK):
            yield data[start : start + CHUNK]
        return
    with data.open("rb") as file:
        yield file.read(CHUNK)
        while piece := file.read(CHUNK):
            yield piece


def _relation(key: str) -> str:
    """A name that a person recognises, and that was never used before."""
    first, *_, last = ["", *key.split("/")]
    words = re.sub(r"[^a-z0-9]+", "_", f"{key.split('/')[0]}_{last.rpartition('-')[0] or last}".lower()).strip("_")
    return f"{words[:46]}_{secrets.token_hex(8)}" if words else f"t_{secrets.token_hex(8)}"
