"""The DAG of tasks: order, upstream, downstream, cycles."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from blake3 import blake3

from d6tstore.errors import GraphError
from d6tstore.shapes import flatten
from d6tstore.task import Task, latest, newest


class Graph:
    """Everything that given tasks need, each task once, inputs before what reads them.

    Args:
        targets: a task, or nested lists, tuples or dicts of tasks. An aggregator stands for what it requires.

    Attributes:
        tasks: task by id, in topological order, aggregators included.
        inputs: ids of the direct inputs by id; aggregators replaced by what they stand for.
        shapes: which input plays which role, by id: a hash of what `requires` returned, where that says more
            than the order of `inputs`.
        children: ids of what `requires` returned, aggregators as they are.
        targets: ids of the tasks that were asked for, aggregators replaced.

    Raises:
        GraphError: a cycle, two classes of one family, or something that is no task.

    Example:
        >>> import d6tstore
        >>> class A(d6tstore.tasks.TaskJson): ...
        >>> @d6tstore.requires(A)
        ... class B(d6tstore.tasks.TaskJson): ...
        >>> [task.family for task in Graph(B())]
        ['A', 'B']
    """

    def __init__(self, targets: Any) -> None:
        self.tasks: dict[str, Task] = {}
        self.inputs: dict[str, tuple[str, ...]] = {}
        self.children: dict[str, tuple[str, ...]] = {}
        self.shapes: dict[str, str] = {}
        self._required: dict[str, Any] = {}
        self._classes: dict[str, type[Task]] = {}
        self._latest: dict[type[Task], type[Task]] = {}
        self.roots = [self._visit(task) for task in _checked(targets)]
        self.targets = self._leaves(self.roots)

    def _visit(self, root: Task) -> str:
        """Depth first, on our own stack: a chain may be longer than Python's."""
        root = self._newest(root)
        if root.id in self.tasks:
            self._same(root)
        stack = [(root, self._open(root))] if root.id not in self.tasks else []
        path = dict.fromkeys(task.id for task, _ in stack)
        while stack:
            task, upstream = stack[-1]
            for child in upstream:
                child = self._newest(child)
                self.children[task.id] += (child.id,)
                if child.id in path:
                    at = list(path).index(child.id)
                    ring = " -> ".join(repr(t) for t, _ in [*stack[at:], stack[at]])
                    raise GraphError(f"cycle: {ring}. A task cannot need itself; remove one of these requires.")
                if child.id in self.tasks:
                    self._same(child)
                else:
                    stack.append((child, self._open(child)))
                    path[child.id] = None
                    break
            else:
                stack.pop()
                del path[task.id]
                self.tasks[task.id] = task
                children = self.children[task.id] = tuple(dict.fromkeys(self.children[task.id]))
                self.inputs[task.id] = self._leaves(children)
                if task.id in self._required and not task.aggregates:
                    roles = self._roles(self._required[task.id])
                    self.shapes[task.id] = blake3(roles.encode()).hexdigest(length=8)
        return root.id

    def _roles(self, required: Any) -> str:
        """What `requires` returned as text, the same for every order of a dict."""
        if isinstance(required, Mapping):
            return f"{{{','.join(sorted(f'{k!r}:{self._roles(v)}' for k, v in required.items()))}}}"
        if isinstance(required, Task):
            id = self._newest(required).id
            return self._roles(self._required.get(id)) if required.aggregates else id
        return f"[{','.join(map(self._roles, required or ()))}]"

    def _same(self, task: Task) -> None:
        """Tasks that differ in insignificant parameters only are one task: so they must read the same."""
        if all(field.significant for field in task.fields().values()):
            return
        known = self.tasks[task.id]
        if known != task and not task.external:
            mine, theirs = ({t.id for t in _checked(t.requires(), t)} for t in (task, known))
            if mine != theirs:
                raise GraphError(
                    f"{task!r} and {known!r} are one task, for they differ in insignificant parameters only, but they "
                    "require different tasks. Make the parameter significant."
                )

    def _open(self, task: Task) -> Iterator[Task]:
        self.children[task.id] = ()
        if task.external:
            return iter(())
        required = task.requires()
        if isinstance(required, Task):
            wanted, ordered = [required], True
        elif isinstance(required, list | tuple) and all(isinstance(item, Task) for item in required):
            wanted, ordered = list(required), len(required) == len({item.id for item in required})
        else:
            wanted, ordered = _checked(required, task), required is None
        if not ordered or task.aggregates or any(item.aggregates for item in wanted):
            self._required[task.id] = required
        return iter(wanted)

    def _newest(self, task: Task) -> Task:
        """The task in the newest definition of its class, the only one of its family."""
        cls = type(task)
        if cls not in self._latest:
            self._latest[cls] = latest(cls)
        task = task if self._latest[cls] is cls else newest(task)
        known = self._classes.setdefault(task.family, type(task))
        if known is not type(task) and not (known.external and task.external):  # of these, the id says all
            raise GraphError(
                f"two task classes of the family {task.family!r}: {_where(known)} and {_where(type(task))}. "
                "Their results would be mixed up. Rename one."
            )
        return task

    def _leaves(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Ids with aggregators replaced by what they stand for."""
        found: dict[str, None] = {}
        for id in ids:
            found.update(dict.fromkeys(self.inputs[id] if self.tasks[id].aggregates else [id]))
        return tuple(found)

    def named(self, which: Any) -> set[str]:
        """Ids of the tasks that a person names: a task, a class, several, True for all, None for none.

        Raises:
            GraphError: none of the tasks here is meant.
        """
        if which is None or which is False:
            return set()
        if which is True:
            return set(self.tasks)
        named: set[str] = set()
        for item in flatten(list(which) if isinstance(which, set | frozenset) else which):
            if isinstance(item, type):
                found = {id for id, task in self.tasks.items() if task.family == getattr(item, "family", None)}
                found = {leaf for id in found for leaf in (self.inputs[id] if self.tasks[id].aggregates else [id])}
            elif isinstance(item, Task):
                found = {item.id} & set(self.tasks)
                found = set(self.inputs[item.id]) if found and item.aggregates else found
            else:
                found = set()
            if not found:
                listed = ", ".join(map(repr, itertools.islice(self, 5)))
                raise GraphError(
                    f"{item!r} is none of the tasks here: {listed}{', ...' if len(self) > 5 else ''}. "
                    "Name one of them, with the parameters that it has there."
                )
            named |= found
        return named

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks.values())

    def __len__(self) -> int:
        return len(self.tasks)

    def __contains__(self, task: object) -> bool:
        return isinstance(task, Task) and task.id in self.tasks

    @cached_property
    def readers(self) -> dict[str, list[str]]:
        """Ids of the tasks that read a task directly, by id."""
        found: dict[str, list[str]] = {id: [] for id in self.tasks}
        for id, inputs in self.inputs.items():
            for upstream in inputs:
                found[upstream].append(id)
        return found

    def downstream(self, ids: Iterable[str]) -> set[str]:
        """These and everything in the graph that depends on them."""
        return _reach(ids, self.readers)

    def upstream(self, ids: Iterable[str]) -> set[str]:
        """These and everything that they depend on."""
        return _reach(ids, self.inputs)


def _reach(ids: Iterable[str], edges: Any) -> set[str]:
    found, todo = set(ids), list(ids)
    while todo:
        new = [id for id in edges[todo.pop()] if id not in found]
        found.update(new)
        todo += new
    return found


def _checked(shape: Any, reader: Task | None = None) -> list[Task]:
    """The tasks in what `requires` of `reader` returned, or in what was asked for."""
    found = [shape] if isinstance(shape, Task) else list(flatten(shape))
    if shape is None and reader is None:
        raise GraphError("the tasks to run are None. Give tasks; does a function that makes them lack its return?")
    for item in found:
        if not isinstance(item, Task):
            what = "the tasks to run" if reader is None else f"{reader!r}.requires()"
            cure = f"Write {item.__name__}(...)" if isinstance(item, type) else "Give tasks"
            raise GraphError(
                f"{what} must be a task, or a list, tuple or dict of tasks, but holds {item!r}. {cure}; a generator "
                "must become a list."
            )
    return found


def _where(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
