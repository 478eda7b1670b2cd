"""Ready-made task classes: the class names the kind of result."""

from __future__ import annotations

from typing import ClassVar

from d6tstore.task import Task

__all__ = [
    "TaskAggregator",
    "TaskCSVPandas",
    "TaskCache",
    "TaskCachePandas",
    "TaskJson",
    "TaskPickle",
    "TaskPqPandas",
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
