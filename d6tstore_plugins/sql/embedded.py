"""Backend `postgres+embedded`: a private server in a folder, for those who have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import sqlalchemy as sa

from d6tstore import project
from d6tstore.credentials import Credentials
from d6tstore.errors import BackendError, Denied
from d6tstore_plugins.sql import server
from d6tstore_plugins.sql import url as urls
from d6tstore_plugins.sql.backend import PostgresBackend
from d6tstore_plugins.sql.connections import Connections

_SCHEME = "postgres+embedded:"


class EmbeddedBackend(PostgresBackend):
    """A Postgres server of your own in a folder; started when it is needed, stopped with its last process.

    Processes that use the folder at the same time share the server, forked and spawned ones too. It listens on a
    socket that only you can reach. Of root it runs as the user `pgserver`, who is made if he is missing, and who may
    then enter (not list) the folders above. It needs Linux or macOS, and a file system with locks.

    Args:
        url: `postgres+embedded:///absolute/folder`, `postgres+embedded://relative/folder` or
            `postgres+embedded://~/folder`; `?schema=features` says the schema.
        schema: goes before that of the URL.
        driver: as for `PostgresBackend`.
        credentials: none are needed.

    Raises:
        BackendError: the folder holds something else, or the server cannot run here.
        Denied: the folder is somebody else's.
    """

    def __init__(
        self, url: str, schema: str | None = None, driver: str | None = None, credentials: Credentials | None = None
    ) -> None:
        path, mark, query = url.removeprefix(_SCHEME).partition("?")
        path = path.removeprefix("//")
        folder = Path(project.expanded(unquote(path))).absolute()
        self.url = f"{_SCHEME}//{quote(str(folder))}{mark}{query}"
        self._address = urls.parse(f"postgresql://{server.ROLE}@/postgres{mark}{query}", schema)
        self._credentials, self._driver = credentials or Credentials(), driver
        self._server = server.Server(folder)
        self._open()

    def _reached(self) -> Connections:
        return _Connections(self._address.url, self._credentials, repr(self), self._driver, self._server)

    def close(self) -> None:
        """Close all connections; the server stops if nobody else uses it. The next use starts it again."""
        super().close()
        self._server.close()


class _Connections(Connections):
    """Those of a server that each new one may have to start, and that may be elsewhere then."""

    def __init__(
        self, url: sa.URL, credentials: Credentials, place: str, driver: str | None, started: server.Server
    ) -> None:
        self._server = started
        super().__init__(url, credentials, place, driver)

    def _connect(self, dialect: Any, record: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        try:
            return super()._connect(dialect, record, args, {**kwargs, "host": self._server.start()})
        except Denied:
            raise
        except BackendError:  # it was killed a moment ago, and still seemed to be there
            return super()._connect(dialect, record, args, {**kwargs, "host": self._server.start()})

    def target(self) -> sa.URL:
        """The socket of the server, which runs from here on."""
        return self._url.update_query_dict({"host": self._server.start()})
