"""Ready-made task classes: the class names the kind of result."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from d6tstore.errors import UsageError
from d6tstore.task import Task

__all__ = [
    "TaskAggregator",
    "TaskCSVPandas",
    "TaskCache",
    "TaskCachePandas",
    "TaskJson",
    "TaskPickle",
    "TaskPqPandas",
    "grid",
]


class TaskPqPandas(Task):
    """pandas frames, as parquet."""

    format = "parquet"


class TaskCSVPandas(Task):
    """pandas frames, as CSV."""

    format = "csv"


class TaskJson(Task):
    """Dicts, lists, text, numbers, as JSON."""

    format = "json"


class TaskPickle(Task):
    """Any Python object that pickles, such as a model."""

    format = "pickle"


class TaskCache(Task):
    """Any Python object, in the memory of this process only. It is shared as it is: do not edit what you load."""

    format = "object"
    backend = "memory"


class TaskCachePandas(TaskCache):
    """pandas frames, in the memory of this process only. Every load is a copy."""

    format = "object-pandas"


class TaskAggregator(Task):
    """Stands for several tasks: running, resetting or loading it does so with what `requires` returns.

    Example:
        >>> import d6tstore
        >>> class Square(d6tstore.tasks.TaskJson):
        ...     n: int
        ...     def run(self):
        ...         self.save(self.n ** 2)
        >>> class Squares(d6tstore.tasks.TaskAggregator):
        ...     def requires(self):
        ...         return [Square(n=n) for n in (1, 2, 3)]
        >>> with d6tstore.use(d6tstore.open("memory://")) as store:
        ...     report = store.run(Squares())
        ...     Squares().output().load()
        [1, 4, 9]
    """

    aggregates: ClassVar[bool] = True

    def run(self) -> None:
        """By hand: run what it stands for. The engine never calls this."""


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
    if not (isinstance(cls, type) and issubclass(cls, Task)):
        raise UsageError(f"grid({cls!r}, ...): give a task class first, then lists of values by parameter.")
    single = (str, bytes, Mapping)
    lists = [list(v) if isinstance(v, Iterable) and not isinstance(v, single) else [v] for v in values.values()]
    return [cls(**dict(zip(values, combination, strict=True))) for combination in itertools.product(*lists)]
