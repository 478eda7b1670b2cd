"""`Target`: a handle on one output."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d6tstore import content, context
from d6tstore.backend import Backend
from d6tstore.errors import Damaged, Denied, GraphError, NeverRun, NotFound, OutputMissing, UndeclaredLoad
from d6tstore.format import PathFormat, TableFormat
from d6tstore.record import Output, Record
from d6tstore.registry import kept_format
from d6tstore.repository import Repository
from d6tstore.shapes import TargetDict, TargetList
from d6tstore.storing import decode_schema
from d6tstore.task import Task

if TYPE_CHECKING:
    pass

_SMALL = 1 << 20  # bytes: objects up to here are read at once, larger ones through a file


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

    @property
    def backend(self) -> Backend:
        """Where the output lies."""
        return self.repository.backend(self.task)

    def record(self) -> Record:
        """The record of the result.

        Raises:
            NeverRun: there is none.
            RecordError: it is damaged.
        """
        return self._found([self.name])

    def _found(self, names: list[str]) -> Record:
        self._declared()
        found = self._pinned or self.repository.read_one(self.task)
        if found is None or (absent := [name for name in names if name not in found.outputs]):
            name = self.name if found is None else absent[0]
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

    def load(self, *, version: str | None = None, verify: bool = False) -> Any:
        """The value.

        Args:
            version: write id of a kept version (see `Store.history`); None is the current one.
            verify: compare the checksum of the stored bytes too, not only their size.

        Returns:
            What was saved.

        Raises:
            NeverRun: there is no result, or no such version.
            OutputMissing: the object was deleted.
            Damaged: the object is not what the record says.
            UndeclaredLoad: called in `run` of a task that does not declare this one in `requires`.

        Example:
            >>> import d6tstore
            >>> class One(d6tstore.tasks.TaskJson):
            ...     def run(self):
            ...         self.save(1)
            >>> with d6tstore.use(d6tstore.open("memory://")) as store:
            ...     report = store.run(One())
            ...     One().output().load(verify=True)
            1
        """
        return self._load([self.name], version, verify)[self.name]

    def _load(self, names: list[str], version: str | None = None, verify: bool = False) -> dict[str, Any]:
        """Values of several outputs of the task, all from one record."""
        found = self._found(names) if version is None else self._version(version, names)
        while True:
            values: dict[str, Any] = {}
            try:
                for name in names:
                    values[name] = self._read(found.outputs[name], found, verify)
                return values
            except NotFound:
                newer = self.repository.read_one(self.task) if version is None else None
                if newer is None or newer.write_id == found.write_id or not self._same(found, newer, names):
                    name = names[len(values)]
                    raise OutputMissing(
                        f"{self.task!r}: object {found.outputs[name].key!r} of output {name!r} is gone "
                        f"from {self.backend!r}. Run the task again, or pull it."
                    ) from None
                found = newer  # a writer replaced it between our two reads

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

    def _read(self, output: Output, found: Record, verify: bool) -> Any:
        format = kept_format(output.format, self.task.formats().get(self.name))
        if format.live:
            return format.check(self.backend.held(output.key))
        if format.runs_code and found.origin and found.origin not in self.repository.trusted:
            raise Denied(
                f"{self.task!r}: loading {output.format} runs code, and it came from {found.origin!r}, which is "
                f"not trusted. If you trust it: d6tstore.init(..., trusted=[{found.origin!r}])."
            )
        if isinstance(format, PathFormat):
            return self._with_path(output, verify, format.load_path)
        with self._open(output, verify) as file:
            if isinstance(format, TableFormat):
                return format.from_arrow(format.load_table(file, decode_schema(output.schema)))
            return format.load(file)

    def _open(self, output: Output, verify: bool) -> Any:
        """A file of the object, checked against its record."""
        if output.bytes <= _SMALL:
            data = self.backend.read(output.key)
            self._check(output, len(data), (lambda: content.of_bytes(data)) if verify else None)
            return io.BytesIO(data)
        file = self.backend.open_read(output.key)
        try:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            self._check(output, size, (lambda: content.of_stream(file)[0]) if verify else None)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def _check(self, output: Output, size: int, checksum: Callable[[], str] | None) -> None:
        problem = None
        if size != output.bytes:
            problem = f"has {size} bytes, its record says {output.bytes}"
        elif checksum and checksum() != output.checksum:
            problem = "has other bytes than its record says"
        if problem:
            raise Damaged(
                f"{self.task!r}: object {output.key!r} in {self.backend!r} {problem}. Somebody else changed it, or "
                "the disk did. Run the task with force, or restore the object from a backup."
            )

    def _with_path(self, output: Output, verify: bool, load: Callable[[Path], Any]) -> Any:
        with self._open(output, verify) as file:
            path = self.backend.path(output.key)
            if path is not None:
                return load(path)
            path = self.backend.staging()
            try:
                path.write_bytes(file.read())
                return load(path)
            finally:
                path.unlink(missing_ok=True)

    def verify(self) -> None:
        """Compare the stored bytes with the record. Raises Damaged, OutputMissing, NeverRun."""
        output = self.record().outputs[self.name]
        try:
            if output.checksum:
                self._open(output, verify=True).close()
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
        return first._load(list(self), **options)


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
