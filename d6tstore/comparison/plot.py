"""A metric of a comparison against a parameter, drawn by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from d6tstore import tables
from d6tstore.comparison.cells import is_number, python
from d6tstore.errors import PluginError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(table: pd.DataFrame, metric: str, against: str, metrics: Sequence[str], parameters: Sequence[str]) -> Figure:
    """See `Comparison.plot_metric`; `metrics` and `parameters` are the columns that there are."""
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise PluginError("a plot needs matplotlib: pip install 'd6tstore[matplotlib]'.") from exc

    class Shown(Figure):
        """Notebooks show it, though pyplot does not know of it."""

        def _repr_png_(self) -> bytes:
            self.savefig(file := io.BytesIO(), format="png")
            return file.getvalue()

    for what, name, known in (("metric", metric, metrics), ("parameter", against, parameters)):
        if name not in known:
            raise UsageError(f"there is no {what} {name!r}. There are {', '.join(map(repr, known)) or 'none'}.")
    lines = _lines(table, metric, against, parameters)
    if not lines:
        raise UsageError(f"metric {metric!r} has no numbers to plot. Run the tasks first.")
    drawn = Shown(layout="constrained")
    axes = drawn.add_subplot(xlabel=_literal(against), ylabel=_literal(metric))
    every = [x for points in lines.values() for x, _ in points]
    if not all(is_number(x) for x in every):  # names, in the order in which they were given
        places = {x: i for i, x in enumerate(dict.fromkeys(map(str, every)))}
        axes.set_xticks(list(places.values()), [_literal(tables.plain(x)) for x in places])
        lines = {label: [(places[str(x)], y) for x, y in points] for label, points in lines.items()}
    for label, points in lines.items():
        points.sort()
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=_literal(label))
    if len(lines) > 1:
        axes.legend()
    return drawn


def _lines(
    table: pd.DataFrame, metric: str, against: str, parameters: Sequence[str]
) -> dict[str, list[tuple[Any, Any]]]:
    others = [n for n in parameters if n != against and table[n].map(repr).nunique() > 1]
    others = [*(["task"] if table["task"].nunique() > 1 else []), *others]
    lines: dict[str, list[tuple[Any, Any]]] = {}
    for row in table.to_dict("records"):
        if is_number(row[metric]):
            label = ", ".join(f"{name}={tables.plain(row[name])}" for name in others)
            lines.setdefault(label, []).append((python(row[against]), row[metric]))
    return lines


def _literal(text: str) -> str:
    """For matplotlib, to which dollars are mathematics."""
    return text.replace("$", r"\$")
