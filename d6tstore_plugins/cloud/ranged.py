"""A file of an object that lies elsewhere: what is read of it is fetched."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO, cast

Fill = Callable[[int, memoryview], None]


def ranged(fill: Fill, size: int, buffer: int = 1 << 16) -> BinaryIO:
    """A seekable file to read from.

    Args:
        fill: fills memory with the bytes from a position on.
        size: of the object, in bytes.
        buffer: bytes that are fetched at least.
    """
    return cast("BinaryIO", io.BufferedReader(_Ranged(fill, size), buffer))


class _Ranged(io.RawIOBase):
    def __init__(self, fill: Fill, size: int) -> None:
        self._fill, self._size, self._at = fill, size, 0

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

    def readall(self) -> bytes:  # else by 8 KB
        data = bytearray(max(self._size - self._at, 0))
        self.readinto(data)
        return bytes(data)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")[: max(self._size - self._at, 0)]
        if view:
            self._fill(self._at, view)
            self._at += len(view)
        return len(view)
