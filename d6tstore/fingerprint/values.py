"""Values of constants as text that is the same on every Python, machine and run; code in them is followed."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from functools import cached_property, lru_cache, partial, partialmethod
from pathlib import Path, PurePath
from types import FunctionType, MappingProxyType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from blake3 import blake3

from d6tstore.fingerprint.source import is_framework
from d6tstore.fingerprint.syntax import literal

_ATOMS = frozenset({int, float, bool, complex, bytes, type(None), type(...), range, slice})
_CONTAINERS = (tuple, list, set, frozenset, dict, MappingProxyType)
_PRINTED = {"datetime", "decimal", "fractions", "uuid", "zoneinfo"}  # modules whose values have a stable repr
_HOLDERS = (FunctionType, MethodType, MappingProxyType, partial, staticmethod)
_FUNCTIONS = (FunctionType, staticmethod, classmethod, property, cached_property, partialmethod, partial)
_NAMED = ("builtin_function_or_method", "builtin_method", "method_descriptor", "wrapper_descriptor", "ufunc")


@lru_cache(maxsize=256)
def places(file: str, root: str) -> tuple[str, ...]:
    """Return the folders of a package and of a project, in all spellings: they differ between machines."""
    folders = [Path(file).absolute().parent] if file else []
    folders += [Path(root).absolute(), Path(root).resolve()] if root else []
    return tuple({text: None for f in folders for text in (str(f), f.as_posix()) if len(text) > 1})


class Values(ABC):
    """Describes values; a subclass says what to do with functions, classes and modules.

    Args:
        folders: what to cut from the start of paths, see `places`.
    """

    def __init__(self, folders: tuple[str, ...]) -> None:
        self.folders = folders
        self.open: set[int] = set()  # what is being described, against cycles

    @abstractmethod
    def function(self, function: FunctionType, me: type | None, hint: str) -> str:
        """Return the label of a function; ``me``: class it is a method of, ``hint``: name for a lambda."""

    @abstractmethod
    def cls(self, cls: type) -> str:
        """Return the label of a class."""

    @abstractmethod
    def module(self, module: ModuleType) -> str:
        """Return a description of a module that is used as a value."""

    @abstractmethod
    def owns_function(self, function: FunctionType) -> bool:
        """Return whether a function is the user's own."""

    def describe(self, value: Any, atoms: bool = True, hint: str = "", me: type | None = None) -> str:
        """Return a value as text.

        Args:
            value: anything.
            atoms: false for memory of the process (a cache): only the functions and classes in it count.
            hint: what to call a lambda.
            me: the class, for methods inside of wrappers.
        """
        kind: Any = type(value)
        if kind is FunctionType:
            return self.function(value, me, hint)
        if issubclass(kind, type):
            return self.cls(value)
        if kind is str:
            return self.text(value) if atoms else ""
        if kind in _ATOMS:
            return literal(value) if atoms else ""
        if issubclass(kind, ModuleType):
            return self.module(value)
        if is_framework(kind):
            return ""
        with self.once(value) as first:
            if not first:
                return "cycle"
            text = self.compound(value, kind, atoms, hint, me)
            return text if text is not None else self.plain(value, kind, atoms, me)

    def text(self, value: str) -> str:
        """Return a string; if it is a path below one of the folders, without that."""
        if value.startswith(self.folders):
            for folder in self.folders:
                rest = value[len(folder) :]
                if value.startswith(folder) and rest[:1] in ("", "/", os.sep):
                    return literal("<root>" + rest.replace(os.sep, "/"))
        return literal(value)

    def compound(self, value: Any, kind: type, atoms: bool, hint: str, me: type | None) -> str | None:
        """Return a value made of others, or None if it is none."""
        if kind is MethodType:
            owner = value.__self__
            return f"method({self.describe(value.__func__, me=type(owner))},{self.describe(owner)})"
        if issubclass(kind, partial | partialmethod):
            parts = (self.describe(value.func, True, hint, me), value.args, value.keywords)
            return f"partial({parts[0]},{self.describe(parts[1])},{self.describe(parts[2])})"
        if issubclass(kind, Enum):
            return f"{self.cls(kind)}.{value._name_ or literal(value._value_)}" if atoms else self.cls(kind)
        if issubclass(kind, _CONTAINERS):
            owner = "" if kind.__module__ in ("builtins", "collections") else self.cls(kind)
            return owner + self.container(value, kind, atoms)
        if kind is SimpleNamespace:
            return f"SimpleNamespace{self.container(vars(value), dict, atoms)}"
        fields = getattr(kind, "__dataclass_fields__", None)
        if fields is not None:
            values = (f"{name}={self.describe(getattr(value, name, None))}" for name in fields) if atoms else ()
            return f"{self.cls(kind)}({','.join(values)})"
        return None

    def container(self, value: Any, kind: type, atoms: bool) -> str:
        """Return a container; sets and dicts in the order of their serialised elements or keys."""
        name = kind.__name__
        if issubclass(kind, dict | MappingProxyType):
            pairs = sorted(((self.describe(k), k, v) for k, v in value.items()), key=lambda pair: pair[0])
            prefixes = [f"{text}:" if atoms else "" for text, _, _ in pairs]
            inner = (self.describe(v, atoms, k if type(k) is str else "") for _, k, v in pairs)
            parts = [prefix + text for prefix, text in zip(prefixes, inner, strict=True)]
        else:
            parts = [self.describe(element, atoms) for element in value]
            parts = sorted(parts) if issubclass(kind, set | frozenset) else parts
        return f"{name}({','.join(parts if atoms else sorted(set(filter(None, parts))))})"

    def plain(self, value: Any, kind: type, atoms: bool, me: type | None) -> str:
        """Return a value that is no container: by its text where that is stable, else by its class."""
        module, name = kind.__module__.partition(".")[0], kind.__name__
        if name in _NAMED:
            owner = getattr(value, "__self__", None)
            bound = "" if owner is None or isinstance(owner, ModuleType) else self.describe(owner, atoms)
            return f"~{value.__name__}{bound}"
        if module in ("typing", "types", "typing_extensions"):
            return ""  # annotations by another name
        if atoms and issubclass(kind, PurePath):
            return f"Path:{self.text(str(value)).replace(os.sep, '/')}"
        if atoms and issubclass(kind, str | int | float | bytes):
            return f"{name}:{literal(value)}"
        if atoms and module in _PRINTED:
            return f"{name}:{value!r}"
        if atoms and kind is re.Pattern:
            return f"Pattern:{literal(value.pattern)}:{value.flags}"
        if atoms and module == "pandas" and name in ("Timestamp", "Timedelta"):
            return f"{name}:{value.isoformat()}"
        if atoms and module == "numpy" and hasattr(value, "dtype") and not value.dtype.hasobject:
            return f"{name}:{value.dtype.str}{value.shape}{blake3(value.tobytes()).hexdigest()}"
        return f"instance({self.cls(kind)}{self.held(value, me)})"

    def held(self, value: object, me: type | None) -> str:
        """Return the functions that an object holds: `__wrapped__`, `py_func`, a registry, cells."""
        try:
            names: Mapping[str, object] = object.__getattribute__(value, "__dict__")
        except AttributeError:
            return ""
        # by `type`, not `isinstance`: that would ask a proxy for its `__class__`, which may raise
        inner = [names[name] for name in sorted(names, key=str) if type(names[name]) in _HOLDERS]
        if type(value) is FunctionType and not self.owns_function(value):
            inner += [c for _, c in cells(value) if type(c) in _HOLDERS]
        texts: list[str] = []
        for item in inner:
            if type(item) is not FunctionType or self.owns_function(item):
                texts.append(self.describe(item, me=me))
            else:  # the code of other packages does not count, what it wraps does
                with self.once(item) as first:
                    texts.append(self.held(item, me) if first else "")
        return "".join(f",{text}" for text in dict.fromkeys(texts) if text)

    @contextmanager
    def once(self, value: object) -> Iterator[bool]:
        """Yield whether a value is not being described already further out."""
        first = id(value) not in self.open
        self.open.add(id(value))
        try:
            yield first
        finally:
            if first:
                self.open.discard(id(value))


def cells(function: FunctionType) -> Iterable[tuple[str, object]]:
    """Yield names and values of what a function closes over, except those not yet assigned."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # empty
            continue


def innermost(raw: object) -> object:
    """The function inside of a property, classmethod, wrapper, ..., or the object itself."""
    while isinstance(raw, _FUNCTIONS):
        found = (getattr(raw, name, None) for name in ("__func__", "fget", "func", "__wrapped__"))
        inner = next((item for item in found if item is not None), None)
        if inner is None:
            break
        raw = inner
    return raw
