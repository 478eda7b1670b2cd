"""From words on a command line to tasks, `module:Class --param value`, and to their store."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_origin

import click

from d6tstore import context, project
from d6tstore.commands.shell import nearest, user_line
from d6tstore.errors import D6tstoreError, NotInitialised, ParameterError, UsageError
from d6tstore.parameters import MISSING, Field
from d6tstore.task import Task

if TYPE_CHECKING:
    from d6tstore.store import Store

_HOW = "Name a task as module:Class, such as flow:Train."


def _complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from d6tstore.commands import completing

    return completing.names(ctx, parameter, incomplete)


named = click.argument(
    "words", metavar="MODULE:CLASS [--PARAM VALUE]...", nargs=-1, type=click.UNPROCESSED, shell_complete=_complete
)
PASS = {"ignore_unknown_options": True}


def tasks_of(words: Sequence[str], needed: bool = True) -> list[Task]:
    """The tasks that the words of a command name; at least one if `needed`. Errors as for `tasks`."""
    if needed and not words:
        raise UsageError(f"which task? {_HOW}")
    return tasks(words)


def grids_of(words: Sequence[str]) -> list[Task]:
    """As `tasks_of`, but an option that is given several times stands for each of its values."""
    if not words:
        raise UsageError(f"which tasks? {_HOW}")
    return [
        _make(cls, dict(zip(values, chosen, strict=True)))
        for cls, values in _parsed(words, many=True)
        for chosen in itertools.product(*values.values())
    ]


def current_store() -> Store:
    """That of `--store`; else what the task's module chose by `init`; else as `init()`. Call `tasks_of` first."""
    url = click.get_current_context().obj
    if url is None:
        with contextlib.suppress(NotInitialised):
            return context.current()
    from d6tstore import config

    return config.open(url)


def tasks(words: Sequence[str]) -> list[Task]:
    """The tasks that words name.

    Args:
        words: `module:Class`, followed by `--param value` or `--param=value`; then perhaps the next task.

    Returns:
        The tasks, in this order.

    Raises:
        UsageError: no such module or class, or not a task.
        ParameterError: a parameter is unknown, missing, given twice or of the wrong type.
    """
    return [_make(cls, values) for cls, values in _parsed(words)]


def task_classes(words: Sequence[str]) -> list[type[Task] | Task]:
    """The task classes that words name; the task where parameters follow. Words and errors as for `tasks`."""
    return [_make(cls, values) if values else cls for cls, values in _parsed(words)]


def _parsed(words: Sequence[str], many: bool = False) -> Iterator[tuple[type[Task], dict[str, Any]]]:
    """Classes and values; if `many`, a list of values for each parameter."""
    rest = list(words)
    while rest:
        cls = task_class(rest.pop(0))
        values = _values(cls, rest, many)
        yield cls, values if many else {name: given[0] for name, given in values.items()}


def task_class(name: str) -> type[Task]:
    """The task class of a name such as `flow:Train`. Raises UsageError."""
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path:
        raise UsageError(f"{name!r} names no task. {_HOW}")
    found: Any = _module(module_name, path)
    for part in path.split("."):
        owner, found = found, getattr(found, part, None)
        if found is None:
            near = nearest(part, _task_names(owner)) or "."
            raise UsageError(f"module {module_name} has no {path}{near} {_choice(module_name)}")
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise UsageError(f"{name} is no task but a {type(found).__name__}. {_choice(module_name)}")
    return found


def _module(name: str, path: str) -> ModuleType:
    if (here := str(project.folder())) not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    if name.endswith(".py") or "/" in name or os.sep in name:
        dotted = ".".join(Path(name).with_suffix("").parts)
        raise UsageError(f"{name!r} is a path. Name its module: {dotted}:{path}.")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise  # found, but something that it imports is not there
        near = nearest(name, _modules_here())
        raise UsageError(
            f"there is no module {exc.name}{near or '.'} Modules are sought in {here}, then among those installed."
        ) from None
    except D6tstoreError as exc:
        raise UsageError(f"{user_line(exc)}{exc}") from exc
    except SystemExit as exc:
        raise UsageError(
            f'importing {name} ended the program ({exc!r}). Put what a script does under if __name__ == "__main__":.'
        ) from None
    except (TypeError, ValueError) as exc:
        if name.startswith(".") or not all(name.split(".")):
            raise UsageError(f"{name!r} names no module. {_HOW}") from None
        raise exc


def _modules_here() -> Iterator[str]:
    for entry in project.folder().iterdir():
        if entry.suffix == ".py" or (entry.is_dir() and entry.name.isidentifier()):
            yield entry.stem


def _task_names(owner: Any) -> list[str]:
    return [n for n, v in vars(owner).items() if isinstance(v, type) and issubclass(v, Task) and not v._framework]


def _choice(module: str) -> str:
    names = _task_names(sys.modules[module])
    return f"Its tasks: {', '.join(names)}." if names else "It defines no tasks."


# ------------------------------------------------------------------ parameters


def _values(cls: type[Task], rest: list[str], many: bool) -> dict[str, list[Any]]:
    """Take the options that follow a task off `rest`: parameter names to converted values, one each or `many`."""
    fields = cls.fields()
    values: dict[str, list[Any]] = {}
    while rest and (rest[0].startswith("-") or ":" not in rest[0]):
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ParameterError(f"{cls.__name__}: {word!r} belongs to no option. {_usage(fields)}")
        option, equals, text = word.partition("=")
        name = _field_name(option[2:], fields)
        if name is None:
            near = nearest(option[2:].replace("-", "_"), fields).replace("mean ", "mean --") or "."
            raise ParameterError(f"{cls.__name__} has no parameter {option}{near} {_usage(fields)}")
        if name in values and not many:
            raise ParameterError(f"{cls.__name__}: {option} is given twice. Give it once.")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ParameterError(f"{cls.__name__}: {option} needs a value: {option} VALUE.")
            text = rest.pop(0)
        values.setdefault(name, []).append(_convert(fields[name], text, cls))
    return values


def _field_name(name: str, fields: dict[str, Field]) -> str | None:
    return name if name in fields else next((f for f in fields if f == name.replace("-", "_")), None)


def _convert(field: Field, text: str, cls: type[Task]) -> Any:
    """A value in the parameter's own type: from the text as it is, else from the text as JSON."""
    try:
        return field.convert(text, cls.__name__)
    except ParameterError as exc:
        try:
            return field.convert(json.loads(text), cls.__name__)
        except (ParameterError, ValueError, RecursionError):
            kind = get_origin(field.type) or field.type
            collection = isinstance(kind, type) and issubclass(kind, list | tuple | set | frozenset | dict)
            hint = " Lists and dicts are written as JSON here, such as '[1, 2]'." if collection else ""
            raise ParameterError(f"{exc}{hint}") from None


def _usage(fields: dict[str, Field]) -> str:
    shown = [f"--{n.replace('_', '-')}" for n in fields]
    return f"It has {', '.join(shown)}." if shown else "It has no parameters."


def _make(cls: type[Task], values: dict[str, Any]) -> Task:
    lacking = [n for n, f in cls.fields().items() if f.default is MISSING and n not in values]
    if lacking:
        shown = " ".join(f"--{n.replace('_', '-')} VALUE" for n in lacking)
        raise ParameterError(f"{cls.__name__} needs {shown}.")
    return cls(**values)
