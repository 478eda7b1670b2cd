"""Parameters: typed, validated fields of a task. Conversion and validation are msgspec's."""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import math
import os
import sys
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal, get_args, get_origin

import msgspec

from d6tstore import project
from d6tstore.errors import ParameterError

MISSING: Any = msgspec.UNSET
_IMMUTABLE = (
    str, int, float, bool, type(None), bytes, datetime.date, datetime.time, datetime.timedelta,
    decimal.Decimal, enum.Enum, uuid.UUID, PurePath,
)  # fmt: skip
PLAIN = frozenset((str, int, float, bool, type(None)))  # as they are in JSON
_EXACT = (str, int, bool)  # a value of just this type needs no conversion


class Field:
    """Declaration of one parameter. Users write `Parameter(...)` or an annotation.

    Args:
        type: what values are converted to; `MISSING` takes the annotation, else the type of the default.
        default: used when the task is made without this parameter.
        significant: False keeps it out of the task's identity: another value gives the same result.
        description: for help and documentation.
    """

    __slots__ = ("_default", "default", "description", "located", "loose", "name", "significant", "type")

    def __init__(self, type: Any, default: Any, significant: bool, description: str) -> None:
        self.type = type
        self.default = default
        self.significant = significant
        self.description = description
        self.name = ""
        self.located = _mentions(type, PurePath)
        self.loose = type is not MISSING and _mentions(type, Any)
        self._default: Any = MISSING

    def __repr__(self) -> str:
        default = "" if self.default is MISSING else f", default={self.default!r}"
        return f"Parameter({self.name!r}{default})"

    def bind(self, name: str, annotation: Any, inherited: Field | None = None) -> Field:
        """This field under its name in a class, with the annotation of that class, else the type inherited."""
        kind = self.type if self.type is not MISSING else annotation
        if kind is MISSING and inherited is not None:
            bound = Field(inherited.type, self.default, inherited.significant, inherited.description)
            bound.name = name
            return bound
        if kind is MISSING:
            kind = Any if self.default is MISSING or self.default is None else type(self.default)
        bound = Field(kind, copy.deepcopy(self.default), self.significant, self.description)
        bound.name = name
        return bound

    def default_value(self, task: str) -> Any:
        """The default, converted once."""
        if self._default is not MISSING:
            return self._default
        value = self.convert(self.default, task)
        if not paths([value]):  # those depend on the project that we are in
            self._default = value
        return value

    def convert(self, value: Any, task: str) -> Any:
        """The value in the type of this field.

        Raises:
            ParameterError: it does not fit, or cannot be told apart from others stably.
        """
        if type(value) is self.type and self.type in _EXACT:
            if self.type is str:
                _check_text(value, task, self.name)
            return value
        value = _plain(value)
        try:
            if self.loose:
                value = _plain_only(value)
            value = _convert(value, self.type)
            check_stable(to_json(value))
            if isinstance(value, decimal.Decimal) and not value.is_finite():
                raise ValueError("NaN and infinity are no parameter values")
            if is_mutable(value):
                value = copy.deepcopy(value)  # whoever made it may go on editing it
        except (msgspec.ValidationError, TypeError, ValueError, RecursionError) as exc:
            raise ParameterError(
                f"{task}: parameter {self.name!r} must be {type_name(self.type)}, got {_short(value)} "
                f"({exc}). {_cure(self)}"
            ) from None
        return value


def _cure(field: Field) -> str:
    if field.type is datetime.date:
        return "Write it as '2024-01-31', or pass .date() of a point in time."
    if field.loose:
        return "Use text, numbers, bools, None, lists or dicts of those; or declare a type: x: date."
    return "Pass a value of that type, or change the annotation of the parameter."


def _short(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 80 else text[:77] + '...'} of type {type(value).__name__}"


def _check_text(value: str, task: str, name: str) -> None:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            raise ParameterError(
                f"{task}: parameter {name!r} must be valid Unicode, got {value!r} ({exc.reason}). "
                "Pass it through .encode('utf-8', 'replace').decode()."
            ) from None


def _plain(value: Any) -> Any:
    """Scalars of numpy as those of Python, so that a loop over an array makes the same tasks as a list."""
    if type(value).__module__ == "numpy" and "numpy" in sys.modules:
        return value.item() if getattr(value, "shape", None) == () else value.tolist()
    return value


def _convert(value: Any, kind: Any) -> Any:
    """The value in a type. Text is read as a number, a date, ... only if it does not fit as it is."""
    try:
        return msgspec.convert(value, kind, strict=True, dec_hook=_decode, str_keys=True)
    except msgspec.ValidationError:
        if not isinstance(value, str):
            raise
        return msgspec.convert(value, kind, strict=False, dec_hook=_decode)


def _mentions(kind: Any, wanted: Any) -> bool:
    """True if a type is `wanted` or has it within; a bare list, dict, ... holds anything."""
    if kind is wanted or (isinstance(kind, type) and isinstance(wanted, type) and issubclass(kind, wanted)):
        return True
    if kind in (list, dict, tuple, set, frozenset):
        return wanted is Any
    return any(_mentions(part, wanted) for part in get_args(kind) if part is not ...)


def _plain_only(value: Any) -> Any:
    """Without a declared type, only what JSON tells apart: else a date and its text would be one task."""
    if isinstance(value, list | tuple):
        return [_plain_only(_plain(item)) for item in value]
    if type(value) is dict:
        if stray := [key for key in value if type(key) is not str]:
            raise TypeError(f"key {stray[0]!r} is no text")
        return {key: _plain_only(_plain(item)) for key, item in value.items()}
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
    """A parameter value as JSON values; paths relative to the project, sets sorted."""
    return msgspec.to_builtins(value, enc_hook=_encode, order="deterministic", str_keys=True)


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


def Parameter(  # noqa: N802 - a type to its users
    default: Any = MISSING, *, significant: bool = True, description: str = "", type: Any = MISSING
) -> Any:
    """Declare a parameter of a task.

    Args:
        default: value when none is given; without it the parameter is required.
        significant: False if the value does not change the result (a number of threads, say).
        description: for help and documentation.
        type: any type that msgspec converts; without it the annotation, else the type of the default.

    Raises:
        ParameterError: when a task is made with a value that does not fit.

    Example:
        >>> import d6tstore
        >>> class Train(d6tstore.tasks.TaskPickle):
        ...     model: str = d6tstore.Parameter(default="ols")
        ...     folds: int = 5                            # an annotation alone is a parameter too
        >>> Train(folds="3")
        Train(model='ols', folds=3)
    """
    return Field(type, default, significant, description)


def _declare(name: str, kind: Any) -> Any:
    def declare(default: Any = MISSING, *, significant: bool = True, description: str = "") -> Any:
        return Field(kind, default, significant, description)

    declare.__name__ = declare.__qualname__ = name
    declare.__doc__ = f"Declare a parameter of type {type_name(kind)}; arguments as for `Parameter`."
    return declare


StrParameter = _declare("StrParameter", str)
IntParameter = _declare("IntParameter", int)
FloatParameter = _declare("FloatParameter", float)
BoolParameter = _declare("BoolParameter", bool)
DateParameter = _declare("DateParameter", datetime.date)
DatetimeParameter = _declare("DatetimeParameter", datetime.datetime)
ListParameter = _declare("ListParameter", list)
TupleParameter = _declare("TupleParameter", tuple)
DictParameter = _declare("DictParameter", dict)
PathParameter = _declare("PathParameter", Path)


def ChoiceParameter(  # noqa: N802
    choices: Sequence[Any], default: Any = MISSING, *, significant: bool = True, description: str = ""
) -> Any:
    """Declare a parameter that takes one of `choices` (text or whole numbers); the rest as `Parameter`."""
    return Field(Literal[tuple(choices)], default, significant, description)


def EnumParameter(  # noqa: N802
    enum: type[enum.Enum], default: Any = MISSING, *, significant: bool = True, description: str = ""
) -> Any:
    """Declare a parameter that takes a member of `enum`, or its value; the rest as `Parameter`."""
    return Field(enum, default, significant, description)
