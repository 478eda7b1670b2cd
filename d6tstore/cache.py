"""Local copies of objects that lie elsewhere, by checksum: shared by processes, bounded in size, safe to delete."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from d6tstore import content
from d6tstore.backend import length
from d6tstore.errors import UsageError

VARIABLE = "D6TSTORE_CACHE"
"""Environment variable of the folder."""
DEFAULT = 10 << 30
"""Bytes that copies may take if nobody says otherwise."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_CHECKSUM = re.compile(r"[0-9a-f]{32}")
_BLOCK = 4_096  # bytes that the smallest file takes on a disk
_ADDING = "adding-"  # how files begin that are being written
_ABANDONED = 86_400.0  # seconds after which nobody writes them any more
_USED = 3_600.0  # seconds in which a second use of a copy is not noted


def size_of(limit: int | str) -> int:
    """A size in bytes, which may be given as text.

    Raises:
        UsageError: it is none.

    Example:
        >>> size_of("20 GB")
        20000000000
    """
    found = _SIZE.fullmatch(limit.strip()) if isinstance(limit, str) else None
    if found:
        return int(float(found[1]) * _UNITS[found[2].lower()])
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise UsageError(f"cache = {limit!r} is no size. Give bytes, or text such as '20 GB'; 0 keeps no copies.")
    return limit


class Cache:
    """Copies of stored objects. Whatever fails here, a full disk say, costs time and never a result.

    Args:
        limit: bytes that all copies may take; 0 keeps none.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit

    @property
    def _folder(self) -> Path:
        """That of all copies; looked up when it is needed, for each load and save makes a cache."""
        import platformdirs

        folder = os.environ.get(VARIABLE) or platformdirs.user_cache_dir("d6tstore", appauthor=False)
        return Path(folder, "objects").expanduser()

    def takes(self, checksum: str, size: int) -> bool:
        """Is an object of so many bytes worth a copy? One that leaves little room for others is not.

        What is no checksum, in a record that somebody forged, names no file of ours.
        """
        return size > 0 and _room(size) <= self._limit / 4 and _CHECKSUM.fullmatch(checksum) is not None

    def open(self, checksum: str, size: int) -> BinaryIO | None:
        """The copy of an object, if there is a whole one. It is hashed: disks and people change files."""
        if not self.takes(checksum, size):
            return None
        path = self._path(checksum)
        with contextlib.suppress(OSError):
            found = path.stat()
            if found.st_size == size and content.of_file(path) == checksum:
                if time.time() - found.st_mtime > _USED:
                    os.utime(path)
                return path.open("rb")
            path.unlink()
        return None

    @contextlib.contextmanager
    def adding(self, checksum: str) -> Iterator[BinaryIO]:
        """A file to write an object to, which becomes its copy when all went well.

        Raises:
            OSError: there is no room for it, or no right to make it.
        """
        path = self._path(checksum)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=_ADDING, dir=path.parent)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                yield file
                size = file.tell()
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        # About once in a twentieth of the limit, without a count that processes would share.
        if int(checksum[:8], 16) / 2**32 < _room(size) / (self._limit / 20):
            self._trim()

    def add(self, checksum: str, data: bytes | Path) -> None:
        """Keep a copy of an object: its bytes, or a file that has them, which stays."""
        if not self.takes(checksum, length(data)):
            return
        with contextlib.suppress(OSError), self.adding(checksum) as file:
            if isinstance(data, Path):
                with data.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
            else:
                file.write(data)

    def _path(self, checksum: str) -> Path:
        return self._folder / checksum[:2] / checksum

    def _trim(self) -> None:
        """Remove what was not used for longest, until there is room for a while."""
        found, now = [], time.time()
        for path in self._folder.glob("??/*"):
            with contextlib.suppress(OSError):
                stat = path.stat()
                abandoned = path.name.startswith(_ADDING) and now - stat.st_mtime > _ABANDONED
                found.append((0.0 if abandoned else stat.st_mtime, _room(stat.st_size), path))
        left = sum(size for _, size, _ in found)
        goal = self._limit if left <= self._limit else self._limit * 0.9
        for used, size, path in sorted(found):
            if left <= goal and used:
                break
            with contextlib.suppress(OSError):  # open elsewhere (Windows); another process was first
                path.unlink()
            left -= size


def _room(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
