"""A plan as a picture: SVG, laid out by Graphviz, and Mermaid for pages that draw themselves."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from d6tstore.errors import PluginError, UsageError
from d6tstore.plan import Node, Plan, State
from d6tstore.tables import one_line
from d6tstore.whole import replacing

FOLDED = 60
"""Tasks beyond which those of one family become one node."""
_WIDEST = 40  # characters of a line in a node
_MOST = 6  # lines of parameters


class Look(NamedTuple):
    """How a state looks: a sign, a name for style sheets, colours of Okabe and Ito (fill, line), dashes of the line.

    Sign and line tell states apart without colour: in print, and for the colour-blind.
    """

    sign: str
    name: str
    fill: str
    line: str
    style: str


_LOOKS = {
    State.COMPLETE: Look("✓", "complete", "#d9f0e8", "#009e73", "solid"),
    State.PENDING: Look("▶", "pending", "#fdeccb", "#d98c00", "bold"),
    State.EVICTED: Look("☁", "evicted", "#ddeffa", "#3a8fc4", "dashed"),
    State.EXTERNAL: Look("✗", "absent", "#f9ddcc", "#c04f00", "dotted"),
    State.AGGREGATE: Look("∑", "aggregate", "#eeeeee", "#777777", "solid"),
}


class _Shown(NamedTuple):
    """A node of the picture: its lines of text and its look; of several tasks that of the first state that is there."""

    lines: list[str]
    look: Look


class Picture:
    """A picture of a plan. Notebooks show it; `svg` and `mermaid` are text; `save` writes a file.

    Tasks beyond 60 are folded: one node per family, with counts.

    Args:
        plan: what to show.

    Example:
        >>> import d6tstore
        >>> class Get(d6tstore.tasks.TaskJson):
        ...     n: int = 3
        >>> print(d6tstore.open("memory://").graph(Get()).mermaid)
        flowchart TB
          n0["Get<br/>n=3<br/>▶ PENDING"]:::pending
          classDef pending fill:#fdeccb,stroke:#d98c00,color:#000
    """

    def __init__(self, plan: Plan) -> None:
        self._nodes: dict[str, _Shown] = {}
        self._edges: Counter[tuple[str, str]] = Counter()
        fold = len(plan) > FOLDED
        names: dict[str, str] = {}  # of nodes, by task or family
        groups: dict[str, list[Node]] = {}
        for id, node in plan.nodes.items():
            groups.setdefault(node.task.family if fold else id, []).append(node)
        for number, (key, group) in enumerate(groups.items()):
            names[key] = f"n{number}"
            self._nodes[names[key]] = _family(group) if fold else _task(group[0])
        of = {id: names[node.task.family if fold else id] for id, node in plan.nodes.items()}
        for id in plan.nodes:
            for child in dict.fromkeys(plan.graph.children[id]):
                self._edges[of[child], of[id]] += 1

    @property
    def mermaid(self) -> str:
        """The picture as Mermaid, which GitHub and documentation generators draw."""
        lines = ["flowchart TB"]
        for name, node in self._nodes.items():
            text = "<br/>".join(_escaped(line) for line in node.lines)
            lines.append(f'  {name}["{text}"]:::{node.look.name}')
        lines += [f"  {one} --> {other}" for one, other in self._edges]
        used = dict.fromkeys(node.look for node in self._nodes.values())
        lines += [f"  classDef {look.name} fill:{look.fill},stroke:{look.line},color:#000" for look in used]
        return "\n".join(lines)

    @property
    def svg(self) -> str:
        """The picture as SVG, without anything from elsewhere.

        Raises:
            PluginError: pygraphviz, which brings Graphviz, is not installed.
        """
        try:
            import pygraphviz
        except ImportError as exc:
            raise PluginError(
                "a picture as SVG needs pygraphviz: pip install 'd6tstore[graph]'. Mermaid needs nothing: "
                "graph(...).mermaid."
            ) from exc
        graph = pygraphviz.AGraph(directed=True, rankdir="TB", nodesep="0.25", ranksep="0.4", bgcolor="transparent")
        graph.node_attr.update(shape="box", fontname="Helvetica", fontsize="11", margin="0.12,0.07")
        graph.edge_attr.update(  # grey that light and dark pages show
            color="#888888", fontcolor="#888888", arrowsize="0.7", fontname="Helvetica", fontsize="9"
        )
        for name, node in self._nodes.items():
            label = "\n".join(node.lines).replace("&", "&amp;").replace("\\", "\\\\")  # Graphviz decodes both
            style = f"filled,rounded,{node.look.style}"
            graph.add_node(
                name, label=label, tooltip=node.lines[0].replace("&", "&amp;"), fillcolor=node.look.fill,
                color=node.look.line, style=style, penwidth="2" if node.look.style == "bold" else "1.3",
                **{"class": node.look.name},
            )  # fmt: skip
        for (one, other), number in self._edges.items():
            graph.add_edge(one, other, label=f"{number}" if number > 1 else "")
        drawn: str = graph.draw(format="svg", prog="dot").decode()
        start = drawn.index("<svg")
        return drawn[start:].strip()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture: SVG or Mermaid, by the ending `.svg` or `.mmd`. All or nothing.

        Raises:
            UsageError: another ending, or it cannot be written there.
            PluginError: as `svg`.
        """
        path = Path(path)
        if path.suffix not in (".svg", ".mmd"):
            raise UsageError(f"{path.name!r} is neither .svg nor .mmd (Mermaid). Choose one of these endings.")
        text = self.svg if path.suffix == ".svg" else self.mermaid
        with replacing(path) as staged:
            staged.write_text(f"{text}\n", encoding="utf-8")
        return path

    def as_json(self) -> dict[str, Any]:
        """Nodes, with their lines of text and the state that they show, and edges from an input to what reads it."""
        nodes = [{"name": name, "state": node.look.name, "lines": node.lines} for name, node in self._nodes.items()]
        edges = [{"from": one, "to": other, "inputs": number} for (one, other), number in self._edges.items()]
        return {"nodes": nodes, "edges": edges}

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"Picture({len(self._nodes)} nodes)"


def _task(node: Node) -> _Shown:
    name = type(node.task).__name__
    parameters = [one_line(f"{key}={value!r}", _WIDEST) for key, value in node.task.parameters.items()]
    if len(parameters) > _MOST:
        parameters = [*parameters[: _MOST - 1], f"... {len(parameters)} in all"]
    look = _LOOKS[node.state]
    return _Shown([name, *parameters, f"{look.sign} {node.state}"], look)


def _family(nodes: list[Node]) -> _Shown:
    counts = Counter(node.state for node in nodes)
    states = [state for state in (State.EXTERNAL, State.PENDING, *_LOOKS) if counts[state]]
    told = [f"{_LOOKS[state].sign} {counts[state]:,} {state}" for state in dict.fromkeys(states)]
    name = type(nodes[0].task).__name__
    return _Shown([f"{len(nodes):,} {name}" if len(nodes) > 1 else name, *told], _LOOKS[states[0]])


def _escaped(text: str) -> str:
    """For a quoted label of Mermaid, which reads HTML entities and Markdown."""
    return "".join(c if c.isalnum() or c in " =.,:()_-" or ord(c) > 127 else f"#{ord(c)};" for c in text)
