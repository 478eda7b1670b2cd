"""Which records fit the parameters that a person gives, and what to say unless it is one."""

from __future__ import annotations

import datetime
import decimal
import difflib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import msgspec
from msgspec.structs import replace

from d6tstore import conversion
from d6tstore.errors import ExternalAbsent, ParameterError, UsageError
from d6tstore.record import Record, nearest

_LISTED = 5  # parameters or values in a message
_LONGEST = 60  # characters of a value in a message
_AS_TEXT = (
    datetime.datetime, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID, Path,
)  # fmt: skip


def as_json(family: str, name: str, value: Any) -> Any:
    """A value as a declared parameter brings it to JSON. Raises ParameterError."""
    try:
        found = conversion.to_json(_plain(value))
        conversion.check_stable(found)
    except (TypeError, ValueError, RecursionError) as exc:
        raise ParameterError(
            f"{family}: parameter {name!r} cannot be {conversion.short(value)} ({exc}). Pass it as its task class "
            "takes it, or as text."
        ) from None
    return found


def _plain(value: Any) -> Any:
    """Without scalars of numpy; paths as a declared parameter has them."""
    if isinstance(value, PurePath):
        return conversion.convert(value, Path)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return {_plain(item) for item in value}
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return conversion.plain(value)


# --------------------------------------------------------------------- fitting


def fitting(records: Iterable[Record], given: Mapping[str, Any]) -> list[Record]:
    """The records with these values; without any, those whose type makes their value of what is given.

    Of records with more or fewer parameters (the class was edited) the one that has no others goes first.
    Insignificant parameters decide nothing.

    Args:
        records: of one family.
        given: JSON values by name of the parameter.
    """
    records = list(records)
    for same in (_equal, _converted):
        if found := [each for each in records if _fits(each, given, same)]:
            return [each for each in found if each.params.keys() <= given.keys()] or found
    return []


def _fits(found: Record, given: Mapping[str, Any], same: Callable[[Any, Any], bool]) -> bool:
    significant = {name: value for name, value in given.items() if name not in found.insignificant}
    return all(name in found.params and same(value, found.params[name]) for name, value in significant.items())


def _equal(given: Any, recorded: Any) -> bool:
    """The same JSON: 1 is neither 1.0 nor true."""
    return conversion.encode({"": given}) == conversion.encode({"": recorded})


def _converted(given: Any, recorded: Any) -> bool:
    """Would a parameter of a type that has such values convert what is given to the recorded one?"""
    if isinstance(given, list) and isinstance(recorded, list):
        return len(given) == len(recorded) and all(map(_converted, given, recorded))
    if isinstance(given, dict) and isinstance(recorded, dict):
        return given.keys() == recorded.keys() and all(_converted(given[key], recorded[key]) for key in given)
    kinds = _AS_TEXT if isinstance(recorded, str) else (type(recorded),)
    return _equal(given, recorded) or any(_equal(made, recorded) for made in _conversions(given, kinds))


def _conversions(value: Any, kinds: Iterable[Any]) -> Iterator[Any]:
    for kind in kinds:
        try:
            yield conversion.to_json(conversion.convert(value, kind))
        except (msgspec.ValidationError, TypeError, ValueError, OverflowError):
            continue


# -------------------------------------------------------------------- messages


def near(word: str, known: Iterable[str]) -> str:
    """`, did you mean ...?` if something known is written alike, else a full stop."""
    found = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f", did you mean {found[0]}?" if found else "."


def several(family: str, given: Mapping[str, Any], fit: list[Record]) -> UsageError:
    """Several records fit: which parameters tell them apart, and by what values."""
    telling = []
    for name in dict.fromkeys(name for each in fit for name in each.params if name not in given):
        having = [each.params[name] for each in fit if name in each.params]
        values = {conversion.encode({"": value}): value for value in having}
        if len(values) > 1 or len(having) < len(fit):
            shown = [_short(value) for value in list(values.values())[:_LISTED]]
            telling.append(f"{name} ({', '.join(shown)}{', ...' if len(values) > _LISTED else ''})")
    return UsageError(
        f"{_call(family, given)} fits {len(fit)} results. Say which one: give {', '.join(telling[:_LISTED])}."
    )


def none(pipe: str, family: str, given: Mapping[str, Any], records: list[Record]) -> ParameterError | ExternalAbsent:
    """None of the records fits: a parameter that none has, or the record that is nearest."""
    known = dict.fromkeys(name for each in records for name in (*each.params, *each.insignificant))
    if unknown := [name for name in given if name not in known]:
        has = f"They have {', '.join(known)}" if known else "They have no parameters"
        return ParameterError(
            f"no result of {family} has a parameter {unknown[0]!r}{near(unknown[0], known)} {has}. Correct the name."
        )
    asked = [replace(each, params={n: v for n, v in each.params.items() if n in given}) for each in records]
    close = nearest({n: v for n, v in given.items() if any(n in each.params for each in asked)}, asked)
    has = f"; the nearest one has {close[1]}" if close else ""
    return ExternalAbsent(
        f"there is no result of {_call(family, given)}, neither here nor at the other side of the pipe {pipe!r}{has}. "
        "Correct the parameters, or ask those who run it to push that result."
    )


def _call(family: str, values: Mapping[str, Any]) -> str:
    return f"{family}({', '.join(f'{name}={_short(value)}' for name, value in values.items())})"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
