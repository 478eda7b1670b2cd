"""`Target`: a handle on one output."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from d6tstore import context, html, staleness
from d6tstore.backend import Backend
from d6tstore.errors import (
    D6tstoreError,
    Denied,
    ExternalAbsent,
    GraphError,
    NeverRun,
    NotFound,
    OutputMissing,
    SelectionError,
    UndeclaredLoad,
)  # fmt: skip
from d6tstore.loading import Part, Stored
from d6tstore.record import Output, Record
from d6tstore.registry import format_name, format_of, kept_format
from d6tstore.repository import Repository
from d6tstore.shapes import TargetDict, TargetList
from d6tstore.sharing import fetching
from d6tstore.task import Task
from d6tstore.transfers import Transfers

_TRIES = 3


class Target:
    """A handle on one output of a task. Made by `Task.output()` and `Task.input()`.

    It follows the task's current record, unless it is an input of a running task: then it holds to the record
    that was there when the run began.
    """

    __slots__ = ("_pinned", "name", "repository", "task")

    def __init__(self, repository: Repository, task: Task, name: str, pinned: Record | None = None) -> None:
        self.repository = repository
        self.task = task
        self.name = name
        self._pinned = pinned

    def __repr__(self) -> str:
        return f"Target({self.task!r}, {self.name!r})"

    def _repr_html_(self) -> str:
        head = html.title(f"{type(self.task).__name__}.{self.name}", repr(self.task))
        try:
            found = self.record().outputs[self.name]
        except D6tstoreError as exc:
            return html.box(head, html.text(exc))
        rows = "" if found.rows is None else f"{found.rows:,} rows, "
        size = "a table" if found.table else f"{found.bytes:,} bytes"
        where = self.backend.path(found.key) or self.backend.uri(found.key)
        told = {"format": found.format, "size": rows + size, "place": html.Raw(html.code(where))}
        return html.box(head, html.pairs(told))

    @property
    def backend(self) -> Backend:
        """Where the output lies."""
        return self.repository.backend(self.task)

    def record(self, version: str | None = None) -> Record:
        """The record of the result.

        Args:
            version: write id of a kept version (see `Store.history`); None is the current one.

        Raises:
            NeverRun: there is none.
            ExternalAbsent: there is none, and somebody else makes it.
            RecordError: it is damaged.
        """
        return self._found([self.name]) if version is None else self._version(version, [self.name])

    def _found(self, names: list[str]) -> Record:
        self._declared()
        found = self._pinned or self.repository.read_one(self.task)
        if found is None or (absent := [name for name in names if name not in found.outputs]):
            name = self.name if found is None else absent[0]
            if self.task.external:
                raise ExternalAbsent(
                    f"{self.task!r} is external and has no result {name!r} in {self.backend!r}: "
                    f"{staleness.absent(self.repository, self.task)}."
                )
            raise NeverRun(
                f"{self.task!r} has no result {name!r} in {self.backend!r}. Run it first: d6tstore.run({self.task!r})."
            )
        return found

    @property
    def path(self) -> Path | None:
        """File of the output; None where the backend has no files. Raises as `record`."""
        return self.backend.path(self.record().outputs[self.name].key)

    @property
    def uri(self) -> str:
        """Name of the output for people and other tools. Raises as `record`."""
        return self.backend.uri(self.record().outputs[self.name].key)

    def exists(self) -> bool:
        """True if there is a record and an object of the size that it says. Says nothing of staleness."""
        self._declared()
        found = self._pinned or self.repository.read_one(self.task)
        if found is None or self.name not in found.outputs:
            return False
        return self.task.id not in self.repository.missing([(self.task, found)])

    def load(
        self,
        *,
        columns: Iterable[Any] | None = None,
        where: Iterable[tuple[Any, str, Any]] | None = None,
        limit: int | None = None,
        as_: str | None = None,
        version: str | None = None,
        verify: bool = False,
    ) -> Any:
        """The value, or a part of a frame: only what is needed of it is read.

        Args:
            columns: labels of the columns, in the order wanted; a pandas frame keeps its index beside them.
            where: conditions `(column, operator, value)` that all hold, of columns or of levels of the index.
                Operators: `== != < <= > >=`, and `in`, `not in` with a list. A missing value satisfies only
                `(column, "==", None)`. Times may be given as text.
            limit: number of rows at most: the first ones.
            as_: kind of frame: `"pandas"`, `"polars"`, `"arrow"` (a `pyarrow.Table`), or `"batches"` (a
                `pyarrow.RecordBatchReader`, for what is larger than memory). None is what the task class names.
            version: write id of a kept version (see `Store.history`); None is the current one.
            verify: compare the checksum of the stored bytes too, not only their size.

        Returns:
            What was saved, or the part of it. The rows of a part keep their order and their index; a RangeIndex
            is numbered anew.

        Raises:
            NeverRun: there is no result, or no such version.
            ExternalAbsent: there is no result, and somebody else makes it.
            OutputMissing: the object was deleted.
            Damaged: the object is not what the record says.
            SelectionError: there is no such column, a condition does not fit it, or the output is no frame.
            UndeclaredLoad: called in `run` of a task that does not declare this one in `requires`.

        Example:
            >>> import d6tstore, pandas
            >>> class Prices(d6tstore.tasks.TaskPqPandas):
            ...     def run(self):
            ...         self.save(pandas.DataFrame({"day": [1, 2, 3], "price": [5.0, 7.0, 6.0]}))
            >>> with d6tstore.use(d6tstore.open("memory://")) as store:
            ...     report = store.run(Prices())
            ...     Prices().output().load(columns=["price"], where=[("day", ">", 1)]).price.tolist()
            [7.0, 6.0]
        """
        return self._load([self.name], Part(columns, where, limit, as_), version, verify)[self.name]

    def _load(self, names: list[str], part: Part, version: str | None = None, verify: bool = False) -> dict[str, Any]:
        """Values of several outputs of the task, all from one record."""
        found = self._found(names) if version is None else self._version(version, names)
        fetched = 0
        while True:
            values: dict[str, Any] = {}
            try:
                for name in names:
                    values[name] = self._read(name, found, part, verify)
                return values
            except NotFound:
                newer = self.repository.read_one(self.task) if version is None else None
                if newer is None or newer.write_id == found.write_id or not self._same(found, newer, names):
                    found = self._fetched(found, names, names[len(values)], fetched)
                    fetched += 1
                else:
                    found = newer  # a writer replaced it between our two reads

    def _fetched(self, found: Record, names: list[str], missing: str, before: int) -> Record:
        """The record, once its objects came from the pipe where they were left. Raises OutputMissing."""
        key = found.outputs[missing].key
        if before == _TRIES:  # it came, perhaps by somebody else's hand, and still cannot be read
            raise OutputMissing(f"{self.task!r}: object {key!r} in {self.backend!r} cannot be read. Pull it again.")
        try:
            return fetching.fetch(self.repository, self.backend, found, names)
        except NotFound as exc:
            why = f" ({exc})" if found.origin else ""
            raise OutputMissing(
                f"{self.task!r}: object {key!r} of output {missing!r} is gone from {self.backend!r}{why}. Run the task "
                "again, or pull it."
            ) from None

    def _declared(self) -> None:
        """Refuse what would be a hidden input of the task that runs."""
        running = context.attempt.get()
        if running is not None and self._pinned is None:
            raise UndeclaredLoad(
                f"{running.task!r} loads {self.task!r} without declaring it: a hidden input makes stale results. "
                f"Add {type(self.task).__name__} to requires and load it through self.input()."
            )

    def _same(self, old: Record, new: Record, names: list[str]) -> bool:
        """May `new` stand for `old`? A running task loads just what it was promised."""
        if not set(names) <= set(new.outputs):
            return False
        return self._pinned is None or all(old.outputs[n].content == new.outputs[n].content for n in names)

    def _version(self, version: str, names: list[str]) -> Record:
        self._declared()
        current = self.repository.read_one(self.task)
        kept = [*([current] if current else []), *self.repository.history(self.task)]
        for found in kept:
            if found.write_id == version and set(names) <= set(found.outputs):
                return found
        listed = ", ".join(f"{r.write_id} ({r.time})" for r in kept) or "none"
        raise NeverRun(f"{self.task!r} has no version {version!r}; kept: {listed}. Load one of those.")

    def _read(self, name: str, found: Record, part: Part, verify: bool) -> Any:
        output, declared = found.outputs[name], self.task.formats().get(name)
        format = kept_format(output.format, declared)
        if format.runs_code and found.origin and not self.repository.trusts(found.origin):
            raise Denied(
                f"{self.task!r}: loading {output.format} runs code, and it came from {found.origin!r}, which is "
                f"not trusted. If you trust it: d6tstore pipe trust {found.origin}."
            )
        if part.as_ is None and declared is not None and format_name(declared) != output.format:
            part = part._replace(as_=getattr(format_of(declared), "frame", None) if hasattr(format, "frame") else None)
        return self._stored(output).load(format, part, verify)

    def _stored(self, output: Output) -> Stored:
        return Stored(repr(self.task), self.backend, output, Transfers.of(self.repository))

    def verify(self) -> None:
        """Compare what is stored with the record. Raises Damaged, OutputMissing, NeverRun."""
        output = self.record().outputs[self.name]
        try:
            self._stored(output).verify()
        except NotFound:
            raise OutputMissing(f"{self.task!r}: object {output.key!r} is gone. Run the task again.") from None

    def save(self, value: Any, metrics: dict[str, Any] | None = None) -> None:
        """Store a value by hand as this output; see `Task.save`."""
        several = len(self.task.formats()) > 1
        self.task.save({self.name: value} if several else value, metrics)

    def invalidate(self) -> None:
        """Forget the result of the task; see `Task.invalidate`."""
        self.task.invalidate()


class Outputs(TargetDict):
    """Targets of one task by name. They load from one record: never a mixture of two runs."""

    def load(self, **options: Any) -> dict[str, Any]:
        """All values by name; options as for `Target.load`."""
        first: Target = next(iter(self.values()))
        version, verify = options.pop("version", None), options.pop("verify", False)
        if unknown := [name for name in options if name not in Part._fields]:
            raise SelectionError(
                f"load() has no option {unknown[0]!r}; it has {', '.join(Part._fields)}, version and verify."
            )
        return first._load(list(self), Part(**options), version, verify)


def targets(shape: Any, of: Callable[[Task], Any]) -> Any:
    """`of` each task, in the shape of `requires`; an aggregator is replaced by what it stands for."""
    if isinstance(shape, Task):
        return targets(shape.requires(), of) if shape.aggregates else of(shape)
    if isinstance(shape, dict):
        return TargetDict({name: targets(item, of) for name, item in shape.items()})
    if isinstance(shape, list | tuple):
        return TargetList(targets(item, of) for item in shape)
    return TargetList()


def inputs(task: Task, of: Callable[[Task], Any]) -> Any:
    """`of` each task that a task requires, in that shape. Raises GraphError if it requires nothing."""
    required = task.requires()
    if required is None:  # else it would load an empty list
        raise GraphError(
            f"{task!r} asks for its input, but requires nothing. Put @d6tstore.requires(...) above "
            f"{type(task).__name__}, or define requires(self)."
        )
    return targets(required, of)


def outputs(repository: Repository, task: Task, pinned: Record | None = None) -> Any:
    """Target of a task, or targets by name if it declares several outputs."""
    names = list(task.formats())
    if len(names) == 1:
        return Target(repository, task, names[0], pinned)
    return Outputs({name: Target(repository, task, name, pinned) for name in names})
