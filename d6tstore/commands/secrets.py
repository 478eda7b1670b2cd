"""The command `d6tstore credentials`: what puts secrets into the keyring, and says where they are. It shows none."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from typing import TYPE_CHECKING

import click

from d6tstore.commands.shell import FAILED, USAGE, Commands, Failure, as_json_option, columns, echo_json, say
from d6tstore.errors import CredentialsError, D6tstoreError, UsageError

if TYPE_CHECKING:
    from d6tstore.credentials.secret import Secret
    from d6tstore.inventory import Use


class _Discreet(click.Command):
    """Shows no word that fits nowhere: it may be a secret."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError:
            pass
        usage = " ".join(self.collect_usage_pieces(ctx))
        raise Failure(
            f"the words given do not fit; they are not shown, for one may be a secret. Usage: {ctx.command_path} "
            f"{usage}. A secret is never given there: it is asked for, or read from --stdin.",
            USAGE,
        )


@click.group(cls=Commands)
def credentials() -> None:
    """Keep secrets in the keyring, and see where they come from.

    A secret has the name of its place, such as warehouse or etl@db.example.com, and a field, such as password. It
    comes from the environment variable D6TSTORE_<NAME>_<FIELD> if that is set, else from the keyring.

    \b
    Example:
      d6tstore credentials set warehouse
    """


@credentials.command("set", cls=_Discreet)
@click.argument("name")
@click.argument("field", default="password")
@click.option("--stdin", is_flag=True, help="Read it from a pipe; one newline at its end is cut.")
@as_json_option
def set_(name: str, field: str, stdin: bool, as_json: bool) -> None:
    """Put a secret into the keyring. It is asked for, hidden, twice.

    \b
    Examples:
      d6tstore credentials set warehouse
      d6tstore credentials set lake secret_key --stdin < key.txt
    """
    from d6tstore import inventory
    from d6tstore.credentials import check_field, check_name, variable_of, vault
    from d6tstore.credentials.words import is_field

    check_name(name)
    if not is_field(check_field(field)):
        raise UsageError(
            "a field says what kind of secret it is: password, or a word that ends in _token, _key, _secret, ... The "
            "one given is not shown, for it may be a secret: leave it out, and you are asked for it."
        )
    secret = _piped() if stdin else None  # before a keyring that prompts takes it for its own password
    status = vault.status()
    if not status.usable:
        raise CredentialsError(f"the {field} of {name!r} cannot be kept: {status.advice}")
    variable = variable_of(name, field)
    if (rival := inventory.rival(name, field)) is not None:
        raise UsageError(
            f"{name!r} and {rival!r} share the environment variable {variable}, so that each could get the secret of "
            "the other. Choose another name, and write credentials = 'NAME' in the profile."
        )
    known = vault.get(name, field) is not None
    vault.put(name, field, secret or _asked(name, field))
    done = "replaced" if known else "stored"
    said = f"{done} the {field} of {name!r} in the keyring {status.backend}"
    say(as_json, said, name=name, field=field, done=done, keyring=status.backend, safe=status.safe)
    if not status.safe:
        click.echo(f"Warning: the keyring {status.backend} is not safe: {status.advice}", err=True)
    if variable in os.environ:
        click.echo(f"Warning: the environment variable {variable} is set, and goes before the keyring.", err=True)


def _asked(name: str, field: str) -> Secret:
    from d6tstore.credentials.secret import Secret

    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask for the secret on. Pass --stdin, and pipe it in.")
    return Secret(click.prompt(f"The {field} of {name}", hide_input=True, confirmation_prompt=True, err=True))


def _piped() -> Secret:
    from d6tstore.credentials.secret import Secret

    if sys.stdin.isatty():
        raise UsageError("--stdin reads a pipe; on a terminal all would see what you type. Leave it out.")
    text = None
    with contextlib.suppress(UnicodeDecodeError):  # that error holds the secret
        text = sys.stdin.buffer.read().decode("utf-8")
    if text is None or "\0" in text or text.startswith("\ufeff"):
        del text  # a traceback with locals would show it
        raise UsageError("what came from --stdin is not plain UTF-8 text (no BOM, no NUL). Convert it.")
    for newline in ("\r\n", "\n"):
        if text.endswith(newline):
            text = text.removesuffix(newline)
            break
    if not text:
        raise UsageError("nothing came from --stdin: a secret is not empty.")
    return Secret(text)


@credentials.command("list", cls=_Discreet)
@as_json_option
def list_(as_json: bool) -> None:
    """List names and fields, where each comes from, who uses it. No secrets.

    \b
    Example:
      d6tstore credentials list
    """
    from d6tstore import inventory

    used, failure = inventory.uses(), ""
    try:
        found = inventory.entries(used)
    except CredentialsError as exc:
        failure = str(exc)
        pairs = inventory.pairs(used, ask=False)
        found = [inventory.Entry(name, field, inventory.source(name, field, ask=False)) for name, field in pairs]
    users = [[use.what for use in used if e.name in use.names] for e in found]
    if as_json:
        echo_json([{**e._asdict(), "used_by": by} for e, by in zip(found, users, strict=True)])
    elif found:
        rows = [(*e, "; ".join(by)) for e, by in zip(found, users, strict=True)]
        columns([("NAME", "FIELD", "FROM", "USED BY"), *rows])
    elif not failure:
        click.echo("no credentials: neither the keyring, nor the environment, nor a profile names any")
    if failure:
        raise Failure(failure, FAILED)


@credentials.command(cls=_Discreet)
@click.argument("name")
@click.option("--write", is_flag=True, help="Also write a probe and delete it, where no write_credentials are named.")
@as_json_option
def test(name: str, write: bool, as_json: bool) -> None:
    """Open the places that use a credential.

    Or that of a profile, of a pipe, or at a URL.

    Reads a listing; where there are write_credentials, writes a probe and deletes it. Exit code 1: one refused.

    \b
    Examples:
      d6tstore credentials test warehouse
      d6tstore credentials test prod
      d6tstore credentials test postgresql://etl@db/prices
    """
    from d6tstore import inventory, registry
    from d6tstore.access import Access

    if registry.scheme(name) is not None or any(mark in name for mark in "/\\="):
        chosen = [inventory.Use("place", Access(name))]
    else:
        chosen = _places(name)
    refused, told = 0, []
    for use in chosen:
        problem = ""
        try:
            lines = _visit(use, write)
        except D6tstoreError as exc:
            refused, problem, lines = refused + 1, str(exc), [f"refused: {exc}"]
        told.append({"place": use.what, "ok": not problem, "problem": problem or None})
        for line in [f"{use.what}:", *(f"  {line}" for line in lines)] if not as_json else ():
            click.echo(line)
    if as_json:
        echo_json(told)
    if refused:
        raise Failure(f"{refused} of {len(chosen)} places cannot be used as they are.", FAILED)


def _places(name: str) -> list[Use]:
    """The places of a profile, a pipe, and those that use a credential of that name."""
    from d6tstore import inventory, profiles

    used = inventory.uses()
    whole = (f"profile {name}", f"pipe {name}")
    found = [use for use in used if use.what.partition(",")[0] in whole or name in use.names]
    for profile in profiles.load_all():
        if profile.name == name and profile.problem:
            raise UsageError(profile.problem)
    if not found:
        raise UsageError(
            "no profile or pipe has this name or uses a credential of this name. Give a URL: d6tstore credentials test "
            "scheme://user@host/... ; or name the credential in a profile (d6tstore profile list)."
        )
    return found


def _visit(use: Use, write: bool) -> list[str]:
    """Go there; what was found, for people."""
    from d6tstore import inventory

    visit = inventory.visit(use.access, write)
    lines = [f"{visit.backend}, as {visit.user or 'whoever runs this'}"]
    for name, field in inventory.pairs([use]):
        if name in use.names:
            kind = " for writing" if name == use.access.write_credentials else ""
            lines.append(f"credentials {name!r}{kind}: {field} from {inventory.source(name, field)}")
    return [*lines, f"{', '.join(visit.done)}: ok"]


@credentials.command(cls=_Discreet)
@click.argument("name")
@click.argument("field", required=False)
@click.option("--yes", is_flag=True, help="Do it without asking.")
@as_json_option
def delete(name: str, field: str | None, yes: bool, as_json: bool) -> None:
    """Remove a secret from the keyring; without FIELD, all of that name.

    \b
    Example:
      d6tstore credentials delete warehouse
    """
    from d6tstore import inventory
    from d6tstore.credentials import PASSWORD, check_field, check_name, vault

    check_name(name)
    known = [f for n, f in sorted(vault.names()) if n == name]
    fields = [check_field(field)] if field else known or [PASSWORD]
    there = [f for f in fields if vault.get(name, f) is not None]
    if not there:
        near = f"It has {', '.join(known)}." if known and field else "See `d6tstore credentials list`."
        raise Failure(f"the keyring has no such secret of {name!r}; nothing was deleted. {near}", FAILED)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("this asks for confirmation, and there is no terminal to ask on. Pass --yes.")
        if not click.confirm(f"Delete the {' and '.join(there)} of {name!r} from the keyring {vault.backend_name()}?"):
            raise Failure("nothing was deleted.", FAILED)
    for each in there:
        vault.delete(name, each)
        if not as_json:
            click.echo(f"deleted the {each} of {name!r}")
        if inventory.source(name, each, ask=False) != "?":
            click.echo(f"Warning: {inventory.source(name, each)} is still set.", err=True)
    if as_json:
        echo_json({"name": name, "deleted": there})


@credentials.command(cls=_Discreet)
@as_json_option
def doctor(as_json: bool) -> None:
    """Say which keyring is active, and whether it is safe and works.

    And what to do if not. Exit code 1: none works.

    \b
    Example:
      d6tstore credentials doctor
    """
    from d6tstore import inventory
    from d6tstore.credentials import vault
    from d6tstore.credentials.secret import Secret

    set_here = [*inventory.variables(), *(v for v in ("PYTHON_KEYRING_BACKEND",) if v in os.environ)]
    status = vault.status()
    told = {"variables": set_here, "keyring": status.backend, "safe": status.safe, "advice": status.advice}

    def failure(message: str) -> Failure:
        if as_json:
            echo_json({**told, "works": False})
        return Failure(message, FAILED)

    if not as_json:
        safe = "yes" if status.safe else f"no: {status.advice}"
        click.echo(f"variables:   {', '.join(set_here) or 'none'}\nkeyring:     {status.backend}\nsafe:        {safe}")
    if not status.usable:
        raise failure("there is no keyring to use; secrets can come from environment variables only.")
    began, name = time.monotonic(), f"d6tstore-doctor-{secrets.token_hex(4)}"
    try:
        vault.put(name, "probe_secret", Secret(secrets.token_urlsafe(16) + "é%@/:"))
        kept = len(vault.names()) - 1
        vault.delete(name, "probe_secret")
    except CredentialsError as exc:
        raise failure(f"a probe could not be kept and read back: {exc}") from None
    took = time.monotonic() - began
    trip = f"round trip:  ok, a probe was kept, read and deleted in {took:.1f} s"
    kept_here = f"secrets:     {kept} kept here by d6tstore"
    say(as_json, f"{trip}\n{kept_here}", **told, works=True, seconds=took, secrets=kept)
