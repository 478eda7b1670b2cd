"""Backend for other file systems of fsspec: `sftp`, `gs`, `az`; all others, such as `http`, `zip` and `hf`, to read."""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import fsspec

from d6tstore.backend import Backend, Entry, check_key
from d6tstore.credentials import Credentials
from d6tstore.errors import BackendError, D6tstoreError, Denied, NotFound, PluginError, Unsupported
from d6tstore.record import ROOT
from d6tstore_plugins.cloud.filesystem_entries import entry_of, info_of, listing_of, part_of, target_of
from d6tstore_plugins.cloud.filesystem_errors import is_denied, is_lost, status_of
from d6tstore_plugins.cloud.ranged import ranged

_FIELDS = ("password", "key", "secret", "token", "account_key", "sas_token", "connection_string")
"""Of credentials: each that is stored is given to the file system under this name."""
_WHOLE = ("gs", "gcs", "az", "abfs", "abfss", "adl")
"""Where a write is whole or nothing by itself."""
_MOVED = ("sftp", "ssh")
"""Where it is a temporary file that is moved, and a move replaces what is there. Elsewhere nothing is written."""
_WEB = ("http", "https")
_NONE = (
    "data", "file", "local", "memory", "dir", "cached", "blockcache", "filecache", "simplecache", "reference",
    "generic", "async_wrapper", "asynclocal",
)  # fmt: skip
_TRIES = 20
_LARGE = 1 << 20  # bytes that go as a file, which is sent faster
_TMP = f"{ROOT}tmp"

_inherited: list[Any] = []  # of a parent process: kept, for who removes a connection closes it for the parent too


class FilesystemBackend(Backend):
    """A folder of a file system that fsspec knows and whose package is installed.

    Args:
        url: such as `sftp://ann@host/folder`, `gs://bucket/prefix`, `az://container/prefix`.
        credentials: its fields (`password`, `key`, `secret`, `token`, ...) are options of the file system.
        **options: further ones, as for `fsspec.filesystem`.

    Raises:
        PluginError: its package is not installed.
        BackendError, Denied: it cannot be used.
    """

    remote = True

    def __init__(self, url: str, credentials: Credentials | None = None, **options: Any) -> None:
        self.url = url
        self._credentials, self._options = credentials or Credentials(), options
        parts = urlsplit(url)
        self._protocol = parts.scheme
        self._mine = threading.local()
        try:
            kind = fsspec.get_filesystem_class(self._protocol)
        except (ImportError, ValueError) as exc:
            raise PluginError(f"{url!r}: {exc}. Install the package that fsspec names for it.") from exc
        flags = {"true": True, "false": False}
        self._said = {name: flags.get(value.lower(), value) for name, value in parse_qsl(parts.query)}
        bare = f"{self._protocol}://{parts.netloc}{unquote(parts.path)}"
        self._said.update(kind._get_kwargs_from_urls(bare))
        root = kind._strip_protocol(bare)
        self._root = root if root == "/" else root.rstrip("/")

    @classmethod
    def serves(cls, scheme: str) -> bool:
        """Those that fsspec knows, and that are places of their own."""
        return scheme in fsspec.available_protocols() and scheme not in _NONE

    @classmethod
    def open(cls, url: str, credentials: Credentials | None = None, **options: Any) -> FilesystemBackend:
        """See `Backend.open`."""
        backend = cls(url, credentials, **options)
        backend._files  # noqa: B018 - connects, where there is a connection
        return backend

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self.url, self._credentials, self._options)

    @property
    def _files(self) -> Any:
        """The file system of this thread: connections of SFTP are not for several at once."""
        mine = self._mine
        if getattr(mine, "pid", None) != os.getpid():
            if getattr(mine, "files", None) is not None:
                _inherited.append(mine.files)
            said = {**self._said, **self._options}
            if self._protocol in _MOVED:
                from d6tstore_plugins.cloud.known_hosts import KnownHosts

                said.setdefault("host_key_policy", KnownHosts())
            with self._credentials.guard(), self._mapping(""):
                # Not among fsspec's instances, which are kept by what they were given.
                mine.files = fsspec.filesystem(self._protocol, skip_instance_cache=True, **said, **self._secrets())
            mine.pid = os.getpid()
        return mine.files

    def _secrets(self) -> dict[str, str]:
        if self._credentials.name is None:
            return {}
        found = {field: self._credentials.find(field) for field in _FIELDS}
        return {field: secret.reveal() for field, secret in found.items() if secret is not None}

    def _at(self, key: str) -> str:
        key = quote(check_key(key)) if self._protocol in _WEB else check_key(key)
        return f"{self._root.rstrip('/')}/{key}" if self._root else key

    @contextlib.contextmanager
    def _mapping(self, key: str) -> Iterator[None]:
        """Within it errors of the file system become ours, whatever its package raises."""
        try:
            yield
        except D6tstoreError:
            raise
        except NotImplementedError as exc:
            raise Unsupported(f"{self!r} cannot do that ({exc or 'it is for reading'}). Use another place.") from exc
        except Exception as exc:
            where = f"{self!r} ({key})" if key else repr(self)
            if is_denied(exc):
                raise Denied(f"{where}: {exc}. Ask for the rights, or use other credentials.") from exc
            absent = isinstance(exc, FileNotFoundError) and status_of(exc) in (None, 404, 410)
            if key and (absent or self._is_folder(key)):
                raise NotFound(f"no object under {key!r} in {self!r}. Run its task again.") from exc
            raise BackendError(f"{where}: {exc}. Is it there, and are its options right?") from exc

    def _is_folder(self, key: str) -> bool:
        with contextlib.suppress(Exception):  # whatever kind of file system it is
            return bool(self._files.isdir(self._at(key)))
        return False

    def _asked(self, key: str, call: Callable[[Any], Any]) -> Any:
        """What a file system answers; where its connection was lost, that of a new one."""
        with self._mapping(key):
            try:
                return call(self._files)
            except Exception as exc:
                if not is_lost(exc):
                    raise
            self._mine.pid = None
            return call(self._files)

    def read(self, key: str) -> bytes:
        """The bytes of a file."""
        at = self._at(key)
        if self._protocol not in _MOVED:
            return bytes(self._asked(key, lambda files: files.cat_file(at)))
        with tempfile.TemporaryDirectory(prefix="d6tstore-") as folder:  # a whole file comes faster than its pieces
            file = Path(folder, "object")
            self._asked(key, lambda files: files.get_file(at, str(file)))
            with self._mapping(key):
                return file.read_bytes()

    def open_read(self, key: str) -> BinaryIO:
        """A file that fetches what is read of it."""
        at = self._at(key)
        found = self._asked(key, info_of(at))
        if found["type"] == "directory" or found["size"] is None:
            return io.BytesIO(self.read(key))

        def fill(start: int, view: memoryview) -> None:
            view[:] = self._asked(key, part_of(at, start, start + len(view)))

        return ranged(fill, int(found["size"]), 1 << 20)

    def write(self, key: str, data: bytes | Path) -> None:
        """Store a file; where a write may be seen half done, as a temporary one that is moved."""
        at = self._at(key)
        if self._protocol not in (*_WHOLE, *_MOVED):
            raise Unsupported(
                f"{self!r} is for reading: whether writes there are whole, nobody knows. Use another place."
            )
        if isinstance(data, bytes) and len(data) > _LARGE:
            staged = self.staging()
            try:
                staged.write_bytes(data)
                self.write(key, staged)
            finally:
                staged.unlink(missing_ok=True)
            return
        whole = self._protocol in _WHOLE
        to = at if whole else self._at(f"{_TMP}/{uuid.uuid4().hex}")
        with self._mapping(""):
            if not whole:
                self._make(posixpath.dirname(to))
                self._make(posixpath.dirname(at))
            try:
                if isinstance(data, Path):
                    self._files.put_file(str(data), to)
                else:
                    self._files.pipe_file(to, data)
                if not whole:
                    self._files.mv(to, at)
            except BaseException:
                if not whole:
                    with contextlib.suppress(Exception):  # else `gc` removes it
                        self._files.rm_file(to)
                raise
        if isinstance(data, Path):
            data.unlink()

    def _make(self, folder: str) -> None:
        for left in range(_TRIES - 1, -1, -1):  # others make them too, between its look and its making
            try:
                self._asked("", lambda files: files.makedirs(folder, exist_ok=True))
            except BackendError as exc:
                if isinstance(exc, Denied) or (not left and not self._files.isdir(folder)):
                    raise
            else:
                break

    def delete(self, key: str) -> None:
        """Remove a file."""
        at = self._at(key)
        with contextlib.suppress(NotFound):
            self._asked(key, lambda files: files.rm_file(at))

    def stat(self, keys: Iterable[str]) -> dict[str, Entry]:
        """The entries of those that exist; of a web server, whose listings tell no sizes, one by one."""
        if self._protocol not in _WEB:
            return super().stat(keys)
        found = {}
        for key in keys:
            at = self._at(key)
            with contextlib.suppress(NotFound):
                found[key] = entry_of(key, self._asked(key, info_of(at)))
        return found

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Files by the beginning of their key."""
        folder = prefix.rpartition("/")[0]
        for path, info in self._found(self._at(folder) if folder else self._root):
            key = path.removeprefix(self._root).lstrip("/")
            key = unquote(key) if self._protocol in _WEB else key
            if key.startswith(prefix) and not key.startswith(f"{_TMP}/"):
                yield entry_of(key, info)

    def _found(self, at: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Files below a folder. Not by `find` where that has folders: it leaves out those that may not be read."""
        self._asked("", lambda files: files.invalidate_cache())  # others write there too
        if self._protocol in _WHOLE:
            with contextlib.suppress(NotFound):
                yield from sorted(self._asked(".", lambda files: files.find(at, detail=True)).items())
            return
        waiting = [at]
        while waiting:
            folder = waiting.pop()
            try:
                found = self._asked(".", listing_of(folder))
            except NotFound:  # or removed meanwhile
                continue
            for info in found:
                if info["type"] == "link":
                    info = {**info, **self._asked(".", target_of(info["name"]))}
                if info["type"] == "directory":
                    waiting.append(info["name"])
                elif info["name"] != folder:
                    yield info["name"], info

    def clean(self, before: float) -> Sequence[str]:
        """Remove temporary files of writers that died."""
        if self._protocol not in _MOVED:
            return []
        removed = []
        for path, info in list(self._found(self._at(_TMP))):
            if entry_of(path, info).modified < before:
                key = f"{_TMP}/{posixpath.basename(path)}"
                self.delete(key)
                removed.append(key)
        return removed

    def close(self) -> None:
        """Forget the connection; the next use makes a new one."""
        self._mine = threading.local()


def _made(url: str, credentials: Credentials, options: dict[str, Any]) -> FilesystemBackend:
    return FilesystemBackend(url, credentials, **options)
