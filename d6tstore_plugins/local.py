"""Backend `file`: a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from d6tstore.backend import Backend, Entry, check_key
from d6tstore.errors import BackendError, Denied, Held, InvalidKey, NotFound
from d6tstore.record import ROOT
from d6tstore_plugins import claims, temporary

_TMP = f"{ROOT}tmp"
_CLAIMS = f"{ROOT}claims"
_MANY = 16  # keys
_PATIENCE = 500  # times that somebody may remove a folder between our making it and our using it
_LONGEST_WRITE = 24 * 3600.0  # seconds; a process number may be another's by then
_FLAGS = getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # of a pipe nobody may ever write to
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)


class LocalBackend(Backend):
    """Objects are files below a folder; a write is a temporary file and a rename.

    Safe against the death of a process. Against power loss with `durable=True`, which waits for the disk.

    Args:
        url: `file:///absolute`, or a path.
        durable: flush every object, record and folder entry to the disk before going on.

    Raises:
        BackendError: the path is a file.
    """

    exact = True  # each write is a new file

    def __init__(self, url: str, durable: bool = False) -> None:
        path = unquote(urlsplit(url).path) if url.startswith("file:///") else url.removeprefix("file://")
        self.root = os.path.abspath(os.path.expanduser(path))
        self.url = f"file://{self.root}"
        self.durable = durable
        self._prefix = self.root.rstrip("/") + "/"
        self._made: set[str] = set()  # folders that were there: saves a failing rename, or a mkdir
        if os.path.lexists(self.root) and not os.path.isdir(self.root):
            kind = "a file" if os.path.exists(self.root) else "a link to nowhere"
            raise BackendError(f"{self.root} is {kind}, results need a folder. Give another path to init().")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": set()}

    def _at(self, key: str) -> str:
        return self._prefix + check_key(key)

    def read(self, key: str) -> bytes:
        """Bytes of a file; see `Backend.read`."""
        try:
            return _read(self._at(key))
        except OSError as exc:
            raise self._mapped(exc, key) from exc

    def read_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Bytes of files; see `Backend.read_many`."""
        found = {}
        there = self._listed(keys) if len(keys) > _MANY else None
        for key in keys:
            if there is not None and key not in there:
                continue
            try:
                found[key] = _read(self._at(key))
            except FileNotFoundError:
                continue  # the rule in a first run: at once
            except OSError as exc:
                error = self._mapped(exc, key)
                if not isinstance(error, NotFound):
                    raise error from exc
        return found

    def _listed(self, keys: Sequence[str]) -> set[str] | None:
        """Those of the keys that exist: to list a folder is cheaper than many opens that fail. None if it cannot."""
        found: set[str] = set()
        for folder in {key.rpartition("/")[0] for key in keys}:
            try:
                found.update(f"{folder}/{name}" for name in os.listdir(self._prefix + check_key(folder)))
            except FileNotFoundError:
                continue
            except (OSError, InvalidKey):
                return None  # each key for itself will say why
        return found

    def write(self, key: str, data: bytes | Path) -> None:
        """Write a temporary file and rename it; see `Backend.write`."""
        target = self._at(key)
        source = str(data) if isinstance(data, Path) else self._temporary()
        try:
            if not isinstance(data, Path):
                self._fill(source, data)
            elif self.durable:
                self._sync(source)
            self._made_for(target)
            try:
                os.replace(source, target)
            except FileNotFoundError:
                self._within(target, lambda: os.replace(source, target))
            folder = target
            while self.durable and folder != self.root:  # a new folder is an entry of the one above
                folder = os.path.dirname(folder)
                self._sync(folder)
        except BaseException as exc:
            with contextlib.suppress(OSError):
                os.unlink(source)
            if isinstance(exc, OSError):
                raise self._mapped(exc, key, writing=True) from exc
            raise

    def _made_for(self, path: str) -> None:
        """Try to make the folder of a path, if that was not done before; somebody may remove it any time."""
        folder = path.rpartition("/")[0]
        if folder not in self._made:
            if len(self._made) > 10_000:
                self._made.clear()
            self._made.add(folder)
            try:  # noqa: SIM105 - half the time
                os.mkdir(folder)
            except OSError:
                pass

    def _fill(self, path: str, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            fd = os.open(path, flags, 0o666)
        except FileNotFoundError:
            fd = self._create(path, flags)
        try:
            written = os.write(fd, data)
            while written < len(data):
                written += os.write(fd, memoryview(data)[written:])
            if self.durable:
                os.fsync(fd)
        finally:
            os.close(fd)

    def _sync(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _create(self, path: str, flags: int) -> int:
        try:
            return os.open(path, flags, 0o666)
        except FileNotFoundError:
            return int(self._within(path, lambda: os.open(path, flags, 0o666)))

    def _within(self, path: str, action: Any) -> Any:
        """Make the folder of a path and do something in it: others may remove empty folders meanwhile."""
        folder = path.rpartition("/")[0]
        for _ in range(_PATIENCE):
            try:
                try:
                    os.mkdir(folder)
                except OSError:  # its parent is missing too, or it is there by now
                    os.makedirs(folder, exist_ok=True)
                return action()
            except FileNotFoundError:  # from makedirs too: the parent went after it was made
                continue
        return action()

    def _temporary(self) -> str:
        return f"{self._prefix}{_TMP}/{temporary.name()}"

    def staging(self) -> Path:
        """A new path on the file system of the results."""
        path = Path(self._temporary())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise self._mapped(exc, _TMP, writing=True) from exc
        return path

    def delete(self, key: str) -> None:
        """Remove a file, and the folders that it leaves empty."""
        path = self._at(key)
        try:
            os.unlink(path)
        except OSError as exc:
            if exc.errno not in _ABSENT:
                raise self._mapped(exc, key) from exc
        with contextlib.suppress(OSError):
            while (path := os.path.dirname(path)) != self.root:
                os.rmdir(path)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Files whose key starts with `prefix`; unfinished ones are no results and not listed."""
        folder, slash, start = prefix.rpartition("/")
        if slash:
            check_key(folder)
        yield from self._walk(f"{folder}/" if folder else "", start)

    def _entries(self, folder: str) -> Sequence[os.DirEntry[str]]:
        """What is in a folder, by name, so that listings are the same everywhere; nothing if it is not there."""
        try:
            with os.scandir(self._prefix + folder) as found:
                return sorted(found, key=lambda entry: entry.name)
        except OSError as exc:
            if exc.errno in _ABSENT:
                return ()
            raise self._mapped(exc, folder) from exc

    def _walk(self, folder: str, start: str) -> Iterator[Entry]:
        for entry in self._entries(folder):
            key = folder + entry.name
            if not entry.name.startswith(start) or key in (_TMP, _CLAIMS):
                continue
            try:
                found = None if entry.is_dir() else entry.stat()
                if found is None and entry.is_symlink() and _leads_back(entry.path):
                    continue
            except OSError as exc:
                if exc.errno in (errno.ENOENT, errno.ELOOP):  # gone by now, or a link that leads to itself
                    continue
                raise self._mapped(exc, key) from exc
            if found is None:
                yield from self._walk(f"{key}/", "")
            elif S_ISREG(found.st_mode):  # no pipes, no devices: reading one may never end
                yield _entry(key, found)

    def stat(self, keys: Iterable[str]) -> dict[str, Entry]:
        """One stat() for each key."""
        found = {}
        for key in keys:
            try:
                stat = os.stat(self._at(key))
            except OSError as exc:
                if exc.errno not in _ABSENT:
                    raise self._mapped(exc, key) from exc
            else:
                if S_ISREG(stat.st_mode):
                    found[key] = _entry(key, stat)
        return found

    def open_read(self, key: str) -> BinaryIO:
        """The file, open for reading."""
        try:
            return open(self._at(key), "rb")
        except OSError as exc:
            raise self._mapped(exc, key) from exc

    def path(self, key: str) -> Path | None:
        """The file."""
        return Path(self._at(key))

    def claim(self, key: str, info: Mapping[str, str]) -> AbstractContextManager[None]:
        """An advisory file lock: gone with the process that held it, however it died."""
        return _Claim(self, key, info)

    def clean(self, before: float) -> Sequence[str]:
        """Remove temporary files and claims of processes that died."""
        removed = []
        for folder in (_TMP, _CLAIMS):
            for entry in self._entries(folder):
                with contextlib.suppress(FileNotFoundError, Held):
                    if self._abandoned(entry, before):
                        removed.append(f"{folder}/{entry.name}")
        return removed

    def _abandoned(self, entry: os.DirEntry[str], before: float) -> bool:
        """Remove what is older and whose process is gone; True if it was."""
        modified = entry.stat().st_mtime
        if modified >= before or entry.is_dir():
            return False
        if os.path.basename(os.path.dirname(entry.path)) == "claims":
            with self.claim(entry.name, {}):
                return True
        if temporary.alive(entry.name) and modified > time.time() - _LONGEST_WRITE:
            return False
        try:
            os.unlink(entry.path)
        except FileNotFoundError:
            return False
        except OSError as exc:
            raise self._mapped(exc, f"{_TMP}/{entry.name}") from exc
        return True

    def _mapped(self, exc: OSError, key: str, writing: bool = False) -> Exception:
        """The one place where errors of the OS become ours."""
        what = f"{key!r} in {self.root}"
        if writing and exc.errno in (*_ABSENT, errno.EEXIST):
            return BackendError(
                f"{what} cannot be written: {exc.strerror}{self._obstacle(exc, key)}. "
                "Move away what is in its place, or init() another folder."
            )
        if exc.errno in _ABSENT and not os.path.isfile(self.root):
            return NotFound(f"no object under {what}. It was removed, or never written.")
        if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return Denied(f"{what}: {exc.strerror}. Give this user the right to it, or init() another folder.")
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            return BackendError(f"{what}: {exc.strerror}. Free space (d6tstore gc) and run again; nothing is lost.")
        return BackendError(f"{what}: {exc.strerror}. Check the path of the store.")

    def _obstacle(self, exc: OSError, key: str) -> str:
        """What stands where a folder or file of ours belongs, for the message."""
        path = str(exc.filename2 or exc.filename or self._prefix + key)
        if os.path.isdir(path):
            return f" ({path} is a folder)"
        while not os.path.lexists(path):
            path = os.path.dirname(path)
        return "" if os.path.isdir(path) else f" ({path} is no folder)"


class _Claim:
    """What `LocalBackend.claim` returns. A class, for a generator takes longer and every task is claimed."""

    def __init__(self, backend: LocalBackend, key: str, info: Mapping[str, str]) -> None:
        self.backend, self.key, self.info = backend, key, info
        self.path = f"{backend._prefix}{_CLAIMS}/{check_key(key).replace('/', '-')}"
        self.fd: int | None = None

    def __enter__(self) -> None:
        try:
            self.fd = claims.lock(lambda flags: self.backend._create(self.path, flags), self.key)
        except OSError as exc:
            raise self.backend._mapped(exc, self.key, writing=True) from exc
        if self.fd is not None:
            claims.sign(self.fd, self.info)

    def __exit__(self, *_: object) -> None:
        if self.fd is not None:
            claims.release(self.fd, self.path)
            self.fd = None


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | _FLAGS)
    try:
        found = os.fstat(fd)
        if not S_ISREG(found.st_mode):
            raise OSError(errno.EISDIR if S_ISDIR(found.st_mode) else errno.EINVAL, "it is no plain file", path)
        size = found.st_size
        data = os.read(fd, size)
        while len(data) < size and (more := os.read(fd, size - len(data))):
            data += more
        return data
    finally:
        os.close(fd)


def _leads_back(link: str) -> bool:
    """Is it a link to a folder that it lies in?"""
    return f"{os.path.realpath(os.path.dirname(link))}/".startswith(f"{os.path.realpath(link)}/")


def _entry(key: str, stat: os.stat_result) -> Entry:
    return Entry(key, stat.st_size, f"{stat.st_mtime_ns}-{stat.st_ino}", stat.st_mtime)
