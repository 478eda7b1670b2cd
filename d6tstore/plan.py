"""The state of every task, and the first reason for it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from d6tstore import files, html
from d6tstore.errors import GraphError, RecordError
from d6tstore.forecast import Forecast, forecast
from d6tstore.graph import Graph
from d6tstore.record import Record, combine
from d6tstore.registry import format_of
from d6tstore.repository import Repository
from d6tstore.staleness import Code, absent, derived_content, stale
from d6tstore.task import Task

UPSTREAM = "upstream will run"
CUT_OFF = "cut off: its inputs came out the same"
MISSING = "output missing"
FORCED = "forced"
NEVER_RUN = "never run"


class State(enum.StrEnum):
    """What a task is. EVICTED is complete too: only its object is not here."""

    COMPLETE = "COMPLETE"
    PENDING = "PENDING"
    EVICTED = "EVICTED"
    EXTERNAL = "EXTERNAL, absent"
    AGGREGATE = "AGGREGATE"


@dataclass(slots=True)
class Node:
    """State of one task.

    Attributes:
        reason: why it is pending; for a complete one, what the run will do about it, or nothing.
        record: the current record, if there is a readable one.
        content: what those downstream depend on; None as long as that is open.
        restore: a kept version that will become current, without running.
        pipe: name of the pipe from which its objects come when they are loaded; empty if they are here, or nowhere.
    """

    task: Task
    state: State
    reason: str = ""
    record: Record | None = None
    content: str | None = None
    restore: Record | None = None
    pipe: str = ""

    @property
    def will_run(self) -> bool:
        """True if a run would compute it (one whose upstream runs may yet be cut off)."""
        return self.state is State.PENDING

    def __str__(self) -> str:
        return f"{self.task!r}: {self.state}{f' ({self.reason})' if self.reason else ''}"


class Plan:
    """What a run would do, decided from records without running or writing anything.

    Attributes:
        nodes: state of every task by id, inputs first.
    """

    def __init__(self, repository: Repository, graph: Graph, forced: Iterable[str] = ()) -> None:
        self.repository = repository
        self.graph = graph
        self.code = Code(repository)
        self.forced = set(forced)
        found = repository.read(task for task in graph if not task.aggregates)
        self.records = {id: r for id, r in found.items() if isinstance(r, Record)}
        self.damaged = {id: r for id, r in found.items() if isinstance(r, RecordError)}
        self._absent = repository.missing((graph.tasks[id], r) for id, r in self.records.items())
        self.needed = set(graph.targets)
        self.shown_in: int | None = None  # the cell of a notebook in which `preview` showed it
        self.nodes: dict[str, Node] = {}
        self._judge_all()
        if self._need_evicted():
            self._judge_all()

    def _judge_all(self) -> None:
        for id in self.graph.tasks:
            self.nodes[id] = self.judge(id)

    def _need_evicted(self) -> bool:
        """Objects that a run will read must be there; True if that changes the plan."""
        before = len(self.needed)
        evicted = False
        for id in reversed(self.graph.tasks):
            node = self.nodes[id]
            gone = node.state is State.EVICTED and not node.pipe
            if (node.will_run and node.reason != UPSTREAM) or (gone and id in self.needed):
                self.needed.update(self.graph.inputs[id])
                evicted |= any(self.nodes[i].state is State.EVICTED for i in self.graph.inputs[id])
        return evicted and len(self.needed) > before

    def judge(self, id: str) -> Node:
        """State of a task, given the states of its inputs."""
        task = self.graph.tasks[id]
        inputs = {i: self.nodes[i].content for i in self.graph.inputs[id]}
        unknown = None in inputs.values()
        if task.aggregates:
            pending = any(not self.settled(i) for i in inputs)
            return Node(task, State.AGGREGATE, UPSTREAM if pending else "")
        found = self.records.get(id)
        if id in self.forced and not task.external:
            return Node(task, State.PENDING, FORCED, found)
        if found is None:
            return self._without_record(id, task, inputs)
        shape = self.graph.shapes.get(id, "")
        reason = stale(self.repository, task, found, self.code.of(task), inputs, shape)
        if reason:
            kept = None if unknown else self._kept(task, inputs)
            if kept:
                fits = f"{reason}; the version of {kept.time[:19]} fits"
                return Node(task, State.COMPLETE, fits, found, kept.content, kept)
            return Node(task, State.PENDING, reason, found)
        gone = id in self._absent
        remote = self.repository.remote(found.origin) if gone else None
        if gone and remote is None and id in self.needed:
            return Node(task, State.EVICTED if task.external else State.PENDING, MISSING, found)
        if unknown:
            return Node(task, State.PENDING, UPSTREAM, found)
        if remote is not None:
            return Node(task, State.EVICTED, f"in {remote.name}", found, found.content, pipe=remote.name)
        return Node(task, State.EVICTED if gone else State.COMPLETE, "", found, found.content)

    def _without_record(self, id: str, task: Task, inputs: dict[str, str | None]) -> Node:
        if task.external:
            return Node(task, State.EXTERNAL, absent(self.repository, task))
        if damaged := self.damaged.get(id):
            kept = None if None in inputs.values() else self._kept(task, inputs)
            if kept:
                return Node(task, State.COMPLETE, "damaged record; a kept version fits", None, kept.content, kept)
            return Node(task, State.PENDING, f"damaged record: {damaged}")
        if id not in self.needed and (derived := self._derived(task, inputs)):
            return Node(task, State.EVICTED, "kept in memory only", None, derived)
        return Node(task, State.PENDING, NEVER_RUN)

    def _derived(self, task: Task, inputs: dict[str, str | None]) -> str | None:
        """Content of a result that would be kept in memory only: known without computing it."""
        formats = task.formats()
        if task.backend is None or not all(format_of(f).live for f in formats.values()):
            return None
        if not self.repository.backend(task).holds_live:
            return None
        known = {id: content for id, content in inputs.items() if content is not None}
        if len(known) < len(inputs):
            return None
        raw = {name: file.content for name, file in files.observe(task, self.repository.root, {}).items()}
        code = self.code.of(task).code
        return combine({name: derived_content(self.repository, task, code, known | raw, name) for name in formats})

    def _kept(self, task: Task, inputs: Mapping[str, str | None]) -> Record | None:
        """A kept version that agrees with code, parameters and inputs as they are now."""
        code = self.code.of(task)
        shape = self.graph.shapes.get(task.id, "")
        for kept in self.repository.history(task):
            fits = kept.restorable and not stale(self.repository, task, kept, code, inputs, shape)
            if fits and task.id not in self.repository.missing([(task, kept)]):
                return kept
        return None

    def known(self, id: str) -> str | None:
        """Content of the current record of a task; None without one."""
        found = self.records.get(id)
        return found.content if found else None

    def settled(self, id: str, node: Node | None = None) -> bool:
        """True if nothing is left to do for a task, as it stands or as `node` says."""
        node = node or self.nodes[id]
        if node.state is State.AGGREGATE:
            return not node.reason
        return node.state in (State.COMPLETE, State.EVICTED) and node.reason != MISSING

    def settle(self, id: str, found: Record | None) -> None:
        """Take in that a task has its result: it ran, or was there already."""
        if found is not None:
            self.records[id] = found
            self.damaged.pop(id, None)
        node = self.nodes[id]
        if node.state is State.COMPLETE and node.record is found and not node.reason:
            return
        if node.state is not State.EVICTED:
            self._absent.discard(id)
            content = found.content if found else None
            self.nodes[id] = Node(self.graph.tasks[id], State.COMPLETE, "", found, content)

    # -------------------------------------------------------------- for people

    @property
    def pending(self) -> list[Task]:
        """Tasks that a run would compute."""
        return [node.task for node in self.nodes.values() if node.will_run]

    @property
    def forecast(self) -> Forecast:
        """What the tasks that would run are expected to take, from earlier results."""
        return forecast(self.repository, [(node.task, node.record) for node in self if node.will_run])

    @property
    def complete(self) -> bool:
        """True if a run would compute nothing."""
        return all(self.settled(id) for id in self.nodes)

    def __getitem__(self, task: Task) -> Node:
        try:
            return self.nodes[task.id]
        except KeyError:
            raise GraphError(f"{task!r} is not in this plan. Plan it, or a task that needs it.") from None

    def __iter__(self) -> Any:
        return iter(self.nodes.values())

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        from d6tstore.display import tree_text

        return tree_text(self)

    def _ipython_display_(self) -> None:
        """A preview at the end of a cell is seen once, though it shows a plan and returns it."""
        shell = html.notebook()
        if shell is None or shell.execution_count != self.shown_in:
            raise NotImplementedError  # so IPython goes on with `_repr_html_`

    def _repr_html_(self) -> str:
        from d6tstore.display import tree_html

        return tree_html(self)

    def __repr__(self) -> str:
        return f"Plan({len(self.nodes)} tasks, {len(self.pending)} pending)"
