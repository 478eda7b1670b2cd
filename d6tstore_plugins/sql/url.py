"""URLs of databases: what is the server's, and what is ours."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from d6tstore.errors import UsageError

SCHEMA = "d6tstore"


class Address(NamedTuple):
    """A database, and the schema of it that is ours."""

    url: sa.URL
    schema: str


def parse(url: str, schema: str | None = None) -> Address:
    """The address of a URL such as `postgresql://etl@host/db?schema=features&sslmode=require`.

    Args:
        url: as for SQLAlchemy, without a password; `schema` is ours, all else goes to the driver.
        schema: goes before that of the URL.

    Raises:
        UsageError: it is no URL of a database, or names two schemas.
    """
    try:
        found = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as exc:
        raise UsageError(
            f"{url!r} is no URL of a database: {exc}. Write postgresql://user@host:5432/database."
        ) from exc
    named = found.query.get("schema")
    if isinstance(named, tuple):
        raise UsageError(f"{url!r} names two schemas. Give one.")
    backend, _, driver = found.drivername.partition("+")
    if driver not in ("", "psycopg2"):
        raise UsageError(
            f"{url!r}: the driver {driver!r} is not used here. Write {backend}://... or {backend}+psycopg2://..."
        )
    found = found.difference_update_query(["schema"]).set(drivername="postgresql+psycopg2", password=None)
    # From the first byte on, whatever a role has: ADBC reads the names of all types while it connects.
    found = found.update_query_dict({"client_encoding": "UTF8"})
    chosen = schema or named or SCHEMA
    if not isinstance(chosen, str) or "\0" in chosen or len(chosen.encode()) > 63:
        raise UsageError("the name of a schema is text of at most 63 bytes, without NUL. Choose another one.")
    return Address(found, chosen)
