"""Commands of `d6tstore pipe` that move results or files, and those that look after the other side."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from d6tstore import context
from d6tstore.commands.locate import PASS, current_store, tasks_of
from d6tstore.commands.shell import FAILED, Failure, as_json_option, echo_json
from d6tstore.errors import ExchangeFailed, UsageError

if TYPE_CHECKING:
    from d6tstore.access import Remote
    from d6tstore.progress import Progress, Transfer
    from d6tstore.store import Store

_keep = click.option(
    "--keep", type=click.Choice(["ours", "theirs"]), help="Which stays where both sides changed a result."
)
_preview = click.option("--preview", is_flag=True, help="Only tell what would be done.")
_prune = click.option("--prune", is_flag=True, help="Also remove what was removed on the side that gives.")
_mode = click.option(
    "--mode", type=click.Choice(["new", "modified", "all"]), help="Of plain files: which go over. [default: modified]"
)
_what = click.argument("words", metavar="[MODULE:CLASS [--PARAM VALUE]...]...", nargs=-1, type=click.UNPROCESSED)


@click.command(context_settings=PASS)
@click.argument("name")
@_what
@click.option("--message", "-m", default="", help="What others read in the log.")
@_keep
@click.option("--upstream", is_flag=True, help="Of named tasks, also the objects of what they need.")
@_prune
@click.option("--verify", is_flag=True, help="Send again what vanished there.")
@_mode
@_preview
@as_json_option
def push(
    name: str, words: tuple[str, ...], preview: bool, as_json: bool, message: str, mode: str | None, **options: Any
) -> None:
    """Give results to the others: all, or those of the named tasks. Of plain files, those of a PATTERN.

    \b
    Example:
      d6tstore pipe push team-features -m "prices of March"
      d6tstore pipe push team-features flow:Train --model svm --preview
    """
    with _chosen(name, words) as (found, what):
        _refuse(found, {"--mode": mode}, {"--message": message, **_flags(options, "upstream", "prune", "verify")})
        if _is_files(found):
            files = {"mode": mode or "modified", "keep": options["keep"], "dry_run": preview, "progress": _progress()}
            _tell(as_json, lambda: found.push(what, **files))
        elif preview:
            _tell(as_json, lambda: found.push_preview(what, **options))
        else:
            _tell(as_json, lambda: found.push(what, message=message, **options))


@click.command(context_settings=PASS)
@click.argument("name")
@_what
@click.option("--no-data", is_flag=True, help="Only the records: an object comes when it is first loaded.")
@click.option("--at", metavar="PUSH|TIME", help="As it was after that push (its number in the log), or at that time.")
@_keep
@click.option("--upstream", is_flag=True, help="Of named tasks, also the objects of what they need.")
@_prune
@_mode
@_preview
@as_json_option
def pull(
    name: str, words: tuple[str, ...], preview: bool, as_json: bool, no_data: bool, keep: str | None, prune: bool,
    mode: str | None, **options: Any,
) -> None:  # fmt: skip
    """Take over the results of the others: all, or some tasks. Of plain files, those of a PATTERN.

    \b
    Example:
      d6tstore pipe pull team-features
      d6tstore pipe pull team-features --at 7
    """
    with _chosen(name, words) as (found, what):
        _refuse(found, {"--mode": mode}, {"--no-data": no_data, **_flags(options, "at", "upstream")})
        if _is_files(found):
            files = {
                "mode": mode or "modified",
                "keep": keep,
                "prune": prune,
                "dry_run": preview,
                "progress": _progress(),
            }
            _tell(as_json, lambda: found.pull(what, **files))
        else:
            call = found.pull_preview if preview else found.pull
            _tell(as_json, lambda: call(what, data=not no_data, keep=keep, prune=prune, **options))


@click.command(context_settings=PASS)
@click.argument("name")
@_what
@as_json_option
def status(name: str, words: tuple[str, ...], as_json: bool) -> None:
    """Show how both sides differ. Nothing is written.

    \b
    Example:
      d6tstore pipe status team-features
    """
    with _chosen(name, words) as (found, what):
        _tell(as_json, lambda: found.status(what))


@click.command()
@click.argument("name")
@click.option("-n", "limit", metavar="N", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@as_json_option
def log(name: str, limit: int, as_json: bool) -> None:
    """Show who pushed what, when, with which message; the newest first.

    \b
    Example:
      d6tstore pipe log team-features -n 5
    """
    import msgspec

    with _chosen(name, (), results=True) as (found, _):
        pushes = found.log(limit)
    if as_json:
        echo_json(msgspec.to_builtins(pushes))
        return
    for each in pushes:
        click.echo(str(each))
    if not pushes:
        click.echo("nobody pushed anything yet")


@click.command()
@click.argument("name")
@click.option("--repair", is_flag=True, help="Send again what this store has whole.")
@as_json_option
def verify(name: str, repair: bool, as_json: bool) -> None:
    """Compare what is stored at the other side with its records.

    \b
    Example:
      d6tstore pipe verify team-features --repair
    """
    with _chosen(name, ()) as (found, _):
        _refuse(found, {}, {"--repair": repair})
        if _is_files(found):
            _tell(as_json, found.verify)
            return
        problems = found.verify(repair)
    if as_json:
        echo_json([problem._asdict() for problem in problems])
    for problem in problems if not as_json else ():
        click.echo(f"{problem.id}: {problem.key}: {problem.problem}")
    if problems:
        raise Failure(f"{len(problems)} objects there are not what their records say.", FAILED)
    if not as_json:
        click.echo("no problems found")


@click.command()
@click.argument("name")
@click.option("--older-than", metavar="HOURS", type=click.FloatRange(0), default=24.0, show_default=True,
              help="Spare what is younger: somebody may be pushing it.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Remove it; without this, only tell what would go.")
@as_json_option
def gc(name: str, older_than: float, yes: bool, as_json: bool) -> None:
    """Remove at the other side what no record there refers to.

    Kept versions count too.

    \b
    Example:
      d6tstore pipe gc team-features --yes
    """
    with _chosen(name, (), results=True) as (found, _):
        garbage = found.gc(dry_run=not yes, older_than=older_than * 3600)
    if as_json:
        echo_json({"keys": garbage.keys, "bytes": garbage.bytes, "dry_run": garbage.dry_run})
    else:
        click.echo(str(garbage) + ("" if yes or not garbage.keys else ". To remove them, pass --yes."))


# ---------------------------------------------------------------------- helpers


def _flags(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {f"--{name}": options[name] for name in names}


def _refuse(found: Any, of_files: Mapping[str, Any], of_results: Mapping[str, Any]) -> None:
    """Refuse options that a pipe of this kind does not have. Raises UsageError."""
    plain = _is_files(found)
    for option, value in (of_results if plain else of_files).items():
        if value:
            kind, other = ("plain files", "results") if plain else ("results", "plain files")
            raise UsageError(f"{option} is of pipes of {other}; {found.name!r} is one of {kind}. Leave it out.")


def _is_files(found: Any) -> bool:
    return bool(found.remote.access.kind == "files")


@contextmanager
def _chosen(name: str, words: tuple[str, ...], results: bool = False) -> Iterator[tuple[Any, Any]]:
    """A pipe, and what of it is meant: tasks, or a pattern; None is all."""
    from d6tstore import pipes

    known = {**pipes.known(), **_of_place()}
    plain = name in known and known[name].access.kind == "files"
    tasks = [] if plain else tasks_of(words, needed=False)
    with context.using(_showing(current_store())):
        found = pipes.get_pipe(name)
        if results and _is_files(found):
            raise UsageError(f"the pipe {name!r} is of plain files: those have no log and no records.")
        if len(words) > 1 and plain:
            raise UsageError("give one pattern, in quotes: '*.csv|*.xls'.")
        yield found, ((words[0] if words else None) if plain else tasks or None)


def _of_place() -> Mapping[str, Remote]:
    """Pipes of the profile that the command line names; of the store that a module of tasks chooses, none as yet."""
    return {} if click.get_current_context().obj is None else current_store().repository.pipes


def _showing(store: Store) -> Store:
    """The store, which tells who sits before a terminal how far transfers are."""
    from dataclasses import replace

    from d6tstore.progress import Progress
    from d6tstore.store import Store

    return Store(replace(store.repository, progress=Progress(_show))) if sys.stderr.isatty() else store


def _progress() -> Progress:
    return context.current().repository.progress


def _show(transfer: Transfer) -> None:
    left = "" if transfer.left is None else f", {transfer.left:.0f} s left"
    ended = transfer.done >= transfer.total and transfer.objects >= transfer.of
    files = f"{transfer.objects} of {transfer.of} files, " if transfer.of else ""
    click.echo(
        f"\r{files}{transfer.done / 1e6:,.1f} of {transfer.total / 1e6:,.1f} MB, {transfer.rate / 1e6:,.1f} MB/s{left}"
        "\x1b[K" + ("\r\x1b[K" if ended else ""), err=True, nl=False,
    )  # fmt: skip


def _tell(as_json: bool, action: Callable[[], Any]) -> None:
    """Do it, and say what was done; exit with 1 if something failed."""
    try:
        done, failed = action(), ""
    except ExchangeFailed as exc:
        done, failed = exc.exchange, str(exc)
    if as_json:
        echo_json(done.as_json())
    else:
        for line in getattr(done, "lines", list)():
            click.echo(line)
        click.echo(str(done))
    if failed or done.problems:
        raise Failure(failed or f"{len(done.problems)} failed.", FAILED)
