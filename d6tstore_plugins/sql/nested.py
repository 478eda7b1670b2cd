"""Structs, maps and nested lists as jsonb: readable for people, and equal when they come back."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
from typing import Any

import pyarrow as pa
from pyarrow import types as is_

from d6tstore.errors import Unsupported

_VERSION = b"\x01"  # with which jsonb begins in the binary protocol
_ODD = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf, "-0.0": -0.0}  # what JSON's numbers do not say

_LISTS = (is_.is_list, is_.is_large_list, is_.is_fixed_size_list, is_.is_list_view, is_.is_large_list_view)
_BYTES = (is_.is_binary, is_.is_large_binary, is_.is_fixed_size_binary, is_.is_binary_view)
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}


def refusal(type_: pa.DataType) -> str | None:
    """Why a nested type is not held; None if it is."""
    if is_.is_struct(type_):
        names = [field.name for field in type_]
        if len(set(names)) < len(names):
            return f"a struct with a name twice, {type_}"
        if any("\0" in name for name in names):
            return f"a struct with NUL in a name, {type_}"
        return next((reason for field in type_ if (reason := refusal(field.type))), None)
    if is_.is_map(type_):
        return refusal(type_.key_type) or refusal(type_.item_type)
    if any(test(type_) for test in _LISTS):
        return refusal(type_.value_type)
    held = is_.is_integer(type_) or is_.is_floating(type_) or is_.is_boolean(type_) or is_.is_null(type_)
    held |= is_.is_string(type_) or is_.is_large_string(type_) or is_.is_string_view(type_)
    held |= is_bytes(type_) or is_.is_decimal(type_) or is_.is_date32(type_)
    held |= (is_.is_timestamp(type_) or is_.is_time(type_) or is_.is_duration(type_)) and type_.unit != "ns"
    return None if held else f"a nested {type_}"


def is_bytes(type_: pa.DataType) -> bool:
    """Are its values bytes?"""
    return any(test(type_) for test in _BYTES)


def encode(array: pa.Array) -> pa.Array:
    """Arrow values as jsonb of the binary protocol. Raises Unsupported."""
    try:
        texts = [None if value is None else json.dumps(_plain(value, array.type)) for value in array.to_pylist()]
    except (ValueError, OverflowError) as exc:
        raise Unsupported(f"a nested date or time is out of range ({exc})") from exc
    return pa.array([None if text is None else _VERSION + text.encode() for text in texts], pa.binary())


def decode(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """Texts of JSON as Arrow values."""
    parsed = (None if text is None else json.loads(text, parse_float=_number) for text in array.to_pylist())
    return pa.array([_value(value, type_) for value in parsed], type_)


def _number(text: str) -> decimal.Decimal:
    return decimal.Decimal(text)  # whole numbers beyond 2^53 may come with a point


def _plain(value: Any, type_: pa.DataType) -> Any:
    if value is None:
        return None
    if is_.is_struct(type_):
        return {field.name: _plain(value[field.name], field.type) for field in type_}
    if is_.is_map(type_):
        return [[_plain(k, type_.key_type), _plain(v, type_.item_type)] for k, v in value]
    if is_.is_nested(type_):
        return [_plain(item, type_.value_type) for item in value]
    if isinstance(value, float):
        odd = value != value or math.isinf(value) or (value == 0 and math.copysign(1, value) < 0)
        return next(k for k, v in _ODD.items() if str(v) == str(value)) if odd else value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dt.timedelta):
        return value // dt.timedelta(microseconds=1)
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    return str(value) if isinstance(value, decimal.Decimal) else value


def _value(value: Any, type_: pa.DataType) -> Any:
    if value is None:
        return None
    if is_.is_struct(type_):
        return {field.name: _value(value[field.name], field.type) for field in type_}
    if is_.is_map(type_):
        return [(_value(k, type_.key_type), _value(v, type_.item_type)) for k, v in value]
    if is_.is_nested(type_):
        return [_value(item, type_.value_type) for item in value]
    if is_.is_floating(type_):
        return _ODD[value] if isinstance(value, str) else float(value)
    if is_.is_integer(type_):
        return int(value)
    if is_bytes(type_):
        return bytes.fromhex(value)
    if is_.is_decimal(type_):
        return decimal.Decimal(value)
    if is_.is_duration(type_):
        return int(value) // _MICROSECONDS[type_.unit]  # a timedelta would not reach the ends
    for test, kind in ((is_.is_timestamp, dt.datetime), (is_.is_date, dt.date), (is_.is_time, dt.time)):
        if test(type_):
            return kind.fromisoformat(value)
    return value
