"""Names of tasks for a shell to complete: those in the modules here, whose source is read and not run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from d6tstore import project

_LARGEST = 1 << 20  # bytes of a module that is read


def names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names that begin so, as click asks for them; bash takes a colon for the end of a word.

    Example:
        >>> names(click.Context(click.Command("run")), click.Argument(["words"]), "no_such_module:")
        []
    """
    typed: tuple[Any, ...] = ctx.params.get("words") or ()
    if incomplete == ":" or (typed and typed[-1] == ":"):  # bash: `flow`, `:`, `Tr`
        module = typed[-2] if typed[-1:] == (":",) else typed[-1] if typed else ""
        start = "" if incomplete == ":" else incomplete
        return [name for name in _classes(project.folder() / f"{module}.py") if name.startswith(start)]
    found = []
    for file in sorted(project.folder().glob("*.py")):
        if file.stem.isidentifier() and f"{file.stem}:".startswith(incomplete.partition(":")[0]):
            found += [f"{file.stem}:{name}" for name in _classes(file)]
    return [name for name in found if name.startswith(incomplete)]


def _classes(file: Path) -> Iterator[str]:
    """Public classes that a module defines, as far as it can be read."""
    try:
        if file.stat().st_size <= _LARGEST:
            for node in ast.parse(file.read_bytes()).body:
                if isinstance(node, ast.ClassDef) and node.bases and not node.name.startswith("_"):
                    yield node.name
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
