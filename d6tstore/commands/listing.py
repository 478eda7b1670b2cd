"""What lies in a store: its families, the results of one, and the versions of one result."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator
from typing import Any, NamedTuple

from d6tstore import record
from d6tstore.backend import Backend
from d6tstore.errors import RecordError, UsageError
from d6tstore.keys import plain_family
from d6tstore.maintenance import record_entries
from d6tstore.record import Record
from d6tstore.repository import Repository
from d6tstore.tables import one_line


class Family(NamedTuple):
    """The results of one class together: how many, their bytes, the time of the newest, and how many are damaged."""

    name: str
    results: int
    bytes: int
    newest: str
    damaged: int


def families(repository: Repository) -> list[Family]:
    """All families that have results in a store, by name."""
    found: dict[str, list[Record | None]] = {}
    for backend in repository.backends():
        for family in _families_of(backend, repository):
            found.setdefault(family, []).extend(_records(backend, family))
    return [_family(plain_family(name, repository.namespace), all) for name, all in sorted(found.items()) if all]


def _family(name: str, all: list[Record | None]) -> Family:
    whole = [each for each in all if each is not None]
    newest = max((each.time for each in whole), default="")
    return Family(name, len(whole), sum(each.bytes for each in whole), newest, len(all) - len(whole))


def results(repository: Repository, family: str) -> tuple[list[Record], int]:
    """The results of a family, the newest first, and how many records are damaged.

    Args:
        repository: of the store.
        family: name of the class.

    Raises:
        UsageError: it has no results here.
    """
    full = f"{repository.namespace}.{family}" if repository.namespace else family
    all = [] if "/" in family else [r for backend in repository.backends() for r in _records(backend, full)]
    if not all:
        known = [each.name for each in families(repository)]
        near = difflib.get_close_matches(family, known, 1)
        listed = f" It has results of {', '.join(known)}." if known else " It has no results at all."
        url = repository.default.url
        raise UsageError(
            f"{url} has no results of {one_line(family)!r}{f', did you mean {near[0]}?' if near else '.'}{listed}"
        )
    found = [each for each in all if each is not None]
    return sorted(found, key=lambda each: each.time, reverse=True), len(all) - len(found)


def _families_of(backend: Backend, repository: Repository) -> list[str]:
    keys = (entry.key for entry in record_entries(backend, repository))
    return list(dict.fromkeys(key.removeprefix(record.RECORDS).partition("/")[0] for key in keys))


def _records(backend: Backend, family: str) -> Iterator[Record | None]:
    """Its records; None for each that is damaged."""
    for key, data in backend.records(family):
        found = None
        with contextlib.suppress(RecordError):
            found = record.decode(data, key)
        yield found


def shown_parameters(found: Record) -> str:
    """The parameters of a result for people, as far as one line has room."""
    return one_line(", ".join(f"{name}={value!r}" for name, value in found.params.items()))


def as_dict(found: Record) -> dict[str, Any]:
    """A result of `results` as JSON has it."""
    return {
        "id": found.id, "family": found.family, "parameters": found.params, "time": found.time,
        "author": found.author, "host": found.host, "seconds": found.seconds, "rows": found.rows,
        "bytes": found.bytes, "metrics": found.metrics, "origin": found.origin, "write_id": found.write_id,
    }  # fmt: skip


def version_dict(found: Record) -> dict[str, Any]:
    """A version of a result as JSON has it."""
    accepted = [{"who": by.who, "time": by.time, "code": by.code} for by in found.accepted]
    return {
        **as_dict(found), "content": found.content, "code": found.code, "git": found.git,
        "current": not found.replaced, "replaced": found.replaced or None, "restorable": found.restorable,
        "accepted": accepted,
    }  # fmt: skip


def version_lines(found: Record) -> Iterator[str]:
    """A version of a result for people."""
    made = f"{found.time[:19]}  {found.author or 'nobody'}@{found.host or '?'}  {found.seconds:.3g} s"
    git = f"  git {found.git[:10]}" if found.git else ""
    state = "current " if not found.replaced else "kept    " if found.restorable else "dismissed"
    yield one_line(f"{state} {made}  write id {found.write_id}  content {found.content}{git}")
    if found.replaced:
        yield one_line(f"    replaced {found.replaced[:19]}{'' if found.restorable else ', will not be restored'}")
    if found.origin:
        yield one_line(f"    came from {found.origin}")
    for by in found.accepted:
        source = by.code.removeprefix("d6tflow ")
        what = f"adopted from d6tflow ({source})" if source != by.code else f"code accepted, was {by.code}"
        yield one_line(f"    {what} by {by.who}, {by.time[:19]}")
