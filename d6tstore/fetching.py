"""Objects that come over a network: checked on their way, and copies of them kept here."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, cast

from d6tstore import content
from d6tstore.backend import Backend
from d6tstore.cache import Cache
from d6tstore.errors import BackendError
from d6tstore.record import Output

SMALL = 1 << 20
"""Bytes: objects up to here are read at once, larger ones through a file."""
_CHUNK = 64 << 20  # bytes that are asked for at once


def fetched(
    backend: Backend, output: Output, cache: Cache, check: Callable[[int, Callable[[], str]], None]
) -> BinaryIO:
    """A file of all of an object.

    Args:
        backend: where it lies.
        output: which it is.
        cache: gets a copy, if there is room.
        check: refuses bytes by their number and checksum.

    Raises:
        NotFound, BackendError: as `Backend.read`; and what `check` raises.
    """
    if output.bytes <= SMALL:
        data = backend.read(output.key)
        check(len(data), lambda: content.of_bytes(data))
        cache.add(output.checksum, data)
        return io.BytesIO(data)
    if cache.takes(output.checksum, output.bytes):
        try:
            with cache.adding(output.checksum) as file:
                _copied(backend, output.key, file, check)
        except OSError as exc:
            if isinstance(exc, BackendError):
                raise
        if (copy := cache.open(output.checksum, output.bytes)) is not None:
            return copy
    file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
    try:
        _copied(backend, output.key, file, check)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _copied(backend: Backend, key: str, file: BinaryIO, check: Callable[[int, Callable[[], str]], None]) -> None:
    """Hash and write one chunk while the next one comes."""
    hasher = content.Hasher()

    def take(chunk: bytes) -> None:
        hasher.update(chunk)
        file.write(chunk)

    with backend.open_read(key) as source, ThreadPoolExecutor(1, "d6tstore-fetch") as pool:
        waiting: Future[Any] | None = None
        while chunk := source.read(_CHUNK):
            if waiting is not None:
                waiting.result()
            waiting = pool.submit(take, chunk)
        if waiting is not None:
            waiting.result()
    check(file.tell(), hasher.digest)
