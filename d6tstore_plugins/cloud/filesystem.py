"""Backend for any file system of fsspec: `gs`, `az`, `sftp`, `smb`, `hf`, ...; `http` and `zip` to read."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import os
import posixpath
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

import fsspec

from d6tstore.backend import Backend, Entry, check_key
from d6tstore.credentials import Credentials
from d6tstore.errors import BackendError, Denied, NotFound, PluginError, Unsupported
from d6tstore.record import ROOT
from d6tstore_plugins.cloud.ranged import ranged

_FIELDS = ("password", "key", "secret", "token", "account_key", "sas_token", "connection_string")
"""Of credentials: each that is stored is given to the file system under this name."""
_WHOLE = ("gs", "gcs", "az", "abfs", "abfss", "adl", "s3", "s3a", "oci", "oss", "hf", "memory")
"""Where a write is whole or nothing by itself. Elsewhere it is a temporary file and a move."""
_PIPED = ("sftp", "ssh", "ftp")
"""Where whole files come faster than what is read of them in pieces."""
_TRIES = 20
_LARGE = 1 << 20  # bytes that go as a file, which those send faster
_NONE = ("data", "file", "local", "memory", "dir", "cached", "blockcache", "filecache", "simplecache", "reference")
_TMP = f"{ROOT}tmp"
_VERSIONS = ("ETag", "etag", "e_tag", "md5Hash", "content_md5", "checksum", "ino")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


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
        path = unquote(parts.path)
        try:
            kind = fsspec.get_filesystem_class(self._protocol)
        except (ImportError, ValueError) as exc:
            raise PluginError(f"{url!r}: {exc}. Install the package that fsspec names for it.") from exc
        self._said = dict(parse_qsl(parts.query))
        self._said.update(kind._get_kwargs_from_urls(url))
        self._root = kind._strip_protocol(f"{self._protocol}://{parts.netloc}{path}").rstrip("/")

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
        """The file system of this thread: connections of SFTP, FTP or SMB are not for several at once."""
        mine = self._mine
        if getattr(mine, "pid", None) != os.getpid():
            _inherited.append(getattr(mine, "files", None))
            with self._credentials.guard(), self._mapping(""):
                # Not among fsspec's instances, which are kept by what they were given.
                said = {**self._said, **self._options}
                mine.files = fsspec.filesystem(self._protocol, skip_instance_cache=True, **said, **self._secrets())
            mine.pid = os.getpid()
        return mine.files

    def _secrets(self) -> dict[str, str]:
        if self._credentials.name is None:
            return {}
        found = {field: self._credentials.find(field) for field in _FIELDS}
        return {field: secret.reveal() for field, secret in found.items() if secret is not None}

    def _at(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}" if self._root else check_key(key)

    @contextlib.contextmanager
    def _mapping(self, key: str) -> Iterator[None]:
        """Within it errors of the file system become ours, whatever its package raises."""
        try:
            yield
        except FileNotFoundError as exc:
            raise NotFound(f"no object under {key!r} in {self!r}. Run its task again.") from exc
        except NotImplementedError as exc:
            raise Unsupported(f"{self!r} cannot do that ({exc or 'it is for reading'}). Use another place.") from exc
        except Exception as exc:
            if key and self._is_folder(key):
                raise NotFound(f"{key!r} in {self!r} is a folder.") from exc
            if _denied(exc):
                raise Denied(f"{self!r} ({key}): {exc}. Ask for the rights, or use other credentials.") from exc
            raise BackendError(f"{self!r} ({key}): {exc}. Is it there, and are its options right?") from exc

    def _is_folder(self, key: str) -> bool:
        with contextlib.suppress(Exception):  # whatever kind of file system it is
            return bool(self._files.isdir(self._at(key)))
        return False

    def read(self, key: str) -> bytes:
        """The bytes of a file."""
        at = self._at(key)
        with self._mapping(key), tempfile.TemporaryDirectory(prefix="d6tstore-") as folder:
            if self._protocol not in _PIPED:
                return bytes(self._files.cat_file(at))
            file = Path(folder, "object")
            self._files.get_file(at, str(file))
            return file.read_bytes()

    def open_read(self, key: str) -> BinaryIO:
        """A file that fetches what is read of it."""
        at = self._at(key)
        with self._mapping(key):
            found = self._files.info(at)
        if found["type"] == "directory" or found["size"] is None:
            return io.BytesIO(self.read(key))

        def fill(start: int, view: memoryview) -> None:
            with self._mapping(key):
                view[:] = self._files.cat_file(at, start=start, end=start + len(view))

        return ranged(fill, int(found["size"]), 1 << 20)

    def write(self, key: str, data: bytes | Path) -> None:
        """Store a file; where a write may be seen half done, as a temporary one that is moved."""
        at = self._at(key)
        whole = self._protocol in _WHOLE
        to = at if whole else f"{self._root}/{_TMP}/{uuid.uuid4().hex}"
        with self._mapping(""):
            if not whole:
                self._make(posixpath.dirname(to))
                self._make(posixpath.dirname(at))
            if isinstance(data, bytes) and len(data) > _LARGE:
                staged = self.staging()
                staged.write_bytes(data)
                data = staged
            if isinstance(data, Path):
                self._files.put_file(str(data), to)
            else:
                self._files.pipe_file(to, data)
            if not whole:
                self._files.mv(to, at)
        if isinstance(data, Path):
            data.unlink()

    def _make(self, folder: str) -> None:
        for left in range(_TRIES - 1, -1, -1):  # others make them too, between its look and its making
            try:
                self._files.makedirs(folder, exist_ok=True)
            except OSError:
                if not left and not self._files.isdir(folder):
                    raise
            else:
                break

    def delete(self, key: str) -> None:
        """Remove a file."""
        at = self._at(key)
        with contextlib.suppress(NotFound), self._mapping(key):
            self._files.rm_file(at)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Files by the beginning of their key."""
        folder = prefix.rpartition("/")[0]
        at = self._at(folder) if folder else self._root
        for path, info in self._found(at):
            key = path.removeprefix(self._root).lstrip("/")
            if key.startswith(prefix) and not key.startswith(f"{_TMP}/"):
                yield _entry(key, info)

    def _found(self, at: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Files below a folder. Not by `find` where that has folders: it leaves out those that may not be read."""
        with self._mapping(""):
            self._files.invalidate_cache()  # others write there too
            if self._protocol in _WHOLE:
                with contextlib.suppress(FileNotFoundError):
                    yield from sorted(self._files.find(at, detail=True).items())
                return
        waiting = [at]
        while waiting:
            folder = waiting.pop()
            try:
                with self._mapping(""):
                    found = self._files.ls(folder, detail=True)
            except NotFound:  # or removed meanwhile
                continue
            for info in found:
                if info["type"] == "directory":
                    waiting.append(info["name"])
                elif info["name"] != folder:
                    yield info["name"], info

    def clean(self, before: float) -> Sequence[str]:
        """Remove temporary files of writers that died."""
        removed = []
        for path, info in list(self._found(f"{self._root}/{_TMP}")):
            if _entry(path, info).modified < before:
                key = f"{_TMP}/{posixpath.basename(path)}"
                self.delete(key)
                removed.append(key)
        return removed

    def close(self) -> None:
        """Forget the connection; the next use makes a new one."""
        self._mine = threading.local()


def _denied(exc: BaseException) -> bool:
    status = getattr(exc, "status", None) or getattr(exc, "code", None)
    return isinstance(exc, PermissionError) or status in (401, 403) or "Authentication" in type(exc).__name__


def _made(url: str, credentials: Credentials, options: dict[str, Any]) -> FilesystemBackend:
    return FilesystemBackend(url, credentials, **options)


def _entry(key: str, info: dict[str, Any]) -> Entry:
    time = next((info[name] for name in _TIMES if info.get(name)), 0.0)
    if isinstance(time, str):
        time = dt.datetime.fromisoformat(time)
    if isinstance(time, dt.datetime):
        time = (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).timestamp()
    tag = next((str(info[name]) for name in _VERSIONS if info.get(name)), "")
    return Entry(key, int(info.get("size") or 0), f"{tag}-{time}-{info.get('size')}", float(time))
