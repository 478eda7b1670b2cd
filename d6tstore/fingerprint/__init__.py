"""The code fingerprint of a task: a hash of everything in the user's own code that its `run` reaches.

From `run` we follow names to functions, methods (on the MRO of the task), classes, closures, partials,
decorators, default values and constants. *Own code* is the task's top-level package, `__main__`, modules
under the project root (no site-packages, no virtual environment) and what `track` names. Task classes
that `run` refers to (`input(GetData)`) are not followed: their results are inputs, compared by content. A
constant that reached code changes (a cache, a counter) counts only with the functions it holds.

What it cannot see: attributes looked up by a computed name (except on a bare `self`, which counts as
everything of the task's classes); methods of objects passed around (their class is followed where it is
named, or is that of a constant); data in files; code in C; versions of other packages and patches of them
at run time; the state of instances other than dataclasses, namespaces and arrays (only their class
counts); class bodies beyond the attributes they leave. Functions without source, or edited since the
import, are compared by bytecode, within one Python version; their label says so.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from d6tstore.errors import D6tstoreError
from d6tstore.fingerprint.reach import Walk, digest


class Fingerprint(NamedTuple):
    """What a task's code is: `code`, 32 hex digits; and 16 per function or constant, under its label."""

    code: str
    functions: dict[str, str]


def fingerprint(cls: type, *, root: Path | None = None, track: Sequence[object] = ()) -> Fingerprint:
    """Return the fingerprint of the code that ``cls.run`` reaches.

    Args:
        cls: a task class.
        root: the project; modules below it are own code.
        track: more own code: packages or modules (followed when reached), classes or functions (hashed in any
            case), as objects or as dotted names.

    Returns:
        The hash, and the hashes of its parts.

    Raises:
        D6tstoreError: a name in ``track`` does not exist.

    Example:
        ``fingerprint(Train).functions`` is ``{"SCALE": "5c...", "Train.run": "0b...", "scale": "a3..."}``
    """
    tracked = [_tracked(item) for item in track]
    walk = Walk(cls, root, tuple(item.__name__ for _, item in tracked if isinstance(item, ModuleType)))
    walk.attribute("run", cls.__mro__, cls, False)
    for name, item in tracked:
        if not isinstance(item, ModuleType):
            walk.track(name, item)
    functions = dict(sorted(walk.finish().items()))
    return Fingerprint(digest(repr(list(functions.items())), 16), functions)


def changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return what differs between the `functions` of two fingerprints, for people, sorted by label.

    Example: ``changed({"f": "1", "g": "1"}, {"f": "2"})`` is ``["f changed", "g removed"]``.
    """
    differences = []
    for label in sorted(old.keys() | new.keys()):
        if label not in new:
            differences.append(f"{label} removed")
        elif label not in old:
            differences.append(f"{label} added")
        elif old[label] != new[label]:
            differences.append(f"{label} changed")
    return differences


def _tracked(item: object) -> tuple[str, object]:
    """A name for people, and the object that an item of ``track`` stands for."""
    if not isinstance(item, str):
        return getattr(item, "__name__", type(item).__name__), item
    try:
        return item.rpartition(".")[2], pkgutil.resolve_name(item)
    except (ImportError, AttributeError, ValueError) as exc:
        raise D6tstoreError(f"track={item!r}: no such module, class or function. Check the dotted name.") from exc
