"""How plans look in a terminal and in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from d6tstore.plan import Plan, State

_STYLES = {  # by state, which is text: a plan prints itself, so it stands above this module
    "COMPLETE": "green",
    "PENDING": "bold yellow",
    "EVICTED": "cyan",
    "EXTERNAL, absent": "bold red",
    "AGGREGATE": "dim",
}
_SHOWN = 500  # lines of a tree; beyond, a person wants the counts


def _lines(plan: Plan) -> Iterator[tuple[str, str]]:
    """Indentation and id of every line; a task that was shown already is not opened again."""
    shown: set[str] = set()
    stack = [(id, "", "") for id in reversed(plan.graph.roots)]
    while stack:
        id, lead, below = stack.pop()
        again = id in shown and bool(plan.graph.children[id])
        yield lead + ("↑ " if again else ""), id
        if again:
            continue
        shown.add(id)
        children = plan.graph.children[id]
        for i, child in reversed(list(enumerate(children))):
            last = i == len(children) - 1
            stack.append((child, f"{below}{'└─ ' if last else '├─ '}", f"{below}{'   ' if last else '│  '}"))


def _summary(plan: Plan) -> str:
    counts: dict[State, int] = {}
    for node in plan.nodes.values():
        counts[node.state] = counts.get(node.state, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in counts.items()) or "no tasks"


def tree_text(plan: Plan) -> str:
    """The tree of a plan as plain text: parameters, state and reason of each task."""
    text = []
    for i, (lead, id) in enumerate(_lines(plan)):
        if i == _SHOWN:
            text.append(f"... ({len(plan)} tasks in all)")
            break
        text.append(f"{lead}{plan.nodes[id]}")
    return "\n".join([*text, _summary(plan)])


def show_tree(plan: Plan) -> None:
    """Print the tree of a plan, in colour if the output is a terminal."""
    if not sys.stdout.isatty():
        print(tree_text(plan))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for line, (lead, id) in zip(tree_text(plan).splitlines(), _lines(plan), strict=False):
        node = plan.nodes[id]
        text = Text(line)
        text.stylize("dim", 0, len(lead))
        start = len(lead) + len(repr(node.task)) + 2
        text.stylize(_STYLES[node.state], start, start + len(node.state))
        console.print(text, soft_wrap=True)
    console.print(_summary(plan))
