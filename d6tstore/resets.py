"""What a store does to forget results, or to take them as they are."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from d6tstore import adopting, maintenance
from d6tstore.by_hand import ByHand
from d6tstore.graph import Graph
from d6tstore.repository import Repository
from d6tstore.staleness import Code
from d6tstore.task import Task


class Resets:
    """The part of `Store` that forgets and accepts results.

    Args:
        repository: backends and settings.
    """

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._by_hand = ByHand(repository)

    def invalidate(self, task: Task) -> None:
        """Forget the result of a task (of all that an aggregator stands for); the next run computes it anew."""
        graph = Graph(task)
        for id in graph.targets:
            self._by_hand.forget(id)
            self.repository.invalidate(graph.tasks[id])

    def invalidate_downstream(self, task: Task | type[Task], until: Any) -> list[Task]:
        """Forget a task and everything between it and `until`.

        Args:
            task: where to begin; a class: all its tasks.
            until: a task, or several, that depend on it.

        Returns:
            The tasks that had a result.

        Raises:
            GraphError: `until` does not depend on `task`.
        """
        graph = Graph(until)
        return self._forget(graph, graph.downstream(graph.named(task)))

    def invalidate_upstream(self, task: Any) -> list[Task]:
        """Forget a task and everything that it depends on. Returns the tasks that had a result."""
        graph = Graph(task)
        return self._forget(graph, graph.tasks)

    def _forget(self, graph: Graph, ids: Iterable[str]) -> list[Task]:
        wanted = set(ids)
        tasks = [task for id, task in graph.tasks.items() if id in wanted]
        kept = [task for task in tasks if not task.aggregates and not task.external]
        for task in kept:
            self._by_hand.forget(task.id)
        return [task for task in kept if self.repository.invalidate(task)]

    def invalidate_all(self) -> list[str]:
        """Forget every result of this store (of its namespace, if it has one). Returns their ids."""
        self._by_hand.forget()
        return maintenance.forget(self.repository, keep=set())

    def invalidate_orphans(self, tasks: Any) -> list[str]:
        """Forget every result that none of these tasks, nor what they need, refers to. Returns their ids."""
        return maintenance.forget(self.repository, keep={self._stored_id(t) for t in Graph(tasks)})

    def _stored_id(self, task: Task) -> str:
        return f"{self.repository.family(task)}-{task.hash}"

    def accept(self, tasks: Any) -> list[Task]:
        """Say that an edit changes nothing: the new code is noted in the records, and nothing runs.

        Args:
            tasks: a task, or several. It also adopts records that another module made.

        Returns:
            The tasks whose record was changed.

        Raises:
            NeverRun: a task has no result to accept.
        """
        graph, code = Graph(tasks), Code(self.repository)
        wanted = [graph.tasks[id] for id in graph.targets if not graph.tasks[id].external]
        accept = functools.partial(maintenance.accept, self.repository, code=code)
        return [task for task in wanted if self.repository.claimed(task, functools.partial(accept, task))]

    def adopt(self, folder: str | Path, tasks: Any, dry_run: bool = False) -> adopting.Adoption:
        """Take over results that d6tflow made, under classes of the same names and parameters.

        Frames and JSON are stored as a run here would store them, all else byte for byte; no pickle is loaded. The
        code as it is now counts as what made them. The folder stays as it is.

        Args:
            folder: the `data` folder of the d6tflow project, or `data/env=prod` of a workflow.
            tasks: these and all that they need.
            dry_run: only tell what would be done.

        Returns:
            What was done with each task. One whose files, or whose inputs, are not there is left, as in d6tflow.

        Raises:
            UsageError: the folder cannot be read.
        """
        return adopting.adopt(self.repository, folder, Graph(tasks), dry_run)
