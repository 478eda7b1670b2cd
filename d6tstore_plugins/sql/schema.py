"""Our tables in a schema of Postgres."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from d6tstore.errors import BackendError
from d6tstore.record import RECORDS
from d6tstore_plugins.sql.catalogue import Catalogue, qualified

LISTING = "results"
OURS = "d6tstore: "
"""How the comments on what we made for people begin."""


class Schema(Catalogue):
    """Our tables in Postgres, with that of claims; locks are advisory ones."""

    schema: str
    key = sa.Text(collation="C")
    modified = sa.TIMESTAMP(timezone=True)
    patience = (sa.select(sa.func.set_config("lock_timeout", "5s", True).label("lock_timeout")),)

    def __init__(self, schema: str) -> None:
        super().__init__(schema)
        self.claims = sa.Table(
            "d6tstore_claims",
            self.metadata,
            sa.Column("key", self.key, primary_key=True),
            sa.Column("info", pg.JSONB, nullable=False),
        )

    def among(self, keys: Iterable[str]) -> Any:
        """See `Catalogue.among`."""
        return self.objects.c.key == sa.any_(sa.literal(list(keys), pg.ARRAY(sa.Text)))

    def under(self, prefix: str) -> Any:
        """See `Catalogue.under`."""
        return self.objects.c.key.startswith(prefix, autoescape=True)

    def now(self) -> Any:
        """The clock of the server."""
        return sa.func.clock_timestamp()

    def seconds(self) -> Any:
        """See `Catalogue.seconds`."""
        return sa.cast(sa.extract("epoch", self.objects.c.modified), sa.Double)

    def lock(self, what: str) -> int:
        """The number of an advisory lock, for a purpose in this schema."""
        text = f"{self.schema}\0{what}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)

    def locking(self, what: str) -> Sequence[Any]:
        """See `Catalogue.locking`."""
        return (sa.select(sa.cast(sa.func.pg_advisory_xact_lock(self.lock(what)), sa.Text).label("locked")),)

    def check(self, connection: sa.Connection, place: str) -> None:
        """Refuse an encoding that does not have all of Unicode."""
        if (encoding := connection.scalar(sa.text("SHOW server_encoding"))) != "UTF8":
            raise BackendError(f"{place}: the database has the encoding {encoding}. Use one with UTF8.")
        connection.execute(sa.select(sa.func.set_config("standard_conforming_strings", "on", True)))

    def view(self, connection: sa.Connection) -> str:
        """See `Catalogue.view`. Postgres has no texts with NUL."""
        taken = sa.inspect(connection).has_table(LISTING, schema=self.schema)  # somebody else's
        name = f"d6tstore_{LISTING}" if taken else LISTING
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
