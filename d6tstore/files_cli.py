"""Commands of `d6tstore pipe` for plain files: files, import, delete, orphans."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Literal

import click

from d6tstore import context
from d6tstore.errors import UsageError
from d6tstore.locate import current_store
from d6tstore.shell import FAILED, Failure

if TYPE_CHECKING:
    from d6tstore.file_pipe import FilesPipe
    from d6tstore.file_report import Changes

_LISTED = 1_000  # lines for a person
_there = click.option("--there", is_flag=True, help="At the other side.")
_yes = click.option("--yes", is_flag=True, help="Do it without asking.")


def _pipe(name: str) -> FilesPipe:
    from d6tstore import pipes
    from d6tstore.file_pipe import FilesPipe

    with context.using(current_store()):
        found = pipes.get_pipe(name)
    if not isinstance(found, FilesPipe):
        raise UsageError(f"pipe {name!r} is of results. For plain files define it with kind = 'files'.")
    return found


@click.command("files")
@click.argument("name")
@click.argument("pattern", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def files(name: str, pattern: str | None, as_json: bool) -> None:
    """List the files that are there, and how they compare with those here.

    \b
    Example:
      d6tstore pipe files vendor '*.csv|*.xls'
    """
    found = _pipe(name).files(pattern)
    if as_json:
        click.echo(json.dumps([file.as_json() for file in found], ensure_ascii=False))
        return
    for file in found[:_LISTED]:
        click.echo(str(file))
    click.echo(f"{len(found)} files, {sum(file.size for file in found):,} bytes")


@click.command("import")
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(exists=True))
@click.option("--move", is_flag=True, help="Remove them where they are.")
@click.option("--to", metavar="FOLDER", default="", help="Subfolder.")
def import_(name: str, paths: tuple[str, ...], move: bool, to: str) -> None:
    """Bring local files and folders into the pipe's folder, for a later push.

    \b
    Example:
      d6tstore pipe import vendor ~/downloads/prices.csv --move
    """
    from pathlib import Path

    pipe = _pipe(name)
    folders = [path for path in paths if Path(path).is_dir()]
    brought = pipe.import_files([path for path in paths if path not in folders], move=move, to=to)
    for folder in folders:
        brought += pipe.import_dir(folder, move=move, to=to)
    click.echo(f"{len(brought)} files are in {pipe.folder}. Send them: d6tstore pipe push {pipe.name}")


@click.command("delete")
@click.argument("name")
@click.argument("pattern")
@_there
@_yes
def delete(name: str, pattern: str, there: bool, yes: bool) -> None:
    """Remove files here, or there. Shows them and asks first.

    \b
    Example:
      d6tstore pipe delete vendor 'old/*.csv'
    """
    pipe = _pipe(name)
    where: Literal["here", "there"] = "there" if there else "here"
    if _confirmed(pipe.delete(pattern, where=where), yes):
        click.echo(str(pipe.delete(pattern, where=where, dry_run=False)))


@click.command("orphans")
@click.argument("name")
@_there
@_yes
def orphans(name: str, there: bool, yes: bool) -> None:
    """Remove files here that the other side does not have, or there that are not here. Shows them and asks first.

    \b
    Example:
      d6tstore pipe orphans vendor
    """
    pipe = _pipe(name)
    where: Literal["here", "there"] = "there" if there else "here"
    if _confirmed(pipe.remove_orphans(where), yes):
        click.echo(str(pipe.remove_orphans(where, dry_run=False)))


def _confirmed(preview: Changes, yes: bool) -> bool:
    click.echo(str(preview))
    if not len(preview):
        return False
    if not yes and not sys.stdin.isatty():
        raise UsageError("this asks for confirmation, and there is no terminal to ask on. Pass --yes.")
    if not (yes or click.confirm("Remove them?")):
        raise Failure("nothing was removed.", FAILED)
    return True
