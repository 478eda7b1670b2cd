"""The database of this process, for tasks that are always tables (`TaskSQLPandas`), wherever all else lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from d6tstore import context
from d6tstore.errors import UsageError

if TYPE_CHECKING:
    from d6tstore.backend import TableBackend

NAME = "db"
"""Name of that backend: `Task.backend = "db"`."""


def init(url: str, schema: str | None = None, **options: Any) -> TableBackend:
    """Choose the database for this process. It stays when `d6tstore.init` is called again.

    Args:
        url: such as `postgresql://etl@host/db`, or the name of a profile whose place is a database.
        schema: of the database; None is what the URL says, else the backend's default.
        **options: `credentials`, `write_credentials`, and what the backend takes, as for `d6tstore.open`.

    Returns:
        The backend; the current store, and those that `d6tstore.init` makes, have it under the name `db`.

    Raises:
        UsageError: the place holds no tables.
        PluginError, BackendError, CredentialsError: as for `d6tstore.open`.

    Example:
        >>> d6tstore.db.init("postgresql://etl@db.example.com/prices", "features")  # doctest: +SKIP
    """
    from d6tstore import config
    from d6tstore.backend import TableBackend

    try:
        given: dict[str, Any] = options if schema is None else {"schema": schema, **options}
        chosen = config.open(url, **given).repository.default
    finally:
        del url, options  # a traceback with locals would show a secret that stands in them
    if not isinstance(chosen, TableBackend):
        raise UsageError(f"{chosen!r} holds no tables. Give a database, such as postgresql://user@host/database.")
    context.named[NAME] = chosen
    context.rename()
    return chosen
