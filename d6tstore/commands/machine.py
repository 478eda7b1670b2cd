"""Commands about this machine: plugins, doctor, completion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from d6tstore.commands.locate import current_store
from d6tstore.commands.shell import FAILED, Failure, as_json_option, columns, echo_json, say
from d6tstore.errors import D6tstoreError
from d6tstore.tables import one_line

if TYPE_CHECKING:
    from d6tstore.commands.doctor import Check
    from d6tstore.registry import Plugin

_COLOURS = {"ok": "green", "note": "yellow", "failed": "red"}


@click.command()
@as_json_option
def plugins(as_json: bool) -> None:
    """List the installed backends and formats.

    Those that do not load are broken, with the reason; some need a package, with the command that installs it.

    \b
    Example:
      d6tstore plugins
    """
    from d6tstore import registry

    found = registry.plugins()
    if as_json:
        echo_json([each._asdict() for each in found])
        return
    rows = [(each.group, each.name, each.target, each.distribution, _status(each)) for each in found]
    columns([("GROUP", "NAME", "CLASS", "DISTRIBUTION", "STATUS"), *rows])


def _status(plugin: Plugin) -> str:
    if plugin.error:
        return f"broken: {plugin.error}"
    return f"needs {plugin.needs}" if plugin.needs else "ok"


@click.command()
@as_json_option
def doctor(as_json: bool) -> None:
    """Say what works on this machine.

    Libraries, plug-ins, the keyring, profiles, pipes, the store.

    Places are opened, and a listing is read. Exit code 1: something that a profile or pipe needs does not work.

    \b
    Examples:
      d6tstore doctor
      d6tstore --profile prod doctor
    """
    from d6tstore.commands import doctor

    try:
        store = current_store()
    except D6tstoreError as exc:
        found = doctor.checks(exc)
    else:
        found = doctor.checks(store)
    told = []
    for each in found:
        told.append(each)
        if not as_json:
            _show(each)
    if as_json:
        echo_json([each._asdict() for each in told])
    if bad := doctor.failed(told):
        raise Failure(f"{len(bad)} of {len(told)} do not work: {', '.join(each.what for each in bad)}.", FAILED)


def _show(check: Check) -> None:
    state = click.style(check.state.ljust(6), fg=_COLOURS[check.state])
    click.echo(f"{state}  {one_line(check.what)}: {one_line(check.told)}")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@as_json_option
@click.pass_context
def completion(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print what makes a shell complete commands and tasks.

    \b
    Examples:
      eval "$(d6tstore completion bash)"              # in ~/.bashrc
      eval "$(d6tstore completion zsh)"               # in ~/.zshrc
      d6tstore completion fish > ~/.config/fish/completions/d6tstore.fish
    """
    from click.shell_completion import get_completion_class

    known = get_completion_class(shell)
    if known is None:  # a click that knows fewer
        raise Failure(f"click has no completion for {shell}.", FAILED)
    root = ctx.find_root().command
    source = known(root, {}, "d6tstore", "_D6TSTORE_COMPLETE").source()
    say(as_json, source, shell=shell, source=source)
