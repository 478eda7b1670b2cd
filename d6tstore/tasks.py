"""Ready-made task classes: the class names the kind of result."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from d6tstore.errors import UsageError
from d6tstore.task import Task

__all__ = [
    "TaskAggregator", "TaskBytes", "TaskCSVArrow", "TaskCSVGZArrow", "TaskCSVGZPandas", "TaskCSVGZPolars",
    "TaskCSVPandas", "TaskCSVPolars", "TaskCache", "TaskCachePandas", "TaskExcelArrow", "TaskExcelPandas",
    "TaskExcelPolars", "TaskFeatherArrow", "TaskFeatherPandas", "TaskFeatherPolars", "TaskFile", "TaskFolder",
    "TaskHTML", "TaskJoblib", "TaskJson", "TaskKeras", "TaskMatplotlibPNG", "TaskMatplotlibSVG", "TaskNpz",
    "TaskNumpy", "TaskONNX", "TaskPickle", "TaskPqArrow", "TaskPqPandas", "TaskPqPolars", "TaskPyTorch",
    "TaskSQLArrow", "TaskSQLPandas", "TaskSQLPolars", "TaskText", "grid",
]  # fmt: skip


class TaskPqPandas(Task):
    """pandas frames, as parquet."""

    format = "parquet"


class TaskPqPolars(Task):
    """polars frames, as parquet."""

    format = "parquet-polars"


class TaskPqArrow(Task):
    """Arrow tables, as parquet."""

    format = "parquet-arrow"


class TaskCSVPandas(Task):
    """pandas frames, as CSV."""

    format = "csv"


class TaskCSVPolars(Task):
    """polars frames, as CSV."""

    format = "csv-polars"


class TaskCSVArrow(Task):
    """Arrow tables, as CSV."""

    format = "csv-arrow"


class TaskCSVGZPandas(Task):
    """pandas frames, as gzipped CSV."""

    format = "csv-gz"


class TaskCSVGZPolars(Task):
    """polars frames, as gzipped CSV."""

    format = "csv-gz-polars"


class TaskCSVGZArrow(Task):
    """Arrow tables, as gzipped CSV."""

    format = "csv-gz-arrow"


class TaskExcelPandas(Task):
    """pandas frames, as an Excel workbook."""

    format = "excel"


class TaskExcelPolars(Task):
    """polars frames, as an Excel workbook."""

    format = "excel-polars"


class TaskExcelArrow(Task):
    """Arrow tables, as an Excel workbook."""

    format = "excel-arrow"


class TaskFeatherPandas(Task):
    """pandas frames, as feather (Arrow IPC), the fastest to load."""

    format = "feather"


class TaskFeatherPolars(Task):
    """polars frames, as feather (Arrow IPC), the fastest to load."""

    format = "feather-polars"


class TaskFeatherArrow(Task):
    """Arrow tables, as feather (Arrow IPC), the fastest to load."""

    format = "feather-arrow"


class TaskJson(Task):
    """Dicts, lists, text, numbers, as JSON."""

    format = "json"


class TaskSQLPandas(Task):
    """pandas frames, always tables of the database that `d6tstore.db.init` chose."""

    format = "sql"
    backend = "db"


class TaskSQLPolars(Task):
    """polars frames, always tables of that database."""

    format = "sql-polars"
    backend = "db"


class TaskSQLArrow(Task):
    """Arrow tables, always tables of that database."""

    format = "sql-arrow"
    backend = "db"


class TaskText(Task):
    """Text, in UTF-8."""

    format = "text"


class TaskBytes(Task):
    """Bytes as they are."""

    format = "bytes"


class TaskHTML(Task):
    """A page or fragment of HTML: text, or what renders itself (plotly, altair, a pandas Styler)."""

    format = "html"


class TaskNumpy(Task):
    """A numpy array."""

    format = "numpy"


class TaskNpz(Task):
    """A dict of numpy arrays, in one file."""

    format = "npz"


class TaskPickle(Task):
    """Any Python object that pickles, such as a model."""

    format = "pickle"


class TaskJoblib(Task):
    """Objects with large arrays, such as models of scikit-learn, by joblib."""

    format = "joblib"


class TaskMatplotlibPNG(Task):
    """A matplotlib figure, as PNG; it loads as the image."""

    format = "png"


class TaskMatplotlibSVG(Task):
    """A matplotlib figure, as SVG; it loads as the image."""

    format = "svg"


class TaskFile(Task):
    """A copy of a file; it loads as a path."""

    format = "file"


class TaskFolder(Task):
    """A copy of a folder and all that is in it; it loads as a path."""

    format = "folder"


class TaskPyTorch(Task):
    """A PyTorch model, state dict or tensors."""

    format = "torch"


class TaskONNX(Task):
    """An ONNX model."""

    format = "onnx"


class TaskKeras(Task):
    """A Keras model."""

    format = "keras"


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
