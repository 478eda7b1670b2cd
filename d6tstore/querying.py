"""Free reading of results that are tables, in the database that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from d6tstore import frames
from d6tstore.backend import TableBackend
from d6tstore.errors import SelectionError
from d6tstore.repository import Repository
from d6tstore.target import Target, outputs
from d6tstore.task import Task


def ask(repository: Repository, query: str, params: Mapping[str, Any], kind: str, relations: Mapping[str, Any]) -> Any:
    """The frame that a query gives; see `Store.sql`."""
    if kind not in frames.KINDS:
        raise SelectionError(f"as_={kind!r} is unknown. Use {', '.join(map(repr, frames.KINDS))}.")
    if not relations:
        raise SelectionError("a query needs at least one result: sql('select * from {prices}', prices=Prices()).")
    keys: dict[str, str] = {}
    backend: TableBackend | None = None
    for name, what in relations.items():
        target = _target(repository, name, what)
        found = target.record().outputs[target.name]
        if not found.table or not isinstance(target.backend, TableBackend):
            why = f" ({found.note})" if found.note else ""
            raise SelectionError(
                f"{name}={what!r} is no table of a database, but {found.format} in {target.backend!r}{why}. Load it."
            )
        if backend is not None and backend.url != target.backend.url:
            raise SelectionError(
                f"{name}={what!r} lies in {target.backend!r}, others in {backend!r}: a query asks one database. "
                "Load one of them."
            )
        backend, keys[name] = target.backend, found.key
    assert backend is not None
    return frames.from_arrow(backend.query(query, keys, params).read_all(), kind)


def _target(repository: Repository, name: str, what: Any) -> Target:
    found = outputs(repository, what) if isinstance(what, Task) else what
    if not isinstance(found, Target):
        raise SelectionError(
            f"{name}={what!r} is no task with one output. Give one output of it: {name}=Task().output()['data']."
        )
    return found
