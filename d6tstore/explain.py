"""What people ask: why does it run, and how do results compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from d6tstore import html, staleness
from d6tstore.plan import UPSTREAM, Node, Plan
from d6tstore.record import Record, nearest
from d6tstore.tables import one_line
from d6tstore.task import Task

if TYPE_CHECKING:
    from d6tstore.comparison.table import Comparison
    from d6tstore.store import Store


_CAUSES = 5  # that are named


@dataclass
class Explanation:
    """Why a task would run or not. Printed, it says everything; `node` has state and first reason."""

    node: Node
    details: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        """State of the task."""
        return str(self.node.state)

    @property
    def reason(self) -> str:
        """The first reason; empty if there is nothing to do."""
        return self.node.reason

    def __str__(self) -> str:
        return "\n".join([str(self.node), *(f"  {line}" for line in self.details)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html.box(html.title(str(self.node)), html.table([], [[detail] for detail in self.details]))


def explain(plan: Plan, task: Task) -> Explanation:
    """Everything that is known about the state of a task; see `Store.why`."""
    task = plan.graph.tasks[plan.graph.roots[0]]  # in its newest definition
    node = plan[task]
    details: list[str] = []
    found = node.record
    if found is None:
        if task.id not in plan.damaged and (kept := plan.repository.history(task)):
            details.append(f"its result of {kept[0].time[:19]} was reset at {kept[0].replaced[:19]}")
        elif not task.external and not task.aggregates:
            close = nearest(task.parameters_json(), plan.repository.family_records(task))
            details.append(
                f"the nearest result, of {close[0].time[:19]}, has {close[1] or 'the same parameters'}"
                if close
                else f"no task of the family {task.family} has a result yet"
            )
    else:
        details.append(f"result of {found.time[:19]} by {found.author} on {found.host}, {found.seconds:.2f} s")
        details += _all_changes(plan, task, found)
        details += [f"output {name!r} is no table there: {o.note}" for name, o in found.outputs.items() if o.note]
    for id in plan.graph.inputs[task.id]:
        if plan.nodes[id].will_run:
            details.append(f"input {plan.nodes[id]}")
    details += [f"because of {cause}" for cause in _causes(plan, task)]
    return Explanation(node, [one_line(detail) for detail in details])


def _causes(plan: Plan, task: Task) -> list[str]:
    """Tasks further up that run for reasons of their own."""
    direct = set(plan.graph.inputs[task.id])
    above, found = [id for id in direct if plan.nodes[id].will_run], dict[str, None]()
    seen = set(above)
    while above:
        id = above.pop()
        if id not in direct and plan.nodes[id].reason != UPSTREAM:
            found[str(plan.nodes[id])] = None
        more = [i for i in plan.graph.inputs[id] if i not in seen and plan.nodes[i].will_run]
        seen.update(more)
        above += more
    return [*list(found)[:_CAUSES], *([f"{len(found) - _CAUSES} more"] if len(found) > _CAUSES else [])]


def _all_changes(plan: Plan, task: Task, found: Record) -> list[str]:
    """Every predicate that holds, not only the first."""
    inputs = {id: plan.nodes[id].content for id in plan.graph.inputs[task.id]}
    if task.external:
        return []
    reasons = [
        staleness.other_module(task, found),
        staleness.changed_code(found, plan.code.of(task)),
        staleness.changed_format(task, found),
        staleness.changed_input(found, inputs, plan.graph.shapes.get(task.id, "")),
        staleness.changed_file(task, found, plan.repository),
    ]
    check = plan.repository.check_of(task)
    ignored = "" if check == "code" else f" (may be ignored: check = {check!r})"
    lines = [f"{reason}{ignored}" for reason in reasons if reason]
    lines += [f"code accepted by {a.who} at {a.time[:19]}" for a in found.accepted]
    return lines


def compare(
    store: Store, tasks: list[Task], sort: str | None = None, best: str | Mapping[str, str] | None = None
) -> Comparison:
    """Parameters x metrics x seconds x rows x bytes; see `Store.compare`."""
    from d6tstore.comparison.table import Comparison

    plan = store.plan(tasks)
    tasks = [plan.graph.tasks[id] for id in plan.graph.targets]
    rows: list[dict[str, Any]] = []
    parameters: dict[str, None] = {}  # names of columns, in order
    metrics: dict[str, None] = {}
    for task in tasks:
        node = plan[task]
        found = node.restore or node.record
        row: dict[str, Any] = {"task": task.family}
        for name, value in task.parameters.items():
            column = f"{name}_parameter" if name in ("task", *_LAST) else name
            row[column], parameters[column] = value, None
        for name, value in (found.metrics if found else {}).items():
            column = f"{name}_metric" if name in row or name in _LAST else name
            row[column], metrics[column] = _number(value), None
        row["state"] = str(node.state)
        row["seconds"] = found.seconds if found else None
        row["rows"] = found.rows if found else None
        row["bytes"] = found.bytes if found else None
        rows.append(row)
    names = list(parameters), [name for name in metrics if name not in parameters]
    return Comparison.of(rows, tasks, names, _LAST, sort, best)


def _number(value: Any) -> Any:
    """A metric as it was logged: JSON has no word for NaN and infinities."""
    return float(value) if value in ("nan", "inf", "-inf") else value


_LAST = {"state": "str", "seconds": "Float64", "rows": "Int64", "bytes": "Int64"}  # whole numbers stay whole
