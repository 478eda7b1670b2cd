"""Databases in one file, which processes share: what SQLite and DuckDB have in common."""

from __future__ import annotations

import collections
import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import sqlalchemy as sa

from d6tstore import project
from d6tstore.backend import check_key
from d6tstore.errors import BackendError, Changed, Denied, UsageError
from d6tstore.record import RECORDS
from d6tstore_plugins.sql.base import SqlBackend
from d6tstore_plugins.sql.catalogue import VERSION, Catalogue, quoted

PATIENCE = 600
"""Seconds to wait for somebody else who writes."""
_HELD = 64 << 20  # bytes of a frame; a larger one goes to a temporary file before it is written


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
        with self._connections.reading() as connection:  # which waits for nobody, and does for those who may not write
            current = self._catalogue.version(connection) == VERSION
        if not current:
            with self._connections.transaction() as connection:
                self._catalogue.prepare(connection, repr(self))

    def write_table(self, key: str, batches: pa.RecordBatchReader) -> None:
        """See `SqlBackend.write_table`."""
        with _set_aside(batches) as whole:
            super().write_table(key, whole)

    def compare_and_swap(self, key: str, expected: str | None, data: bytes) -> str:
        """See `Backend.compare_and_swap`: writers take turns, so one transaction decides."""
        objects = self._catalogue.objects
        with self._connections.transaction() as connection:
            found = connection.execute(sa.select(objects.c.version).where(objects.c.key == check_key(key))).scalar()
            if (None if found is None else str(found)) != expected:
                raise Changed(f"{key!r} in {self!r} was written by somebody else meanwhile.")
            return str(self._objects.write(connection, key, data))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url,)


def _file(url: str, scheme: str) -> Path:
    example = f"{scheme}:///results.{scheme}"
    try:
        found = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as exc:
        raise UsageError(f"{url!r} is no URL of a database: {exc}. Write {example}.") from exc
    if found.drivername not in (scheme, f"{scheme}+pysqlite") or found.host or found.username or found.query:
        raise UsageError(f"{url!r} says more than a file. Write {example} or {scheme}:////absolute/file.")
    if not found.database or found.database == ":memory:" or "\0" in found.database:
        raise UsageError(f"{url!r} names no file. Write {example}; what is to be forgotten goes to memory://.")
    return Path(project.expanded(found.database)).absolute()


_turns: dict[str, threading.Lock] = {}  # of a file: whose turn it is to write, among the threads of this process
_open: collections.Counter[str] = collections.Counter()  # connections that a child of this process cannot do with
_inherited: set[str] = set()  # files of which this process has such connections of its parent


def _in_child() -> None:
    _inherited.update(file for file, number in _open.items() if number)
    _open.clear()
    _turns.clear()  # the parent's threads are not here to give them back


os.register_at_fork(after_in_child=_in_child)


@contextlib.contextmanager
def _turn(file: str, place: str) -> Iterator[None]:
    lock = _turns.setdefault(file, threading.Lock())
    if not lock.acquire(timeout=PATIENCE):
        raise BackendError(f"{place}: another thread has been writing for {PATIENCE} s. Run again when it is done.")
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _set_aside(batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatchReader]:
    """All batches, before any is written: who makes them may read, save, or wait for others who do."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size > _HELD:
            break
    else:
        yield pa.RecordBatchReader.from_batches(batches.schema, held)
        return
    with tempfile.TemporaryFile() as file:
        with pa.ipc.new_stream(file, batches.schema) as writer:
            while held:
                writer.write_batch(held.pop(0))
            for batch in batches:
                writer.write_batch(batch)
        file.seek(0)
        with pa.ipc.open_stream(file) as reader:
            yield reader


class FileConnections:
    """Connections to a database in a file; each is opened for one transaction, so that others get at the file.

    Args:
        file: of the database.
        place: how messages name it.
    """

    drivername: ClassVar[str]
    readers_may_fork: ClassVar[bool]
    """Can a process be forked while it reads, and its child use the file?"""
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
        orig = getattr(exc, "orig", None) or exc
        said = str(orig).strip().removesuffix(".")
        try:
            denied = self._file.exists() and not os.access(self._file, os.R_OK)
        except OSError as denial:
            denied = isinstance(denial, PermissionError)
        if denied:
            return Denied(f"{self._place}: {said}. You may not read it: ask for the rights, or use another file.")
        return self.error(orig, said)

    def error(self, exc: BaseException, said: str) -> BackendError:
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
        with _turn(str(self._file), self._place), self._begun(writing=True) as connection:
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection to read as of one moment."""
        with self._begun(writing=False) as connection:
            yield connection

    @contextlib.contextmanager
    def _begun(self, writing: bool) -> Iterator[sa.Connection]:
        file = str(self._file)
        if file in _inherited:
            raise BackendError(
                f"{self._place}: this process was forked while its parent used the file, and cannot use it safely. "
                "Start processes by spawn: ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn'))."
            )
        counted = int(writing or not self.readers_may_fork)
        _open[file] += counted
        try:
            with (
                self.mapping(),
                self.engine.connect() as connection,
                connection.execution_options(writing=writing).begin() as transaction,
            ):
                yield connection
                if not writing:
                    transaction.rollback()
        finally:
            _open[file] -= counted

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
            "o.key AS output, t.relation, CAST((o.value->>'rows') AS BIGINT) AS rows, r.record->>'time' AS time, "
            "r.record->>'author' AS author, CAST((r.record->>'seconds') AS DOUBLE) AS seconds, "
            "coalesce(r.record->>'metrics', '{}') AS metrics, r.record->>'code' AS code, "
            f"o.value->>'format' AS format, o.value->>'key' AS key FROM (SELECT {self.text} AS record FROM {objects} "
            f"WHERE substr(key, 1, {len(RECORDS)}) = '{RECORDS}') r, {self.each} o "
            f"LEFT JOIN {objects} t ON t.key = (o.value->>'key')"  # in DuckDB = binds as strongly as ->>
        )
