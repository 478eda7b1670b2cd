"""Objects as rows of a table: their bytes, in pieces when they are large, and what is known of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from d6tstore.backend import Entry, check_key
from d6tstore_plugins.sql.catalogue import CHUNK, Catalogue


class Objects:
    """The rows of a catalogue. Each method works within the transaction that it is given."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._schema = catalogue.schema
        self._objects, self._chunks = catalogue.objects, catalogue.chunks

    def those(self, keys: Iterable[str]) -> Any:
        """The condition of some keys. Raises InvalidKey."""
        return self._objects.c.key == sa.any_(sa.literal([check_key(key) for key in keys], pg.ARRAY(sa.Text)))

    def under(self, prefix: str) -> Any:
        """The condition of a prefix, taken to the letter."""
        return self._objects.c.key.startswith(prefix, autoescape=True)

    def read(self, connection: sa.Connection, which: Any) -> Iterator[tuple[str, bytes]]:
        """Keys and bytes of objects that are no tables."""
        objects, chunks = self._objects, self._chunks
        query = sa.select(objects.c.key, objects.c.version, objects.c.size, objects.c.data)
        for key, version, size, data in connection.execute(query.where(which, objects.c.relation.is_(None))):
            if size > CHUNK:
                rest = sa.select(chunks.c.data).where(chunks.c.version == version).order_by(chunks.c.number)
                data = b"".join([data, *connection.scalars(rest)])
            yield key, bytes(data)

    def copy(self, connection: sa.Connection, key: str, file: BinaryIO) -> bool:
        """Write the bytes of an object to a file, piece by piece. False: there is none."""
        objects, chunks = self._objects, self._chunks
        query = sa.select(objects.c.version, objects.c.size, objects.c.data)
        row = connection.execute(query.where(self.those([key]), objects.c.relation.is_(None))).first()
        if row is None:
            return False
        file.write(row.data)
        if row.size > CHUNK:
            numbers = sa.select(chunks.c.number).where(chunks.c.version == row.version).order_by(chunks.c.number)
            for number in connection.scalars(numbers).all():
                piece = sa.select(chunks.c.data).where(chunks.c.version == row.version, chunks.c.number == number)
                file.write(cast("bytes", connection.scalar(piece)))
        return True

    def entries(self, connection: sa.Connection, which: Any) -> Sequence[Entry]:
        """What is known of objects."""
        objects = self._objects
        modified = sa.cast(sa.extract("epoch", objects.c.modified), sa.Double)
        query = sa.select(objects.c.key, objects.c.size, objects.c.version, modified).where(which)
        return [Entry(key, size, str(version), at) for key, size, version, at in connection.execute(query)]

    def write(self, connection: sa.Connection, key: str, data: bytes | Path) -> None:
        """Store bytes; what was there before is replaced."""
        version = uuid.uuid4()
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        pieces = _pieces(data)
        values = {"version": version, "size": size, "data": next(pieces)}
        for number, piece in enumerate(pieces, 1):
            connection.execute(self._chunks.insert().values(version=version, number=number, data=piece))
        self._forget(connection, key)
        row = {"relation": None, "arrow": None, **values, "modified": sa.func.clock_timestamp()}
        connection.execute(self.put(key, row))

    def put(self, key: str, row: dict[str, Any]) -> Any:
        """The statement that makes or replaces the row of an object."""
        insert = pg.insert(self._objects).values(key=key, **row)
        return insert.on_conflict_do_update(index_elements=["key"], set_=row)

    def locking(self, key: str) -> Any:
        """The statement that waits for other writers of a key, until the end of the transaction.

        The row alone would not do: of two who make it, neither sees what the other one put beside it.
        """
        number = sa.func.hashtextextended(f"{self._schema}/{key}", 1)
        return sa.select(sa.cast(sa.func.pg_advisory_xact_lock(number), sa.Text).label("locked"))

    def delete(self, connection: sa.Connection, key: str) -> None:
        """Remove an object with all that belongs to it."""
        self._forget(connection, key)
        connection.execute(self._objects.delete().where(self._objects.c.key == key))

    def _forget(self, connection: sa.Connection, key: str) -> None:
        """Drop the table or the pieces of an object."""
        objects = self._objects
        connection.execute(self.locking(key))
        query = sa.select(objects.c.version, objects.c.size, objects.c.relation).where(objects.c.key == key)
        for version, size, relation in connection.execute(query.with_for_update()).all():
            if relation is not None:
                table = sa.Table(relation, sa.MetaData(), schema=self._schema)
                connection.execute(sa.schema.DropTable(table, if_exists=True))
            if size > CHUNK:
                connection.execute(self._chunks.delete().where(self._chunks.c.version == version))


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
