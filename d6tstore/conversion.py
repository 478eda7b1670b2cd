"""Values of parameters: conversion, validation, JSON. The work is msgspec's."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import os
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any, Literal, get_args, get_origin

import msgspec

from d6tstore import project
from d6tstore.errors import ParameterError

_IMMUTABLE = (
    str, int, float, bool, type(None), bytes, datetime.date, datetime.time, datetime.timedelta,
    decimal.Decimal, enum.Enum, uuid.UUID, PurePath,
)  # fmt: skip
PLAIN = frozenset((str, int, float, bool, type(None)))  # as they are in JSON


def short(value: Any) -> str:
    """A value and its type, for a message."""
    text = repr(value)
    return f"{text if len(text) <= 80 else text[:77] + '...'} of type {type(value).__name__}"


def check_text(value: str, task: str, name: str) -> None:
    """Refuse text that has no UTF-8. Raises ParameterError."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            raise ParameterError(
                f"{task}: parameter {name!r} must be valid Unicode, got {value!r} ({exc.reason}). "
                "Pass it through .encode('utf-8', 'replace').decode()."
            ) from None


def plain(value: Any) -> Any:
    """Scalars of numpy as those of Python, so that a loop over an array makes the same tasks as a list."""
    if type(value).__module__ == "numpy" and "numpy" in sys.modules:
        return value.item() if getattr(value, "shape", None) == () else value.tolist()
    return value


def convert(value: Any, kind: Any) -> Any:
    """The value in a type. Text is read as a number, a date, ... only if it does not fit as it is."""
    if isinstance(value, enum.Enum) and mentions(kind, type(value)):
        value = value.value  # msgspec takes members whose values are text, and no others
    try:
        return msgspec.convert(value, kind, strict=True, dec_hook=_decode, str_keys=True)
    except msgspec.ValidationError:
        if not isinstance(value, str):
            raise
        return msgspec.convert(value, kind, strict=False, dec_hook=_decode)


def mentions(kind: Any, wanted: Any) -> bool:
    """True if a type is `wanted` or has it within; a bare list, dict, ... holds anything."""
    if kind is wanted or (isinstance(kind, type) and isinstance(wanted, type) and issubclass(kind, wanted)):
        return True
    if kind in (list, dict, tuple, set, frozenset):
        return wanted is Any
    return any(mentions(part, wanted) for part in get_args(kind) if part is not ...)


def plain_only(value: Any) -> Any:
    """Without a declared type, only what JSON tells apart: else a date and its text would be one task."""
    if isinstance(value, list | tuple):
        return [plain_only(plain(item)) for item in value]
    if type(value) is dict:
        if stray := [key for key in value if type(key) is not str]:
            raise TypeError(f"key {stray[0]!r} is no text")
        return {key: plain_only(plain(item)) for key, item in value.items()}
    if type(value) not in PLAIN:
        raise TypeError(f"{type(value).__name__} in a parameter without a declared type")
    return value


def _decode(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, PurePath) and isinstance(value, str | PurePath):
        return Path(os.path.normpath(project.root() / Path(value).expanduser()))
    if isinstance(value, kind) if isinstance(kind, type) else False:
        return value
    raise TypeError(f"cannot make {type_name(kind)} of it")


def _encode(value: Any) -> Any:
    if isinstance(value, PurePath):
        path = Path(value)
        if path.is_absolute():
            path = Path(os.path.normpath(path))
            base = project.root()
            path = path.relative_to(base) if path.is_relative_to(base) else path
        return path.as_posix()
    raise TypeError(f"{type(value).__name__} cannot be hashed stably")


def to_json(value: Any) -> Any:
    """A parameter value as JSON values; paths relative to the project, sets sorted, tuples as lists."""
    return _without_tuples(msgspec.to_builtins(value, enc_hook=_encode, order="deterministic", str_keys=True))


def _without_tuples(value: Any) -> Any:
    """As JSON gives it back: a record is compared with it."""
    if isinstance(value, list | tuple):
        return [_without_tuples(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_tuples(item) for key, item in value.items()}
    return value


_canonical = msgspec.json.Encoder(order="deterministic").encode


def encode(values: dict[str, Any]) -> bytes:
    """Parameters (JSON values) as canonical JSON: what the identity of a task is the hash of."""
    return _canonical(values)


def check_stable(value: Any) -> None:
    """Refuse what JSON would merge: NaN and infinities."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("NaN and infinity are no parameter values; use None or a large number")
    if isinstance(value, str):
        value.encode()
    if isinstance(value, dict):
        for key, item in value.items():
            check_stable(key)
            check_stable(item)
    elif isinstance(value, list | tuple):
        for item in value:
            check_stable(item)


def is_mutable(value: Any) -> bool:
    """True if a value could be edited in place, so that a task hands out copies."""
    if isinstance(value, tuple | frozenset):
        return any(is_mutable(item) for item in value)
    return not isinstance(value, _IMMUTABLE)


def paths(values: Iterable[Any]) -> list[Path]:
    """The paths among parameter values: raw input files."""
    found: list[Path] = []
    for value in values:
        if isinstance(value, Path):
            found.append(value)
        elif isinstance(value, list | tuple | set | frozenset):
            found += paths(value)
        elif isinstance(value, dict):
            found += paths(value.values())
    return found


def type_name(kind: Any) -> str:
    """How a person writes a type."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, get_args(kind)))}"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return f"one of {', '.join(repr(member.value) for member in kind)}"
    return kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
