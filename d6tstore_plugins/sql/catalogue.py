"""Our own tables in a database: which objects there are, and the bytes of those that are no tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from d6tstore.errors import BackendError
from d6tstore.record import RECORDS

_PREPARER: Any = pg.dialect(paramstyle="named").identifier_preparer  # type: ignore[no-untyped-call]
VERSION = 1
CHUNK = 16 << 20  # bytes of an object in one row; larger ones have several
LISTING = "results"
OURS = "d6tstore: "
"""How the comments on what we made for people begin."""


def quoted(identifier: str) -> str:
    """A name as it stands in SQL, whatever it is.

    Example:
        >>> quoted('a"b')
        '"a""b"'
    """
    return str(_PREPARER.quote_identifier(identifier))


def qualified(schema: str, name: str) -> str:
    """A table or view of a schema as it stands in SQL."""
    return f"{quoted(schema)}.{quoted(name)}"


def define(connection: sa.Connection, statement: str) -> None:
    """Run statements that make or change something, as they stand: without parameters, whatever signs are in them."""
    with connection.connection.cursor() as cursor:  # type: ignore[attr-defined]  # DBAPI does not promise it
        cursor.execute(statement)


class Catalogue:
    """The tables of ours in one schema of a database.

    `objects` has a row for each object: its size, a version that changes with it, and either `relation`, the table that
    it is, or the first of its bytes; `chunks` has the others, under the version.
    """

    def __init__(self, schema: str) -> None:
        self.schema = schema
        metadata = sa.MetaData(schema=schema)
        key = sa.Text(collation="C")
        self.layout = sa.Table("d6tstore_layout", metadata, sa.Column("version", sa.Integer, nullable=False))
        self.objects = sa.Table(
            "d6tstore_objects",
            metadata,
            sa.Column("key", key, primary_key=True),
            sa.Column("size", sa.BigInteger, nullable=False),
            sa.Column("version", sa.Uuid, nullable=False),
            sa.Column("modified", sa.TIMESTAMP(timezone=True), nullable=False),
            sa.Column("relation", sa.Text),
            sa.Column("arrow", sa.LargeBinary),  # schema of the frame, with the categories of its columns
            sa.Column("data", sa.LargeBinary),
        )
        self.claims = sa.Table(
            "d6tstore_claims",
            metadata,
            sa.Column("key", key, primary_key=True),
            sa.Column("info", pg.JSONB, nullable=False),
        )
        self.chunks = sa.Table(
            "d6tstore_chunks",
            metadata,
            sa.Column("version", sa.Uuid, primary_key=True),
            sa.Column("number", sa.Integer, primary_key=True),
            sa.Column("data", sa.LargeBinary, nullable=False),
        )

    def among(self, keys: Iterable[str]) -> Any:
        """The condition on objects that they have one of these keys."""
        return self.objects.c.key == sa.any_(sa.literal(list(keys), pg.ARRAY(sa.Text)))

    def under(self, prefix: str) -> Any:
        """The condition on objects that their key begins so, to the letter."""
        return self.objects.c.key.startswith(prefix, autoescape=True)

    def table(self, relation: str) -> sa.Table:
        """A table of this schema, of which only the name matters."""
        return sa.Table(relation, sa.MetaData(), schema=self.schema)

    def lock(self, what: str) -> int:
        """The number of an advisory lock, for a purpose in this schema."""
        text = f"{self.schema}\0{what}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)

    def locking(self, what: str) -> Any:
        """The statement that waits until nobody else has that lock, and has it to the end of the transaction."""
        return sa.select(sa.cast(sa.func.pg_advisory_xact_lock(self.lock(what)), sa.Text).label("locked"))

    def prepare(self, connection: sa.Connection, place: str) -> None:
        """Make what is missing; move what is older to this version, step by step, in the transaction of `connection`.

        Raises:
            BackendError: the tables are those of a newer d6tstore, or the database has another encoding than UTF-8.
        """
        found = self._version(connection)
        if found == VERSION:
            return
        if (encoding := connection.scalar(sa.text("SHOW server_encoding"))) != "UTF8":
            raise BackendError(f"{place}: the database has the encoding {encoding}. Use one with UTF8.")
        connection.execute(self.locking("layout"))  # of two that begin, one makes them
        found = self._version(connection)
        if found is not None and found > VERSION:
            raise BackendError(
                f"{place}: its tables were made by a newer d6tstore (layout {found}, this one knows {VERSION}). "
                "Update: pip install --upgrade d6tstore."
            )
        for step in _STEPS[found or 0 :]:
            step(self, connection)
        connection.execute(self.layout.delete())
        connection.execute(self.layout.insert().values(version=VERSION))

    def listing(self, name: str) -> str:
        """The view of all results, made from the records themselves. Postgres has no texts with NUL."""
        objects, view = (qualified(self.schema, each) for each in (self.objects.name, name))
        return (
            f"CREATE VIEW {view} AS SELECT r.record->>'family' AS family, r.record->'params' AS parameters, "
            "o.key AS output, t.relation, (o.value->>'rows')::bigint AS rows, "
            "(r.record->>'time')::timestamptz AS time, "
            "r.record->>'author' AS author, (r.record->>'seconds')::double precision AS seconds, "
            "coalesce(r.record->'metrics', '{}') AS metrics, r.record->>'code' AS code, "
            "o.value->>'format' AS format, "
            "o.value->>'key' AS key FROM (SELECT "
            "replace(convert_from(data, 'UTF8'), '\\u0000', '\\ufffd')::jsonb AS record "
            f"FROM {objects} WHERE starts_with(key, '{RECORDS}')) r, jsonb_each(r.record->'outputs') o "
            f"LEFT JOIN {objects} t ON t.key = o.value->>'key'; "
            f"COMMENT ON VIEW {view} IS '{OURS}all results; relation is the table of a frame'"
        )

    def _version(self, connection: sa.Connection) -> int | None:
        # Not to_regclass: it answers from a cache, which a wait for another transaction does not bring up to date.
        there = sa.inspect(connection).has_table(self.layout.name, schema=self.schema)
        return connection.scalar(sa.select(self.layout.c.version)) if there else None


def _make(catalogue: Catalogue, connection: sa.Connection) -> None:
    if not sa.inspect(connection).has_schema(catalogue.schema):
        connection.execute(sa.schema.CreateSchema(catalogue.schema))
    catalogue.layout.metadata.create_all(connection)
    connection.execute(sa.select(sa.func.set_config("standard_conforming_strings", "on", True)))
    taken = sa.inspect(connection).has_table(LISTING, schema=catalogue.schema)  # somebody else's
    define(connection, catalogue.listing(f"d6tstore_{LISTING}" if taken else LISTING))


_STEPS = [_make]  # the n-th leads to layout n + 1
