"""The command `d6tstore graph`: a picture of tasks with their states."""

from __future__ import annotations

import sys

import click

from d6tstore.locate import PASS, current_store, named, tasks_of
from d6tstore.shell import stdout_for_json


@click.command(context_settings=PASS)
@named
@click.option("-o", "--to", "file", metavar="FILE", help="Write it there: .svg, or .mmd (Mermaid).")
def graph(words: tuple[str, ...], file: str | None) -> None:
    """Draw tasks and all that they need, with their states. Without a file, Mermaid is printed.

    \b
    Example:
      d6tstore graph flow:Train --model svm -o flow.svg
    """
    with stdout_for_json(file is None):  # what the user's module prints is no Mermaid
        tasks = tasks_of(words)
        picture = current_store().graph(tasks)
    if file is None:
        click.echo(picture.mermaid)
        return
    picture.save(file)
    click.echo(f"{file} is written", file=sys.stderr)
