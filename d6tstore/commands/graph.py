"""The command `d6tstore graph`: a picture of tasks with their states."""

from __future__ import annotations

from pathlib import Path

import click

from d6tstore.commands.locate import PASS, current_store, named, tasks_of
from d6tstore.commands.shell import as_json_option, echo_json, stdout_for_json, written


@click.command(context_settings=PASS)
@named
@click.option("-o", "--to", "file", metavar="FILE", help="Write it there: .svg, or .mmd (Mermaid).")
@as_json_option
def graph(words: tuple[str, ...], file: str | None, as_json: bool) -> None:
    """Draw tasks and all that they need, with their states. Without a file, Mermaid is printed.

    \b
    Example:
      d6tstore graph flow:Train --model svm -o flow.svg
    """
    with stdout_for_json(as_json or file is None):  # what the user's module prints is no Mermaid
        tasks = tasks_of(words)
        picture = current_store().graph(tasks)
    if file is not None:
        picture.save(file)
        written(Path(file), as_json)
    elif as_json:
        echo_json(picture.as_json())
    else:
        click.echo(picture.mermaid)
