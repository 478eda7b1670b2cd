"""A file for an output that is being written: in memory while it is small."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

from d6tstore import content
from d6tstore.backend import Backend

_SPOOL = 4 << 20  # bytes that are gathered in memory before an output goes through a file


class Spool(io.RawIOBase):
    """A file in memory that moves to the backend's staging place when it grows."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._file: Any = io.BytesIO()
        self._path: Path | None = None

    def write(self, data: Any) -> int:
        """Append bytes."""
        size = len(data) if type(data) is bytes else memoryview(data).nbytes
        if self._path is None and self._file.tell() + size > _SPOOL:
            self._path = self._backend.staging()
            buffered, self._file = self._file, self._path.open("w+b")
            self._file.write(buffered.getbuffer())
            self._file.seek(buffered.tell())
        self._file.write(data)
        return size

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move; formats such as zip patch their header."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Where we are."""
        return int(self._file.tell())

    def readable(self) -> bool:
        """False: it is for writing."""
        return False

    def writable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def as_path(self) -> Path:
        """A path to write to instead, for libraries that want one."""
        self._path = self._backend.staging()
        return self._path

    def checksum(self) -> tuple[str, int]:
        """Checksum and size of what was written."""
        if self._path is None:
            data = self._file.getbuffer()
            return content.of_bytes(data), data.nbytes
        self._file.close()
        return content.of_file(self._path), self._path.stat().st_size

    def take(self) -> bytes | Path:
        """What to give to `Backend.write`."""
        return self._file.getvalue() if self._path is None else self._path

    def __exit__(self, *exc: Any) -> None:
        if self._path is not None:
            with contextlib.suppress(OSError):  # its buffer meets the full disk once more
                self._file.close()
            with contextlib.suppress(OSError):
                os.unlink(self._path)
