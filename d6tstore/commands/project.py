"""Commands that begin a project: new, init, adopt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from d6tstore.commands.locate import PASS, current_store, named, tasks_of
from d6tstore.commands.shell import FAILED, Failure, as_json_option, echo_json, stdout_for_json
from d6tstore.errors import UsageError

_LISTED = 20  # lines of a list; beyond, a person wants the count


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@as_json_option
def new(folder: Path, as_json: bool) -> None:
    """Make a project in a new folder.

    It has tasks, a script that runs them, one that shows results, a profile and a test.

    \b
    Example:
      d6tstore new my-project
    """
    import shlex

    from d6tstore.commands import template

    files = template.create(folder.expanduser())
    if as_json:
        echo_json({"folder": str(folder), "files": [path.as_posix() for path in files]})
        return
    for path in files:
        click.echo(f"  {path.as_posix()}")
    click.echo(f"Made {folder}. Go on there: cd {shlex.quote(str(folder))}; python run.py")


@click.command()
@click.argument("url", default="data")
@click.option("--name", default="default", show_default=True, help="Of the profile.")
@click.option("--credentials", metavar="NAME", help="Of the place; see d6tstore credentials.")
@click.option("--write-credentials", metavar="NAME", help="Other ones, for writing.")
@click.option("--namespace", metavar="NAME", help="Keeps apart what shares a place.")
@click.option("--check", type=click.Choice(["exists", "content", "code"]), help="What makes a result stale. "
              "[default: code]")  # fmt: skip
@click.option("--keep-versions", metavar="N", type=click.IntRange(0), help="Replaced results that stay. [default: 2]")
@click.option("--user", is_flag=True, help="For all projects of this user, not for this project.")
@as_json_option
def init(url: str, name: str, user: bool, as_json: bool, **given: Any) -> None:
    """Say once where results lie: write a profile.

    The folder or URL goes into d6tstore.toml.

    \b
    Examples:
      d6tstore init
      d6tstore init postgresql://etl@db/features --name prod --credentials warehouse
    """
    from d6tstore import profiles
    from d6tstore.profiles import edit

    values = {"url": url, **{key: value for key, value in given.items() if value is not None}}
    file = edit.add_profile(name, values, user)
    if as_json:
        echo_json({"profile": name, "file": str(file)})
        return
    click.echo(f"[profiles.{name}] is written in {file}. It is used by any of")
    if name == profiles.default():
        click.echo("  d6tstore.init()                      in Python, and COMMAND in a shell, where no other is named")
    click.echo(f'  d6tstore.init("{name}")              in Python')
    click.echo(f"  d6tstore --profile {name} COMMAND    in a shell")
    click.echo(f"  export D6TSTORE_PROFILE={name}       for both, where none is named")
    click.echo(f"Whether the place can be reached: d6tstore credentials test {name}")


@click.command(context_settings=PASS)
@click.argument("folder", type=click.Path(path_type=Path))
@named
@click.option("--yes", is_flag=True, help="Do it; without this, only tell what would be done.")
@as_json_option
def adopt(folder: Path, words: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Take over the results of a d6tflow project. Without --yes it only tells.

    FOLDER is its data folder. What the named tasks and all that they need had there is complete here, under classes
    of the same names and parameters. The folder stays as it is, and no pickle is loaded.

    \b
    Example:
      d6tstore adopt ../old/data flow:Train --model svm --yes
    """
    if not words:
        raise UsageError("which tasks? Name the last of a flow with its parameters, such as flow:Train --model svm.")
    with stdout_for_json(as_json):
        tasks = tasks_of(words)
        done = current_store().adopt(folder, tasks, dry_run=not yes)
    if as_json:
        echo_json(
            {
                "dry_run": done.dry_run,
                "tasks": [
                    {"task": repr(e.task), "action": e.action, "reason": e.reason, "files": list(map(str, e.files))}
                    for e in done
                ],
            }
        )
    else:
        for each in list(done)[:_LISTED]:
            click.echo(f"{each.action}: {each.task!r}{f' ({each.reason})' if each.reason else ''}")
        more = not yes and done.adopted
        click.echo(str(done) + (". To adopt them, pass --yes." if more else ""))
    if done.problems:
        raise Failure(f"{len(done.problems)} results could not be taken.", FAILED)
