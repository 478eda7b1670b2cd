"""What is stored of a task, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from d6tstore.record import Record

if TYPE_CHECKING:
    from d6tstore.repository import Repository
    from d6tstore.task import Task


def shown(repository: Repository, task: Task, record: Record | None) -> dict[str, Any] | None:
    """The record of a task as JSON has it, each of its outputs with `place`: a file, a table in SQL, or a URL.

    Returns:
        None if there is no result.
    """
    if record is None:
        return None
    told: dict[str, Any] = msgspec.to_builtins(record)
    backend = repository.backend(task)
    for name, output in record.outputs.items():
        path = backend.path(output.key)
        told["outputs"][name].pop("schema", None)  # of Arrow, in bytes: not for reading
        told["outputs"][name]["place"] = backend.uri(output.key) if path is None else str(path)
        if output.table:
            told["outputs"][name]["database"] = backend.url
    return told


def lines(told: dict[str, Any]) -> Iterator[str]:
    """What `shown` told, for people."""
    git = f", git {told['git']}" if told.get("git") else ""
    made = f"{told.get('time')} by {told.get('author') or 'nobody'}"
    yield f"made     {made} on {told.get('host') or '?'} in {told.get('seconds', 0.0):.3g} s"
    yield f"code     {told['code']}{git}"
    for name, value in told.get("metrics", {}).items():
        yield f"metric   {name} = {value!r}"
    for name, output in told["outputs"].items():
        rows = f", {output['rows']:,} rows" if output.get("rows") is not None else ""
        size = "" if output.get("table") else f", {output['bytes']:,} bytes"
        yield f"output   {name}: {output['format']}{rows}{size}"
        yield f"         {output['place']}"
        if "database" in output:
            yield f"         in {output['database']}"
        if output.get("note"):
            yield f"         {output['note']}"
