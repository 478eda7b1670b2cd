"""Commands that look into a store: ls, load, log."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from d6tstore.commands.locate import PASS, current_store, named, tasks_of
from d6tstore.commands.shell import as_json_option, columns, echo_json, stdout_for_json, written
from d6tstore.errors import UsageError
from d6tstore.tables import one_line

if TYPE_CHECKING:
    from d6tstore.commands.presenting import Wanted
    from d6tstore.target import Target
    from d6tstore.task import Task

_HEAD = 20  # rows of a frame that a terminal shows
_WIDE = 60  # characters of parameters or metrics in a line


@click.command()
@click.argument("family", required=False)
@click.option("-n", "limit", metavar="N", type=click.IntRange(1), help="Only the newest N results.")
@as_json_option
def ls(family: str | None, limit: int | None, as_json: bool) -> None:
    """List what the store holds.

    Its families; with FAMILY, the results of that class, the newest first.

    \b
    Examples:
      d6tstore ls
      d6tstore ls Train -n 10
    """
    from d6tstore.commands import listing

    repository = current_store().repository
    if family is None:
        found = listing.families(repository)
        if as_json:
            echo_json([each._asdict() for each in found])
        elif found:
            rows = [(one_line(f.name), f"{f.results:,}", f"{f.bytes:,}", one_line(f.newest[:19])) for f in found]
            columns([("FAMILY", "RESULTS", "BYTES", "NEWEST"), *rows])
        else:
            click.echo(f"{repository.default.url} has no results")
        _warn(sum(each.damaged for each in found))
        return
    records, damaged = listing.results(repository, family.rpartition(":")[2])  # flow:Train is understood too
    records = records[:limit]
    _warn(damaged)
    if as_json:
        echo_json([listing.as_dict(each) for each in records])
        return
    head = ("PARAMETERS", "TIME", "BY", "SECONDS", "ROWS", "BYTES", "METRICS")
    table = [
        (
            one_line(listing.shown_parameters(each), _WIDE) or "-",
            one_line(each.time[:19]),
            one_line(each.author) or "-",
            f"{each.seconds:.3g}", "-" if each.rows is None else f"{each.rows:,}", f"{each.bytes:,}",
            one_line(", ".join(f"{name}={_short(value)}" for name, value in each.metrics.items()), _WIDE),
        )
        for each in records
    ]  # fmt: skip
    columns([head, *table])


def _warn(damaged: int) -> None:
    if damaged:
        said = "record is damaged and not" if damaged == 1 else "records are damaged and not"
        click.echo(f"{damaged:,} {said} listed: d6tstore verify names them", err=True)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@click.command(context_settings=PASS)
@named
@as_json_option
def log(words: tuple[str, ...], as_json: bool) -> None:
    """Show the versions of a result.

    When, who, where, with which content; and edits that were accepted.

    Any of them is loaded by its write id: d6tstore load --version, or task.output().load(version="...").

    \b
    Example:
      d6tstore log flow:Train --model svm
    """
    from d6tstore.commands import listing

    with stdout_for_json(as_json):
        tasks = tasks_of(words)
        store = current_store()
        found = [(task, store.history(task)) for task in tasks]
    if as_json:
        echo_json([{"task": repr(t), "versions": [listing.version_dict(each) for each in all]} for t, all in found])
        return
    for task, versions in found:
        click.echo(f"{task!r}: {len(versions) or 'no'} version{'' if len(versions) == 1 else 's'}")
        for each in versions:
            for line in listing.version_lines(each):
                click.echo(f"  {line}")


@click.command(context_settings=PASS)
@named
@click.option("--output", "name", metavar="NAME", help="Which output, where a task has several.")
@click.option(
    "--head", metavar="N", type=click.IntRange(0, 1 << 60), help="Rows of a frame. [default: in a terminal 20]"
)
@click.option("--columns", metavar="A,B", help="Columns of a frame, in this order.")
@click.option("--where", metavar="CONDITION", multiple=True, help="Rows of a frame: 'price > 5', 'city in Rome,Oslo'.")
@click.option("--version", metavar="WRITEID", help="A kept version; d6tstore log lists them.")
@click.option("--to", "file", metavar="FILE", type=click.Path(path_type=Path), help="Write it there, whole or not at "
              "all: .parquet .csv .json .txt .xlsx .feather, or as it is stored.")  # fmt: skip
@click.option("--replace", is_flag=True, help="With --to: also where there is a file.")
@click.option("--repr", "as_repr", is_flag=True, help="Load an object, which runs code of a pickle, and show it.")
@as_json_option
def load(
    words: tuple[str, ...], name: str | None, file: Path | None, replace: bool, as_repr: bool, as_json: bool,
    **part: Any,
) -> None:  # fmt: skip
    """Print a stored value, or write it to a file.

    A frame is a table in a terminal and CSV in a pipe; JSON and text are printed as they are.

    \b
    Examples:
      d6tstore load flow:Prices --head 5 --where "price > 5" --columns day,price
      d6tstore load flow:Train --model svm --to model.pkl
    """
    from d6tstore.commands.presenting import Wanted, write

    with stdout_for_json(True):  # what modules print is no part of the value
        tasks = tasks_of(words)
        store = current_store()
    if len(tasks) != 1:
        raise UsageError(f"one task at a time can be loaded; {len(tasks)} are named.")
    target = _target(store.output(tasks[0]), tasks[0], name)
    wanted = Wanted(part["columns"], part["where"], part["head"], part["version"])
    if file is not None:
        write(target, wanted, file, replace)
        written(file, as_json)
    else:
        _show(target, wanted, as_repr, as_json)


def _target(targets: Any, task: Task, name: str | None) -> Target:
    outputs = targets if isinstance(targets, dict) else {targets.name: targets}
    if name is None and len(outputs) > 1:
        raise UsageError(f"{task!r} has several outputs: pass --output with one of {', '.join(outputs)}.")
    if name is not None and name not in outputs:
        raise UsageError(f"{task!r} has no output {name!r}. It has {', '.join(outputs)}.")
    found: Target = outputs[name] if name is not None else next(iter(outputs.values()))
    return found


def _show(target: Target, wanted: Wanted, as_repr: bool, as_json: bool) -> None:
    from d6tstore.commands.presenting import csv_of, format_kept, records_of
    from d6tstore.format import TableFormat

    output, terminal = wanted.output_of(target), sys.stdout.isatty()
    format = format_kept(target, output)
    if isinstance(format, TableFormat):
        if wanted.limit is None and terminal and not as_json:
            wanted = wanted._replace(limit=_HEAD)
        frame = target.load(as_="pandas", **wanted.options(output))
        if as_json:
            echo_json(records_of(frame))
        elif terminal:
            _show_frame(frame, output.rows)
        else:
            click.echo(csv_of(frame).encode(), nl=False)  # bytes: click takes codes of terminals out of text
        return
    if format.runs_code and not as_repr:
        raise UsageError(
            f"{target.task!r} is an object ({output.format}). To load it, which runs code, and show it: --repr. To "
            f"copy its file: --to FILE{output.suffix}."
        )
    _show_value(target.load(**wanted.options(output)), terminal, as_repr, as_json, output.suffix)


def _show_frame(frame: Any, rows: int | None) -> None:
    import shutil

    width = shutil.get_terminal_size().columns
    text = frame.to_string(max_cols=None, line_width=width, max_colwidth=50)
    click.echo("\n".join(map(one_line, text.splitlines())))
    of = "" if rows is None else f" of {rows:,}"
    click.echo(f"[{len(frame):,}{of} rows x {len(frame.columns)} columns]")


def _show_value(value: Any, terminal: bool, as_repr: bool, as_json: bool, suffix: str) -> None:
    import json

    if as_repr:
        click.echo(one_line(repr(value)) if terminal else repr(value))
    elif isinstance(value, str) and not as_json:
        click.echo("\n".join(map(one_line, value.splitlines())) if terminal else value.encode(), nl=terminal)
    elif isinstance(value, bytes) and not terminal and not as_json:
        click.echo(value, nl=False)
    elif isinstance(value, dict | list | str | int | float | bool | None):
        if as_json:
            echo_json(value)
            return
        lines = json.dumps(value, indent=2, ensure_ascii=not terminal).splitlines()
        click.echo("\n".join(map(one_line, lines)))
    else:
        raise UsageError(f"a {type(value).__name__} has no text. Show it with --repr, or write it: --to FILE{suffix}.")
