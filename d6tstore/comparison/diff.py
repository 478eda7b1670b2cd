"""`diff`: how two outputs differ. Nothing is loaded that their records say is equal, and nothing that runs code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from d6tstore.comparison import values
from d6tstore.comparison.difference import Diff
from d6tstore.errors import SelectionError, UsageError
from d6tstore.record import Output, Record
from d6tstore.storing import decode_schema
from d6tstore.target import Target
from d6tstore.task import Task

_TEXTS = ("text", "html")


class _Side(NamedTuple):
    """One of the two outputs: a target that holds to one record."""

    target: Target
    record: Record
    output: Output


def diff(
    a: Any, b: Any, *, on: Sequence[Any] | None = None, output: str | None = None, tolerance: float = 0.0,
    limit: int = 20,
) -> Diff:  # fmt: skip
    """How two outputs differ: those of two tasks, two versions of one, or of one task in two stores.

    Equal contents are told by their records, without loading. Frames are compared column by column; JSON by its paths;
    text by its lines; of anything else (pickles, models, pictures) it is told whether the contents are equal.

    Args:
        a: the one, before: a task, a target (`task.output()`, `store.output(task)`), or a pair of either and the write
            id of a kept version (see `Store.history`).
        b: the other, after.
        on: labels of the columns, or levels of the index, that tell the rows of frames apart; `[]` is the position.
            None is an index that both have, with names and each value once, else the position.
        output: name of the output, for tasks with several.
        tolerance: floats a and b are equal up to this times `max(1, |a|, |b|)`.
        limit: how many rows of each kind to show.

    Returns:
        What differs. A null equals a null, NaN equals NaN, 0.0 equals -0.0; a column of another type is compared in a
        type that loses nothing, if there is one; times with a zone as moments; categories as their values.

    Raises:
        NeverRun: there is no result, or no such version.
        SelectionError: a frame has no such column, or several rows the same key.
        UsageError: this is no task and no target, or a task has several outputs and `output` names none.

    Example:
        >>> import d6tstore, pandas
        >>> class Prices(d6tstore.tasks.TaskPqPandas):
        ...     rise: float = 0.0
        ...     def run(self):
        ...         self.save(pandas.DataFrame({"day": [1, 2], "price": [5.0, 7.0 + self.rise]}))
        >>> with d6tstore.use(d6tstore.open("memory://")) as store:
        ...     report = store.run(d6tstore.grid(Prices, rise=[0, 1]))
        ...     found = d6tstore.diff(Prices(), Prices(rise=1), on=["day"])
        >>> found.equal, found.counts["changed"]
        (False, 1)
        >>> print(found.changed.to_string())
            column before after
        day
        2    price    7.0   8.0
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise UsageError(f"limit={limit!r}: give a number of rows, 0 or more.")
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < float("inf"):
        raise UsageError(f"tolerance={tolerance!r}: give a number, 0 or more.")
    one, other = _side(a, output), _side(b, output)
    found = _empty(one, other)
    schemas = [decode_schema(side.output.schema) for side in (one, other)]
    if schemas[0] is not None and schemas[1] is not None:
        _frames(found, one, other, schemas, on, tolerance, limit)
    elif on is not None:
        raise SelectionError(f"on={on!r}: {found.before} and {found.after} are not two frames. Leave out on.")
    elif one.output.content != other.output.content:
        _values(found, one, other, limit)
    return found


def _side(given: Any, output: str | None) -> _Side:
    version = None
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], str):
        given, version = given
    target = given.output() if isinstance(given, Task) else given
    if isinstance(target, Mapping):
        if output not in target:
            named = f"has no output {output!r}" if output else "has several outputs"
            raise UsageError(f"{given!r} {named}: choose one of {', '.join(map(repr, target))}, output='...'.")
        target = target[output]
    elif isinstance(target, Target) and output not in (None, target.name):
        raise UsageError(f"{given!r} has no output {output!r}, only {target.name!r}. Leave out output.")
    if not isinstance(target, Target):
        raise UsageError(f"diff takes tasks, targets, or pairs of these and a write id, not {given!r}.")
    record = target.record(version)
    return _Side(Target(target.repository, target.task, target.name, record), record, record.outputs[target.name])


def _empty(one: _Side, other: _Side) -> Diff:
    """What is known without loading."""
    import pandas as pd

    names = []
    for side in (one, other):
        name = repr(side.target.task)
        if len(side.record.outputs) > 1:
            name += f", output {side.target.name!r}"
        if one.record.id == other.record.id:
            name += f", version {side.record.write_id} of {side.record.time[:19]}"
        if one.target.backend.url != other.target.backend.url:
            name += f" in {side.target.backend.url}"
        names.append(name)
    equal = one.output.content == other.output.content
    metrics = {
        n: [s.record.metrics.get(n) for s in (one, other)] for n in {**one.record.metrics, **other.record.metrics}
    }
    nothing = pd.DataFrame()
    return Diff(
        before=names[0], after=names[1], equal=equal, kind="content", schema=pd.DataFrame(columns=["before", "after"]),
        added=nothing, removed=nothing, changed=pd.DataFrame(columns=["column", "before", "after"]), summary=nothing,
        metrics=pd.DataFrame(
            list(metrics.values()), columns=["before", "after"], index=pd.Index(metrics, name="metric"), dtype=object
        ),
    )  # fmt: skip


def _frames(
    found: Diff, one: _Side, other: _Side, schemas: list[Any], on: Any, tolerance: float, limit: int
) -> None:  # fmt: skip
    from d6tstore.comparison import frames
    from d6tstore.comparison.side import Side

    sides = [Side(side.target, side.output, schema) for side, schema in zip((one, other), schemas, strict=True)]
    key = frames.key_of(sides[0], sides[1], on)
    found.kind, found.key = "frame", key
    if found.equal:
        return
    told = frames.compare(sides[0], sides[1], key, bool(on), tolerance, limit)
    for name, value in vars(told).items():
        setattr(found, name, value)
    found.equal = not len(told.schema) and not any(told.counts[name] for name in ("added", "removed", "changed"))
    if found.equal and not found.notes:
        found.notes.append(
            "the contents differ in what is not compared: -0.0, categories, the description of the index"
        )


def _values(found: Diff, one: _Side, other: _Side, limit: int) -> None:
    import pandas as pd

    formats = {one.output.format, other.output.format}
    if formats == {"json"}:
        found.kind = "json"
        try:
            changes = list(values.of_json(one.target.load(), other.target.load()))
        except RecursionError:
            found.notes.append("the values are nested too deep to be compared by their paths")
            return
        for kind in ("added", "removed", "changed"):
            rows = [change for change in changes if change[0] == kind]
            found.counts[kind] = len(rows)
            index = pd.Index([path for _, path, _, _ in rows[:limit]], name="path", dtype=object)
            cells = [[before, after] for _, _, before, after in rows[:limit]]
            frame = pd.DataFrame(cells, columns=["before", "after"], index=index, dtype=object)
            kept = {"added": ["after"], "removed": ["before"]}.get(kind, ["before", "after"])
            setattr(found, kind, frame[kept].rename(columns={} if kind == "changed" else {kept[0]: "value"}))
    elif len(formats) == 1 and formats <= set(_TEXTS):
        found.kind = "text"
        found.lines = values.of_text(*(cast(str, side.target.load()) for side in (one, other)))
    else:
        kinds = " and ".join(sorted(formats))
        found.notes.append(f"outputs of format {kinds} are compared by their content only")
