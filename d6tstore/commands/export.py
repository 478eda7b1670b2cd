"""The command `export`."""

from __future__ import annotations

import contextlib
import sys

import click

from d6tstore import context
from d6tstore.commands.locate import PASS, current_store, named, task_classes
from d6tstore.commands.shell import as_json_option, echo_json
from d6tstore.errors import UsageError


@click.command(context_settings=PASS)
@named
@click.option("--pipe", metavar="NAME", help="The pipe that shares the results, for messages.")
@as_json_option
def export(words: tuple[str, ...], pipe: str | None, as_json: bool) -> None:
    """Write a module of task classes for those who only load.

    It has the names, parameters, outputs and docstrings of the named classes and of all that they need, and none of
    their code. Parameters are needed only where `requires` is a method.

    \b
    Example:
      d6tstore export flow:Train --pipe team-features > shared_tasks.py
    """
    from d6tstore import exporting

    if not words:
        raise UsageError("which classes? Name them as module:Class, such as flow:Train.")
    with contextlib.redirect_stdout(sys.stderr):  # what the flow's modules print is no part of the source
        chosen = task_classes(words)
        with context.using(current_store()):
            source = exporting.source(chosen, pipe)
    if as_json:
        echo_json({"classes": [f"{each.__module__}:{each.__qualname__}" for each in chosen], "source": source})
    else:
        click.echo(source.encode(), nl=False)  # UTF-8, whatever the terminal speaks: Python reads that
