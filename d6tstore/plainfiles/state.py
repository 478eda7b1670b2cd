"""What a pipe of files knows of the files that both sides had: it tells who changed one. It may be deleted."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from d6tstore.backend import Entry
from d6tstore.errors import UsageError
from d6tstore.record import ROOT

_HEX = re.compile(r'"?([0-9a-f]{32})(?:"|$|-None-|-\d{6})')  # of S3, also by way of fsspec; not `<hex>-<parts>`
_BASE64 = re.compile(r"[A-Za-z0-9+/]{22}==(?=-|$)")  # of Google
_LARGEST = 256 << 20  # bytes of a file of ours


class There(NamedTuple):
    """A file at the other side; `modified` (Unix seconds) is None where the server does not tell."""

    size: int
    version: str
    modified: float | None

    @classmethod
    def of(cls, entry: Entry, asked: float) -> There:
        """What a listing says that was asked for at a time: what is not older is of unknown age."""
        return cls(entry.size, entry.version, entry.modified if entry.modified < asked else None)

    @property
    def checksum(self) -> str | None:
        """The MD5 of the file if the server tells it. Of what a server encrypts it is that of something else."""
        if found := _HEX.match(self.version):
            return found[1]
        if found := _BASE64.match(self.version):
            return base64.b64decode(found[0]).hex()
        return None


class Here(NamedTuple):
    """A file in the local folder: bytes, and when it was changed last (ns)."""

    size: int
    mtime: int

    @classmethod
    def of(cls, path: Path) -> Here:
        """Raises OSError."""
        stat = os.stat(path)
        return cls(stat.st_size, stat.st_mtime_ns)


class Base(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What both sides had last: the file there, and its bytes here, by size, mtime (ns) and MD5."""

    size: int
    version: str
    modified: float | None
    mtime: int
    md5: str

    @classmethod
    def made(cls, there: There, mtime: int, md5: str) -> Base:
        """For a file that is now the same on both sides."""
        return cls(*there, mtime, md5)


class _Known(msgspec.Struct, frozen=True):
    url: str
    files: dict[str, Base] = {}


class State:
    """A file of ours in the project.

    Args:
        root: the project.
        pipe: name of the pipe.
        url: of the other side: what is known of another one means nothing.
    """

    def __init__(self, root: Path, pipe: str, url: str) -> None:
        self._path = root / ROOT / "files" / f"{pipe}.json"
        self._url = url

    def read(self) -> dict[str, Base]:
        """What is known, by name; nothing if that was deleted or is damaged."""
        try:
            if self._path.stat().st_size > _LARGEST:
                return {}
            found = msgspec.json.decode(self._path.read_bytes(), type=_Known)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return {}
        return dict(found.files) if found.url == self._url else {}

    def update(self, changed: Mapping[str, Base | None]) -> None:
        """Note files; None forgets one. What another process noted meanwhile stays."""
        known = self.read()
        new = {name: base for name, base in {**known, **changed}.items() if base is not None}
        if new != known:
            replace(self._path, msgspec.json.encode(_Known(self._url, new)))


def replace(path: Path, data: bytes) -> None:
    """Write a small file: all or nothing. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name[:200]}.{os.urandom(8).hex()}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def md5_of(path: Path) -> str:
    """The MD5 of a file, as servers tell it: it finds changes, and guards against nobody.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, md5).hexdigest()
    except OSError as exc:
        raise UsageError(f"{str(path)!r} cannot be read: {exc.strerror}. Get the right to it, or exclude it.") from exc


def md5(data: bytes = b"") -> hashlib._Hash:
    """A hasher that takes what follows."""
    return hashlib.md5(data, usedforsecurity=False)
