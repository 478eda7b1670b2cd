"""The commands `compare` and `diff`."""

from __future__ import annotations

import click

from d6tstore import context
from d6tstore.commands.locate import PASS, current_store, grids_of, named, tasks_of
from d6tstore.commands.shell import FAILED, as_json_option, echo_json, stdout_for_json
from d6tstore.errors import UsageError


@click.command(context_settings=PASS)
@named
@click.option("--sort", metavar="COLUMN", help="A metric, best first; or another column.")
@click.option("--best", type=click.Choice(["min", "max"]), help="Of --sort. [default: min for errors and losses]")
@click.option("--to", "file", metavar="FILE", help="Write it: .csv, .html or .md (Markdown).")
@as_json_option
def compare(words: tuple[str, ...], sort: str | None, best: str | None, file: str | None, as_json: bool) -> None:
    """Show parameters and metrics of results side by side. Nothing runs.

    An option given several times stands for each of its values; `*` marks the best of each metric.

    \b
    Examples:
      d6tstore compare flow:Train --model svm --model ols --sort r2
      d6tstore compare flow:Train flow:Baseline --seed 1 --to results.md
    """
    with stdout_for_json(as_json):
        tasks = grids_of(words)
    found = current_store().compare(tasks, sort, best)
    if file is not None:
        found.to_file(file)
    if as_json:
        echo_json(found.as_json())
    elif file is None:
        click.echo(str(found))
    else:
        click.echo(f"{len(found)} rows in {file}")


@click.command(context_settings=PASS)
@named
@click.option("--on", metavar="COLUMN", multiple=True, help="It tells rows apart; may be given several times.")
@click.option("--by-position", is_flag=True, help="Match rows by their position. [default: by a named index, if any]")
@click.option("--output", metavar="NAME", help="Which one, of tasks with several.")
@click.option("--version", metavar="WRITEID", help="Of one task: compare this kept version with the current one.")
@click.option("--other-store", metavar="URL|PROFILE", help="Of one task: compare its result with the one there.")
@click.option("--tolerance", metavar="X", type=float, default=0.0, help="For floats: up to X * max(1, |a|, |b|).")
@click.option("--limit", metavar="N", type=click.IntRange(0), default=20, show_default=True, help="Rows of each kind.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if they differ.")
@as_json_option
def diff(
    words: tuple[str, ...],
    on: tuple[str, ...],
    by_position: bool,
    output: str | None,
    version: str | None,
    other_store: str | None,
    tolerance: float,
    limit: int,
    exit_code: bool,
    as_json: bool,
) -> None:
    """Show how two outputs differ.

    Those of two tasks, two versions of one, or one in two stores.

    \b
    Examples:
      d6tstore diff flow:Clean --factor 1 flow:Clean --factor 2 --on day
      d6tstore diff flow:Clean --version 3fa9c1d27be04a11
      d6tstore diff flow:Clean --other-store /shared/results
    """
    from d6tstore import config
    from d6tstore.comparison import diff

    with stdout_for_json(as_json):
        tasks = tasks_of(words)
    if on and by_position:
        raise UsageError("--on and --by-position exclude each other. Give one.")
    if sum((len(tasks) == 2, version is not None, other_store is not None)) != 1 or len(tasks) > 2:
        raise UsageError("diff takes two tasks, or one and either --version or --other-store.")
    store = current_store()
    with context.using(store):
        here = store.output(tasks[0])
        if version is not None:
            pair = (here, version), here
        elif other_store is not None:
            pair = here, config.open(other_store).output(tasks[0])
        else:
            pair = here, store.output(tasks[1])
        by = [] if by_position else list(on) or None
        found = diff.diff(*pair, on=by, output=output, tolerance=tolerance, limit=limit)
    if as_json:
        echo_json(found.as_json())
    else:
        click.echo(str(found))
    if exit_code and not found.equal:
        click.get_current_context().exit(FAILED)
