"""The command line: `d6tstore COMMAND`. Every command is a thin layer over a method of `Store`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

import click

from d6tstore import __version__, context
from d6tstore.errors import NotInitialised, RunFailed, UsageError
from d6tstore.shell import FAILED, Commands, Failure, nearest, user_traceback

if TYPE_CHECKING:
    from d6tstore.store import Store
    from d6tstore.task import Task

_LISTED = 20  # lines of a list; beyond, a person wants the count


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="d6tstore %(version)s")
@click.option("--store", metavar="URL", envvar="D6TSTORE_STORE", help="Where results lie: folder or URL. "
              "[env: D6TSTORE_STORE; default: what the task's module chose, else ./data]")  # fmt: skip
@click.pass_context
def cli(ctx: click.Context, store: str | None) -> None:
    """Keep, find again and share the results of data science tasks.

    A task is named module:Class, sought from the current folder on, and its parameters are options. All after
    a lone -- are parameters, whatever their names.

    \b
    Examples:
      d6tstore demo
      d6tstore preview flow:Train --model svm --do-preprocess false
      d6tstore --store /shared/results run flow:Train --model svm

    \b
    Exit codes:
      0    all is well
      1    a task failed, its module raised, a stored result is damaged, or you declined
      2    the command cannot be carried out: unknown task, parameter, store, ...
      130  interrupted (Ctrl-C)
    """
    ctx.obj = store


_named = click.argument("words", metavar="MODULE:CLASS [--PARAM VALUE]...", nargs=-1, type=click.UNPROCESSED)
_yes = click.option("--yes", is_flag=True, help="Do it without asking.")
_PASS = {"ignore_unknown_options": True}


def _tasks(words: tuple[str, ...], needed: bool = True) -> list[Task]:
    from d6tstore import locate

    if needed and not words:
        raise UsageError("which task? Name it: module:Class, such as flow:Train.")
    return locate.tasks(words)


def _store() -> Store:
    """That of `--store`; else what the task's module chose by `init`; else ./data. To call after `_tasks`."""
    url = click.get_current_context().obj
    if url is None:
        with contextlib.suppress(NotInitialised):
            return context.current()
    from d6tstore import store

    return store.open(url)


def _list(verb: str, items: Iterable[object], empty: str) -> None:
    items = list(items)
    for item in items[:_LISTED]:
        click.echo(f"{verb} {item}")
    if len(items) > _LISTED:
        click.echo(f"... {len(items)} in all")
    if not items:
        click.echo(empty)


@cli.command()
@click.option("--dir", "folder", metavar="PATH", help="Work there and keep it; a new or empty folder.")
def demo(folder: str | None) -> None:
    """Watch what re-runs in a real workflow, and why.

    \b
    Example:
      d6tstore demo --dir my-demo
    """
    from d6tstore import demo

    demo.run(folder)


@cli.command(context_settings=_PASS)
@_named
@click.option("--force", metavar="CLASS|all", multiple=True, help="Run it and what depends on it anew.")
@click.option(
    "--workers", metavar="N", type=click.IntRange(1), help="Threads. [default: one after the other]"
)
def run(words: tuple[str, ...], force: tuple[str, ...], workers: int | None) -> None:
    """Compute what is missing or stale.

    \b
    Example:
      d6tstore run flow:Train --model svm --force GetData --workers 4
    """
    tasks, store = _tasks(words), None
    try:
        forced = _forced(tasks, force)
        store = _store()
        with context.using(store):
            report = store.run(tasks, forced, workers)
    except RunFailed as exc:
        _show_failures(exc)
    click.echo(str(report))


def _forced(tasks: list[Task], names: tuple[str, ...]) -> Any:
    if "all" in names:
        return True
    from d6tstore.graph import Graph

    known = {task.family: type(task) for task in Graph(tasks)} if names else {}
    for name in names:
        if name.rpartition(":")[2] not in known:
            near = nearest(name, known) or f". They are {', '.join(known)}, or all."
            raise UsageError(f"--force {name}: none of the tasks here is of this class{near}")
    return [known[name.rpartition(":")[2]] for name in names] or None


def _show_failures(failed: RunFailed) -> NoReturn:
    report = failed.report
    click.echo(str(report))
    for outcome in report:
        if outcome.error is not None and (shown := user_traceback(outcome.error)):
            click.echo(f"\n{outcome.task!r}:\n{shown}", err=True, nl=False)
    blocked = f", {len(report.blocked)} could not run without them" if report.blocked else ""
    raise Failure(
        f"{len(report.failed)} of {len(report)} tasks failed{blocked}. "
        "Finished work is kept: correct the cause and run again.",
        FAILED,
    ) from failed


@cli.command(context_settings=_PASS)
@_named
def preview(words: tuple[str, ...]) -> None:
    """Show the tree of tasks with states and reasons.

    \b
    Example:
      d6tstore preview flow:Train --model svm
    """
    tasks = _tasks(words)
    _store().preview(tasks)


@cli.command(context_settings=_PASS)
@_named
def why(words: tuple[str, ...]) -> None:
    """Say in full why a task would run or not.

    \b
    Example:
      d6tstore why flow:Train --model svm
    """
    tasks = _tasks(words)
    store = _store()
    for task in tasks:
        click.echo(str(store.why(task)))


@cli.command(context_settings=_PASS)
@_named
@click.option("--upstream", is_flag=True, help="It and everything that it depends on.")
@click.option(
    "--downstream-of", metavar="MODULE:CLASS", help="This class and everything between it and the task."
)
@click.option("--all", "everything", is_flag=True, help="Every result in the store.")
@click.option(
    "--orphans", is_flag=True, help="Every result that neither the named tasks nor their inputs refer to."
)
@_yes
def reset(
    words: tuple[str, ...],
    upstream: bool,
    downstream_of: str | None,
    everything: bool,
    orphans: bool,
    yes: bool,
) -> None:
    """Forget results, so that they are computed anew.

    Asks first. The old objects stay until `gc`.

    \b
    Examples:
      d6tstore reset flow:Train --model svm
      d6tstore reset flow:Train --downstream-of flow:Preprocess
      d6tstore reset --all --yes
    """
    if sum((upstream, downstream_of is not None, everything, orphans)) > 1:
        raise UsageError("--upstream, --downstream-of, --all and --orphans exclude each other. Give one.")
    if everything and words:
        raise UsageError("--all resets the whole store. Leave out the task, or leave out --all.")
    tasks = _tasks(words, needed=not everything)
    store = _store()
    forget, scope = _reset_of(store, tasks, upstream, downstream_of, everything, orphans)
    if not yes:
        _confirm(f"Forget {scope} in {store.repository.default.url}?")
    _list("forgot", forget(), "nothing to forget")


def _reset_of(
    store: Store,
    tasks: list[Task],
    upstream: bool,
    downstream_of: str | None,
    everything: bool,
    orphans: bool,
) -> tuple[Any, str]:
    """What to call, and how to ask for it."""
    named = ", ".join(map(repr, tasks))
    if everything:
        return store.invalidate_all, "every result"
    if orphans:
        return lambda: store.invalidate_orphans(
            tasks
        ), f"every result that {named} and its inputs do not refer to"
    if upstream:
        return lambda: store.invalidate_upstream(
            tasks
        ), f"the results of {named} and of all that it depends on"
    if downstream_of:
        from d6tstore.locate import task_class

        cls = task_class(downstream_of)
        scope = f"the results of {cls.__name__} and of all between it and {named}"
        return lambda: store.invalidate_downstream(cls, tasks), scope

    def forget() -> list[Task]:
        known = [task for task in tasks if store.plan(task)[task].record is not None or task.aggregates]
        for task in tasks:
            store.invalidate(task)
        return known

    return forget, f"the result of {named}"


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("this asks for confirmation, and there is no terminal to ask on. Pass --yes.")
    if not click.confirm(question):
        raise Failure("nothing was reset.", FAILED)


@cli.command(context_settings=_PASS)
@_named
@click.option("--upstream", is_flag=True, help="Also for all that it depends on.")
def accept(words: tuple[str, ...], upstream: bool) -> None:
    """Say that an edit of the code changes nothing.

    The results count as up to date from then on, and nothing re-runs.

    \b
    Example:
      d6tstore accept flow:Preprocess --do-preprocess true
    """
    tasks = _tasks(words)
    store = _store()
    if upstream:
        tasks = [node.task for node in store.plan(tasks) if node.record is not None]
    _list("accepted", store.accept(tasks), "nothing to accept: the results were made by the code as it is")


@cli.command()
@click.option("--older-than", metavar="HOURS", type=click.FloatRange(0), default=24.0, show_default=True,
              help="Spare what is younger: a task may be writing it.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Remove it; without this, only tell what would go.")
def gc(older_than: float, yes: bool) -> None:
    """Remove what no result refers to.

    That is replaced versions and debris of crashed runs. Without --yes it only tells.

    \b
    Example:
      d6tstore gc --older-than 1 --yes
    """
    garbage = _store().gc(dry_run=not yes, older_than=older_than * 3600)
    if garbage.keys:
        _list("removed" if yes else "would remove", garbage.keys, "")
    click.echo(str(garbage) + ("" if yes or not garbage.keys else ". To remove them, pass --yes."))


@cli.command(context_settings=_PASS)
@_named
def verify(words: tuple[str, ...]) -> None:
    """Compare stored results with their checksums.

    All in the store, or those of the named tasks and of what they need.

    \b
    Example:
      d6tstore verify flow:Train --model svm
    """
    tasks = _tasks(words, needed=False)
    problems = _store().verify(tasks or None)
    for problem in problems:
        click.echo(f"{problem.id}: {problem.key}: {problem.problem}")
    if problems:
        raise Failure(
            f"{len(problems)} stored objects are not what their records say. Run their tasks again.", FAILED
        )
    click.echo("no problems found")


@cli.command()
def plugins() -> None:
    """List the installed backends and formats.

    Those that do not load are broken, with the reason.

    \b
    Example:
      d6tstore plugins
    """
    from d6tstore import registry

    found = registry.plugins()
    rows = [("GROUP", "NAME", "CLASS", "DISTRIBUTION", "STATUS")]
    rows += [
        (p.group, p.name, p.target, p.distribution, f"broken: {p.error}" if p.error else "ok") for p in found
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        click.echo(
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
        )


def main() -> None:
    """Entry point of the command `d6tstore`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a pipe that knows ASCII only gets `?`, no crash
    cli(prog_name="d6tstore")


if __name__ == "__main__":
    main()
