"""Types and values as Python source that needs nobody's modules, and the imports that it does need."""

from __future__ import annotations

import collections.abc
import datetime
import decimal
import enum
import inspect
import re
import types
import uuid
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Union, get_args, get_origin

from d6tstore import conversion

WIDTH = 88  # of a line, as formatters of code have it
_INDENT = "    "
_WHOLE = ("d6tstore", "datetime")  # imported as modules; of others the names
_CLASSES: dict[Any, tuple[str, str]] = {
    **{cls: ("builtins", cls.__name__) for cls in (bool, bytearray, bytes, float, int, object, str)},
    **{cls: ("builtins", cls.__name__) for cls in (dict, frozenset, list, set, tuple)},
    **{cls: ("datetime", cls.__name__) for cls in (datetime.date, datetime.datetime)},
    **{cls: ("datetime", cls.__name__) for cls in (datetime.time, datetime.timedelta)},
    **{getattr(collections.abc, name): ("collections.abc", name) for name in (
        "Collection", "Mapping", "MutableMapping", "MutableSequence", "MutableSet", "Sequence", "Set",
    )},
    decimal.Decimal: ("decimal", "Decimal"), uuid.UUID: ("uuid", "UUID"), Path: ("pathlib", "Path"),
    Any: ("typing", "Any"), ClassVar: ("typing", "ClassVar"), Literal: ("typing", "Literal"),
}  # fmt: skip


class Group(NamedTuple):
    """Source in brackets: on one line if it fits, else an item a line."""

    start: str
    items: list[Source]
    end: str

    def __str__(self) -> str:
        return f"{self.start}{', '.join(map(str, self.items))}{self.end}"


Source = str | Group


def layout(source: Source, indent: str = "") -> str:
    """Source on as many lines as it needs; the first one is not indented."""
    flat = str(source)
    if isinstance(source, str) or not source.items or len(indent) + len(flat) <= WIDTH:
        return flat
    inner = indent + _INDENT
    items = "".join(f"{inner}{layout(item, inner)},\n" for item in source.items)
    return f"{source.start}\n{items}{indent}{source.end}"


def around(before: str, source: Source, after: str = "") -> Source:
    """Source with text before and after it."""
    if isinstance(source, str):
        return f"{before}{source}{after}"
    return Group(before + source.start, source.items, source.end + after)


class Names:
    """How a module that is written calls what it imports.

    Args:
        taken: names that it gives to something else.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._imports: set[str] = set()

    def of(self, module: str, name: str) -> str:
        """Source of a name of a module; the import is noted."""
        word = module if module in _WHOLE else name
        if word in self._taken:
            alias = f"_{module.replace('.', '_')}"
            while alias in self._taken:
                alias = f"_{alias}"
            self._imports.add(f"import {module} as {alias}")
            return f"{alias}.{name}"
        if module in _WHOLE:
            self._imports.add(f"import {module}")
            return f"{module}.{name}"
        if module != "builtins":
            self._imports.add(f"from {module} import {name}")
        return name

    def imports(self) -> str:
        """The lines of all imports so far: those of the standard library, then ours."""
        ours = [line for line in self._imports if line.split()[1] == "d6tstore"]
        names: dict[str, list[str]] = {}
        for line in sorted(self._imports.difference(ours)):
            first, _, name = line.partition(" import ")
            names.setdefault(first, []).append(name)
        lines = [f"{first} import {', '.join(sorted(found))}" if found[0] else first for first, found in names.items()]
        lines.sort(key=lambda line: line.startswith("from"))
        return "\n".join([*lines, *([""] if lines else []), *ours])


# ----------------------------------------------------------------------- types


def portable(kind: Any) -> Any:
    """A type of the standard library that takes the same JSON values and gives them back.

    An enum becomes a choice of its values, a new type what it stands for.

    Raises:
        LookupError: there is none.
    """
    origin, args = get_origin(kind), get_args(kind)
    if kind is None or kind is types.NoneType:
        return types.NoneType
    if origin is Annotated:
        return portable(args[0])
    if origin is Literal:
        return Literal[tuple(arg.value if isinstance(arg, enum.Enum) else arg for arg in args)]
    if origin in (Union, types.UnionType):
        return Union[tuple(map(portable, args))]  # noqa: UP007 - made, not written
    for stands_for in ("__supertype__", "__value__"):  # NewType; type X = ...
        if hasattr(kind, stands_for) and not isinstance(kind, type):
            return portable(getattr(kind, stands_for))
    if isinstance(kind, type) and issubclass(kind, enum.Flag):
        return int
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and len(kind):
        return Literal[tuple(member.value for member in kind)]
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return Path
    if origin in _CLASSES and (args or kind == tuple[()]):
        return origin[tuple(arg if arg is ... else portable(arg) for arg in args)]
    if (known := origin or kind) in _CLASSES:  # typing.List has an origin, too
        return known
    raise LookupError(kind)


def type_source(kind: Any, names: Names) -> Source:
    """Source of a type that is portable."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is types.NoneType or kind is ...:
        return "None" if kind is types.NoneType else "..."
    if origin is Union:
        return " | ".join(str(type_source(arg, names)) for arg in args)
    name = names.of(*_CLASSES[origin or kind])
    if origin is Literal:
        return Group(f"{name}[", [value_source(arg, names) for arg in args], "]")
    if origin is None:
        return name
    return Group(f"{name}[", [type_source(arg, names) for arg in args] or ["()"], "]")


# ---------------------------------------------------------------------- values


def value_source(value: Any, names: Names) -> Source:
    """Source of a parameter's value: as a person writes it, or else of its JSON value."""
    kind = type(value)
    if kind in (bool, int, float, types.NoneType):
        return repr(value)
    if kind in (str, bytes):
        return quoted(value)
    if kind is list or (kind is tuple and len(value) != 1):
        start, end = "[]" if kind is list else "()"
        return Group(start, [value_source(item, names) for item in value], end)
    if kind is tuple:
        return f"({value_source(value[0], names)},)"
    if kind is dict:
        items = [around(f"{value_source(key, names)}: ", value_source(item, names)) for key, item in value.items()]
        return Group("{", items, "}")
    if kind in (set, frozenset):
        name = names.of(*_CLASSES[kind])
        shown = Group("{", sorted((value_source(item, names) for item in value), key=str), "}")
        if not value:
            return f"{name}()"
        return shown if kind is set else around(f"{name}(", shown, ")")
    if kind in (decimal.Decimal, uuid.UUID):
        text = str(value)
        whole = kind is decimal.Decimal and re.fullmatch(r"0|-?[1-9]\d*", text)
        return f"{names.of(*_CLASSES[kind])}({text if whole else quoted(text)})"
    if isinstance(value, PurePath):
        return f"{names.of(*_CLASSES[Path])}({quoted(conversion.to_json(value))})"
    zone = getattr(value, "tzinfo", None)
    if kind in _CLASSES and kind.__module__ == "datetime" and (zone is None or type(zone) is datetime.timezone):
        prefix = names.of("datetime", "")
        return repr(value).replace("datetime.", prefix).replace(f"{prefix}timezone.utc", f"{prefix}UTC")
    return value_source(conversion.to_json(value), names)


def quoted(text: str | bytes) -> str:
    """A literal in double quotes, if it has none within; what cannot be seen is escaped."""
    shown = repr(text)
    if shown.endswith("'") and '"' not in shown:
        start, _, rest = shown.partition("'")
        return f'{start}"{rest[:-1]}"'
    return shown


def docstring(text: str, indent: str) -> str:
    """A docstring with the same text, whatever it holds; what cannot be seen is escaped."""
    lines = [line.rstrip() for line in inspect.cleandoc(text).split("\n")]
    seen = "".join(
        c if c == "\n" or (c.isprintable() and c != "\\") else c.encode("unicode_escape").decode()
        for c in "\n".join(lines).strip()
    )
    seen = re.sub(r'"{2,}|"\Z', lambda found: r"\"" * len(found[0]), seen)  # else it would end there
    first, *more = seen.split("\n")
    if more:
        lines = [first, *(f"{indent}{line}" if line else "" for line in more), f'{indent}"""']
        return '"""' + "\n".join(lines)
    return f'"""{first}"""'
