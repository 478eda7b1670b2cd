"""Objects that go over a network: checked on their way, with copies kept here, and somebody told how far they are."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from d6tstore import content
from d6tstore.backend import Backend, length
from d6tstore.cache import Cache
from d6tstore.errors import BackendError
from d6tstore.progress import Progress
from d6tstore.record import Output
from d6tstore.repository import Repository

SMALL = 1 << 20
"""Bytes: objects up to here are read at once, larger ones through a file."""
_FIRST, _MOST = 16 << 20, 64 << 20  # bytes that are asked for at once: the first time, and at most
_PAUSE = 0.5  # seconds that they should take

Check = Callable[[int, Callable[[], str]], None]


class Transfers(NamedTuple):
    """What this machine does about transfers.

    Args:
        cache: keeps copies.
        progress: hears of those that take long.
    """

    cache: Cache
    progress: Progress

    @classmethod
    def of(cls, repository: Repository) -> Transfers:
        """As the settings of a store say."""
        return cls(Cache(repository.cache), repository.progress)

    @classmethod
    def plain(cls) -> Transfers:
        """Without copies, and silent."""
        return cls(Cache(0), Progress())

    def send(self, backend: Backend, key: str, data: bytes | Path, checksum: str) -> None:
        """Write an object; of one that goes far, keep a copy for those who load it here. Raises as `Backend.write`."""
        if not backend.remote:
            backend.write(key, data)
            return
        self.cache.add(checksum, data)
        backend.upload(key, data, self.progress.meter("up", key, length(data)))

    def fetch(self, backend: Backend, output: Output, check: Check) -> BinaryIO:
        """A file of all of an object.

        Args:
            backend: where it lies.
            output: which it is.
            check: refuses bytes by their number and checksum.

        Raises:
            NotFound, BackendError: as `Backend.read`; and what `check` raises.
        """
        cache = self.cache
        if output.bytes <= SMALL:
            data = backend.read(output.key)
            check(len(data), lambda: content.of_bytes(data))
            cache.add(output.checksum, data)
            return io.BytesIO(data)
        if cache.takes(output.checksum, output.bytes):
            try:
                with cache.adding(output.checksum) as file:
                    self._copy(backend, output, file, check)
            except OSError as exc:
                if isinstance(exc, BackendError):
                    raise
            if (copy := cache.open(output.checksum, output.bytes)) is not None:
                return copy
        file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
        try:
            self._copy(backend, output, file, check)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def _copy(self, backend: Backend, output: Output, file: BinaryIO, check: Check) -> None:
        copy(backend, output, file, check, self.progress.meter("down", output.key, output.bytes))


def copy(
    backend: Backend, output: Output, file: BinaryIO, check: Check, tell: Callable[[int], None] | None = None
) -> None:
    """Write all of an object to a file. Arguments and errors as for `Transfers.fetch`; `tell` hears of each step.

    One chunk is hashed and written while the next one comes; chunks are as large as come in half a second. Of an
    object that is longer than it says not much more than that is read.
    """
    hasher = content.Hasher()

    def take(chunk: bytes) -> None:
        hasher.update(chunk)
        file.write(chunk)
        if tell is not None:
            tell(len(chunk))

    size, begun, left = _FIRST, time.monotonic(), output.bytes
    with backend.open_read(output.key) as source, ThreadPoolExecutor(1, "d6tstore-fetch") as pool:
        waiting: Future[Any] | None = None
        while left >= 0 and (chunk := source.read(size)):
            took, begun = time.monotonic() - begun, time.monotonic()
            size = min(2 * size, _MOST) if took < _PAUSE else max(size // 2, SMALL)
            left -= len(chunk)
            if waiting is not None:
                waiting.result()
            waiting = pool.submit(take, chunk)
        if waiting is not None:
            waiting.result()
    check(file.tell(), hasher.digest)
