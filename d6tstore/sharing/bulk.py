"""Small results go many at once: first all their objects, then all their records."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from d6tstore import content, record
from d6tstore.backend import Backend, Entry, TableBackend
from d6tstore.errors import Unsupported
from d6tstore.record import Output, Record
from d6tstore.sharing import publishing
from d6tstore.sharing.moving import Route
from d6tstore.transfers import SMALL

_MANY = 64  # results
_MOST = 16 << 20  # bytes


def groups(wanted: Iterable[tuple[str, Route, Record]]) -> list[list[str]]:
    """Ids of results that go together.

    Args:
        wanted: ids, ways and records of results that the target does not have.
    """
    found: list[list[str]] = []
    last, size = None, 0
    for id, route, old in wanted:
        if isinstance(route.target, TableBackend) or any(o.table or o.bytes > SMALL for o in old.outputs.values()):
            continue
        if last != route or len(found[-1]) == _MANY or size + old.bytes > _MOST:
            found.append([])
            last, size = route, 0
        found[-1].append(id)
        size += old.bytes
    return found


def send(route: Route, records: Iterable[Record], there: Mapping[str, Entry]) -> dict[str, Entry]:
    """Bring the objects of some records.

    Returns:
        Those that arrived, by their keys at the target. What is gone from the source, or is not what its record
        says, is left out: `Route.carry` says why.

    Raises:
        BackendError: one of the places fails. Some may have arrived.
    """
    lacking = [o for old in records for o in old.outputs.values() if not replace(o, key=route.key(o.key)).is_in(there)]
    data = route.source.read_many([output.key for output in lacking])
    whole = [o for o in lacking if o.key in data and _is_whole(o, data[o.key])]
    route.target.write_many({route.key(output.key): data[output.key] for output in whole})
    arrived = (Entry(route.key(output.key), output.bytes, "", 0.0) for output in whole)
    return {entry.key: entry for entry in arrived}


def _is_whole(output: Output, data: bytes) -> bool:
    return len(data) == output.bytes and content.of_bytes(data) == output.checksum


def create(backend: Backend, records: Mapping[str, Record], claim: bool) -> dict[str, str]:
    """Make records current where there are none.

    Args:
        backend: where.
        records: by any name.
        claim: hold the claims, as for `publish`.

    Returns:
        The versions of those that are current now, by name; empty where they are not known. Those left out have to be
        published one by one: somebody computes the task, or made another record.

    Raises:
        BackendError: the place fails. Some may be there.
    """
    if not claim:
        with contextlib.suppress(Unsupported):
            made = backend.create_many({new.key: record.encode(new) for new in records.values()})
            return {name: made[new.key] for name, new in records.items() if new.key in made}
    if backend.remote:
        return {}  # a claim takes requests: one by one they go several at once
    info = record.claimant()
    return {name: "" for name, new in records.items() if publishing.create(backend, new, info)}
