"""Commands that look after a store: reset, accept, gc, copy, show, verify."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from d6tstore.commands.locate import PASS, current_store, named, task_class, tasks_of
from d6tstore.commands.shell import FAILED, Failure, as_json_option, echo_json, stdout_for_json
from d6tstore.errors import UsageError
from d6tstore.inspection import lines, shown
from d6tstore.tables import one_line

if TYPE_CHECKING:
    from d6tstore.store import Store
    from d6tstore.task import Task

_LISTED = 20  # lines of a list; beyond, a person wants the count
_yes = click.option("--yes", is_flag=True, help="Do it without asking.")


def _list(verb: str, items: Iterable[object], empty: str, as_json: bool = False) -> None:
    items = list(items)
    if as_json:
        echo_json({verb: [item if isinstance(item, str) else repr(item) for item in items]})
        return
    for item in items[:_LISTED]:
        click.echo(f"{verb} {item}".lstrip())
    if len(items) > _LISTED:
        click.echo(f"... {len(items)} in all")
    if not items:
        click.echo(empty)


@click.command(context_settings=PASS)
@named
@click.option("--upstream", is_flag=True, help="It and everything that it depends on.")
@click.option("--downstream-of", metavar="MODULE:CLASS", help="This class and everything between it and the task.")
@click.option("--all", "everything", is_flag=True, help="Every result in the store.")
@click.option("--orphans", is_flag=True, help="Every result that neither the named tasks nor their inputs refer to.")
@_yes
@as_json_option
def reset(
    words: tuple[str, ...],
    upstream: bool,
    downstream_of: str | None,
    everything: bool,
    orphans: bool,
    yes: bool,
    as_json: bool,
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
    with stdout_for_json(as_json):
        tasks = tasks_of(words, needed=not everything)
        store = current_store()
        forget, scope = _reset_of(store, tasks, upstream, downstream_of, everything, orphans)
    if not yes:
        _confirm(f"Forget {scope} in {store.repository.default.url}?")
    _list("forgot", forget(), "nothing to forget", as_json)


def _reset_of(
    store: Store,
    tasks: list[Task],
    upstream: bool,
    downstream_of: str | None,
    everything: bool,
    orphans: bool,
) -> tuple[Callable[[], Iterable[object]], str]:
    """What to call, and how to ask for it."""
    named = ", ".join(map(repr, tasks))
    if everything:
        return store.invalidate_all, "every result"
    if orphans:
        return lambda: store.invalidate_orphans(tasks), f"every result that {named} and its inputs do not refer to"
    if upstream:
        return lambda: store.invalidate_upstream(tasks), f"the results of {named} and of all that it depends on"
    if downstream_of:
        cls = task_class(downstream_of)
        scope = f"the results of {cls.__name__} and of all between it and {named}"
        return lambda: store.invalidate_downstream(cls, tasks), scope

    def forget() -> list[Task]:
        known = []
        for task in tasks:
            plan = store.plan(task)
            if plan[task].record is not None or task.id in plan.damaged or task.aggregates:
                known.append(task)
        for task in tasks:
            store.invalidate(task)
        return known

    return forget, f"the result of {named}"


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _confirm(question: str) -> None:
    if not _is_terminal():
        raise UsageError("this asks for confirmation, and there is no terminal to ask on. Pass --yes.")
    if not click.confirm(question, err=True):
        raise Failure("nothing was reset.", FAILED)


@click.command(context_settings=PASS)
@named
@click.option("--upstream", is_flag=True, help="Also for all that it depends on.")
@as_json_option
def accept(words: tuple[str, ...], upstream: bool, as_json: bool) -> None:
    """Say that an edit of the code changes nothing.

    The results count as up to date from then on, and nothing re-runs.

    \b
    Example:
      d6tstore accept flow:Preprocess --do-preprocess true
    """
    with stdout_for_json(as_json):
        tasks = tasks_of(words)
        store = current_store()
        if upstream:
            tasks = [node.task for node in store.plan(tasks) if node.record is not None]
        accepted = store.accept(tasks)
    _list("accepted", accepted, "nothing to accept: the results were made by the code as it is", as_json)


@click.command()
@click.option("--older-than", metavar="HOURS", type=click.FloatRange(0), default=24.0, show_default=True,
              help="Spare what is younger: a task may be writing it.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Remove it; without this, only tell what would go.")
@as_json_option
def gc(older_than: float, yes: bool, as_json: bool) -> None:
    """Remove what no result refers to.

    That is replaced versions and debris of crashed runs. Without --yes it only tells.

    \b
    Example:
      d6tstore gc --older-than 1 --yes
    """
    garbage = current_store().gc(dry_run=not yes, older_than=older_than * 3600)
    if as_json:
        problems = [each._asdict() for each in garbage.problems]
        echo_json({"keys": garbage.keys, "bytes": garbage.bytes, "dry_run": garbage.dry_run, "problems": problems})
    else:
        if garbage.keys:
            _list("removed" if yes else "would remove", garbage.keys, "")
        click.echo(str(garbage) + ("" if yes or not garbage.keys else ". To remove them, pass --yes."))
    if garbage.problems:
        raise Failure("\n".join(f"{each.key}: {each.problem}" for each in garbage.problems[:_LISTED]), FAILED)


@click.command(context_settings=PASS)
@click.argument("target")
@named
@click.option("--replace", is_flag=True, help="Also where the target has another result, which becomes a kept version.")
@_yes
@as_json_option
def copy(target: str, words: tuple[str, ...], replace: bool, yes: bool, as_json: bool) -> None:
    """Copy results to another store: a folder, URL or profile. Without --yes it only tells.

    All in the store, or those of the named tasks and of what they need. There they are complete without running.

    \b
    Example:
      d6tstore copy s3://bucket/team flow:Train --model svm --yes
    """
    from d6tstore import config
    from d6tstore.report import COPIED

    with stdout_for_json(as_json):
        tasks = tasks_of(words, needed=False)
        copies = current_store().copy_to(config.open(target), tasks or None, replace, dry_run=not yes)
    if as_json:
        echo_json({"dry_run": not yes, "results": [each._asdict() for each in copies]})
    else:
        if len(copies):
            _list("", [f"{each.id}: {each.problem or each.action}" for each in copies], "")
        more = not yes and any(each.action == COPIED for each in copies)
        click.echo(str(copies) + (". To copy them, pass --yes." if more else ""))
    if copies.problems:
        raise Failure(f"{len(copies.problems)} results were not copied.", FAILED)


@click.command(context_settings=PASS)
@named
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="For programs: state and record of each task, with the place of each output.",
)
def show(words: tuple[str, ...], as_json: bool) -> None:
    """Show what is stored of a task, and where.

    Where is the file, or the name of its table in SQL.

    \b
    Example:
      d6tstore show flow:Train --model svm
    """
    with stdout_for_json(as_json):
        tasks = tasks_of(words)
        store = current_store()
        plan = store.plan(tasks)
    found = [(node := plan[task], shown(store.repository, task, node.record)) for task in tasks]
    if as_json:
        told = [
            {"task": repr(node.task), "state": str(node.state), "reason": node.reason, "record": record}
            for node, record in found
        ]
        echo_json(told)
        return
    for node, record in found:
        click.echo(str(node))
        for line in lines(record) if record else []:
            click.echo(f"  {one_line(line)}")


@click.command(context_settings=PASS)
@named
@as_json_option
def verify(words: tuple[str, ...], as_json: bool) -> None:
    """Compare stored results with their checksums.

    All in the store, or those of the named tasks and of what they need.

    \b
    Example:
      d6tstore verify flow:Train --model svm
    """
    with stdout_for_json(as_json):
        tasks = tasks_of(words, needed=False)
        problems = current_store().verify(tasks or None)
    if as_json:
        echo_json([each._asdict() for each in problems])
    for problem in problems if not as_json else ():
        click.echo(f"{problem.id}: {problem.key}: {problem.problem}")
    if problems:
        raise Failure(
            f"{len(problems)} stored objects are not what their records say. Run their tasks with --force.", FAILED
        )
    if not as_json:
        click.echo("no problems found")
