"""Keys that we make, and what they say. All else below the root is somebody else's: never read, never removed."""

from __future__ import annotations

import re

from d6tstore import record
from d6tstore.record import Record

_OBJECT = re.compile(r"([^/]+)/(?:[^/]*-)?([0-9a-f]{16})/[^/]+-[0-9a-f]{16}[^/]*")
_WRITE_ID = re.compile(r"[0-9a-f]{16}")
_RECORD = re.compile(r"([^/]+)/([0-9a-f]{16})(?:/[0-9a-f]{16})?\.json")


def is_object(key: str, namespace: str) -> bool:
    """Is it the key of an object of a result?"""
    return _is_of(_OBJECT, key, namespace)


def is_record(rest: str, namespace: str) -> bool:
    """Is it what the key of a record, current or replaced, has behind its root?"""
    return _is_of(_RECORD, rest, namespace)


def _is_of(shape: re.Pattern[str], key: str, namespace: str) -> bool:
    found = shape.fullmatch(key)
    return found is not None and found[1].isprintable() and found[1].rpartition(".")[0] == namespace


def id_of(key: str) -> str:
    """`family-hash` of a record's key."""
    family, hash = key.split("/")[2:4]
    return f"{family}-{hash.removesuffix('.json')}"


def task_of(key: str) -> str:
    """`family-hash` of an object's key."""
    family, _, rest = key.partition("/")
    return f"{family}-{rest.partition('/')[0].rpartition('-')[2]}"


def plain_family(family: str, namespace: str) -> str:
    """A family as its class is called."""
    return family.removeprefix(f"{namespace}.") if namespace else family


def plain_id(key: str, namespace: str) -> str:
    """The id of a task by the key of its record, without a namespace."""
    family, _, name = key.removeprefix(record.RECORDS).partition("/")
    return f"{plain_family(family, namespace)}-{name.removesuffix('.json')}"


def suspicion(key: str, found: Record, namespace: str) -> str:
    """Why a record is not to be trusted with where it and its objects go; empty if it is."""
    if found.key != key:
        return f"it is that of {found.id}"
    if _WRITE_ID.fullmatch(found.write_id) is None:
        return f"its write id is {found.write_id!r}"
    if found.hash != record.task_hash(plain_family(found.family, namespace), found.params):
        return "its parameters are not those of its id"
    for output in found.outputs.values():
        if _OBJECT.fullmatch(output.key) is None or task_of(output.key) != found.id:
            return f"object {output.key!r} is none of its task"
        if output.bytes < 0:
            return f"object {output.key!r} has {output.bytes} bytes"
        if output.table and (output.bytes or output.checksum or output.schema is None):
            return f"object {output.key!r} is a table and bytes, or has no schema"
    return ""
