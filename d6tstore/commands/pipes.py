"""The command `d6tstore pipe`: define pipes, list them, trust one."""

from __future__ import annotations

from typing import Any

import click

from d6tstore import context
from d6tstore.commands import exchange, files
from d6tstore.commands.locate import current_store
from d6tstore.commands.shell import Commands, as_json_option, columns, echo_json, say


@click.group(cls=Commands)
def pipe() -> None:
    """Share results and files with others: pipes, push, pull.

    \b
    Example:
      d6tstore pipe add team-features s3://bucket/team
      d6tstore pipe push team-features -m "prices of March"
    """


@pipe.command()
@click.argument("name")
@click.argument("url")
@click.option("--role", type=click.Choice(["read", "write"]), help="With read, a push is refused. [default: write]")
@click.option("--trusted", is_flag=True, help="What comes from there may run code (pickles).")
@click.option("--credentials", metavar="NAME", help="Of the place; see d6tstore credentials.")
@click.option("--write-credentials", metavar="NAME", help="Other ones, for writing.")
@click.option("--namespace", metavar="NAME", help="Of the results there.")
@click.option("--keep-versions", metavar="N", type=click.IntRange(0), help="Replaced results that stay. [default: 2]")
@click.option("--files", is_flag=True, help="Plain files of somebody's folder, not results.")
@click.option("--include", metavar="PATTERN", help="Of plain files, such as '*.csv|*.xls'.")
@click.option("--exclude", metavar="PATTERN", help="Of plain files.")
@click.option("--newest", metavar="N", type=click.IntRange(1), help="Only so many plain files, the newest.")
@click.option("--local", metavar="FOLDER", help="Where plain files lie here. [default: pipes/NAME]")
@click.option("--user", is_flag=True, help="For all projects of this user, not for this project.")
@as_json_option
def add(name: str, url: str, files: bool, user: bool, as_json: bool, **given: Any) -> None:
    """Define a pipe NAME to a folder or URL in d6tstore.toml.

    \b
    Examples:
      d6tstore pipe add team-features s3://bucket/team --role read
      d6tstore pipe add vendor sftp://ann@host/drop --files --include '*.csv'
    """
    from d6tstore.profiles import edit

    values = {
        "url": url,
        **({"kind": "files"} if files else {}),
        **{k: v for k, v in given.items() if v is not None and v is not False},
    }
    file = edit.add_pipe(name, values, user)
    say(as_json, f"{name} is defined in {file}", pipe=name, file=str(file))


@pipe.command("list")
@as_json_option
def list_(as_json: bool) -> None:
    """List the pipes that are defined, and where they lead.

    \b
    Example:
      d6tstore pipe list
    """
    from d6tstore import pipes

    with context.using(current_store()):
        found = sorted(pipes.known().items())
    head = ("name", "kind", "role", "trusted", "url")
    rows = [(name, r.access.kind, r.access.role, r.access.trusted, r.access.url) for name, r in found]
    if as_json:
        echo_json([dict(zip(head, row, strict=True)) for row in rows])
    elif rows:
        columns([[name.upper() for name in head], *([str(cell) for cell in row] for row in rows)])
    else:
        click.echo("no pipes: d6tstore pipe add NAME URL")


@pipe.command()
@click.argument("name")
@click.option("--no", is_flag=True, help="Trust it no more.")
@as_json_option
def trust(name: str, no: bool, as_json: bool) -> None:
    """Say that what comes from a pipe may run code.

    Pickles from there can be loaded then.

    \b
    Example:
      d6tstore pipe trust team-features
    """
    from d6tstore.profiles import edit

    file = edit.trust_pipe(name, not no)
    said = f"{name} is {'not ' if no else ''}trusted now, by {file}"
    say(as_json, said, pipe=name, trusted=not no, file=str(file))


for _command in (
    exchange.push, exchange.pull, exchange.status, exchange.log, exchange.verify, exchange.gc,
    files.files, files.import_, files.delete, files.orphans,
):  # fmt: skip
    pipe.add_command(_command)
