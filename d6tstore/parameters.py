"""Parameters: typed, validated fields of a task. Conversion and validation are msgspec's."""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, Literal

import msgspec

from d6tstore import conversion
from d6tstore.errors import ParameterError

MISSING: Any = msgspec.UNSET
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
        self.located = conversion.mentions(type, PurePath)
        self.loose = type is not MISSING and conversion.mentions(type, Any)
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
        if not conversion.paths([value]):  # those depend on the project that we are in
            self._default = value
        return value

    def convert(self, value: Any, task: str) -> Any:
        """The value in the type of this field.

        Raises:
            ParameterError: it does not fit, or cannot be told apart from others stably.
        """
        if type(value) is self.type and self.type in _EXACT:
            if self.type is str:
                conversion.check_text(value, task, self.name)
            return value
        value = conversion.plain(value)
        try:
            if self.loose:
                value = conversion.plain_only(value)
            value = conversion.convert(value, self.type)
            conversion.check_stable(conversion.to_json(value))
            if isinstance(value, decimal.Decimal) and not value.is_finite():
                raise ValueError("NaN and infinity are no parameter values")
            if conversion.is_mutable(value):
                value = copy.deepcopy(value)  # whoever made it may go on editing it
        except (msgspec.ValidationError, TypeError, ValueError, RecursionError) as exc:
            raise ParameterError(
                f"{task}: parameter {self.name!r} must be {conversion.type_name(self.type)}, "
                f"got {conversion.short(value)} ({exc}). {_cure(self)}"
            ) from None
        return value


def _cure(field: Field) -> str:
    if field.type is datetime.date:
        return "Write it as '2024-01-31', or pass .date() of a point in time."
    if field.loose:
        return "Use text, numbers, bools, None, lists or dicts of those; or declare a type: x: date."
    return "Pass a value of that type, or change the annotation of the parameter."


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
    declare.__doc__ = f"Declare a parameter of type {conversion.type_name(kind)}; arguments as for `Parameter`."
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
