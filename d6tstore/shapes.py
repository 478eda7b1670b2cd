"""Nested lists, tuples and dicts: the shape of what `requires` returns, and of its targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def flatten(shape: Any) -> Iterator[Any]:
    """The leaves of nested lists, tuples and dicts; nothing for None."""
    if isinstance(shape, list | tuple):
        for item in shape:
            yield from flatten(item)
    elif isinstance(shape, Mapping):
        yield from flatten(list(shape.values()))
    elif shape is not None:
        yield shape


def map_shape(shape: Any, function: Any) -> Any:
    """The same nesting of lists, tuples and dicts with `function` applied to each leaf."""
    if isinstance(shape, Mapping):
        return {key: map_shape(item, function) for key, item in shape.items()}
    if isinstance(shape, list | tuple):
        return [map_shape(item, function) for item in shape]
    return None if shape is None else function(shape)
