"""The command line: `d6tstore COMMAND`. Every command is a thin layer over a method of `Store`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from d6tstore import __version__, context
from d6tstore.commands import browse, comparing, export, graph, machine, pipes, profiles, project, secrets, upkeep
from d6tstore.commands.locate import PASS, current_store, named, tasks_of
from d6tstore.commands.shell import (
    FAILED,
    Commands,
    Failure,
    as_json_option,
    echo_json,
    nearest,
    stdout_for_json,
    user_traceback,
)
from d6tstore.errors import RunFailed, UsageError
from d6tstore.project import NAME

if TYPE_CHECKING:
    from d6tstore.report import Report
    from d6tstore.task import Task


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="d6tstore %(version)s")
@click.option("--store", metavar="URL", envvar="D6TSTORE_STORE", help="Where results lie: folder or URL. "
              "[env: D6TSTORE_STORE; default: what the task's module chose, else the profile `default`, "
              "else ./data]")  # fmt: skip
@click.option("--profile", metavar="NAME", envvar="D6TSTORE_PROFILE", help="Where results lie: a profile instead. "
              "[env: D6TSTORE_PROFILE]")  # fmt: skip
@click.pass_context
def cli(ctx: click.Context, store: str | None, profile: str | None) -> None:
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
      1    a task failed, its module raised, a stored result is damaged, a check failed,
           what is printed cannot be written, or you declined
      2    the command cannot be carried out: unknown task, parameter, store, ...
      130  interrupted (Ctrl-C)
    """
    ctx.obj = _place(ctx, store, profile)


def _place(ctx: click.Context, store: str | None, profile: str | None) -> str | None:
    """What the command line says, or else the environment."""
    typed = [o for o in ("store", "profile") if ctx.get_parameter_source(o) is click.core.ParameterSource.COMMANDLINE]
    if store and profile and len(typed) == 1:
        store, profile = (store, None) if typed == ["store"] else (None, profile)
    if store and profile:
        raise UsageError("--store and --profile (D6TSTORE_STORE and D6TSTORE_PROFILE) exclude each other. Give one.")
    if profile and not NAME.fullmatch(profile):
        given = "--profile" if "profile" in typed else "D6TSTORE_PROFILE"
        raise UsageError(f"what {given} was given cannot name a profile: it takes a name, --store a folder or URL.")
    return store or profile


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


cli.add_command(project.new)
cli.add_command(project.init)


@cli.command(context_settings=PASS)
@named
@click.option("--force", metavar="CLASS|all", multiple=True, help="Run it and what depends on it anew.")
@click.option("--workers", metavar="N", type=click.IntRange(1), help="Threads. [default: one after the other]")
@click.option("--quiet", is_flag=True, help="Without showing how far it is.")
@as_json_option
def run(words: tuple[str, ...], force: tuple[str, ...], workers: int | None, quiet: bool, as_json: bool) -> None:
    """Compute what is missing or stale.

    While it runs a terminal shows a bar, and a pipe or a log gets a line per task on stderr.

    \b
    Example:
      d6tstore run flow:Train --model svm --force GetData --workers 4
    """
    try:
        with stdout_for_json(as_json):
            tasks = tasks_of(words)
            forced = _forced(tasks, force)
            store = current_store()
            with context.using(store):
                report = store.run(tasks, forced, workers, progress=not quiet)
    except RunFailed as exc:
        _show_failures(exc, as_json)
    _show(report, as_json)


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        from d6tstore.report import error_text

        tasks = [
            {
                "task": repr(each.task), "id": each.task.id, "action": each.action, "reason": each.reason,
                "seconds": each.seconds, "error": None if each.error is None else error_text(each.error, repr),
            }
            for each in report
        ]  # fmt: skip
        echo_json({"seconds": report.seconds, "tasks": tasks})
    else:
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


def _show_failures(failed: RunFailed, as_json: bool) -> NoReturn:
    report = failed.report
    _show(report, as_json)
    for outcome in report:
        if outcome.error is not None and (shown := user_traceback(outcome.error)):
            click.echo(f"\n{outcome.task!r}:\n{shown}", err=True, nl=False)
    blocked = f", {len(report.blocked)} could not run without them" if report.blocked else ""
    raise Failure(
        f"{len(report.failed)} of {len(report)} tasks failed{blocked}. "
        "Finished work is kept: correct the cause and run again.",
        FAILED,
    ) from failed


@cli.command(context_settings=PASS)
@named
@as_json_option
def preview(words: tuple[str, ...], as_json: bool) -> None:
    """Show the tree of tasks with states and reasons.

    \b
    Example:
      d6tstore preview flow:Train --model svm
    """
    if not as_json:
        tasks = tasks_of(words)
        current_store().preview(tasks)
        return
    with stdout_for_json(as_json):
        tasks = tasks_of(words)
        plan = current_store().plan(tasks)
    nodes = [
        {
            "task": repr(node.task), "id": node.task.id, "state": str(node.state), "reason": node.reason,
            "will_run": node.will_run, "inputs": list(plan.graph.inputs[node.task.id]),
        }
        for node in plan
    ]  # fmt: skip
    echo_json({"tasks": nodes, "forecast": plan.forecast._asdict()})


@cli.command(context_settings=PASS)
@named
@as_json_option
def why(words: tuple[str, ...], as_json: bool) -> None:
    """Say in full why a task would run or not.

    \b
    Example:
      d6tstore why flow:Train --model svm
    """
    with stdout_for_json(as_json):
        tasks = tasks_of(words)
        store = current_store()
        found = [store.why(task) for task in tasks]
    if as_json:
        echo_json(
            [
                {"task": repr(each.node.task), "state": each.state, "reason": each.reason, "details": each.details}
                for each in found
            ]
        )
    for each in found if not as_json else ():
        click.echo(str(each))


for _command in (
    browse.ls, upkeep.show, browse.load, browse.log, upkeep.reset, upkeep.accept, project.adopt,
    upkeep.copy, upkeep.gc, upkeep.verify,
    graph.graph, comparing.compare, comparing.diff,
    pipes.pipe, export.export, profiles.profile, secrets.credentials,
    machine.plugins, machine.doctor, machine.completion,
):  # fmt: skip
    cli.add_command(_command)


def main() -> None:
    """Entry point of the command `d6tstore`."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started us
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - it lives as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a pipe that knows ASCII only gets `?`, no crash
    cli(prog_name="d6tstore")


if __name__ == "__main__":
    main()
