"""`Store`: what `init` returns. Tasks run, are looked at and reset here."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d6tstore import context, explain, maintenance, registry
from d6tstore.backend import Backend
from d6tstore.by_hand import ByHand, refuse_inside_run
from d6tstore.engine import Run
from d6tstore.errors import GraphError, NeverRun, UsageError
from d6tstore.graph import Graph
from d6tstore.plan import Code, Plan, State
from d6tstore.project import author
from d6tstore.record import Acceptance, Record, now
from d6tstore.report import Report
from d6tstore.repository import Repository
from d6tstore.target import outputs, targets
from d6tstore.task import Task, flatten, newest

if TYPE_CHECKING:
    import pandas as pd


class Store:
    """Where results lie, and what is done with them. Made by `init` or `open`; pickles without secrets.

    Args:
        repository: backends and settings.
    """

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._by_hand = ByHand(repository)

    def __repr__(self) -> str:
        return f"Store({self.repository.default.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.repository,)

    # -------------------------------------------------------------------- run

    def run(
        self,
        tasks: Any,
        force: Any = None,
        workers: int | None = None,
        executor: Executor | None = None,
    ) -> Report:
        """Compute what is missing or stale among tasks and all that they need.

        Args:
            tasks: a task, or nested lists, tuples or dicts of tasks.
            force: a task or class, several, or True for all: they and what depends on them run anew.
            workers: how many threads; None runs one task after the other, in this thread.
            executor: any `concurrent.futures.Executor` instead; it is not shut down.

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
                executor = stack.enter_context(_pool(workers))
            report, again = Report(), True
            while again:
                current = Run(self.plan(tasks, force), executor)
                report.merge(current.run())
                again, force = current.again, None
        report.raise_failures()
        return report

    def plan(self, tasks: Any, force: Any = None) -> Plan:
        """The state of tasks and all that they need, with reasons; nothing runs. Arguments as for `run`."""
        graph = Graph(tasks)
        return Plan(self.repository, graph, graph.downstream(_forced(graph, force)))

    def preview(self, tasks: Any, force: Any = None) -> Plan:
        """Print the tree of tasks with states and reasons, and return the plan. Arguments as for `run`."""
        from d6tstore import display

        plan = self.plan(tasks, force)
        display.show_tree(plan)
        return plan

    def why(self, task: Task) -> explain.Explanation:
        """Why a task would run or not, in full: what changed, and what the nearest record has otherwise."""
        return explain.explain(self.plan(task), task)

    def complete(self, task: Task) -> bool:
        """True if a task's result is there and up to date. An aggregator's if all that it stands for are."""
        plan = self.plan(task)
        return all(plan.settled(id) for id in plan.graph.targets)

    # ------------------------------------------- behind `save`, `input`, ... of a task

    def output(self, task: Task) -> Any:
        """See `Task.output`."""
        return targets(newest(task), lambda t: outputs(self.repository, t))

    def input(self, task: Task) -> Any:
        """See `Task.input`."""
        return targets(newest(task).requires(), lambda t: outputs(self.repository, t))

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

    # ------------------------------------------------------------------ reset

    def invalidate(self, task: Task) -> None:
        """Forget the result of a task (of all that an aggregator stands for); the next run computes it anew."""
        graph = Graph(task)
        for id in graph.targets:
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
        return self._forget(graph, graph.downstream(_forced(graph, task)))

    def invalidate_upstream(self, task: Any) -> list[Task]:
        """Forget a task and everything that it depends on. Returns the tasks that had a result."""
        graph = Graph(task)
        return self._forget(graph, graph.tasks)

    def _forget(self, graph: Graph, ids: Iterable[str]) -> list[Task]:
        wanted = set(ids)
        tasks = [task for id, task in graph.tasks.items() if id in wanted]
        kept = [task for task in tasks if not task.aggregates and not task.external]
        return [task for task in kept if self.repository.invalidate(task)]

    def invalidate_all(self) -> list[str]:
        """Forget every result of this store (of its namespace, if it has one). Returns their ids."""
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
        return [task for task in wanted if self.repository.claimed(task, functools.partial(self._accept, task, code))]

    def _accept(self, task: Task, code: Code) -> bool:
        found = self.repository.read_one(task)
        if found is None:
            raise NeverRun(f"{task!r} has no result that an edit could leave as it is. Run it.")
        new, module = code.of(task), type(task).__module__
        if found.code == new.code and found.module == module:
            return False
        by = Acceptance(author(), now(), found.code)
        following = self.repository.successor(
            found, code=new.code, functions=new.functions, module=module, accepted=(*found.accepted, by)
        )
        self.repository.backend(task).publish(following)
        return True

    def gc(self, dry_run: bool = False, older_than: float = maintenance.GRACE) -> maintenance.Garbage:
        """Remove objects that no record refers to, invalidated versions and debris of crashed runs.

        Args:
            dry_run: only tell what would go.
            older_than: spare what is younger, in seconds; a running task's objects have no record yet.

        Returns:
            Keys and bytes of what went (or would go).
        """
        return maintenance.collect(self.repository, dry_run, older_than)

    def verify(self, tasks: Any = None) -> list[maintenance.Problem]:
        """Compare every stored object with its record, by checksum.

        Args:
            tasks: these and what they need; None is the whole store.

        Returns:
            What is damaged or missing; empty if all is well.
        """
        return maintenance.verify(self.repository, None if tasks is None else Graph(tasks))

    # ---------------------------------------------------------------- compare

    def history(self, task: Task) -> list[Record]:
        """Kept versions of a result, newest first, the current one before them."""
        current = self.repository.read_one(task)
        return [*([current] if current else []), *self.repository.history(task)]

    def compare(self, tasks: Any) -> pd.DataFrame:
        """One table of results.

        Args:
            tasks: tasks to compare, such as a `grid`.

        Returns:
            A DataFrame, one row for each task in their order: `task`, one column for each parameter and metric
            (a metric named as a parameter gets the suffix `_metric`), `state`, `seconds`, `rows`, `bytes`.
        """
        return explain.compare(self, list(flatten(tasks)))

    def close(self) -> None:
        """Release what the backends hold open."""
        for backend in self.repository.backends():
            backend.close()


def open(
    url: str | Path | None = None,
    *,
    backends: Mapping[str, str | Path | Backend] | None = None,
    **options: Any,
) -> Store:
    """A store at a place, without making it the default.

    Args:
        url: folder, or URL such as `memory://`; None is `./data`.
        backends: further places by name, for tasks that name one (`Task.backend`).
        **options: `namespace`, `check`, `keep_versions`, `root` and `trusted` as for `Repository`; all others
            go to the backend, such as `durable=True`.

    Returns:
        The store.

    Raises:
        UsageError, PluginError, BackendError: the place or an option is wrong.

    Example:
        >>> import d6tstore
        >>> d6tstore.open("memory://")
        Store('memory://')
    """
    place = "data" if url is None else str(url)
    if isinstance(url, str) and registry.scheme(place) is None and place.isidentifier():
        raise UsageError(
            f"{place!r} would be the name of a profile, and there is none. For a folder write './{place}'."
        )
    known = {f.name for f in dataclasses.fields(Repository)} - {"default", "named"}
    settings = {name: options.pop(name) for name in list(options) if name in known}
    if "trusted" in settings:
        if isinstance(settings["trusted"], str):
            raise UsageError(f"trusted = {settings['trusted']!r} must be a list of names: [{settings['trusted']!r}].")
        settings["trusted"] = frozenset(settings["trusted"])
    if "root" in settings:
        settings["root"] = Path(settings["root"]).resolve()
    try:
        default = registry.open_backend(place, **options)
    except TypeError as exc:
        raise UsageError(
            f"{place!r}: {exc}. Options of a store are {', '.join(sorted(known))}; others are its backend's."
        ) from None
    named = {
        name: b if isinstance(b, Backend) else registry.open_backend(str(b))
        for name, b in (backends or {}).items()
    }
    named.setdefault("memory", registry.open_backend("memory://"))
    return Store(Repository(default, named, **settings))


def grid(cls: type[Task], **values: Any) -> list[Task]:
    """One task for each combination of parameters.

    Args:
        cls: the task class.
        **values: for each parameter a list (or other iterable, no text) of values, or one value.

    Returns:
        Tasks, the last parameter varying fastest.

    Example:
        >>> import d6tstore
        >>> class Train(d6tstore.tasks.TaskPickle):
        ...     model: str
        ...     folds: int = 5
        >>> d6tstore.grid(Train, model=["ols", "svm"], folds=3)
        [Train(model='ols', folds=3), Train(model='svm', folds=3)]
    """
    single = (str, bytes, Mapping)
    lists = [
        list(v) if isinstance(v, Iterable) and not isinstance(v, single) else [v] for v in values.values()
    ]
    return [cls(**dict(zip(values, combination, strict=True))) for combination in itertools.product(*lists)]


@contextlib.contextmanager
def _pool(workers: int | None) -> Iterator[Executor]:
    with ThreadPoolExecutor(workers, "d6tstore") as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _forced(graph: Graph, force: Any) -> set[str]:
    """Ids of the tasks that `force` names."""
    if force is None or force is False:
        return set()
    if force is True:
        return set(graph.tasks)
    named: set[str] = set()
    for item in flatten(list(force) if isinstance(force, set | frozenset) else force):
        if isinstance(item, type):
            found = {id for id, task in graph.tasks.items() if task.family == getattr(item, "family", None)}
            found = {leaf for id in found for leaf in (graph.inputs[id] if graph.tasks[id].aggregates else [id])}
        elif isinstance(item, Task):
            found = {item.id} & set(graph.tasks)
            found = set(graph.inputs[item.id]) if found and item.aggregates else found
        else:
            found = set()
        if not found:
            listed = ", ".join(map(repr, itertools.islice(graph, 5)))
            raise GraphError(
                f"{item!r} is none of the tasks here: {listed}{', ...' if len(graph) > 5 else ''}. "
                "Name one of them, with the parameters that it has there."
            )
        named |= found
    return named

