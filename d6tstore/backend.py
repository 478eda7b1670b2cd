"""The seam to storage: bytes under keys. The author of a backend writes four methods."""

from __future__ import annotations

import contextlib
import io
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, NamedTuple, Self

from d6tstore import record as records_
from d6tstore.errors import Changed, NotFound, Unsupported
from d6tstore.key import check_key as check_key
from d6tstore.record import Record

if TYPE_CHECKING:
    import pyarrow as pa

    from d6tstore.credentials import Credentials


class Entry(NamedTuple):
    """One object in a listing: size in bytes, `version` changes with the bytes, `modified` in Unix seconds."""

    key: str
    size: int
    version: str
    modified: float


class Backend(ABC):
    """A place that holds bytes under keys.

    A key is relative, `/`-separated text as `check_key` allows. Instances pickle, and no `repr` or error shows
    a secret. Only the abstract methods are required: all others are derived from them, and overridden for
    speed or for a stronger promise.

    Example:
        >>> from d6tstore_plugins.memory import MemoryBackend
        >>> backend = MemoryBackend()
        >>> backend.write("a/b", b"12")
        >>> [entry.key for entry in backend.list("a/")]
        ['a/b']
    """

    url: str = ""
    remote: ClassVar[bool] = False
    """True if reading goes over a network: then copies of objects are kept here (see `Repository`)."""
    holds_live: ClassVar[bool] = False
    """True if `hold` keeps Python objects as they are (the memory of this process)."""
    exact: ClassVar[bool] = False
    """True if no two writes show one version, however soon they follow: then a listing says what was changed."""

    @classmethod
    def open(cls, url: str, credentials: Credentials | None = None, **options: Any) -> Self:
        """The backend at a URL.

        This default makes `cls(url, **options)`; a place that needs secrets overrides it, keeps the credentials
        (never what they give) and asks them whenever it connects.

        Args:
            url: place, without a secret.
            credentials: resolves secrets by name at the moment of use.
            **options: keyword arguments of the class.

        Raises:
            BackendError: the place cannot be used; the message says why.
        """
        return cls(url, **options)  # type: ignore[call-arg]

    @classmethod
    def serves(cls, scheme: str) -> bool:
        """Does it take URLs of a scheme that no plug-in has by name? Only the plug-in `fsspec` is asked."""
        return False

    # ---------------------------------------------------------------- required

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The bytes under a key.

        Raises:
            NotFound: there is nothing under it.
            Denied: the place refuses; never reported as NotFound.
        """

    @abstractmethod
    def write(self, key: str, data: bytes | Path) -> None:
        """Store bytes under a key: all or nothing; replaces what was there.

        Args:
            key: where to.
            data: the bytes, or a file from `staging()`, which is consumed.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove a key. A missing key is no error."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every object whose key starts with `prefix`, to the letter, in any order."""

    # ----------------------------------------------------------------- derived

    def stat(self, keys: Iterable[str]) -> dict[str, Entry]:
        """The entries of those keys that exist."""
        wanted = {check_key(key) for key in keys}
        found = {}
        for prefix in {key.rpartition("/")[0] for key in wanted}:
            found.update({e.key: e for e in self.list(f"{prefix}/" if prefix else "") if e.key in wanted})
        return found

    def exists(self, key: str) -> bool:
        """True if there is an object under the key."""
        return key in self.stat([key])

    def read_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The bytes of those keys that exist."""
        found = {}
        for key in keys:
            with contextlib.suppress(NotFound):
                found[key] = self.read(key)
        return found

    def upload(self, key: str, data: bytes | Path, tell: Callable[[int], None] | None) -> None:
        """As `write`, and say how far it is: `tell` is called with the bytes of each step, if somebody listens."""
        size = length(data)  # before the file is consumed
        self.write(key, data)
        if tell is not None:
            tell(size)

    def write_many(self, items: Mapping[str, bytes | Path]) -> None:
        """Store several objects; each is all or nothing, together they are not."""
        for key, data in items.items():
            self.write(key, data)

    def open_read(self, key: str) -> BinaryIO:
        """A seekable file to read a part of an object from. Raises as `read`."""
        return io.BytesIO(self.read(key))

    def staging(self) -> Path:
        """A path for a new file that `write` takes over; on the same file system where there is one."""
        with tempfile.NamedTemporaryFile(prefix="d6tstore-", delete=False) as file:
            return Path(file.name)

    def path(self, key: str) -> Path | None:
        """Where the object lies as a file, None if it is no file."""
        return None

    def uri(self, key: str) -> str:
        """How people and other tools name the object."""
        return f"{self.url.rstrip('/')}/{key}"

    def publish(self, record: Record, previous: Record | None = None) -> None:
        """Make `record` the result of its task: the only commit. `previous` moves to the history first."""
        if previous is not None:
            self.write(previous.history_key, records_.encode(previous))
        self.write(record.key, records_.encode(record))

    def records(self, family: str) -> Iterator[tuple[str, bytes]]:
        """Keys and bytes of all current records of a family, one call for many."""
        keys = [entry.key for entry in self.list(records_.records_prefix(family))]
        yield from self.read_many(keys).items()

    def compare_and_swap(self, key: str, expected: str | None, data: bytes) -> str:
        """Write only if the version under the key is `expected` (None: nothing is there).

        Returns:
            The new version, as listings show it; empty if that is not known.

        Raises:
            Changed: it is another one.
            Unsupported: this backend cannot; the default.
        """
        raise Unsupported(f"{self!r} cannot write conditionally. Use a backend that can, or write().")

    def create_many(self, items: Mapping[str, bytes]) -> dict[str, str]:
        """Write only under those keys under which there is nothing.

        Returns:
            The versions of those that were written, as of `compare_and_swap`.

        Raises:
            Unsupported: this backend has no conditional writes.
        """
        made = {}
        for key, data in items.items():
            with contextlib.suppress(Changed):
                made[key] = self.compare_and_swap(key, None, data)
        return made

    def claim(self, key: str, info: Mapping[str, str]) -> AbstractContextManager[None]:
        """Hold a key while computing, so that nobody does the same work. Never needed for correctness.

        Args:
            key: what is computed.
            info: who, where and since when, for those who find it held.

        Raises:
            Held: somebody else holds it; `.info` is theirs.
        """
        return contextlib.nullcontext()

    def hold(self, key: str, value: Any) -> None:
        """Keep a Python object as it is. Raises `Unsupported` unless `holds_live`."""
        raise Unsupported(f"{self!r} keeps bytes, not live objects. Use a format, or backend = 'memory'.")

    def held(self, key: str) -> Any:
        """The object that `hold` was given. Raises NotFound when it is gone."""
        raise NotFound(f"no live object under {key!r} in {self!r}. Run its task again.")

    def settle(self, written: Mapping[str, int]) -> None:
        """A run ended that wrote so many records of each family: bring up to date what speeds up reading them."""
        return

    def clean(self, before: float) -> Sequence[str]:
        """Remove what crashed writers left before a time (Unix seconds); returns what it removed."""
        return []

    def close(self) -> None:
        """Release what is open. Using the backend again opens it again."""
        return

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"


class TableBackend(Backend):
    """A backend that also holds tables (a database)."""

    def accepts(self, schema: pa.Schema) -> str | None:
        """None if a table of this schema can be held, else the reason why not."""
        return None

    @abstractmethod
    def write_table(self, key: str, batches: pa.RecordBatchReader) -> None:
        """Store a table in one transaction; row order is kept."""

    @abstractmethod
    def read_table(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        where: Sequence[tuple[str, str, Any]] | None = None,
        limit: int | None = None,
    ) -> pa.RecordBatchReader:
        """A table or the part of it that is asked for, in row order. Raises NotFound, Denied."""

    def query(self, query: str, tables: Mapping[str, str], params: Mapping[str, Any]) -> pa.RecordBatchReader:
        """Rows of a query of the user's, which can change nothing.

        Args:
            query: SQL, with `{name}` for a table and `:name` for a value.
            tables: keys of tables by name.
            params: values by name.

        Raises:
            SelectionError: the query names a table that is not given.
            NotFound, Denied, BackendError: the database refuses it.
            Unsupported: this backend has no query language; the default.
        """
        raise Unsupported(f"{self!r} cannot be asked in SQL. Load the results.")


def length(data: bytes | Path) -> int:
    """How many bytes there are to write: those given, or those of a file."""
    return data.stat().st_size if isinstance(data, Path) else len(data)
