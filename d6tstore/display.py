"""How plans and reports look in a terminal and in a pipe."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from d6tstore import html
from d6tstore.plan import NEVER_RUN, Node, Plan, State
from d6tstore.record import Record, nearest
from d6tstore.report import Report, error_text
from d6tstore.task import Task

if TYPE_CHECKING:
    from rich.text import Text

_STYLES = {
    State.COMPLETE: "green",
    State.PENDING: "bold yellow",
    State.EVICTED: "cyan",
    State.EXTERNAL: "bold red",
    State.AGGREGATE: "dim",
}
_NAMES = {  # in style sheets
    State.COMPLETE: "complete",
    State.PENDING: "pending",
    State.EVICTED: "evicted",
    State.EXTERNAL: "absent",
    State.AGGREGATE: "aggregate",
}
_FATES = {"ran": "complete", "restored": "evicted", "failed": "failed", "blocked": "pending"}
_VERSION = re.compile(r"the version of \S+ fits")
_EXPLAINED = 20  # tasks never run that are compared with the nearest result
_NAMED = 3  # inputs that one line names
_SHOWN = 500  # lines of a tree; beyond, a person wants the counts


class _Line(NamedTuple):
    """One line of a tree: what is left of the task, its node, and the inputs that stand further up."""

    lead: str
    node: Node
    above: str


def _lines(plan: Plan) -> Iterator[_Line]:
    """The lines of a tree; a task whose inputs all stand further up names them in its own line."""
    opened: set[str] = set()
    stack = [(id, "", "") for id in reversed(plan.graph.roots)]
    while stack:
        id, lead, below = stack.pop()
        children = plan.graph.children[id]
        if id in opened or (children and opened.issuperset(children)):
            yield _Line(lead, plan.nodes[id], _above(plan, () if id in opened else children) if children else "")
            opened.add(id)
            continue
        opened.add(id)
        yield _Line(lead, plan.nodes[id], "")
        for i, child in reversed(list(enumerate(children))):
            last = i == len(children) - 1
            stack.append((child, f"{below}{'└─ ' if last else '├─ '}", f"{below}{'   ' if last else '│  '}"))


def _above(plan: Plan, ids: Sequence[str]) -> str:
    named = ", ".join(repr(plan.nodes[id].task) for id in ids[:_NAMED])
    more = f", ... ({len(ids)} in all)" if len(ids) > _NAMED else ""
    return f"  ↑ {named}{more}".rstrip()


def _summary(plan: Plan) -> str:
    counts: dict[State, int] = {}
    for node in plan.nodes.values():
        counts[node.state] = counts.get(node.state, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in counts.items()) or "no tasks"


def _shown(plan: Plan) -> Iterator[_Line | str]:
    families: dict[str, list[Record]] = {}
    explained = 0
    for i, line in enumerate(_lines(plan)):
        if i == _SHOWN:
            yield f"... ({len(plan)} tasks in all)"
            break
        task = line.node.task
        if line.node.reason == NEVER_RUN and explained < _EXPLAINED and type(task).fields():
            explained += 1
            if task.family not in families:
                families[task.family] = plan.repository.family_records(task)
            if close := nearest(task.parameters_json(), families[task.family]):
                line = line._replace(node=replace(line.node, reason=f"{NEVER_RUN}, nearest has {close[1]}"))
        yield line
    yield _summary(plan)
    if (told := plan.forecast).seconds is not None:
        yield str(told)


def tree_text(plan: Plan) -> str:
    """The tree of a plan as plain text: parameters, state and reason of each task."""
    lines = (line if isinstance(line, str) else f"{line.lead}{line.node}{line.above}" for line in _shown(plan))
    return "\n".join(lines)


def tree_html(plan: Plan) -> str:
    """The tree of a plan for a notebook."""
    lines = []
    for line in _shown(plan):
        if isinstance(line, str):
            lines.append(html.text(line))
            continue
        node = line.node
        reason = f" <span class='dim'>{html.text(node.reason)}</span>" if node.reason else ""
        state = html.mark(_NAMES[node.state], f"{node.state}")
        lines.append(f"{html.text(line.lead)}{html.text(repr(node.task))} {state}{reason}{html.text(line.above)}")
    return html.box(f"<pre>{chr(10).join(lines)}</pre>")


def report_html(report: Report) -> str:
    """A report for a notebook; of tasks with one fate and reason one row."""
    counts, *_ = str(report).split("\n")
    rows = [
        [html.Raw(html.mark(_FATES.get(action, "aggregate"), action)), html.Raw(html.code(tasks)), reason]
        for action, tasks, reason in grouped(report)
        if action != "reused"
    ]
    failed = [[repr(o.task), error_text(o.error)] for o in report if o.error is not None]
    return html.box(html.title(counts), html.table([], rows), html.table([], failed))


def show_tree(plan: Plan) -> None:
    """Show the tree of a plan: in a notebook as HTML, in colour in a terminal, else as plain text."""
    if (shell := html.notebook()) is not None:
        html.ipython().display(plan)
        plan.shown_in = shell.execution_count
        return
    if not sys.stdout.isatty():
        print(tree_text(plan))
        return
    from rich.console import Console

    console = Console(highlight=False)
    for line in _shown(plan):
        console.print(line if isinstance(line, str) else _styled(line), soft_wrap=True, markup=False)


def grouped(report: Report) -> list[tuple[str, str, str]]:
    """A report as rows of action, tasks, reason; tasks of one class with one fate and reason share a row."""
    groups: dict[tuple[str, str, str], list[Task]] = {}
    for outcome in report:
        reason = _VERSION.sub("a kept version fits", outcome.reason)  # else each is a group
        groups.setdefault((outcome.action, outcome.task.family, reason), []).append(outcome.task)
    return [
        (action, f"{len(tasks)} {family}" if len(tasks) > 1 else repr(tasks[0]), reason)
        for (action, family, reason), tasks in groups.items()
    ]


def _styled(line: _Line) -> Text:
    from rich.text import Text

    name, node = type(line.node.task).__name__, line.node
    parameters = repr(node.task).removeprefix(name)
    reason = f" ({node.reason})" if node.reason else ""
    return Text.assemble(
        (line.lead, "dim"),
        (name, "bold"),
        f"{parameters}: ",
        (str(node.state), _STYLES[node.state]),
        (reason, "yellow" if node.will_run else "dim"),
        (line.above, "dim"),
    )
