"""Claims by conditional writes: an object that one can make, which is renewed while its maker lives, and expires."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from d6tstore.errors import BackendError, Held, NotFound
from d6tstore.record import ROOT

CLAIMS = f"{ROOT}claims/"
_UNKNOWN = 60.0  # seconds of a claim that we cannot read
_SKEW = 900.0  # seconds that the clock of the service may differ from ours


class LeaseWarning(UserWarning):
    """There are no claims here. All results are right; two may compute the same task."""


class _Lease(msgspec.Struct):
    info: dict[str, str]
    seconds: float
    beat: str = ""  # another one each time, for the tag of an object may be that of its bytes


class Leases:
    """The claims that this process holds below one prefix.

    A claim is over when it did not change for its time: by our own clock from when we first saw it, so that no two
    clocks are compared; or by far, by the time that the service says.

    Args:
        client: of the objects, with `put_if`, `get_tagged`, `head` and `delete`.
        place: how messages name it.
        seconds: how long a claim lasts without being renewed.
    """

    def __init__(self, client: Any, place: str, seconds: float) -> None:
        self._client, self._place, self._seconds = client, place, seconds
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._mine: dict[str, _Lease] = {}  # those that we hold, or are about to
        self._tags: dict[str, str] = {}  # of those that we hold
        self._busy: set[str] = set()  # those that are being renewed
        self._seen: dict[str, tuple[str, float]] = {}  # of those of others: tag, and when we saw it first
        self._works: bool | None = None
        self._trying = threading.Lock()
        self._wake = threading.Event()
        self._renewing: threading.Thread | None = None

    @contextlib.contextmanager
    def held(self, key: str, info: Mapping[str, str]) -> Iterator[None]:
        """Hold a key. Raises Held: somebody else has it."""
        if not self.works():
            yield
            return
        at, lease = f"{CLAIMS}{key}.json", _Lease(dict(info), self._seconds)
        with self._lock:
            if at in self._mine:
                raise Held(f"{key} is being computed", info=self._mine[at].info)
            self._mine[at] = lease
        try:
            tag = self._put(at, lease, None) or self._taken_over(key, at, lease)
        except BaseException:
            self._mine.pop(at, None)
            raise
        with self._lock:
            self._tags[at] = tag
            if self._renewing is None:
                self._renewing = threading.Thread(target=self._renew, name="d6tstore-claims", daemon=True)
                self._renewing.start()
        try:
            yield
        finally:
            self._release(at)

    def _put(self, at: str, lease: _Lease, expected: str | None) -> str | None:
        """The new tag of a lease; None if somebody else was first.

        Of a write whose answer was lost, and which the client tried again, it was ourselves who was first.
        """
        data = msgspec.json.encode(msgspec.structs.replace(lease, beat=uuid.uuid4().hex))
        if tag := self._client.put_if(at, data, expected):
            return str(tag)
        with contextlib.suppress(NotFound):
            found, tag = self._client.get_tagged(at)
            if found == data:
                return str(tag)
        return None

    def _taken_over(self, key: str, at: str, mine: _Lease) -> str:
        """The tag of a lease that was over, and is ours now. Raises Held: it is not over."""
        for _ in range(3):  # it may go, or change hands, while we look at it
            try:
                found, tag = self._client.get_tagged(at)
            except NotFound:
                if made := self._put(at, mine, None):
                    return made
                continue
            lease = _decoded(found)
            first = self._seen.setdefault(at, (tag, time.monotonic()))
            if first[0] != tag:
                first = self._seen[at] = (tag, time.monotonic())
            entry = self._client.head(at)
            age = time.time() - entry.modified if entry is not None else 0.0
            if time.monotonic() - first[1] < lease.seconds and age < lease.seconds + _SKEW:
                raise Held(f"{key} is being computed", info=lease.info)
            if taken := self._put(at, mine, tag):
                self._seen.pop(at, None)
                return taken
        raise Held(f"{key} is being computed", info={"who": "somebody", "host": "?", "since": "?"})

    def _release(self, at: str) -> None:
        if os.getpid() != self._pid:
            return  # a forked child: the claim is its parent's
        with self._lock:
            tag, lease = self._tags.pop(at, None), self._mine.pop(at, None)
        if tag is not None and lease is not None:
            with contextlib.suppress(BackendError):  # it expires
                # Ours to the last moment, or somebody took it over: then it is theirs.
                if self._put(at, msgspec.structs.replace(lease, seconds=0.0), tag):
                    self._client.delete([at])

    def _renew(self) -> None:
        while not self._wake.wait(self._seconds / 3):
            for at in set(self._tags) - self._busy:  # one that stalls does not keep the others
                self._busy.add(at)
                threading.Thread(target=self._renew_one, args=[at], name="d6tstore-claim", daemon=True).start()

    def _renew_one(self, at: str) -> None:
        try:
            with self._lock:
                tag, lease = self._tags.get(at), self._mine.get(at)
            if tag is None or lease is None:
                return
            renewed = self._put(at, lease, tag)
            with self._lock:
                held = self._tags.get(at) == tag
                if held and renewed is None:  # we were away for too long
                    self._tags.pop(at)
                elif held and renewed:
                    self._tags[at] = renewed
            if renewed and not held:  # released meanwhile, which our write was in the way of
                self._client.delete([at])
        except BackendError:
            return  # next time
        finally:
            self._busy.discard(at)

    def works(self) -> bool:
        """Does the service keep conditions? Tried once, for some ignore them."""
        with self._trying:
            if self._works is None:
                self._works = self._tried()
                if not self._works:
                    warnings.warn(
                        f"{self._place} has no conditional writes, so there are no claims: two who run at the same "
                        "time may compute the same task twice. All results are right.", LeaseWarning, stacklevel=4,
                    )  # fmt: skip
            return self._works

    def _tried(self) -> bool:
        probe = f"{CLAIMS}.probe-{uuid.uuid4().hex}"
        try:
            first = self._put(probe, _Lease({}, 1.0), None)
            return bool(first) and self._client.put_if(probe, b"", None) is None
        except BackendError as exc:
            if "NotImplemented" not in str(exc) and "501" not in str(exc):
                raise
            return False
        finally:
            with contextlib.suppress(BackendError):
                self._client.delete([probe])

    def close(self) -> None:
        """Give up all claims."""
        self._wake.set()
        for at in list(self._tags):
            self._release(at)


def _decoded(data: bytes) -> _Lease:
    try:
        return msgspec.json.decode(data, type=_Lease)
    except msgspec.MsgspecError:
        return _Lease({"who": "somebody", "host": "?", "since": "?"}, _UNKNOWN)
