"""Objects that were left at the other side of a pipe come when they are first loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from msgspec.structs import replace

from d6tstore import record
from d6tstore.access import Remote
from d6tstore.backend import Backend
from d6tstore.errors import Changed, Damaged, NotFound
from d6tstore.keys import suspicion
from d6tstore.record import Record
from d6tstore.repository import Repository
from d6tstore.sharing.moving import Route
from d6tstore.sharing.publishing import publish

_ACCEPTED = 4  # versions back that are sought in the history there


def fetch(repository: Repository, backend: Backend, found: Record, names: Collection[str]) -> Record:
    """Bring objects of a result that was pulled.

    Args:
        repository: of the store.
        backend: of the result, in that store.
        found: its record there.
        names: of the outputs.

    Returns:
        The record as it is now: where frames are stored otherwise here than there, it says so.

    Raises:
        NotFound: it did not come from a pipe that is known here, or is not kept there any more.
        Damaged: what is there is not what was pulled.
        BackendError, CredentialsError: the other side cannot be reached.
    """
    remote = repository.remote(found.origin)
    if remote is None:
        raise NotFound(f"{found.id} did not come from a pipe that is known here.")
    namespace = remote.access.namespace
    kept = _record_there(remote, Route(backend, repository.namespace, remote.backend, namespace), found)
    cure = f"Others are not affected. Who has it whole can mend it: d6tstore pipe verify {remote.name} --repair."
    route = Route(remote.backend, namespace, backend, repository.namespace, cure)
    _check(remote, route, kept, found, names)
    there = backend.stat([route.key(kept.outputs[name].key) for name in names])
    total = sum(kept.outputs[name].bytes for name in names)
    tell = repository.progress.meter("down", remote.name, total, len(names))
    came = route.carry(kept, lambda output: output.key in there, names, tell)  # even if somebody edited it here
    outputs = {**found.outputs, **{name: came.outputs[name] for name in names}}
    if outputs != found.outputs:
        current = backend.read_many([found.key]).get(found.key)
        seen = None if current is None else record.decode(current, found.key)
        if seen is not None and seen.write_id == found.write_id:
            new = replace(seen, outputs={**seen.outputs, **{name: came.outputs[name] for name in names}})
            with contextlib.suppress(Changed):  # somebody replaced it: then this is nobody's result any more
                publish(backend, new, seen, repository.keep_versions)
    return replace(found, outputs=outputs)


def _check(remote: Remote, route: Route, kept: Record, found: Record, names: Collection[str]) -> None:
    """Raise Damaged if outputs are not those that were pulled, or objects have other sizes: they are not read then."""
    there = remote.backend.stat([output.key for output in kept.outputs.values()])
    for name in names:
        theirs, mine = kept.outputs.get(name), found.outputs[name]
        if (
            theirs is None
            or theirs.content != mine.content
            or (route.key(theirs.key) == mine.key and theirs.checksum != mine.checksum)
        ):
            raise Damaged(f"{found.id}: output {name!r} in {remote!r} is not what was pulled. Pull it again.",
                          problem="is another output")  # fmt: skip
        if theirs.key in there and not theirs.is_in(there):
            problem = f"has {there[theirs.key].size:,} bytes, its record says {theirs.bytes:,}"
            raise Damaged(f"{found.id}: object {theirs.key!r} in {remote!r} {problem}. {route.cure}", problem=problem)


def _record_there(remote: Remote, route: Route, found: Record) -> Record:
    """The record of just this version at the other side: the current one, or a kept one."""
    family = route.family(found.family)
    wanted = replace(found, family=family)
    known = [found.write_id, *found.ancestors]  # an edit that was accepted here follows what was pulled
    kept_keys = [replace(wanted, write_id=each).history_key for each in known[:_ACCEPTED]]
    for key in (wanted.key, *kept_keys):
        data = remote.backend.read_many([key]).get(key)
        kept = None if data is None else record.decode(data, key)
        if kept is not None and kept.write_id in known:
            if problem := suspicion(kept.key, kept, remote.access.namespace):
                raise Damaged(f"{found.id}: its record in {remote!r} is damaged or forged: {problem}. Pull it again.",
                              problem=problem)  # fmt: skip
            return kept
    raise NotFound(f"{found.id} was replaced in the pipe {remote.name!r} since it was pulled. Pull it again.")
