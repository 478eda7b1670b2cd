"""What backends of databases have in common: frames are tables, records and all else are rows of a table of ours."""

from __future__ import annotations

import contextlib
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import sqlalchemy as sa

from d6tstore import record as records_
from d6tstore.backend import Entry, TableBackend, check_key
from d6tstore.errors import NotFound
from d6tstore_plugins.sql import layout, queries, tables
from d6tstore_plugins.sql.catalogue import CHUNK, Catalogue, qualified
from d6tstore_plugins.sql.objects import Objects


class SqlBackend(TableBackend):
    """A schema of a database, or a whole one.

    A backend of a database gives:

    Attributes:
        product: what its tables can be.
        _connections: `transaction()` for writing, `reading()` as of one moment, and `bulk()` for whole tables.
        _catalogue: our own tables there.
    """

    product: layout.Product
    _connections: Any
    _catalogue: Catalogue

    @property
    def _objects(self) -> Objects:
        return Objects(self._catalogue)

    # ------------------------------------------------------------------ objects

    def read(self, key: str) -> bytes:
        """The bytes of an object."""
        found = self.read_many([key])
        if key not in found:
            raise self._missing(key)
        return found[key]

    def read_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The bytes of those that exist, in one query."""
        with self._connections.reading() as connection:
            return dict(self._objects.read(connection, self._catalogue.among(map(check_key, keys))))

    def open_read(self, key: str) -> BinaryIO:
        """A file of an object; of a large one in a temporary file, not in memory."""
        with contextlib.ExitStack() as failing:
            file = failing.enter_context(tempfile.SpooledTemporaryFile(max_size=CHUNK))
            with self._connections.reading() as connection:
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
        """Remove an object with all that belongs to it."""
        with self._connections.transaction() as connection:
            self._objects.delete(connection, check_key(key))

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Objects by the beginning of their key."""
        with self._connections.reading() as connection:
            return iter(self._objects.entries(connection, self._catalogue.under(prefix)))

    def stat(self, keys: Iterable[str]) -> dict[str, Entry]:
        """The entries of those that exist, in one query."""
        with self._connections.reading() as connection:
            found = self._objects.entries(connection, self._catalogue.among(map(check_key, keys)))
        return {entry.key: entry for entry in found}

    def records(self, family: str) -> Iterator[tuple[str, bytes]]:
        """Current records of a family, in one query."""
        which = self._catalogue.under(records_.records_prefix(family))
        with self._connections.reading() as connection:
            return iter(list(self._objects.read(connection, which)))

    def uri(self, key: str) -> str:
        """The relation of a table; of all else the URL with the key."""
        relation = self._row(key, self._catalogue.objects.c.relation)
        return qualified(self._catalogue.schema, relation[0]) if relation and relation[0] else f"{self.url}#{key}"

    # ------------------------------------------------------------------- tables

    def accepts(self, schema: pa.Schema) -> str | None:
        """None if a table can hold frames of this schema, else why not."""
        return layout.refusal(schema, self.product)

    def write_table(self, key: str, batches: pa.RecordBatchReader) -> None:
        """Store a frame as a new table. Raises Unsupported: a value that the database does not hold."""
        check_key(key)
        relation = _relation(key)
        with self._connections.bulk(writing=True) as bulk:
            described = tables.write(bulk, self.product, relation, self._catalogue.schema, batches)
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
            stored = tables.Stored(key, row.relation, self._catalogue.schema, row.arrow)
            try:
                return tables.read(self._connections, self.product, stored, columns, where, limit)
            except NotFound:
                if tried == row.relation:  # else it was replaced after we looked
                    raise
                tried = row.relation

    def query(self, query: str, tables: Mapping[str, str], params: Mapping[str, Any]) -> pa.RecordBatchReader:
        """Rows of a query of the user's, which can change nothing."""
        return queries.run(self._connections, query, {name: self.uri(key) for name, key in tables.items()}, params)

    def _row(self, key: str, *columns: Any) -> Any:
        query = sa.select(*columns).where(self._catalogue.objects.c.key == check_key(key))
        with self._connections.reading() as connection:
            return connection.execute(query).first()


def _relation(key: str) -> str:
    """A name that a person recognises, and that was never used before."""
    first, last = key.split("/")[0], key.split("/")[-1]
    words = re.sub(r"[^a-z0-9]+", "_", f"{first}_{last.rpartition('-')[0] or last}".lower()).strip("_")
    if words.startswith("sqlite"):  # which it keeps for itself
        words = f"t_{words}"
    return f"{words[:46]}_{secrets.token_hex(8)}" if words else f"t_{secrets.token_hex(8)}"
