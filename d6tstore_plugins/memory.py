"""Backend `memory`: memory of this process. For tests, and for what is cheaper to compute than to keep."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from d6tstore.backend import Backend, Entry, check_key
from d6tstore.errors import Held, NotFound, Unsupported


class MemoryBackend(Backend):
    """Objects are bytes in a dictionary, or live Python objects; both end with the process.

    It pickles as a name: in the same process that is the same memory, in another one an empty memory.
    """

    holds_live = True
    _known: ClassVar[weakref.WeakValueDictionary[str, MemoryBackend]] = weakref.WeakValueDictionary()

    def __init__(self, url: str = "memory://") -> None:
        self.url = url
        self.name = uuid.uuid4().hex
        self._objects: dict[str, tuple[bytes, str, float]] = {}
        self._live: dict[str, Any] = {}
        self._claims: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()
        self._known[self.name] = self

    def __reduce__(self) -> tuple[Any, ...]:
        return _named, (self.name, self.url, os.getpid())

    def read(self, key: str) -> bytes:
        """Bytes under a key; see `Backend.read`."""
        try:
            return self._objects[check_key(key)][0]
        except KeyError:
            raise NotFound(f"no object under {key!r} in memory. It was removed, or never written.") from None

    def write(self, key: str, data: bytes | Path) -> None:
        """Keep bytes; see `Backend.write`."""
        check_key(key)
        if isinstance(data, Path):
            path, data = data, data.read_bytes()
            path.unlink()
        self._live.pop(key, None)
        self._objects[key] = bytes(data), uuid.uuid4().hex, time.time()

    def delete(self, key: str) -> None:
        """Forget a key."""
        self._objects.pop(check_key(key), None)
        self._live.pop(key, None)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """What is kept under a prefix."""
        for key, (data, version, modified) in sorted(self._objects.copy().items()):
            if key.startswith(prefix):
                yield Entry(key, len(data), version, modified)

    def stat(self, keys: Iterable[str]) -> dict[str, Entry]:
        """One look-up for each key."""
        found = {}
        for key in keys:
            if kept := self._objects.get(check_key(key)):
                found[key] = Entry(key, len(kept[0]), kept[1], kept[2])
        return found

    def hold(self, key: str, value: Any) -> None:
        """Keep an object as it is."""
        self.write(key, b"")
        self._live[key] = value

    def held(self, key: str) -> Any:
        """The object itself."""
        try:
            return self._live[key]
        except KeyError:
            raise NotFound(f"no live object under {key!r} in this process. Run its task again.") from None

    @contextlib.contextmanager
    def claim(self, key: str, info: Mapping[str, str]) -> Iterator[None]:
        """A claim among the threads of this process."""
        with self._lock:
            if key in self._claims:
                raise Held(f"{key} is being computed", info=self._claims[key])
            self._claims[key] = dict(info)
        try:
            yield
        finally:
            with self._lock:
                del self._claims[key]


class ForeignMemory(Backend):
    """The memory of another process: every use says that it cannot be reached."""

    def __init__(self, url: str) -> None:
        self.url = url

    holds_live = True

    def _refusal(self) -> Unsupported:
        return Unsupported(
            f"{self.url} is the memory of another process. Run with threads (workers=), or keep the results of these "
            "tasks in a folder."
        )

    def read(self, key: str) -> bytes:
        """Refused."""
        raise self._refusal()

    def write(self, key: str, data: bytes | Path) -> None:
        """Refused."""
        raise self._refusal()

    def delete(self, key: str) -> None:
        """Refused."""
        raise self._refusal()

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Refused."""
        raise self._refusal()

    def hold(self, key: str, value: Any) -> None:
        """Refused."""
        raise self._refusal()

    def held(self, key: str) -> Any:
        """Refused."""
        raise self._refusal()


def _named(name: str, url: str, pid: int) -> Backend:
    if pid != os.getpid():
        return ForeignMemory(url)
    if name not in MemoryBackend._known:
        backend = MemoryBackend(url)
        backend.name = name
        MemoryBackend._known[name] = backend
        return backend
    return MemoryBackend._known[name]
