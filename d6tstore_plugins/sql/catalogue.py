"""Our own tables in a database: which objects there are, and the bytes of those that are no tables."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from d6tstore.errors import BackendError

VERSION = 1
CHUNK = 16 << 20  # bytes of an object in one row; larger ones have several
_LOCK = 0x6436_7473  # of migrations; "d6ts"


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
            sa.Column("version", sa.Uuid, nullable=False, server_default=sa.func.gen_random_uuid()),
            sa.Column("modified", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
            sa.Column("relation", sa.Text),
            sa.Column("arrow", sa.LargeBinary),  # schema of the frame, with the categories of its columns
            sa.Column("data", sa.LargeBinary),
        )
        self.chunks = sa.Table(
            "d6tstore_chunks",
            metadata,
            sa.Column("version", sa.Uuid, primary_key=True),
            sa.Column("number", sa.Integer, primary_key=True),
            sa.Column("data", sa.LargeBinary, nullable=False),
        )

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
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))  # of two that begin, one makes them
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

    def _version(self, connection: sa.Connection) -> int | None:
        there = connection.scalar(sa.select(sa.func.to_regclass(self._quoted("d6tstore_layout"))))
        return connection.scalar(sa.select(self.layout.c.version)) if there else None

    def _quoted(self, relation: str) -> str:
        quote = pg.dialect().identifier_preparer.quote_identifier
        return f"{quote(self.schema)}.{quote(relation)}"


def _make(catalogue: Catalogue, connection: sa.Connection) -> None:
    there = sa.select(sa.func.to_regnamespace(pg.dialect().identifier_preparer.quote_identifier(catalogue.schema)))
    if connection.scalar(there) is None:
        connection.execute(sa.schema.CreateSchema(catalogue.schema))
    catalogue.layout.metadata.create_all(connection)


_STEPS = [_make]  # the n-th leads to layout n + 1
