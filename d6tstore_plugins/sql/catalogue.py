"""Our own tables in a database: which objects there are, and the bytes of those that are no tables."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from d6tstore.errors import BackendError

_PREPARER: Any = pg.dialect(paramstyle="named").identifier_preparer  # type: ignore[no-untyped-call]
VERSION = 1
CHUNK = 16 << 20  # bytes of an object in one row; larger ones have several


def quoted(identifier: str) -> str:
    """A name as it stands in SQL, whatever it is.

    Example:
        >>> quoted('a"b')
        '"a""b"'
    """
    return str(_PREPARER.quote_identifier(identifier))


def qualified(schema: str | None, name: str) -> str:
    """A table or view of a schema as it stands in SQL."""
    return f"{quoted(schema)}.{quoted(name)}" if schema else quoted(name)


def bound(compiled: Any) -> dict[str, Any]:
    """The values of a statement by name, as the driver takes them: SQLAlchemy itself does this as it executes."""
    params = compiled.params or {}
    processors = getattr(compiled, "_bind_processors", {})  # a statement that defines has none
    return {name: processors[name](value) if name in processors else value for name, value in params.items()}


class Catalogue:
    """The tables of ours in one schema of a database.

    `objects` has a row for each object: its size, a version that changes with it, and either `relation`, the table that
    it is, or the first of its bytes; `chunks` has the others, under the version.

    Args:
        schema: of the database; None where it has none.
    """

    key: Any = sa.Text()
    modified: Any = sa.Double()
    patience: Sequence[Any] = ()
    """Statements before a table is dropped that somebody may be reading."""

    def __init__(self, schema: str | None) -> None:
        self.schema = schema
        self.metadata = sa.MetaData(schema=schema)
        self.layout = sa.Table("d6tstore_layout", self.metadata, sa.Column("version", sa.Integer, nullable=False))
        self.objects = sa.Table(
            "d6tstore_objects",
            self.metadata,
            sa.Column("key", self.key, primary_key=True),
            sa.Column("size", sa.BigInteger, nullable=False),
            sa.Column("version", sa.Uuid, nullable=False),
            sa.Column("modified", self.modified, nullable=False),
            sa.Column("relation", sa.Text),
            sa.Column("arrow", sa.LargeBinary),  # schema of the frame, with the categories of its columns
            sa.Column("data", sa.LargeBinary),
        )
        self.chunks = sa.Table(
            "d6tstore_chunks",
            self.metadata,
            sa.Column("version", sa.Uuid, primary_key=True),
            sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("data", sa.LargeBinary, nullable=False),
        )

    # -------------------------------------------------- what databases say in their own ways

    def among(self, keys: Iterable[str]) -> Any:
        """The condition on objects that they have one of these keys."""
        return self.objects.c.key.in_(list(keys))

    def under(self, prefix: str) -> Any:
        """The condition on objects that their key begins so, to the letter."""
        return sa.and_(self.objects.c.key >= prefix, sa.func.substr(self.objects.c.key, 1, len(prefix)) == prefix)

    def now(self) -> Any:
        """The time for `modified`."""
        return time.time()

    def seconds(self) -> Any:
        """`modified` in seconds since 1970."""
        return self.objects.c.modified

    def locking(self, what: str) -> Sequence[Any]:
        """Statements that wait until nobody else has what they name, to the end of the transaction."""
        return ()

    def view(self, connection: sa.Connection) -> str:
        """The statement that makes the view of all results, from the records themselves."""
        raise NotImplementedError

    # ------------------------------------------------------------------------- what is ours

    def table(self, relation: str) -> sa.Table:
        """A table of this schema, of which only the name matters."""
        return sa.Table(relation, sa.MetaData(), schema=self.schema)

    def prepare(self, connection: sa.Connection, place: str) -> None:
        """Make what is missing; move what is older to this version, step by step, in the transaction of `connection`.

        Raises:
            BackendError: the tables are those of a newer d6tstore, or the database is not fit for them.
        """
        found = self.version(connection)
        if found == VERSION:
            return
        self.check(connection, place)
        for statement in self.locking("layout"):  # of two that begin, one makes them
            connection.execute(statement)
        found = self.version(connection)
        if found is not None and found > VERSION:
            raise BackendError(
                f"{place}: its tables were made by a newer d6tstore (layout {found}, this one knows {VERSION}). "
                "Update: pip install --upgrade d6tstore."
            )
        for step in _STEPS[found or 0 :]:
            step(self, connection)
        connection.execute(self.layout.delete())
        connection.execute(self.layout.insert().values(version=VERSION))

    def check(self, connection: sa.Connection, place: str) -> None:
        """Refuse a database that cannot hold our tables. Raises BackendError."""

    def version(self, connection: sa.Connection) -> int | None:
        """Of our tables that are there; None if none are."""
        # Not to_regclass: it answers from a cache, which a wait for another transaction does not bring up to date.
        there = sa.inspect(connection).has_table(self.layout.name, schema=self.schema)
        return connection.scalar(sa.select(self.layout.c.version)) if there else None


def _make(catalogue: Catalogue, connection: sa.Connection) -> None:
    if catalogue.schema and not sa.inspect(connection).has_schema(catalogue.schema):
        connection.execute(sa.schema.CreateSchema(catalogue.schema))
    catalogue.metadata.create_all(connection)
    define(connection, catalogue.view(connection))


def define(connection: sa.Connection, statement: str) -> None:
    """Run statements that make or change something, as they stand: without parameters, whatever signs are in them."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(statement)
    finally:
        cursor.close()


_STEPS = [_make]  # the n-th leads to layout n + 1
