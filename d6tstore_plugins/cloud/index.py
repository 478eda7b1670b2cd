"""Many records by few requests: beside them lies one object per family with the bytes of them all.

It is never the truth: of each record it has the tag too, and what a listing shows under another tag is read itself.
Whoever had to read many writes it anew, so it may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pyarrow as pa

from d6tstore.backend import Entry
from d6tstore.errors import BackendError, NotFound
from d6tstore.record import ROOT

INDEX = f"{ROOT}index/"
FEW = 32
"""Requests that are made one by one, at the same time, before a listing is cheaper."""
_PAGE = 1_000  # keys of a listing; one takes about as long as so many small objects read at once:
_WORTH = 20
_MOST = 100_000  # records of a family; beyond, the index itself would take too long

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
        for folder, group in by_folder(keys).items():
            there = listed(self._client, folder, group)
            if there is None:
                single += group
            else:
                found.update(self._read(folder, there, group))
        found.update((key, data) for key, (data, _) in self._client.get_many(single).items())
        return found

    def family(self, folder: str) -> dict[str, bytes]:
        """The bytes of all records of a folder."""
        there = {entry.key: entry for entry in self._client.list(folder)}
        return self._read(folder, there, there)

    def _read(self, folder: str, there: Mapping[str, Entry], wanted: Iterable[str]) -> dict[str, bytes]:
        with self._lock:
            known = dict(self._known.get(folder, {}))
        current = {key for key in wanted if key in there}
        if len(current - _fresh(known, there)) > FEW:
            known = {**self._stored(folder), **{key: known[key] for key in _fresh(known, there)}}
        # A listing may lag behind what we wrote.
        missing = current - _fresh(known, there) | {key for key in wanted if key in known and key not in there}
        got = self._client.get_many(sorted(missing))
        known.update((key, (tag, data)) for key, (data, tag) in got.items())
        # What was removed between the listing and our asking is gone, whatever we knew of it.
        known = {key: value for key, value in known.items() if key in got or (key in there and key not in missing)}
        if len(missing) > FEW:
            self._store(folder, known)
        with self._lock:
            self._known[folder] = known
        return {key: known[key][1] for key in wanted if key in known}

    def settle(self, folder: str) -> None:
        """Bring the index up to date: many records were written."""
        with contextlib.suppress(BackendError):  # who may not list; next time
            there = {entry.key: entry for entry in self._client.list(folder)}
            stored = self._stored(folder)
            with self._lock:
                known = self._known.setdefault(folder, {})
                mine = {key: known[key] for key in _fresh(known, there)}
            if len(there.keys() - _fresh(stored, there)) <= FEW:
                return
            known = {**stored, **mine}
            known = {key: known[key] for key in _fresh(known, there)}
            got = self._client.get_many(sorted(there.keys() - known.keys()))
            self._store(folder, known | {key: (tag, data) for key, (data, tag) in got.items()})

    def _stored(self, folder: str) -> Known:
        try:
            compressed: bytes = self._client.get(_index(folder))
            return msgspec.msgpack.decode(
                pa.CompressedInputStream(pa.BufferReader(compressed), "zstd").read(), type=Known
            )
        except (NotFound, msgspec.MsgspecError, OSError, pa.ArrowException):  # none, or somebody damaged it
            return {}

    def _store(self, folder: str, known: Known) -> None:
        if len(known) > _MOST:
            return
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as file:
            file.write(msgspec.msgpack.encode(known))
        with contextlib.suppress(BackendError):  # who may not write does without
            self._client.put(_index(folder), sink.getvalue().to_pybytes())


def by_folder(keys: Iterable[str]) -> dict[str, list[str]]:
    """Keys by what stands before their last slash."""
    found: dict[str, list[str]] = {}
    for key in keys:
        found.setdefault(_folder(key), []).append(key)
    return found


def by_top(keys: Iterable[str]) -> dict[str, list[str]]:
    """Keys by what stands before their first slash: the family of a task."""
    found: dict[str, list[str]] = {}
    for key in keys:
        top, slash, _ = key.partition("/")
        found.setdefault(top if slash else "", []).append(key)
    return found


def listed(client: Any, folder: str, wanted: list[str]) -> dict[str, Entry] | None:
    """The entries of a folder, if listing it is cheaper than asking for what is wanted of it; else None."""
    if len(wanted) <= FEW:
        return None
    limit = (1 + len(wanted) // _WORTH) * _PAGE
    found = {entry.key: entry for entry in itertools.islice(client.list(folder), limit)}
    return found if len(found) < limit else None


def _fresh(known: Known, there: Mapping[str, Entry]) -> set[str]:
    return {key for key, (tag, _) in known.items() if key in there and there[key].version == tag}


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def _index(folder: str) -> str:
    return f"{INDEX}{folder.rpartition('/')[2]}.zst"
