"""Many records by few requests: beside them lies one object per family with the bytes of them all.

It is never the truth: of each record it has the tag too, and what a listing shows under another tag is read itself.
Whoever had to read many writes it anew, so it may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from d6tstore.backend import Entry
from d6tstore.errors import BackendError, NotFound
from d6tstore.record import ROOT

INDEX = f"{ROOT}index/"
FEW = 32
"""Requests that are made one by one, at the same time, before a listing is cheaper."""
_PAGE = 1_000  # keys of a listing; one takes about as long as so many small objects read at once:
_WORTH = 20
_MOST = 100_000  # records of a family; beyond, the index itself would take too long
_LARGEST = 1 << 30  # bytes of an index, unpacked; more than that is somebody's bomb

Known = dict[str, tuple[str, bytes]]  # tag and bytes by key


class Index:
    """What this process knows of the records of one backend.

    Args:
        client: of the objects.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._known: dict[str, Known] = {}  # by folder: from the index, and what we read and wrote

    def note(self, key: str, data: bytes, tag: str) -> None:
        """What we wrote needs not be read."""
        with self._lock:
            self._known.setdefault(_folder(key), {})[key] = tag, data

    def forget(self, key: str) -> None:
        """We removed it: whatever a listing shows, it is asked for itself."""
        with self._lock:
            if key in self._known.get(_folder(key), ()):
                self._known[_folder(key)][key] = "", b""

    def read(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The bytes of those records that exist."""
        found: dict[str, bytes] = {}
        single: list[str] = []
        for folder, group in grouped(keys, _folder).items():
            there = listed(self._client, folder, group)
            if there is None:
                single += group
            else:
                found.update(self._read(folder, there, group))
        return found | {key: data for key, (_, data) in self._got(single).items()}

    def family(self, folder: str) -> dict[str, bytes]:
        """The bytes of all records of a folder."""
        there = {entry.key: entry for entry in self._client.list(folder)}
        return self._read(folder, there, there)

    def _read(self, folder: str, there: Mapping[str, Entry], wanted: Iterable[str]) -> dict[str, bytes]:
        with self._lock:
            noted = dict(self._known.get(folder, {}))
        known, current = _fresh(noted, there), {key for key in wanted if key in there}
        if len(current - known.keys()) > FEW:
            known = _fresh(self._stored(folder), there) | known
        # A listing may lag behind what we wrote. What goes before we ask is gone, whatever we knew of it.
        missing = current - known.keys() | {key for key in wanted if key in noted and key not in there}
        known |= self._got(missing)
        if len(missing) > FEW:
            self._store(folder, known)
        with self._lock:
            self._known[folder] = known
        return {key: known[key][1] for key in wanted if key in known}

    def settle(self, folder: str) -> None:
        """Bring the index up to date: many records were written."""
        with contextlib.suppress(BackendError):  # who may not list; next time
            there = {entry.key: entry for entry in self._client.list(folder)}
            stored = _fresh(self._stored(folder), there)
            if len(there.keys() - stored.keys()) <= FEW:
                return
            with self._lock:
                known = stored | _fresh(self._known.get(folder, {}), there)
            self._store(folder, known | self._got(there.keys() - known.keys()))

    def _got(self, keys: Iterable[str]) -> Known:
        return {key: (tag, data) for key, (data, tag) in self._client.get_many(sorted(keys)).items()}

    def _stored(self, folder: str) -> Known:
        try:
            entry = self._client.head(_index(folder))
            if entry is None or entry.size > _LARGEST:
                return {}
            unpacked = zlib.decompressobj().decompress(self._client.get(_index(folder)), _LARGEST + 1)
            return msgspec.msgpack.decode(unpacked, type=Known) if len(unpacked) <= _LARGEST else {}
        except (NotFound, msgspec.MsgspecError, zlib.error):  # none, or somebody damaged it
            return {}

    def _store(self, folder: str, known: Known) -> None:
        if len(known) > _MOST:
            return
        with contextlib.suppress(BackendError):  # who may not write does without
            self._client.put(_index(folder), zlib.compress(msgspec.msgpack.encode(known), 1))


def grouped(keys: Iterable[str], part: Callable[[str], str]) -> dict[str, list[str]]:
    """Keys by a part of them."""
    found: dict[str, list[str]] = {}
    for key in keys:
        found.setdefault(part(key), []).append(key)
    return found


def top(key: str) -> str:
    """What stands before the first slash of a key, the family of a task; empty if there is none."""
    first, slash, _ = key.partition("/")
    return first if slash else ""


def listed(client: Any, folder: str, wanted: list[str]) -> dict[str, Entry] | None:
    """The entries of a folder, if listing it is cheaper than asking for what is wanted of it; else None."""
    if len(wanted) <= FEW:
        return None
    limit = (1 + len(wanted) // _WORTH) * _PAGE
    found = {entry.key: entry for entry in itertools.islice(client.list(folder), limit)}
    return found if len(found) < limit else None


def _fresh(known: Known, there: Mapping[str, Entry]) -> Known:
    """What is still as a listing shows it."""
    return {key: value for key, value in known.items() if key in there and there[key].version == value[0]}


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def _index(folder: str) -> str:
    return f"{INDEX}{folder.rpartition('/')[2]}.z"
