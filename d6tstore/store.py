"""`Store`: what `init` returns. Tasks run, are looked at and reset here."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from d6tstore import context, explain, html, live, maintenance, querying
from d6tstore.access import chosen
from d6tstore.by_hand import refuse_inside_run
from d6tstore.engine import Run, pool
from d6tstore.errors import UsageError
from d6tstore.graph import Graph
from d6tstore.plan import Plan
from d6tstore.record import Record
from d6tstore.report import Copies, Report, Watcher
from d6tstore.repository import Repository
from d6tstore.resets import Resets
from d6tstore.shapes import flatten
from d6tstore.sharing import copying
from d6tstore.sharing.pipe import Pipe
from d6tstore.target import inputs, outputs, targets
from d6tstore.task import Task, newest

if TYPE_CHECKING:
    from d6tstore.access import Remote
    from d6tstore.backend import Backend
    from d6tstore.comparison.table import Comparison
    from d6tstore.picture import Picture


class Store(Resets):
    """Where results lie, and what is done with them. Made by `init` or `open`; pickles without secrets.

    Args:
        repository: backends and settings.
    """

    def __init__(self, repository: Repository) -> None:
        super().__init__(repository)

    def __repr__(self) -> str:
        return f"Store({self.repository.default.url!r})"

    def _repr_html_(self) -> str:
        mine = self.repository
        told = {"place": mine.default.url, "namespace": mine.namespace or None}
        told |= {f"backend {name}": backend.url for name, backend in mine.named.items() if name != "memory"}
        told |= {f"pipe {name}": remote.access.url for name, remote in {**mine.pipes, **context.pipes}.items()}
        return html.described("Store", "", {name: value for name, value in told.items() if value})

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.repository,)

    def naming(self, backends: Mapping[str, Backend], pipes: Mapping[str, Remote]) -> Store:
        """The same store with further backends and pipes by name, which go before those that it has."""
        if not backends and not pipes:
            return self
        mine = self.repository
        return Store(replace(mine, named={**mine.named, **backends}, pipes={**mine.pipes, **pipes}))

    def pipe(self, name: str | None = None) -> Pipe:
        """The pipe of a name between this store and a shared place; None is the only one.

        Raises:
            UsageError: there is none of that name, or it is one of plain files.
        """
        remote = chosen({**self.repository.pipes, **context.pipes}, name)
        if remote.access.kind != "results":
            raise UsageError(f"the pipe {remote.name!r} is of plain files: d6tstore.pipes.get_pipe({remote.name!r}).")
        return Pipe(remote, self.repository)

    # -------------------------------------------------------------------- run

    def run(
        self,
        tasks: Any,
        force: Any = None,
        workers: int | None = None,
        executor: Executor | None = None,
        progress: bool | None = None,
    ) -> Report:
        """Compute what is missing or stale among tasks and all that they need.

        Args:
            tasks: a task, or nested lists, tuples or dicts of tasks.
            force: a task or class, several, or True for all: they and what depends on them run anew.
            workers: how many threads; None runs one task after the other, in this thread.
            executor: any `concurrent.futures.Executor` instead; it is not shut down.
            progress: True shows how far it is: a bar in a terminal or notebook, else a line per task on stderr. False
                does not. None shows the bar only.

        Returns:
            What ran, what was reused, and why.

        Raises:
            RunFailed: tasks raised; all that did not depend on them ran. `.report` has all, `__cause__` the
                first one's exception with its traceback.
            GraphError: the tasks are no DAG, or `force` names none of them.

        Example:
            >>> import d6tstore
            >>> class One(d6tstore.tasks.TaskJson):
            ...     def run(self):
            ...         self.save(1)
            >>> store = d6tstore.open("memory://")
            >>> store.run(One()).ran, store.run(One()).ran
            ([One()], [])
        """
        refuse_inside_run(context.attempt.get(), "d6tstore.run()")
        if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
            raise UsageError(f"workers = {workers!r} must be a whole number, 1 or more, or None.")
        with contextlib.ExitStack() as stack:
            if executor is None and workers not in (None, 1):
                executor = stack.enter_context(pool(workers))
            report, again = Report(), True
            store = self.naming({}, context.pipes)  # a worker process did not open them
            while again:
                watcher = live.watcher(progress, isinstance(executor, ProcessPoolExecutor))
                current = Run(store._watched(watcher).plan(tasks, force), executor, watcher)
                report.merge(current.run())
                again, force = current.again, None
        self.repository.settle([*report.ran, *report.restored])
        report.raise_failures()
        return report

    def _watched(self, watcher: Watcher | None) -> Store:
        """The store, whose transfers a watcher hears of too."""
        if watcher is None:
            return self
        return Store(replace(self.repository, progress=self.repository.progress.also(watcher.moved)))

    def plan(self, tasks: Any, force: Any = None) -> Plan:
        """The state of tasks and all that they need, with reasons; nothing runs. Arguments as for `run`."""
        graph = Graph(tasks)
        return Plan(self.repository, graph, graph.downstream(graph.named(force)))

    def preview(self, tasks: Any, force: Any = None) -> Plan:
        """Print the tree of tasks with states and reasons, and return the plan. Arguments as for `run`."""
        from d6tstore import display

        plan = self.plan(tasks, force)
        display.show_tree(plan)
        return plan

    def graph(self, tasks: Any, force: Any = None) -> Picture:
        """A picture of tasks and all that they need, with states: SVG in a notebook, `save("flow.svg")`, Mermaid."""
        from d6tstore.picture import Picture

        return Picture(self.plan(tasks, force))

    def why(self, task: Task) -> explain.Explanation:
        """Why a task would run or not, in full: what changed, and what the nearest record has otherwise."""
        return explain.explain(self.plan(task), task)

    def complete(self, task: Task) -> bool:
        """True if a task's result is there and up to date. An aggregator's if all that it stands for are."""
        plan = self.plan(task)
        return all(plan.settled(id) and plan.nodes[id].restore is None for id in plan.graph.targets)

    # ------------------------------------------- behind `save`, `input`, ... of a task

    def output(self, task: Task) -> Any:
        """See `Task.output`."""
        return targets(newest(task), lambda t: outputs(self.repository, t))

    def input(self, task: Task) -> Any:
        """See `Task.input`."""
        return inputs(newest(task), lambda t: outputs(self.repository, t))

    def save(self, task: Task, value: Any, metrics: Mapping[str, Any] | None = None) -> None:
        """See `Task.save`."""
        self._by_hand.save(newest(task), value, metrics)

    def log(self, task: Task, metrics: Mapping[str, Any]) -> None:
        """See `Task.log`."""
        self._by_hand.log(newest(task), metrics)

    def run_by_hand(self, task: Task) -> None:
        """`task.run()` called by hand: as the engine does, for this task only."""
        refuse_inside_run(context.attempt.get(), f"{task!r}.run()")
        if task.aggregates:
            self.run(task)
        else:
            self._by_hand.run(newest(task))

    # ------------------------------------------------------------------- upkeep

    def gc(self, dry_run: bool = False, older_than: float = maintenance.GRACE) -> maintenance.Garbage:
        """Remove objects that no record refers to, invalidated versions and debris of crashed runs.

        Args:
            dry_run: only tell what would go.
            older_than: spare what is younger, in seconds; a running task's objects have no record yet.

        Returns:
            Keys and bytes of what went (or would go).
        """
        if not isinstance(older_than, int | float) or not math.isfinite(older_than):
            raise UsageError(f"older_than = {older_than!r} must be a number of seconds.")
        return maintenance.collect(self.repository, dry_run, older_than)

    def verify(self, tasks: Any = None) -> list[maintenance.Problem]:
        """Compare every stored object with its record, by checksum.

        Args:
            tasks: these and what they need; None is the whole store.

        Returns:
            What is damaged or missing; empty if all is well.
        """
        return maintenance.verify(self.repository, None if tasks is None else Graph(tasks))

    def copy_to(self, other: Store, tasks: Any = None, replace: bool = False, dry_run: bool = False) -> Copies:
        """Copy results to another store, where they are complete without running.

        Objects go byte for byte, compared with their checksums (nothing is opened that could run code); frames by
        value where a backend holds tables. Each record goes last, so that what was interrupted goes on where it
        stopped. Kept versions stay behind.

        Args:
            other: the other store; named backends go to those of the same name.
            tasks: these and what they need; None is the whole store.
            replace: also where the other store has another result, which becomes a kept version there, or one with
                damaged objects. One that followed ours is newer, and stays.
            dry_run: only tell what would be done.

        Returns:
            What was done with each result, and `problems`: those that failed.

        Raises:
            UsageError: the other store lacks a backend.
        """
        if not isinstance(other, Store):
            raise UsageError(f"copy_to takes a store, not {type(other).__name__}. Open it: d6tstore.open(url).")
        ids = None if tasks is None else {self._stored_id(task) for task in Graph(tasks)}
        return copying.copy(self.repository, other.repository, ids, replace, dry_run)

    # ---------------------------------------------------------------- compare

    def history(self, task: Task) -> list[Record]:
        """Kept versions of a result, newest first, the current one before them."""
        current = self.repository.read_one(task)
        return [*([current] if current else []), *self.repository.history(task)]

    def compare(self, tasks: Any, sort: str | None = None, best: str | Mapping[str, str] | None = None) -> Comparison:
        """One table of results; shown, it marks the best of each metric.

        Args:
            tasks: tasks to compare, such as a `grid`.
            sort: column to sort by: a metric best first, others ascending; missing values last. None keeps the order.
            best: `"min"` or `"max"`, which value of `sort` is best, or a mapping of metrics to these. By default errors
                and losses (by their names: rmse, val_loss, ...) are better when lower, all else when higher.

        Returns:
            A DataFrame, one row for each task: `task`, one column for each parameter and metric (a metric named as a
            parameter gets the suffix `_metric`), `state`, `seconds`, `rows`, `bytes`. It has further `best(metric)`,
            the best task; `to_file("x.md")`, or .csv, .html; and `plot_metric(metric, against=parameter)`.

        Raises:
            UsageError: there is no such column, or it cannot be sorted.
        """
        return explain.compare(self, list(flatten(tasks)), sort, best)

    def sql(
        self, query: str, /, *, params: Mapping[str, Any] | None = None, as_: str = "pandas", **relations: Any
    ) -> Any:
        """Ask the database that holds results as tables; see `d6tstore.sql`."""
        return querying.ask(self.repository, query, params or {}, as_, relations)

    def close(self) -> None:
        """Release what the backends hold open."""
        for backend in self.repository.backends():
            backend.close()
