"""d6tstore: keep, find again and share the results of data science tasks.

Example:
    >>> import d6tstore
    >>> class Get(d6tstore.tasks.TaskJson):
    ...     n: int = 3
    ...     def run(self):
    ...         self.save(list(range(self.n)))
    >>> @d6tstore.requires(Get)
    ... class Total(d6tstore.tasks.TaskJson):
    ...     def run(self):
    ...         self.save(sum(self.input().load()))
    >>> store = d6tstore.init("memory://")
    >>> d6tstore.run(Total(n=5)).ran
    [Get(n=5), Total(n=5)]
    >>> Total(n=5).output().load()
    10
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from d6tstore import context, db, errors, pipes, tasks
from d6tstore.parameters import (
    BoolParameter,
    ChoiceParameter,
    DateParameter,
    DatetimeParameter,
    DictParameter,
    EnumParameter,
    FloatParameter,
    IntParameter,
    ListParameter,
    Parameter,
    PathParameter,
    StrParameter,
    TupleParameter,
)
from d6tstore.requirement import requires
from d6tstore.task import Task
from d6tstore.tasks import grid

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from d6tstore.backend import Backend, TableBackend
    from d6tstore.comparison.diff import diff
    from d6tstore.comparison.difference import Diff
    from d6tstore.comparison.table import Comparison
    from d6tstore.config import open
    from d6tstore.explain import Explanation
    from d6tstore.externals import external
    from d6tstore.format import Format, PathFormat, TableFormat
    from d6tstore.plan import Plan, State
    from d6tstore.record import Record
    from d6tstore.report import Report
    from d6tstore.store import Store
    from d6tstore.target import Target

__version__ = "0.1.0"
__all__ = [
    "Backend", "BoolParameter", "ChoiceParameter", "Comparison", "DateParameter", "DatetimeParameter", "DictParameter",
    "Diff", "EnumParameter", "Explanation", "FloatParameter", "Format", "IntParameter", "ListParameter", "Parameter",
    "PathFormat", "PathParameter", "Plan", "Record", "Report", "State", "Store", "StrParameter", "TableBackend",
    "TableFormat", "Target", "Task", "TupleParameter", "accept", "compare", "db", "diff", "errors", "external", "gc",
    "grid", "init", "invalidate_all", "invalidate_downstream", "invalidate_orphans", "invalidate_upstream", "open",
    "pipes", "preview", "requires", "run", "sql", "tasks", "use", "verify", "why",
]  # fmt: skip

_LAZY = {
    "Backend": "backend", "TableBackend": "backend", "Explanation": "explain", "Format": "format",
    "Comparison": "comparison.table", "Diff": "comparison.difference", "diff": "comparison.diff",
    "external": "externals", "PathFormat": "format", "TableFormat": "format", "Plan": "plan", "State": "plan",
    "Record": "record", "Report": "report", "Store": "store", "open": "config", "Target": "target",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Names that are imported when they are first asked for: `import d6tstore` stays light."""
    if name not in _LAZY:
        raise AttributeError(f"module 'd6tstore' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"d6tstore.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def init(url: Any = None, **options: Any) -> Store:
    """Choose where results go, for this process. Arguments and errors as for `open`.

    Returns:
        The store, which is the default from here on.

    Example:
        >>> import d6tstore
        >>> d6tstore.init("memory://")
        Store('memory://')
    """
    from d6tstore import config

    try:
        chosen = config.open(url, **options)
        named = chosen.repository.named  # by `backends=` or a profile: those go before what `db.init` chose
        further = {name: backend for name, backend in context.named.items() if name not in named}
        chosen = chosen.naming(further, context.pipes)
    finally:
        del url, options  # a traceback with locals would show a secret that stands in them
    context.set_default(chosen)
    return chosen


def use(store: Store) -> AbstractContextManager[Store]:
    """Make a store the current one inside a `with` block, in this thread or async task only."""
    return context.using(store)


def run(
    tasks: Any, force: Any = None, workers: int | None = None, executor: Any = None, progress: bool | None = None
) -> Report:
    """Compute what is missing or stale; see `Store.run`."""
    return context.current().run(tasks, force, workers, executor, progress)


def preview(tasks: Any, force: Any = None) -> Plan:
    """Print the tree of tasks with states and reasons; see `Store.preview`."""
    return context.current().preview(tasks, force)


def why(task: Task) -> Explanation:
    """Why a task would run or not; see `Store.why`."""
    return context.current().why(task)


def accept(tasks: Any) -> list[Task]:
    """Say that an edit changes nothing; see `Store.accept`."""
    return context.current().accept(tasks)


def compare(tasks: Any, sort: str | None = None, best: Any = None) -> Any:
    """One frame of parameters, metrics, seconds, rows and bytes; see `Store.compare`."""
    return context.current().compare(tasks, sort, best)


def invalidate_downstream(task: Task, until: Any) -> list[Task]:
    """Forget a task and everything between it and `until`; see `Store.invalidate_downstream`."""
    return context.current().invalidate_downstream(task, until)


def invalidate_upstream(task: Any) -> list[Task]:
    """Forget a task and everything that it depends on; see `Store.invalidate_upstream`."""
    return context.current().invalidate_upstream(task)


def invalidate_all() -> list[str]:
    """Forget every result of the store; see `Store.invalidate_all`."""
    return context.current().invalidate_all()


def invalidate_orphans(tasks: Any) -> list[str]:
    """Forget every result that none of these tasks refers to; see `Store.invalidate_orphans`."""
    return context.current().invalidate_orphans(tasks)


def gc(dry_run: bool = False, older_than: float = 24 * 3600.0) -> Any:
    """Remove what nothing refers to and is older than so many seconds; see `Store.gc`."""
    return context.current().gc(dry_run, older_than)


def sql(query: str, /, *, params: Any = None, as_: str = "pandas", **relations: Any) -> Any:
    """Ask the database that holds results as tables. Nothing can be changed by it.

    Args:
        query: one SELECT, where `{name}` stands for a table (write other braces twice) and `:name` for a value
            of `params`.
        params: values, which the driver quotes.
        as_: `"pandas"`, `"polars"` or `"arrow"`.
        **relations: tasks with one output, or targets, by the names in the query; all on one database. Their
            results are those of the records, complete or not.

    Returns:
        A frame. Numbers of the SQL type numeric are float64, UUIDs and JSON are text.

    Raises:
        NeverRun: a task has no result.
        SelectionError: a result is no table, the query names one that is not given, or they lie in several places.
        BackendError: the database refuses the query.

    Example:
        >>> d6tstore.sql("select sum(price) from {prices} where day > :day", prices=Prices(),
        ...              params={"day": 3})  # doctest: +SKIP
    """
    return context.current().sql(query, params=params, as_=as_, **relations)


def verify(tasks: Any = None) -> Any:
    """Compare stored objects with their records; see `Store.verify`."""
    return context.current().verify(tasks)
