"""Values in the columns of a comparison."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd


def column(values: list[Any]) -> pd.Series[Any]:
    """A column; where values are missing it stays of its kind, and NaN is none of these."""
    known = [value for value in values if value is not None]
    kinds = {type(value) for value in known}
    if len(known) == len(values):
        return pd.Series(values)
    if kinds == {int} and all(abs(value) < 1 << 63 for value in known):
        return pd.Series(values, dtype="Int64")
    if kinds == {float} and not any(map(math.isnan, known)):
        return pd.Series(values, dtype="Float64")
    return pd.Series(values, dtype="boolean" if kinds == {bool} else "object")


def python(value: Any) -> Any:
    """A value of a frame as Python has it; None if it is missing."""
    if value is pd.NA or value is pd.NaT:
        return None
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value


def is_number(value: Any) -> bool:
    """Is it a number, and not NaN?"""
    value = python(value)
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
