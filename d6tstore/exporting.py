"""`d6tstore export`: the task classes of a flow as a module of external classes, for those who only load results."""

from __future__ import annotations

import contextlib
import keyword
import unicodedata
from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec

from d6tstore import conversion
from d6tstore.errors import GraphError, ParameterError, UsageError
from d6tstore.graph import Graph
from d6tstore.parameters import MISSING, Field
from d6tstore.registry import format_name, registered_name
from d6tstore.shapes import flatten
from d6tstore.spelling import (
    Group,
    Names,
    Source,
    around,
    docstring,
    layout,
    portable,
    quoted,
    type_source,
    value_source,
)
from d6tstore.task import Task, latest

_INDENT = "    "
_HEAD = '"""Tasks that somebody else runs: load their results, or build on them. Written by d6tstore export."""'


def source(classes: Any, pipe: str | None = None) -> str:
    """Source of a module with an external class for each task class of a flow, inputs first.

    The classes have the names, parameters, outputs, formats and docstrings of the flow's, and none of its code; their
    tasks have the same ids. A parameter of a type that only the flow's modules have takes its JSON value. Aggregators,
    which have no result of their own, are left out.

    Args:
        classes: task classes, or tasks: where `requires` is a method of a class that cannot be made without parameters.
        pipe: name of the pipe that shares the results, for messages.

    Returns:
        Python source, the same for the same classes.

    Raises:
        UsageError: what a class requires depends on parameters that are not given; or its name is a keyword.
        GraphError: two classes of one family.

    Example:
        >>> import d6tstore
        >>> from d6tstore import exporting
        >>> class Prices(d6tstore.tasks.TaskJson):
        ...     year: int = 2024
        ...     def run(self):
        ...         self.save([self.year])
        >>> print(exporting.source(Prices, pipe="team-features"))  # doctest: +ELLIPSIS
        \"""Tasks that somebody else runs...\"""
        <BLANKLINE>
        import d6tstore
        <BLANKLINE>
        <BLANKLINE>
        class Prices(d6tstore.tasks.TaskJson):
            external = True
            pipe = "team-features"
        <BLANKLINE>
            year: int = 2024
        <BLANKLINE>
    """
    if pipe is not None and not (isinstance(pipe, str) and pipe.isprintable()):
        raise UsageError(f"pipe = {pipe!r} must be the name of a pipe, such as 'team-features'.")
    chosen = _by_family(_upstream(list(flatten(classes))))
    names = Names(chosen.keys() | {name for cls in chosen.values() for name in cls.fields()})
    bodies = [_class_source(cls, names, pipe) for cls in chosen.values()]
    names.of("d6tstore", "Task")
    return "\n\n\n".join([f"{_HEAD}\n\n{names.imports()}", *bodies]) + "\n"


# --------------------------------------------------------------------- classes


def _upstream(items: Iterable[Any]) -> dict[type[Task], None]:
    """The classes of these tasks and classes and of all that they need, inputs first."""
    found: dict[type[Task], None] = {}
    for item in items:
        task = item if isinstance(item, Task) else _made(item)
        if task is not None:
            found |= dict.fromkeys(type(each) for each in Graph(task))
        else:
            cls = latest(item)
            found |= _upstream(_declared(cls))
            found[cls] = None
    return found


def _made(cls: Any) -> Task | None:
    """A task of the class, None if that takes parameters: what `requires` returns, only a task knows."""
    if not (isinstance(cls, type) and issubclass(cls, Task)):
        raise UsageError(f"export takes task classes, or tasks, not {cls!r}.")
    if all(field.default is not MISSING for field in latest(cls).fields().values()):
        return latest(cls)()
    return None


def _declared(cls: type[Task]) -> list[type[Task]]:
    """The classes that a class requires, by the decorator or not at all."""
    if cls.external or (cls.requires is Task.requires and cls._requires is None):
        return []
    if cls.requires is Task.requires:
        found: list[type[Task]] = cls._requires.classes()
        return found
    lacking = ", ".join(f"{name}=..." for name, field in cls.fields().items() if field.default is MISSING)
    options = " ".join(f"--{name.replace('_', '-')} VALUE" for name in cls.fields() if f"{name}=..." in lacking)
    raise UsageError(
        f"what {cls.__name__} requires is known for its tasks only, for its requires() is a method. Give the "
        f"parameters: {cls.__name__}({lacking}) in Python, {options} on the command line."
    )


def _by_family(classes: Iterable[type[Task]]) -> dict[str, type[Task]]:
    found: dict[str, type[Task]] = {}
    for cls in classes:
        if cls.aggregates:
            continue
        if found.setdefault(cls.family, cls) is not cls:
            both = " and ".join(f"{each.__module__}.{each.__qualname__}" for each in (found[cls.family], cls))
            raise GraphError(f"two task classes of the family {cls.family!r}: {both}. Export them into two modules.")
        if not _is_written(cls.family):
            raise UsageError(f"task class {cls.family!r}: Python cannot import that name. Rename the class.")
    return found


def _is_written(name: str) -> bool:
    """Can it stand in source as it is? Python reads identifiers in one form of Unicode only."""
    return name.isidentifier() and not keyword.iskeyword(name) and unicodedata.normalize("NFKC", name) == name


def _class_source(cls: type[Task], names: Names, pipe: str | None) -> str:
    base = next((each for each in cls.__mro__ if each.__module__ == "d6tstore.tasks"), Task)
    called = names.of("d6tstore", base.__name__ if base is Task else f"tasks.{base.__name__}")
    text = cls.__dict__.get("__doc__")
    parts = [
        [docstring(text, _INDENT)] if isinstance(text, str) and text.strip() else [],
        _settings(cls, base, pipe, names),
        [line for name, field in cls.fields().items() for line in _parameter(name, field, cls, names)],
    ]
    body = "\n\n".join("\n".join(_INDENT + line for line in part) for part in parts if part)
    return f"class {cls.family}({called}):\n{body}"


def _settings(cls: type[Task], base: type[Task], pipe: str | None, names: Names) -> list[str]:
    """What tells the class from the ready-made one that it derives from."""
    formats = {name: registered_name(format_name(declared)) for name, declared in cls.formats().items()}
    lines = [
        f"# Output {quoted(name)} loads where a plug-in brings the format {format.replace(':', '.')}."
        for name, format in formats.items()
        if ":" in format
    ]
    lines.append("external = True")
    pipe = getattr(cls, "pipe", None) or pipe
    if isinstance(pipe, str) and "pipe" not in cls.fields():
        lines.append(f"pipe = {quoted(pipe)}")
    if cls.backend != base.backend:
        lines.append(f"backend = {value_source(cls.backend, names)}")
    common = set(formats.values())
    if len(common) == 1 and common != {base.format}:
        lines.append(f"format = {quoted(*common)}")
    if len(common) > 1:  # a mapping may be edited, so linters want it declared
        start = f"persist: {type_source(ClassVar, names)} = "
        lines.append(layout(around(start, value_source(formats, names)), _INDENT))
    elif tuple(formats) != tuple(base.persist):
        lines.append(layout(around("persist = ", value_source(tuple(formats), names)), _INDENT))
    return lines


# ------------------------------------------------------------------ parameters


def _parameter(name: str, field: Field, cls: type[Task], names: Names) -> list[str]:
    """The lines that declare a parameter."""
    default = MISSING if field.default is MISSING else field.default_value(cls.__name__)
    lines = []
    try:
        kind = portable(field.type)
        faithful = _is_faithful(kind, name, default)
    except LookupError:
        faithful = False
    if not faithful:
        kind, default = Any, default if default is MISSING else conversion.to_json(default)
        lines.append(f"# {conversion.type_name(field.type).encode('unicode_escape').decode()}: its JSON value.")
    annotation = type_source(kind, names)
    value = MISSING if default is MISSING else value_source(default, names)
    settings: list[Source] = [] if field.significant else ["significant=False"]
    settings += [f"description={quoted(field.description)}"] if field.description else []
    left = around(f"{name}: ", annotation)
    if not _is_written(name):
        left = f"{names.of('builtins', 'vars')}()[{quoted(name)}]"
        settings.append(around("type=", annotation))
    if settings or (default is not MISSING and conversion.is_mutable(default)):  # linters dislike those as they are
        given = [] if value is MISSING else [around("default=", value)]
        value = Group(f"{names.of('d6tstore', 'Parameter')}(", [*given, *settings], ")")
    if value is MISSING:
        whole = left
    else:
        whole = around(f"{left} = ", value) if isinstance(value, Group) else around("", left, f" = {value}")
    return [*lines, layout(whole, _INDENT)]


def _is_faithful(kind: Any, name: str, default: Any) -> bool:
    """Does the type take the JSON value of the default, and give it back?"""
    field = Field(kind, MISSING, True, "")
    field.name = name
    try:
        with contextlib.suppress(msgspec.ValidationError):
            conversion.convert(None, kind)
        as_json = None if default is MISSING else conversion.to_json(default)
        again = None if default is MISSING else conversion.to_json(field.convert(as_json, name))
    except (TypeError, ParameterError):  # msgspec does not know such types, or not side by side
        return False
    return conversion.encode({"": as_json}) == conversion.encode({"": again})
