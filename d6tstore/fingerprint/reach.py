"""From a task's `run` to everything of the user's own that it reaches; see `fingerprint`."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import cached_property, partial
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

from blake3 import blake3

from d6tstore.fingerprint.names import EVERYTHING, SELF, SUPER, Names
from d6tstore.fingerprint.source import Code, code_of, is_framework, is_own
from d6tstore.fingerprint.values import Values, cells, innermost, places

_MISSING = object()
_DESCRIPTORS = {"member_descriptor", "getset_descriptor", "_tuplegetter", "_abc_data"}
_BOOKKEEPING = {"_is_protocol", "_is_runtime_protocol", "__new_member__"}


def digest(text: str, size: int = 8) -> str:
    """Return the hash of a text, of ``size`` bytes in hex."""
    return blake3(text.encode()).hexdigest(length=size)


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


class _Foreign(str):
    """What an import names that is not followed."""


class Walk(Values):
    """One traversal. Labels are given in the order of discovery, which the source decides."""

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
        """Return the hash of every label, following what is queued."""
        hashes = {label: digest("\0".join(text())) for label, text in self.todo}  # grows while we go
        for key, (label, value, text) in self.constants.items():
            hashes[label] = digest(self.describe(value, atoms=False) if key in self.state else text)
        return hashes

    def track(self, name: str, item: object) -> None:
        """Hash an object although `run` may not reach it."""
        self.forced.add(id(item))
        if isinstance(item, type):
            self.forced |= {id(innermost(raw)) for raw in vars(item).values()}
        self.value(item, name, (), False)

    def label(self, key: object, base: str, text: Callable[[], Iterable[str]] | None) -> str:
        """Return a label not yet taken for what ``key`` stands for; ``text`` is called later."""
        base = base.replace(".<locals>", "")
        self.labels[base] = count = self.labels.get(base, 0) + 1
        self.seen[key] = label = base if count == 1 else f"{base}#{count}"
        if text:
            self.todo.append((label, text))
        return label

    # What is own code

    def owns_function(self, function: FunctionType) -> bool:
        """Return whether a function is the user's own."""
        names = function.__globals__
        own = is_own(names.get("__name__") or "", names.get("__file__") or "", self.tops, self.root)
        return own or id(function) in self.forced

    def owns_class(self, cls: type) -> bool:
        """Return whether a class is the user's own."""
        own = self.mine.get(cls)
        if own is None:
            file = getattr(sys.modules.get(cls.__module__), "__file__", None) or ""
            own = is_own(cls.__module__, file, self.tops, self.root) or id(cls) in self.forced
            self.mine[cls] = own
        return own

    def is_task(self, cls: type) -> bool:
        """Return whether a class is a task, of which only the attributes named are followed."""
        return id(cls) not in self.forced and (cls in self.task.__mro__ or is_framework(cls))

    # Names

    def resolve(
        self, path: Names, function: FunctionType, code: Code, cells: Mapping[str, Any], me: type | None
    ) -> str:
        """Describe what a dotted name in a function stands for; "" if it is none of our business."""
        root, state = path[0], code.syntax.state
        if root == SELF:
            return self.attribute(path[1], me.__mro__, me, path[:2] in state) if me else ""
        if root == SUPER:
            mro = me.__mro__ if me else ()
            owner = cells.get("__class__")
            above = mro[mro.index(owner) + 1 :] if owner in mro else ()
            return self.attribute(path[1], above, me, False) if me else ""
        if root in cells:
            value = cells[root]
        elif root in code.syntax.imports:
            value = self.imported(*code.syntax.imports[root], function.__globals__)
            if type(value) is _Foreign:
                return value
        else:
            value = function.__globals__.get(root, _MISSING)
        at = 1
        while value is not _MISSING and issubclass(type(value), ModuleType):
            file = getattr(value, "__file__", None) or ""
            own = is_own(value.__name__, file, self.tops, self.root)
            if not own and (file or not hasattr(value, "__path__")):  # else a namespace package
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
            spec = importlib.util.find_spec(module.partition(".")[0]) if found is None else None
            file = spec.origin if spec else getattr(found, "__file__", None)
            if not is_own(module, file or "", self.tops, self.root) and (file or not hasattr(found, "__path__")):
                return _Foreign(f"{module}:{name}")  # whether it has been imported already must not matter
            found = found or importlib.import_module(module)
        except Exception:  # noqa: BLE001  user code runs on import and may raise anything; so will `run`
            return _Foreign(f"{module.rpartition('.')[2]}:{name}")
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
                own = self.owns_class(cls)
                return self.member(raw, me, f"{cls.__qualname__}.{name}", state) if own else ""
        return ""

    def member(self, raw: Any, me: type, label: str, state: bool = False) -> str:
        """Describe an entry of a class, as it stands in ``__dict__``."""
        kind = type(raw)
        if kind is FunctionType:
            return self.function(raw, me, label)
        if kind is staticmethod:
            return f"static {self.describe(raw.__func__, hint=label)}"
        if kind is classmethod or issubclass(kind, cached_property):
            inner = raw.__func__ if kind is classmethod else raw.func
            return f"{kind.__name__} {self.member(inner, me, label)}"
        if issubclass(kind, property):
            parts = (self.member(f, me, label) if f else "" for f in (raw.fget, raw.fset, raw.fdel))
            return f"property {','.join(parts)}"
        return self.value(raw, label, (), state, me)

    def value(self, value: Any, name: str, rest: Names, state: bool, me: type | None = None) -> str:
        """Describe what a name stands for: functions, classes and constants by their labels."""
        kind: Any = type(value)
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
            text = self.describe(value, hint=name, me=me)  # first, so that a wrapper leaves its function the label
            self.constants[key] = (self.label(key, name, None), value, text)
        return self.constants[key][0]

    # Functions and classes

    def function(self, function: FunctionType, me: type | None, hint: str) -> str:
        """Label a function and queue its text."""
        if not self.owns_function(function):
            return f"~{function.__name__}{self.held(function, me)}"
        code = code_of(function)
        me = me if code.bound else None
        inside = tuple(id(c) for _, c in cells(function)) if function.__closure__ else ()
        key = (code.digest, id(function.__globals__), id(me), inside, id(function.__defaults__))
        label = self.seen.get(key)
        if label is None:
            label = hint if hint and code.code.co_name == "<lambda>" else code.code.co_qualname
            label = label if code.syntax.exact else f"{label} (bytecode)"
            label = self.label(key, label, partial(self.function_text, function, code, me))
        return label

    def function_text(self, function: FunctionType, code: Code, me: type | None) -> Iterator[str]:
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
            inner = innermost(raw)
            own = isinstance(inner, FunctionType) and self.owns_function(inner)
            if isinstance(inner, FunctionType) and inner.__code__.co_filename.startswith(("<string>", "<attrs")):
                own = own and not {"__dataclass_fields__", "__attrs_attrs__"} & vars(cls).keys()
            hidden = name.startswith("_") if is_framework(cls) else name[:2] == name[-2:] == "__"
            if name in _BOOKKEEPING or (not own and (hidden or issubclass(cls, Enum))):
                continue
            if type(raw).__name__ not in _DESCRIPTORS:
                yield name, raw
