"""Objects as rows of a table: their bytes, in pieces when they are large, and what is known of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa

from d6tstore.backend import Entry
from d6tstore_plugins.sql.catalogue import CHUNK, Catalogue
from d6tstore_plugins.sql.rows import Rows


class Objects:
    """The rows of a catalogue. Each method works within the transaction that it is given."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._objects, self._chunks = catalogue.objects, catalogue.chunks

    def read(self, connection: sa.Connection, which: Any) -> Iterator[tuple[str, bytes]]:
        """Keys and bytes of objects that are no tables."""
        objects = self._objects
        query = sa.select(objects.c.key, objects.c.version, objects.c.size, objects.c.data)
        for key, version, size, data in connection.execute(query.where(which, objects.c.relation.is_(None))):
            yield key, b"".join([data, *self._rest(connection, version, size)])

    def copy(self, connection: sa.Connection, key: str, file: BinaryIO) -> bool:
        """Write the bytes of an object to a file, piece by piece. False: there is none."""
        objects = self._objects
        query = sa.select(objects.c.version, objects.c.size, objects.c.data)
        row = connection.execute(query.where(objects.c.key == key, objects.c.relation.is_(None))).first()
        if row is None:
            return False
        file.write(row.data)
        file.writelines(self._rest(connection, row.version, row.size))
        return True

    def _rest(self, connection: sa.Connection, version: uuid.UUID, size: int) -> Iterator[bytes]:
        """What is behind the first piece of an object, never more than one piece in memory."""
        chunks = self._chunks
        for number in range(1, -(-size // CHUNK)):
            piece = sa.select(chunks.c.data).where(chunks.c.version == version, chunks.c.number == number)
            yield connection.execute(piece).scalar_one()

    def entries(self, connection: sa.Connection, which: Any) -> Sequence[Entry]:
        """What is known of objects."""
        objects = self._objects
        query = sa.select(objects.c.key, objects.c.size, objects.c.version, self._catalogue.seconds()).where(which)
        return [Entry(key, size, str(version), at) for key, size, version, at in connection.execute(query)]

    def write(self, connection: sa.Connection, key: str, data: bytes | Path) -> uuid.UUID:
        """Store bytes; what was there before is replaced. Returns the version."""
        version = uuid.uuid4()
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        pieces = _pieces(data)
        first = next(pieces)
        for number, piece in enumerate(pieces, 1):
            connection.execute(self._chunks.insert().values(version=version, number=number, data=piece))
        self.replace(Rows(connection), key, version=version, size=size, data=first)
        return version

    def replace(self, bulk: Any, key: str, **values: Any) -> None:
        """Make the row of an object; what was there before is forgotten.

        Args:
            bulk: a transaction with `execute` and `rows`: that of a driver of tables, or `Rows`.
            key: of the object.
            **values: of its columns; those that are not given are empty.
        """
        self._forget(bulk, key)
        row = {"size": 0, "version": uuid.uuid4(), "relation": None, "arrow": None, "data": None, **values}
        bulk.execute(self._objects.insert().values(key=key, modified=self._catalogue.now(), **row))

    def delete(self, connection: sa.Connection, key: str) -> None:
        """Remove an object with all that belongs to it."""
        self._forget(Rows(connection), key)

    def _forget(self, bulk: Any, key: str) -> None:
        """Remove the row of an object, with its table or its pieces."""
        objects, chunks = self._objects, self._chunks
        # The row alone would not do: of two who make it, neither sees what the other one put beside it.
        for statement in self._catalogue.locking(f"object {key}"):
            bulk.rows(statement)
        query = sa.select(objects.c.version, objects.c.size, objects.c.relation).where(objects.c.key == key)
        for old in bulk.rows(query):
            bulk.execute(objects.delete().where(objects.c.key == key))
            if old["relation"] is not None:
                for statement in self._catalogue.patience:  # who comes to delete comes again
                    bulk.rows(statement)
                bulk.execute(sa.schema.DropTable(self._catalogue.table(old["relation"]), if_exists=True))
            if old["size"] > CHUNK:
                bulk.execute(chunks.delete().where(chunks.c.version == old["version"]))


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
