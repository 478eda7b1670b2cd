"""Commands of `d6tstore pipe` for plain files: files, import, delete, orphans."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import click

from d6tstore import context
from d6tstore.commands.locate import current_store
from d6tstore.commands.shell import FAILED, Failure, as_json_option, echo_json, say
from d6tstore.errors import UsageError

if TYPE_CHECKING:
    from d6tstore.plainfiles.pipe import FilesPipe
    from d6tstore.plainfiles.report import Changes

_LISTED = 1_000  # lines for a person
_there = click.option("--there", is_flag=True, help="At the other side.")
_yes = click.option("--yes", is_flag=True, help="Do it without asking.")


def _pipe(name: str) -> FilesPipe:
    from d6tstore import pipes
    from d6tstore.plainfiles.pipe import FilesPipe

    with context.using(current_store()):
        found = pipes.get_pipe(name)
    if not isinstance(found, FilesPipe):
        raise UsageError(f"pipe {name!r} is of results. For plain files define it with kind = 'files'.")
    return found


@click.command("files")
@click.argument("name")
@click.argument("pattern", required=False)
@as_json_option
def files(name: str, pattern: str | None, as_json: bool) -> None:
    """List the files there, and how they compare with those here.

    \b
    Example:
      d6tstore pipe files vendor '*.csv|*.xls'
    """
    found = _pipe(name).files(pattern)
    if as_json:
        echo_json([file.as_json() for file in found])
        return
    for file in found[:_LISTED]:
        click.echo(str(file))
    click.echo(f"{len(found)} files, {sum(file.size for file in found):,} bytes")


@click.command("import")
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(exists=True))
@click.option("--move", is_flag=True, help="Remove them where they are.")
@click.option("--to", metavar="FOLDER", default="", help="Subfolder.")
@as_json_option
def import_(name: str, paths: tuple[str, ...], move: bool, to: str, as_json: bool) -> None:
    """Bring local files into the pipe's folder, for a later push.

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
    said = f"{len(brought)} files are in {pipe.folder}. Send them: d6tstore pipe push {pipe.name}"
    say(as_json, said, folder=str(pipe.folder), files=[str(each) for each in brought])


@click.command("delete")
@click.argument("name")
@click.argument("pattern")
@_there
@_yes
@as_json_option
def delete(name: str, pattern: str, there: bool, yes: bool, as_json: bool) -> None:
    """Remove files here, or there. Shows them and asks first.

    \b
    Example:
      d6tstore pipe delete vendor 'old/*.csv'
    """
    pipe = _pipe(name)
    where: Literal["here", "there"] = "there" if there else "here"
    _remove(lambda dry_run: pipe.delete(pattern, where=where, dry_run=dry_run), yes, as_json)


@click.command("orphans")
@click.argument("name")
@_there
@_yes
@as_json_option
def orphans(name: str, there: bool, yes: bool, as_json: bool) -> None:
    """Remove files that the other side does not have.

    Those here, or with --there those there that are not here. Shows them and asks first.

    \b
    Example:
      d6tstore pipe orphans vendor
    """
    pipe = _pipe(name)
    where: Literal["here", "there"] = "there" if there else "here"
    _remove(lambda dry_run: pipe.remove_orphans(where, dry_run=dry_run), yes, as_json)


def _remove(action: Callable[[bool], Changes], yes: bool, as_json: bool) -> None:
    """Tell what would be removed, and remove it once that is confirmed; for programs only with --yes."""
    if as_json:
        echo_json(action(not yes).as_json())
        return
    preview = action(True)
    click.echo(str(preview))
    if not len(preview):
        return
    if not yes and not sys.stdin.isatty():
        raise UsageError("this asks for confirmation, and there is no terminal to ask on. Pass --yes.")
    if not (yes or click.confirm("Remove them?")):
        raise Failure("nothing was removed.", FAILED)
    click.echo(str(action(False)))
