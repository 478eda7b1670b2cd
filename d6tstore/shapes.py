"""Nested lists, tuples and dicts: the shape of what `requires` returns, and of its targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from d6tstore.errors import UsageError


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


class TargetList(list[Any]):
    """Targets in a list; nested as `requires` is."""

    def load(self, **options: Any) -> list[Any]:
        """All values, in the same shape; options as for `Target.load`."""
        return [target.load(**options) for target in self]

    def exists(self) -> bool:
        """True if all are there."""
        return all(target.exists() for target in self)


class TargetDict(dict[str, Any]):
    """Targets by name; nested as `requires` is.

    Example:
        >>> TargetDict(table=1)["tabel"]
        Traceback (most recent call last):
        d6tstore.errors.UsageError: there is no 'tabel' here, only 'table'. Correct the name.
    """

    def __missing__(self, name: object) -> Any:
        known = ", ".join(map(repr, self)) or "nothing"
        raise UsageError(f"there is no {name!r} here, only {known}. Correct the name.")

    def load(self, **options: Any) -> dict[str, Any]:
        """All values, in the same shape; options as for `Target.load`."""
        return {name: target.load(**options) for name, target in self.items()}

    def exists(self) -> bool:
        """True if all are there."""
        return all(target.exists() for target in self.values())
