"""The command `d6tstore profile`: which profiles there are, and what one means here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from d6tstore.commands.shell import Commands, as_json_option, columns, echo_json
from d6tstore.errors import CredentialsError, UsageError

if TYPE_CHECKING:
    from d6tstore.access import Access
    from d6tstore.profiles import Found


@click.group(cls=Commands)
def profile() -> None:
    """See the profiles of this project and of the user.

    \b
    Example:
      d6tstore profile show prod
    """


@profile.command("list")
@as_json_option
def list_(as_json: bool) -> None:
    """List all profiles, their places and the files that have them.

    \b
    Example:
      d6tstore profile list
    """
    from d6tstore import profiles
    from d6tstore.profiles import files

    found = profiles.load_all()
    if as_json:
        echo_json([{"name": e.name, "file": str(e.file), "place": _place(e), "problem": e.problem} for e in found])
        return
    if not found:
        click.echo(f"no profiles: write [profiles.NAME] into {files.writable()}")
        return
    columns([("NAME", "FILE", "PLACE"), *((each.name, str(each.file), _place(each)) for each in found)])


def _place(found: Found) -> str:
    if found.problem:
        return f"broken: {found.problem}"
    return found.profile.url or f"a folder per project in {found.profile.central}"


@profile.command()
@click.argument("name", required=False)
@as_json_option
@click.pass_context
def show(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """Show what a profile means here: that of NAME, else of --profile.

    Variables are filled in, and folders are full. Of credentials it shows names, and where they come from.

    \b
    Example:
      d6tstore profile show prod
    """
    from d6tstore import profiles

    name = name or ctx.find_root().params.get("profile")
    if not name:
        raise UsageError("which profile? d6tstore profile show NAME; `d6tstore profile list` lists them.")
    found = profiles.load(name)
    if as_json:
        values = {key: json.loads(value) for key, value, _ in _lines(found)}
        echo_json({"name": found.name, "file": str(found.file), "values": values})
        return
    click.echo(f"[profiles.{found.name}]  # {found.file}")
    for key, value, note in _lines(found):
        click.echo(f"{key} = {value}" + (f"  # {note}" if note else ""))


def _lines(found: Found) -> Iterator[tuple[str, str, str]]:
    """Keys, their values as JSON, and what is to be said of them."""
    profile = found.profile
    if profile.central is not None:
        yield "central", _text(profile.central), ""
    yield from _of_place(profile.access, "")
    for key, value in profile.settings.items():
        yield key, _text(value), ""
    for kind in ("backends", "pipes"):
        for name, access in getattr(profile, kind).items():
            yield from _of_place(access, f"{kind}.{name}.")


def _of_place(access: Access, before: str) -> Iterator[tuple[str, str, str]]:
    from d6tstore import inventory, place

    yield f"{before}url", _text(access.url), ""
    for key, value in access.options.items():
        yield f"{before}options.{key}", _text(value), ""
    for kind in ("credentials", "write_credentials"):
        name = getattr(access, kind)
        if name is None and kind == "credentials":
            name = place.split(access.url).name
        if name is not None:
            yield f"{before}{kind}", _text(name), "; ".join(_sources(name, inventory.Use("", access)))


def _sources(name: str, use: Any) -> Iterator[str]:
    from d6tstore import inventory

    try:
        for other, field in inventory.pairs([use]):
            if other == name:
                yield f"{field} from {inventory.source(name, field)}"
    except CredentialsError as exc:
        yield f"unknown, for {exc}"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
