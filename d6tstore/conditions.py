"""Conditions on columns: from the user's terms to Arrow expressions that mean the same everywhere."""

from __future__ import annotations

import datetime
import decimal
import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from d6tstore.errors import SelectionError

if TYPE_CHECKING:
    import pyarrow as pa

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
OPERATORS = (*_COMPARE, "in", "not in")


def find(label: Any, *named: list[tuple[Any, str]]) -> list[str]:
    """Arrow names of a label: of all columns that have it."""
    known = [pair for pairs in named for pair in pairs]
    for match in (lambda pair: _equal(pair[0], label), lambda pair: pair[1] == label):
        if found := [field for pair in known if match(pair) for field in [pair[1]]]:
            return found
    names = [str(field if shown is None else shown) for shown, field in known]
    near = difflib.get_close_matches(str(label), names, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
    raise SelectionError(
        f"there is no column {label!r}.{hint} There are {shown or 'none'}. (A RangeIndex is not stored: reset_index() "
        "before saving makes it a column.)"
    )


def _equal(a: Any, b: Any) -> bool:
    try:
        return isinstance(a, bool) == isinstance(b, bool) and (a is b or bool(a == b))
    except TypeError:  # one of them is NA, which nothing equals
        return False


def condition(item: Any, schema: pa.Schema, *named: list[tuple[Any, str]]) -> tuple[str, str, Any]:
    """A condition in the user's terms as (Arrow name, operator, value of the column's type).

    Raises:
        SelectionError: column, rule, cure.
    """
    import pyarrow as pa

    try:
        label, op, value = item
    except (TypeError, ValueError):
        raise SelectionError(
            f"where holds {item!r}; it is a list of (column, operator, value), all of which must hold: "
            "where=[('x', '>', 1), ('y', 'in', ['a', 'b'])]."
        ) from None
    if op not in OPERATORS:
        raise SelectionError(f"where: operator {op!r} is unknown. Use one of {', '.join(OPERATORS)}.")
    fields = find(label, *named)
    if len(fields) > 1:
        raise SelectionError(f"where: {label!r} is the label of {len(fields)} columns. Filter after loading.")
    field = schema.field(fields[0])
    type_ = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_dictionary(field.type) and op[0] in "<>":
        raise SelectionError(
            f"where: column {label!r} holds categories, which {op!r} would compare by their text, not their order. "
            "Use 'in' with a list of categories, or filter after loading."
        )
    listed = op in ("in", "not in")
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | dict):
        value = list(value)
    if listed != isinstance(value, list):
        raise SelectionError(
            f"where: {op!r} takes {'a list of values' if listed else 'one value'}, not {value!r} (column {label!r})."
        )
    try:
        typed = [_typed(v, type_) for v in value] if listed else _typed(value, type_)
        condition = field.name, op, typed
        pa.schema([field]).empty_table().filter(expression(field.type, *condition))
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as exc:
        raise SelectionError(
            f"where: column {label!r} of type {field.type} cannot be compared with {value!r}: {exc}. "
            "Give a value of the column's type, or filter after loading."
        ) from exc
    if op not in ("==", "!=") and not listed and value is None:
        raise SelectionError(f"where: {label!r} {op} None is never true. Use '==' or '!=' with None.")
    return condition


def _typed(value: Any, type_: Any) -> Any:
    """A value as it is compared with a column of a type: times may be given as text."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, float | decimal.Decimal) and value != value:
        raise ValueError("NaN equals nothing; a missing value is None")
    if pa.types.is_timestamp(type_):
        stamp = pd.Timestamp(value)
        if type_.tz:
            return stamp.tz_localize(type_.tz) if stamp.tz is None else stamp.tz_convert(type_.tz)
        if stamp.tz is not None:
            raise ValueError("the column has no time zone, the value has one")
        return stamp
    if pa.types.is_duration(type_):
        return pd.Timedelta(value)
    if pa.types.is_date(type_) and isinstance(value, datetime.datetime | np.datetime64):
        stamp = pd.Timestamp(value)
        return stamp.date() if stamp == stamp.normalize() and stamp.tz is None else stamp
    if pa.types.is_temporal(type_) and isinstance(value, str):
        return (datetime.date if pa.types.is_date(type_) else datetime.time).fromisoformat(value)
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value


def _exact(value: Any, type_: Any) -> Any:
    """A value as the column's own type; None if no value of that type equals it."""
    import pyarrow as pa

    if isinstance(value, bool) != bool(pa.types.is_boolean(type_)):
        raise TypeError("bools compare with bools only")
    if _between(value, type_):
        return None
    scalar = pa.scalar(value, type_)
    # Arrow cuts what is finer than a type. Of floats that is meant: 0.1 is to equal 0.1 in single precision.
    return scalar if pa.types.is_floating(type_) or scalar.as_py() == value else None


def expression(type_: Any, name: str, op: str, value: Any) -> Any:
    """A condition on a column of a type as an Arrow expression."""
    import pyarrow as pa
    import pyarrow.compute as pc

    field = pc.field(name)
    type_ = type_.value_type if pa.types.is_dictionary(type_) else type_
    if op in ("in", "not in"):
        exact = [scalar for v in value if v is not None and (scalar := _exact(v, type_)) is not None]
        values = [scalar.as_py() for scalar in exact]
        if pa.types.is_floating(type_) and 0 in values:
            values += [0.0, -0.0]  # which `isin` tells apart
        found = field.isin(pa.array(values, type_)) if values else pc.scalar(False)
        if op == "not in":
            return ~found & field.is_valid()
        return found & field.is_valid() | field.is_null() if None in list(value) else found & field.is_valid()
    if value is None:
        return field.is_null() if op == "==" else field.is_valid()
    if side := _between(value, type_):
        # No integer of the column equals it: "<" and "<=" are the same, and so on.
        everything, nothing = field.is_valid(), pc.scalar(False)
        if op in ("==", "!="):
            return everything if op == "!=" else nothing
        below = op in ("<", "<=")
        if side == "inside":
            whole = pa.scalar(math.ceil(value) if below else math.floor(value), type_)
            return field < whole if below else field > whole
        return everything if below == (side == "above") else nothing
    try:
        scalar = _exact(value, type_)  # of the column's own type: so statistics can be used
    except (pa.ArrowException, ValueError, OverflowError):
        scalar = None
    else:
        if scalar is None and (pa.types.is_timestamp(type_) or pa.types.is_duration(type_)):  # finer than the column
            if op in ("==", "!="):
                return field.is_valid() if op == "!=" else pc.scalar(False)
            utc = value.tz_convert("UTC") if getattr(value, "tz", None) is not None else value
            before = pa.scalar(utc.floor(type_.unit), type_)
            return field <= before if op[0] == "<" else field > before
    return _COMPARE[op](field, pa.scalar(value) if scalar is None else scalar)


def _between(value: Any, type_: Any) -> str:
    """Where a number lies that no integer of a type equals: "above", "below" or "inside" its range; else empty."""
    number = isinstance(value, int | float | decimal.Decimal) and not isinstance(value, bool)
    if not number or not re.fullmatch(r"u?int\d+", str(type_)):
        return ""
    signed = str(type_).startswith("int")
    bits = type_.bit_width - signed
    if value > 2**bits - 1:
        return "above"
    if value < (-(2**bits) if signed else 0):
        return "below"
    return "" if value == int(value) else "inside"
