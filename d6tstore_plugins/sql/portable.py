"""Databases in one file, which processes share: what SQLite and DuckDB have in common."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa

from d6tstore import project
from d6tstore.errors import BackendError, Denied, UsageError
from d6tstore.record import RECORDS
from d6tstore_plugins.sql.base import SqlBackend
from d6tstore_plugins.sql.catalogue import Catalogue, quoted

PATIENCE = 600
"""Seconds to wait for somebody else who writes."""


class FileBackend(SqlBackend):
    """A database in a file. Its writers take turns; there are no claims, so two may compute the same task.

    Args:
        url: `<scheme>:///relative/file`, `<scheme>:////absolute/file`; the file and its folder are made if they are
            missing. `~` is your home.

    Raises:
        UsageError: the URL names no file, or says more than that.
        BackendError: the file is no such database, or cannot be made.
        Denied: you may not read or write it.
    """

    scheme: ClassVar[str]
    connections: ClassVar[type[FileConnections]]
    catalogue: ClassVar[type[Catalogue]]

    def __init__(self, url: str) -> None:
        self._file = _file(url, self.scheme)
        self.url = sa.URL.create(self.scheme, database=str(self._file)).render_as_string()
        self._catalogue = self.catalogue(None)
        self._connections = self.connections(self._file, repr(self))
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        except PermissionError as exc:
            raise Denied(
                f"{self!r}: you may not make {self._file.parent}. Ask for the rights, or choose another file."
            ) from exc
        except OSError as exc:
            raise BackendError(f"{self!r}: its folder cannot be made: {exc}. Use another file.") from exc
        with self._connections.transaction() as connection:
            self._catalogue.prepare(connection, repr(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url,)


def _file(url: str, scheme: str) -> Path:
    example = f"{scheme}:///results.{scheme}"
    try:
        found = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as exc:
        raise UsageError(f"{url!r} is no URL of a database: {exc}. Write {example}.") from exc
    if found.drivername != scheme or found.host or found.username or found.query:
        raise UsageError(f"{url!r} says more than a file. Write {example} or {scheme}:////absolute/file.")
    if not found.database or found.database == ":memory:" or "\0" in found.database:
        raise UsageError(f"{url!r} names no file. Write {example}; what is to be forgotten goes to memory://.")
    return Path(project.expanded(found.database)).absolute()


class _Turn:
    """Whose turn it is to write to a file, among the threads of this process."""

    def __init__(self) -> None:
        self._lock, self._owner = threading.Lock(), 0

    @contextlib.contextmanager
    def taken(self, place: str) -> Iterator[None]:
        """Wait for it and have it. Raises BackendError: whoever has it waits for us, or for too long."""
        if self._owner == threading.get_ident():
            raise BackendError(
                f"{place}: something is saved while a stream is being saved, and a file takes one writer at a time. "
                "Save it before or after the stream, or use Postgres."
            )
        if not self._lock.acquire(timeout=PATIENCE):
            raise BackendError(f"{place}: another thread has been writing for {PATIENCE} s. Run again when it is done.")
        self._owner = threading.get_ident()
        try:
            yield
        finally:
            self._owner = 0
            self._lock.release()


_turns: dict[str, _Turn] = {}
os.register_at_fork(after_in_child=_turns.clear)  # the parent's threads are not here to give them back


class FileConnections:
    """Connections to a database in a file; each is opened for one transaction, so that others get at the file.

    Args:
        file: of the database.
        place: how messages name it.
    """

    drivername: ClassVar[str]
    errors: ClassVar[tuple[type[Exception], ...]] = (sa.exc.DBAPIError, sa.exc.InvalidRequestError, OverflowError)
    """What SQLAlchemy and the driver raise."""

    def __init__(self, file: Path, place: str) -> None:
        self._file, self._place = file, place
        url = sa.URL.create(self.drivername, database=str(file))
        self.engine = sa.create_engine(url, poolclass=sa.NullPool, hide_parameters=True, connect_args=self.arguments())
        self.set_up(self.engine)

    def arguments(self) -> dict[str, Any]:
        """Of the driver, for each connection."""
        return {}

    def set_up(self, engine: sa.Engine) -> None:
        """Add what each connection needs."""

    def rows(self, connection: sa.Connection) -> Any:
        """What moves whole tables over a connection."""
        raise NotImplementedError

    def mapped(self, exc: BaseException) -> BackendError:
        """Our error for one of the driver."""
        said = str(getattr(exc, "orig", None) or exc).strip().removesuffix(".")
        try:
            denied = self._file.stat() and not os.access(self._file, os.R_OK)
        except OSError as exc:
            denied = isinstance(exc, PermissionError)
        if denied:
            return Denied(f"{self._place}: {said}. You may not read it: ask for the rights, or use another file.")
        return self.error(said)

    def error(self, said: str) -> BackendError:
        """Our error for what the driver says of a file that can be read."""
        return BackendError(f"{self._place}: {said}. Correct it, and run again; the previous result is whole.")

    @contextlib.contextmanager
    def mapping(self) -> Iterator[None]:
        """Within it errors of the driver become ours."""
        try:
            yield
        except self.errors as exc:
            raise self.mapped(exc) from exc

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A connection to write, within a transaction: all or nothing."""
        with _turns.setdefault(str(self._file), _Turn()).taken(self._place), self._begun(writing=True) as connection:
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection to read as of one moment."""
        with self._begun(writing=False) as connection:
            yield connection

    @contextlib.contextmanager
    def _begun(self, writing: bool) -> Iterator[sa.Connection]:
        with (
            self.mapping(),
            self.engine.connect() as connection,
            connection.execution_options(writing=writing).begin(),
        ):
            yield connection

    @contextlib.contextmanager
    def bulk(self, writing: bool = False) -> Iterator[Any]:
        """A connection for tables, within a transaction: all or nothing."""
        with self.transaction() if writing else self.reading() as connection:
            yield self.rows(connection)


class FileCatalogue(Catalogue):
    """Our tables in a file."""

    text: ClassVar[str]
    """`data` as text, in SQL."""
    each: ClassVar[str]
    """A table with `key` and `value` for each output of a record `r.record`, in SQL."""

    def view(self, connection: sa.Connection) -> str:
        """See `Catalogue.view`."""
        objects = quoted(self.objects.name)
        return (
            "CREATE VIEW d6tstore_results AS SELECT r.record->>'family' AS family, r.record->>'params' AS parameters, "
            "o.key AS output, t.relation, CAST(o.value->>'rows' AS BIGINT) AS rows, r.record->>'time' AS time, "
            "r.record->>'author' AS author, CAST(r.record->>'seconds' AS DOUBLE) AS seconds, "
            "coalesce(r.record->>'metrics', '{}') AS metrics, r.record->>'code' AS code, "
            f"o.value->>'format' AS format, o.value->>'key' AS key FROM (SELECT {self.text} AS record FROM {objects} "
            f"WHERE substr(key, 1, {len(RECORDS)}) = '{RECORDS}') r, {self.each} o "
            f"LEFT JOIN {objects} t ON t.key = o.value->>'key'"
        )
