"""`Comparison`: a frame of results that knows which are best, writes itself to files and plots."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from d6tstore import html, tables
from d6tstore.comparison.cells import column, is_number, python
from d6tstore.errors import UsageError
from d6tstore.whole import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from d6tstore.task import Task

_LOWER = re.compile(  # words of metrics that are better when lower, as scikit-learn and others name them
    r"loss|logloss|errors?|(r|n)*mse|(r|n)*msle|mae|mape|smape|mase|aic|bic|perplexity|deviance|brier|wer|cer"
)
_SENSES = ("min", "max")


class Comparison(pd.DataFrame):
    """Results side by side: a DataFrame that marks the best of each metric when it is shown.

    What pandas makes of it (a selection, a sorted copy) is an ordinary DataFrame.

    Attributes:
        parameter_names: columns that are parameters.
        metric_names: columns that are metrics.
    """

    _metadata = ["parameter_names", "metric_names", "_tasks", "_senses"]
    parameter_names: list[str]
    metric_names: list[str]
    _tasks: dict[Any, Task]
    _senses: dict[str, str]

    @classmethod
    def of(
        cls,
        rows: Sequence[Mapping[str, Any]],
        tasks: Sequence[Task],
        names: tuple[Sequence[str], Sequence[str]],
        last: Mapping[str, str],
        sort: str | None = None,
        best: str | Mapping[str, str] | None = None,
    ) -> Comparison:
        """The comparison of tasks.

        Args:
            rows: what `compare` found, for each task.
            tasks: of the rows.
            names: of the columns that are parameters, and of those that are metrics.
            last: columns that come last, with their types.
            sort: column to sort by: a metric best first, others ascending. Missing values and NaN come last.
            best: `"min"` or `"max"`: which value of `sort` is best; or a mapping of metrics to these. By default errors
                and losses (by their names: rmse, val_loss, ...) are better when lower, all else when higher.

        Raises:
            UsageError: there is no such column, it cannot be sorted, or `best` is something else.
        """
        columns = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in last]
        values = {name: column([row.get(name) for row in rows]) for name in columns}
        values |= {name: pd.Series([row[name] for row in rows], dtype=kind) for name, kind in last.items()}
        frame = pd.DataFrame(values, columns=[*columns, *last])
        senses = _senses(best, sort, names[1])
        order = list(range(len(frame)))
        if sort is not None:
            order = _order(frame, sort, senses.get(sort, "max" if sort in names[1] and not _lower(sort) else "min"))
        found = cls(frame.iloc[order].reset_index(drop=True))
        found._tasks = {row: tasks[i] for row, i in enumerate(order)}
        found.parameter_names, found.metric_names = list(names[0]), list(names[1])
        found._senses = senses
        return found

    @property
    def tasks(self) -> list[Task]:
        """The task of each row. Raises KeyError: a row was added."""
        return [self._tasks[row] for row in self.index]

    def best(self, metric: str) -> Task:
        """The task that is best by a metric; of several the first.

        Raises:
            UsageError: there is no such metric, or it has no numbers.

        Example:
            >>> import d6tstore
            >>> class Fit(d6tstore.tasks.TaskJson):
            ...     k: int = 1
            ...     def run(self):
            ...         self.save(self.k, metrics={"rmse": 1 / self.k})
            >>> with d6tstore.use(d6tstore.open("memory://")) as store:
            ...     report = store.run(tasks := d6tstore.grid(Fit, k=[1, 2, 4]))
            ...     store.compare(tasks).best("rmse")
            Fit(k=4)
        """
        if metric not in self.metric_names:
            known = ", ".join(map(repr, self.metric_names)) or "none"
            raise UsageError(f"best({metric!r}): there is no such metric. There are {known}.")
        rows = self._best_rows(metric)
        if not rows:
            raise UsageError(f"best({metric!r}): no task has a number there. Run them first, or choose another metric.")
        return self.tasks[min(rows)]

    def to_file(self, path: str | os.PathLike[str]) -> Path:
        """Write it as CSV, HTML or Markdown, by the ending of the file. All or nothing.

        Raises:
            UsageError: another ending than .csv, .html and .md.
        """
        path = Path(path)
        if path.suffix == ".csv":
            with replacing(path) as staged:
                self.to_csv(staged, index=False)
            return path
        if path.suffix not in (".html", ".md"):
            raise UsageError(f"{path.name!r} is neither .csv nor .html nor .md. Choose one of these endings.")
        page = (
            f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Comparison</title>\n{self._repr_html_()}\n'
        )
        content = page if path.suffix == ".html" else f"{self.markdown()}\n"
        with replacing(path) as staged:
            staged.write_text(content, encoding="utf-8")
        return path

    def markdown(self) -> str:
        """It as a table of Markdown, the best of each metric in bold."""
        rows = [[f"**{tables.escaped(v)}**" if b else tables.escaped(v) for v, b in row] for row in self._cells()]
        return tables.markdown([str(name) for name in self.columns], rows)

    def as_json(self) -> list[dict[str, Any]]:
        """A mapping of JSON values for each row; what JSON has no word for is text."""
        return [
            {str(name): tables.json_value(value) for name, (value, _) in zip(self.columns, row, strict=True)}
            for row in self._cells()
        ]

    def plot_metric(self, metric: str, against: str) -> Figure:
        """A metric against a parameter: one line for each combination of the other parameters that differ.

        Returns:
            A figure of matplotlib, which notebooks show and `savefig` writes.

        Raises:
            UsageError: there is no such metric or parameter, or no numbers.
            PluginError: matplotlib is not installed.
        """
        from d6tstore.comparison import plot

        return plot.figure(self, metric, against, self.metric_names, self.parameter_names)

    def _best_rows(self, metric: str) -> set[int]:
        values = {i: value for i, value in enumerate(self[metric]) if is_number(value)}
        low = self._senses.get(metric, "min" if _lower(metric) else "max") == "min"
        best = (min if low else max)(values.values(), default=None)
        return {i for i, value in values.items() if value == best}

    def _cells(self) -> Iterator[list[tuple[Any, bool]]]:
        """Each row's values, and whether each is the best of several."""
        best = {name: self._best_rows(name) for name in self._ranked()}
        columns = [[python(value) for value in self[name]] for name in self.columns]
        for i, row in enumerate(zip(*columns, strict=True)):
            yield [(value, i in best.get(name, ())) for name, value in zip(self.columns, row, strict=True)]

    def _ranked(self) -> list[str]:
        """Metrics of which several tasks have a number."""
        known = [name for name in self.metric_names if name in self.columns]
        return [name for name in known if self[name].map(is_number).sum() > 1]

    def __repr__(self) -> str:
        ranked = self._ranked()
        rows = [
            [
                f"{tables.plain(v)} {'*' if b else ' '}" if n in ranked else v
                for n, (v, b) in zip(self, row, strict=True)
            ]
            for row in self._cells()
        ]
        told = tables.text([str(name) for name in self], rows, ranked)
        return f"{told}\n* the best of its column" if ranked else told

    __str__ = __repr__

    def _repr_html_(self) -> str:
        def bold(value: Any) -> html.Raw:
            return html.Raw(f'<div class="n"><b>{html.text(tables.plain(value))}</b></div>')

        rows = [[bold(v) if b else v for v, b in row] for row in self._cells()]
        return html.box(html.table([str(name) for name in self.columns], rows))


def _senses(best: str | Mapping[str, str] | None, sort: str | None, metrics: Sequence[str]) -> dict[str, str]:
    """Which value is best, `min` or `max`, of the metrics of which the user says it."""
    if isinstance(best, str):
        if sort is None:
            raise UsageError(f"best={best!r}: of which metric? Name it: sort='r2', or best={{'r2': {best!r}}}.")
        best = {sort: best}
    found = dict(best or {})
    for name, sense in found.items():
        if sense not in _SENSES:
            raise UsageError(f"best: {sense!r} of {name!r} is neither 'min' nor 'max'. Give one of these.")
        if name not in metrics and name != sort:
            raise UsageError(f"best: there is no metric {name!r}. There are {', '.join(map(repr, metrics)) or 'none'}.")
    return found


def _lower(metric: str) -> bool:
    words = re.findall(r"[a-z]+|[A-Z][a-z]*|[A-Z]+(?![a-z])", metric)
    words = [word.lower() for word in [*words, *re.split(r"[^A-Za-z]+", metric)]]
    return "neg" not in words and any(_LOWER.fullmatch(word) for word in words)


def _order(frame: pd.DataFrame, name: str, sense: str) -> list[int]:
    """The rows in the order of a column, missing values and NaN last; equal ones stay as they are."""
    if name not in frame.columns:
        raise UsageError(f"sort={name!r}: there is no such column. There are {', '.join(map(repr, frame.columns))}.")
    values = [python(value) for value in frame[name]]
    there = [i for i, v in enumerate(values) if v is not None and not (isinstance(v, float) and math.isnan(v))]
    try:
        there.sort(key=values.__getitem__, reverse=sense == "max")
    except TypeError:
        raise UsageError(f"sort={name!r}: its values have no order among each other. Sort by another column.") from None
    known = set(there)
    return there + [i for i in range(len(values)) if i not in known]
