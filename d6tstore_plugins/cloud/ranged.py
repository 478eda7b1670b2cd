"""A file of an object that lies elsewhere: what is read of it is fetched."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO, cast


def ranged(get: Callable[[int, int], bytes], size: int, buffer: int = 1 << 16) -> BinaryIO:
    """A seekable file to read from.

    Args:
        get: the bytes from a position to another one.
        size: of the object, in bytes.
        buffer: bytes that are fetched at least.
    """
    return cast("BinaryIO", io.BufferedReader(_Ranged(get, size), buffer))


class _Ranged(io.RawIOBase):
    def __init__(self, get: Callable[[int, int], bytes], size: int) -> None:
        self._get, self._size, self._at = get, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}, which is before the file")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        data = self._get(self._at, end)
        self._at += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
