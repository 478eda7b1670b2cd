"""How plans look in a terminal and in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from d6tstore.plan import Node, Plan, State

if TYPE_CHECKING:
    from rich.text import Text

_STYLES = {
    State.COMPLETE: "green",
    State.PENDING: "bold yellow",
    State.EVICTED: "cyan",
    State.EXTERNAL: "bold red",
    State.AGGREGATE: "dim",
}
_SHOWN = 500  # lines of a tree; beyond, a person wants the counts


class _Line(NamedTuple):
    """One line of a tree: what is left of the task, the task, and `↑` and those of its inputs that stand above."""

    lead: str
    node: Node
    above: str


def _lines(plan: Plan) -> Iterator[_Line]:
    """The lines of a tree. A task is opened once; one whose inputs all stand above names them in its own line."""
    opened: set[str] = set()
    stack = [(id, "", "") for id in reversed(plan.graph.roots)]
    while stack:
        id, lead, below = stack.pop()
        children = plan.graph.children[id]
        if id in opened or (children and opened.issuperset(children)):
            again = [] if id in opened else [repr(plan.nodes[child].task) for child in children]
            opened.add(id)
            yield _Line(lead, plan.nodes[id], f"  ↑ {', '.join(again)}".rstrip() if children else "")
            continue
        opened.add(id)
        yield _Line(lead, plan.nodes[id], "")
        for i, child in reversed(list(enumerate(children))):
            last = i == len(children) - 1
            stack.append((child, f"{below}{'└─ ' if last else '├─ '}", f"{below}{'   ' if last else '│  '}"))


def _summary(plan: Plan) -> str:
    counts: dict[State, int] = {}
    for node in plan.nodes.values():
        counts[node.state] = counts.get(node.state, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in counts.items()) or "no tasks"


def _shown(plan: Plan) -> Iterator[_Line | str]:
    for i, line in enumerate(_lines(plan)):
        if i == _SHOWN:
            yield f"... ({len(plan)} tasks in all)"
            break
        yield line
    yield _summary(plan)


def tree_text(plan: Plan) -> str:
    """The tree of a plan as plain text: parameters, state and reason of each task."""
    lines = (
        line if isinstance(line, str) else f"{line.lead}{line.node}{line.above}" for line in _shown(plan)
    )
    return "\n".join(lines)


def show_tree(plan: Plan) -> None:
    """Print the tree of a plan, in colour if the output is a terminal."""
    if not sys.stdout.isatty():
        print(tree_text(plan))
        return
    from rich.console import Console

    console = Console(highlight=False)
    for line in _shown(plan):
        console.print(line if isinstance(line, str) else _styled(line), soft_wrap=True, markup=False)


def _styled(line: _Line) -> Text:
    from rich.text import Text

    name, node = type(line.node.task).__name__, line.node
    parameters = repr(node.task).removeprefix(name)
    reason = f" ({node.reason})" if node.reason else ""
    parts = [(line.lead, "dim"), (name, "bold"), parameters, ": ", (str(node.state), _STYLES[node.state])]
    return Text.assemble(*parts, (reason, "yellow" if node.will_run else "dim"), (line.above, "dim"))
