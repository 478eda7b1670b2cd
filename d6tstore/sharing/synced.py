"""What the two sides of a pipe last agreed on. Never the truth: it may be deleted, then ancestors decide alone."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import msgspec

from d6tstore import record
from d6tstore.backend import Backend
from d6tstore.claiming import claimed
from d6tstore.errors import Denied, NotFound


class Point(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Write ids of a result here and there when both were the same; `bare`: its objects did not go along.

    `here` and `there` are the versions that listings show of those records, as far as they are known and exact: who
    sees them again needs not read the records.
    """

    mine: str
    theirs: str
    bare: bool = False
    here: str = ""
    there: str = ""


class Synced(msgspec.Struct, frozen=True):
    """The points of one pipe by id; those of another place mean nothing."""

    url: str
    points: dict[str, Point] = {}


def read(backend: Backend, pipe: str, url: str) -> dict[str, Point]:
    """The points of a pipe; none if nobody knows them any more."""
    try:
        found = msgspec.json.decode(backend.read(_key(pipe)), type=Synced)
    except (NotFound, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    return dict(found.points) if found.url == url else {}


def update(backend: Backend, pipe: str, url: str, changed: Mapping[str, Point | None]) -> None:
    """Note points; None forgets one. What another process noted meanwhile stays. A store that only reads notes none."""

    def noted() -> None:
        points = read(backend, pipe, url)
        new = {id: point for id, point in {**points, **changed}.items() if point is not None}
        if new != points:
            backend.write(_key(pipe), msgspec.json.encode(Synced(url, new)))

    if changed:
        with contextlib.suppress(Denied):
            claimed(backend, f"pipe-{pipe}", "what both sides agreed on", noted)


def _key(pipe: str) -> str:
    return f"{record.ROOT}pipes/{pipe}.json"
