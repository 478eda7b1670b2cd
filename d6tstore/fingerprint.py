"""The code fingerprint of a task: a hash of everything in the user's own code that its `run` reaches.

From `run` we follow names to functions, methods (on the MRO of the task), classes, closures, partials, decorators,
default values and constants. *Own code* is the task's top-level package, `__main__`, modules under the project root
(no site-packages, no virtual environment) and what `track` names. Task classes that `run` refers to (`input(GetData)`)
are not followed: their results are inputs, compared by content. A constant that reached code changes (a cache, a
counter) counts only with the functions it holds.

What it cannot see: attributes looked up by a computed name (except on a bare `self`, which counts as everything
of the task's classes), methods of objects passed around (their class is followed where it is named or is that of
a constant), data in files, code in C, versions of other packages, patches of other packages at run time, the state
of instances other than dataclasses, arrays and the like (only their class counts), and class bodies beyond their
attributes. Functions without source are compared by bytecode, within one Python version; their label says so.
"""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import cached_property, partial, partialmethod
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from blake3 import blake3

from .errors import D6tstoreError
from .source import is_framework, is_own, syntax_of
from .syntax import EVERYTHING, SELF, SUPER, Names, Syntax
from .values import Values, cells, places

_MISSING = object()
_FUNCTIONS = (FunctionType, staticmethod, classmethod, property, cached_property, partialmethod, partial)
_DESCRIPTORS = {"member_descriptor", "getset_descriptor", "_tuplegetter", "_abc_data"}
_BOOKKEEPING = {"_is_protocol", "_is_runtime_protocol", "__new_member__"}
_CACHE_SIZE = 4096


class Fingerprint(NamedTuple):
    """What a task's code is: `code`, 32 hex digits, and per function or constant 16 hex digits under a label."""

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
    walk = _Walk(cls, root, tuple(item.__name__ for _, item in tracked if isinstance(item, ModuleType)))
    walk.attribute("run", cls.__mro__, cls, False)
    for name, item in tracked:
        if not isinstance(item, ModuleType):
            walk.track(name, item)
    functions = dict(sorted(walk.finish().items()))
    return Fingerprint(_hash(repr(list(functions.items())), 16), functions)


def changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return what differs between the `functions` of two fingerprints, for people, sorted by label.

    Example: ``changed({"f": "1", "g": "1"}, {"f": "2", "h": "1"})`` is ``["f changed", "g removed", "h added"]``.
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


def _hash(text: str, size: int = 8) -> str:
    return blake3(text.encode()).hexdigest(length=size)


class _Code(NamedTuple):
    """What is remembered of a code object, which never changes; holding it keeps its id from being used again."""

    code: CodeType
    syntax: Syntax
    digest: str
    paths: tuple[tuple[Names, str], ...]
    bound: bool  # refers to `self.` or `super().`


_codes: dict[int, _Code] = {}


def _code(function: FunctionType) -> _Code:
    code = function.__code__
    known = _codes.get(id(code))
    if known is None:
        syntax = syntax_of(code, function.__globals__)
        paths = tuple((path, ".".join(path)) for path in syntax.paths)
        bound = any(path[0] in (SELF, SUPER) for path in syntax.paths)
        known = _Code(code, syntax, _hash(syntax.text, 16), paths, bound)
        if len(_codes) >= _CACHE_SIZE:
            _codes.clear()
        _codes[id(code)] = known
    return known


def _tracked(item: object) -> tuple[str, object]:
    """A name for people, and the object that an item of ``track`` stands for."""
    if not isinstance(item, str):
        return getattr(item, "__name__", type(item).__name__), item
    try:
        return item.rpartition(".")[2], pkgutil.resolve_name(item)
    except (ImportError, AttributeError, ValueError) as exc:
        raise D6tstoreError(
            f"track={item!r}: no such module, class or function. Check the dotted name."
        ) from exc


def _innermost(raw: object) -> object:
    """The function inside of a property, classmethod, wrapper, ..., or the object itself."""
    while isinstance(raw, _FUNCTIONS):
        found = (getattr(raw, name, None) for name in ("__func__", "fget", "func", "__wrapped__"))
        inner = next((item for item in found if item is not None), None)
        if inner is None:
            break
        raw = inner
    return raw


def _child(module: object, name: str) -> object:
    """An attribute or submodule of the user's module, as `import` and `module.name` would find it."""
    if not isinstance(module, ModuleType):
        return _MISSING
    try:
        found = getattr(module, name, _MISSING)
        if found is _MISSING and hasattr(module, "__path__"):
            found = importlib.import_module(f"{module.__name__}.{name}")
    except Exception:  # noqa: BLE001  user code (`__getattr__`, an import) may raise anything; so will `run`
        return _MISSING
    return found


class _Walk(Values):
    """One traversal from `run`. Labels are given in the order of discovery, which the source alone decides."""

    def __init__(self, cls: type, root: Path | None, packages: tuple[str, ...]) -> None:
        module = sys.modules.get(cls.__module__)
        top = cls.__module__.partition(".")[0]
        if top == "__main__" and getattr(module, "__package__", None):  # python -m package.module
            top = str(getattr(module, "__package__", "")).partition(".")[0]
        self.task, self.tops, self.root = cls, (top, *packages), str(root or "")
        super().__init__(places(getattr(sys.modules.get(top, module), "__file__", None) or "", self.root))
        self.forced: set[int] = set()  # ids of objects that `track` names
        self.labels: dict[str, int] = {}
        self.seen: dict[object, str] = {}
        self.todo: list[tuple[str, Callable[[], Iterable[str]]]] = []
        self.constants: dict[tuple[str, int], tuple[str, object, str]] = {}
        self.state: set[tuple[str, int]] = set()  # constants that reached code changes
        self.mine: dict[type, bool] = {}

    def finish(self) -> dict[str, str]:
        hashes = {label: _hash("\0".join(text())) for label, text in self.todo}  # grows while we go
        for key, (label, value, text) in self.constants.items():
            hashes[label] = _hash(self.describe(value, atoms=False) if key in self.state else text)
        return hashes

    def track(self, name: str, item: object) -> None:
        self.forced.add(id(item))
        if isinstance(item, type):
            self.forced |= {id(_innermost(raw)) for raw in vars(item).values()}
        self.value(item, name, (), False)

    def label(self, key: object, base: str, text: Callable[[], Iterable[str]] | None) -> str:
        base = base.replace(".<locals>", "")
        self.labels[base] = count = self.labels.get(base, 0) + 1
        self.seen[key] = label = base if count == 1 else f"{base}#{count}"
        if text:
            self.todo.append((label, text))
        return label

    # What is own code

    def owns_function(self, function: FunctionType) -> bool:
        names = function.__globals__
        own = is_own(names.get("__name__") or "", names.get("__file__") or "", self.tops, self.root)
        return own or id(function) in self.forced

    def owns_class(self, cls: type) -> bool:
        own = self.mine.get(cls)
        if own is None:
            file = getattr(sys.modules.get(cls.__module__), "__file__", None) or ""
            own = is_own(cls.__module__, file, self.tops, self.root) or id(cls) in self.forced
            self.mine[cls] = own
        return own

    def is_task(self, cls: type) -> bool:
        return id(cls) not in self.forced and (cls in self.task.__mro__ or is_framework(cls))

    # Names

    def resolve(
        self, path: Names, function: FunctionType, code: _Code, cells: Mapping[str, Any], me: type | None
    ) -> str:
        """Describe what a dotted name in a function stands for; "" if it is none of our business."""
        root, state = path[0], code.syntax.state
        if root == SELF:
            return self.attribute(path[1], me.__mro__, me, path[:2] in state) if me else ""
        if root == SUPER:
            mro = me.__mro__ if me else ()
            owner = cells.get("__class__")
            return (
                self.attribute(path[1], mro[mro.index(owner) + 1 :], me, False) if me and owner in mro else ""
            )
        if root in cells:
            value = cells[root]
        elif root in code.syntax.imports:
            value = self.imported(*code.syntax.imports[root], function.__globals__)
        else:
            value = function.__globals__.get(root, _MISSING)
        at = 1
        while value is not _MISSING and issubclass(type(value), ModuleType):
            file = getattr(value, "__file__", None) or ""
            if not is_own(value.__name__, file, self.tops, self.root) and (
                file or not hasattr(value, "__path__")
            ):
                return "path" if value is os.path else str(value.__name__)
            if at == len(path):
                return self.module(value)
            value = _child(value, path[at])
            at += 1
        if value is _MISSING or (root[:2] == "__" and root[-2:] == "__"):  # __name__, __file__
            return ""
        if root in cells:
            return self.describe(value, path[:at] not in state, root, me)
        return self.value(value, path[at - 1], path[at:], bool(state) and path[:at] in state)

    def imported(self, module: str, name: str, level: int, names: dict[str, Any]) -> object:
        """What an import statement in a function body brings in; the name itself if that is not own code."""
        package = names.get("__package__") or names.get("__name__", "").rpartition(".")[0]
        try:
            module = importlib.util.resolve_name("." * level + module, package) if level else module
            found = sys.modules.get(module)
            if found is None:
                spec = importlib.util.find_spec(module.partition(".")[0])
                if not spec or not is_own(module, spec.origin or "", self.tops, self.root):
                    return f"{module}:{name}"
                found = importlib.import_module(module)
        except Exception:  # noqa: BLE001  user code runs on import and may raise anything; so will `run`
            return f"{module.rpartition('.')[2]}:{name}"
        return _child(found, name) if name else found

    def module(self, module: ModuleType) -> str:
        """A module used as a value: everything defined in it may be meant."""
        found = [v for _, v in sorted(vars(module).items()) if isinstance(v, FunctionType | type)]
        return ",".join(self.describe(v) for v in found if v.__module__ == module.__name__)

    def attribute(self, name: str, mro: Sequence[type], me: type, state: bool) -> str:
        """What ``self.name`` finds."""
        if name == EVERYTHING:
            every = {n: None for c in mro if self.owns_class(c) for n, _ in self.members(c)}
            return ",".join(self.attribute(n, mro, me, False) for n in sorted(every))
        for cls in mro:
            raw = cls.__dict__.get(name, _MISSING)
            if raw is _MISSING and name[:2] == "__":
                raw = cls.__dict__.get(f"_{cls.__name__.lstrip('_')}{name}", _MISSING)
            if raw is not _MISSING:
                return (
                    self.member(raw, me, f"{cls.__qualname__}.{name}", state) if self.owns_class(cls) else ""
                )
        return ""

    def member(self, raw: Any, me: type, label: str, state: bool = False) -> str:
        """Describe an entry of a class, as it stands in ``__dict__``."""
        kind = type(raw)
        if kind is FunctionType:
            return self.function(raw, me, label)
        if kind is staticmethod:
            return f"static {self.describe(raw.__func__, hint=label)}"
        if kind is classmethod or issubclass(kind, cached_property):
            return f"{kind.__name__} {self.member(raw.func if kind is not classmethod else raw.__func__, me, label)}"
        if issubclass(kind, property):
            parts = (self.member(f, me, label) if f else "" for f in (raw.fget, raw.fset, raw.fdel))
            return f"property {','.join(parts)}"
        return self.value(raw, label, (), state, me)

    def value(self, value: Any, name: str, rest: Names, state: bool, me: type | None = None) -> str:
        """Describe what a name stands for: a function or class by its label, a constant by a label of its own."""
        kind = type(value)
        if issubclass(kind, type):
            task = rest and self.is_task(value)
            return self.attribute(rest[0], value.__mro__, value, state) if task else self.describe(value)
        if kind in (FunctionType, MethodType) or kind.__name__ == "builtin_function_or_method":
            return self.describe(value, hint=name, me=me)
        if is_framework(kind):
            return ""
        key = (name, id(value))
        if state:
            self.state.add(key)
        if key not in self.constants:
            self.constants[key] = (self.label(key, name, None), value, self.describe(value, hint=name, me=me))
        return self.constants[key][0]

    # Functions and classes

    def function(self, function: FunctionType, me: type | None, hint: str) -> str:
        """Label a function and queue its text."""
        if not self.owns_function(function):
            return f"~{function.__name__}{self.held(function, me)}"
        code = _code(function)
        me = me if code.bound else None
        inside = tuple(id(c) for _, c in cells(function)) if function.__closure__ else ()
        key = (code.digest, id(function.__globals__), id(me), inside, id(function.__defaults__))
        label = self.seen.get(key)
        if label is None:
            label = hint if hint and code.code.co_name == "<lambda>" else code.code.co_qualname
            label = label if code.syntax.exact else f"{label} (bytecode)"
            label = self.label(key, label, partial(self.function_text, function, code, me))
        return label

    def function_text(self, function: FunctionType, code: _Code, me: type | None) -> Iterator[str]:
        """What a function says, what its names stand for, and its default values."""
        yield code.digest
        inside = dict(cells(function)) if function.__closure__ else {}
        for path, dotted in code.paths:
            found = self.resolve(path, function, code, inside, me)
            if found:
                yield f"{dotted}={found}"
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            yield self.describe(value, atoms=not isinstance(value, list | dict | set))  # may serve as a cache
        if function.__dict__:
            yield self.held(function, me)

    def cls(self, cls: type) -> str:
        """Label a class and queue its text."""
        if not self.owns_class(cls) or self.is_task(cls):
            return f"~{cls.__name__}"
        return self.seen.get(cls) or self.label(cls, cls.__qualname__, partial(self.class_text, cls))

    def class_text(self, cls: type) -> Iterator[str]:
        """Bases, fields and members of a class."""
        yield ",".join(self.describe(base) for base in (*cls.__bases__, type(cls)))
        options = cls.__dict__.get("__dataclass_params__")
        if options:
            yield repr((options.eq, options.order, options.frozen, options.unsafe_hash))
            for name, field in cls.__dict__["__dataclass_fields__"].items():
                defaults = (
                    self.describe(field.default, hint=name),
                    self.describe(field.default_factory, hint=name),
                )
                yield repr((name, defaults, field.init, field.compare, field.kw_only))
        if issubclass(cls, Enum):
            for name, member in cls.__members__.items():
                yield f"{name}={self.describe(member._value_)}"
        for name, raw in self.members(cls):
            yield f"{name}={self.member(raw, cls, f'{cls.__qualname__}.{name}')}"

    def members(self, cls: type) -> Iterator[tuple[str, Any]]:
        """What the user wrote into a class, sorted by name, without what Python or a library generated."""
        for name, raw in sorted(vars(cls).items()):
            inner = _innermost(raw)
            own = isinstance(inner, FunctionType) and self.owns_function(inner)
            if isinstance(inner, FunctionType) and inner.__code__.co_filename.startswith(
                ("<string>", "<attrs")
            ):
                own = own and not {"__dataclass_fields__", "__attrs_attrs__"} & vars(cls).keys()
            hidden = name.startswith("_") if is_framework(cls) else name[:2] == name[-2:] == "__"
            if name in _BOOKKEEPING or (not own and (hidden or issubclass(cls, Enum))):
                continue
            if type(raw).__name__ not in _DESCRIPTORS:
                yield name, raw
