"""One attempt at computing a task: inputs frozen, outputs written out of sight, the record published last."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Mapping
from typing import Any, cast

from msgspec.structs import replace

from d6tstore import context, files, project, record, storing
from d6tstore.backend import Backend
from d6tstore.errors import BackendError, FormatError, ResultError, SaveError, UsageError
from d6tstore.fingerprint import Fingerprint
from d6tstore.record import ANCESTORS, Input, Output, Record
from d6tstore.registry import format_of
from d6tstore.repository import Repository
from d6tstore.staleness import derived_content
from d6tstore.target import inputs, outputs
from d6tstore.task import Task
from d6tstore.transfers import Transfers


class Attempt:
    """What `self` stands on inside `run`. It asks no global: store, inputs and outputs are its own.

    Args:
        repository: where records and objects lie.
        task: the task to compute.
        inputs: records of its direct inputs by id, frozen from here on.
        previous: the current record of the task.
        code: fingerprint of its code.
        shape: roles of the inputs, see `Graph.shapes`.
        git: commit of the user's project.
        anew: write every object, even one whose content is there already: that may be damaged; and never
            restore what it replaces.
        by_hand: outputs are saved from outside of `run`, so they may be anything.
    """

    def __init__(
        self,
        repository: Repository,
        task: Task,
        inputs: Mapping[str, Record],
        previous: Record | None,
        code: Fingerprint,
        shape: str = "",
        git: str | None = None,
        anew: bool = False,
        by_hand: bool = False,
    ) -> None:
        self.repository = repository
        self.backend: Backend = repository.backend(task)
        self.inputs = inputs
        self.previous = previous
        self.code = code
        self.shape = shape
        self.git = git
        self.anew = anew
        self.by_hand = by_hand
        self.formats = task.formats()
        for declared in self.formats.values():
            format_of(declared)  # one that is not installed is told before the work, not after
        self.saved: dict[str, Output] = {}
        self.metrics: dict[str, Any] = {}
        self._id = os.urandom(8).hex()  # of the record, and of the first object of each output
        self._keyed: set[str] = set()
        self._committing = False  # True once the record may be out
        self.started = time.perf_counter()
        self.files = files.observe(task, repository.root, previous.files if previous else {}, required=True)
        self.task: Any = object.__new__(type(task))
        self.task.__dict__.update(task.__dict__, _attempt=self)

    @classmethod
    def of(cls, job: Any, previous: Record | None, anew: bool = False) -> Attempt:
        """The attempt at a job of the engine, following a record."""
        return cls(job.repository, job.task, job.inputs, previous, job.code, job.shape, job.git, anew)

    # -------------------------------------------------- what `self.*` calls in run

    def save(self, task: Task, value: Any, metrics: Mapping[str, Any] | None = None) -> None:
        """Store outputs out of sight; see `Task.save`."""
        self._only(task, "save")
        if len(self.formats) == 1:
            named: Mapping[str, Any] = {next(iter(self.formats)): value}
        elif isinstance(value, Mapping):
            named = value
        else:
            raise SaveError(
                f"{task!r} declares the outputs {', '.join(self.formats)}: save a dict "
                f"{{name: value}}, got a {type(value).__name__}."
            )
        if unknown := [name for name in named if name not in self.formats]:
            raise SaveError(
                f"{task!r} saves {', '.join(map(repr, unknown))}, but declares only {', '.join(self.formats)}. "
                "Correct the name, or add it to persist."
            )
        checked = _metrics(task, metrics) if metrics else {}
        stored: dict[str, Output] = {}
        try:
            for name, item in named.items():
                stored[name] = self._store(name, item)
        except BaseException:
            for output in stored.values():
                self._drop(output)
            raise
        replaced = [self.saved[name] for name in stored if name in self.saved]
        self.saved |= stored
        for output in replaced:
            self._drop(output)
        self.metrics |= checked

    def log(self, task: Task, metrics: Mapping[str, Any]) -> None:
        """Keep metrics; see `Task.log`."""
        self._only(task, "log")
        self.metrics |= _metrics(task, metrics)

    def input(self, task: Task) -> Any:
        """Targets of the frozen inputs; see `Task.input`."""
        return inputs(task, self.output)

    def output(self, task: Task) -> Any:
        """Targets of a task; only declared inputs may be loaded."""
        return outputs(self.repository, task, self.inputs.get(task.id))

    def complete(self, task: Task) -> bool:
        """A declared input is complete; the task itself is not, while it runs."""
        return task.id in self.inputs

    def invalidate(self, task: Task) -> None:
        """Refused."""
        raise UsageError(f"{self.task!r}: run() must not invalidate {task!r}. Do it outside, then run again.")

    def _only(self, task: Task, verb: str) -> None:
        if task.id != self.task.id:
            raise SaveError(f"{self.task!r}: run() may {verb} its own results only, not those of {task!r}.")

    # --------------------------------------------------------------- storing

    def _store(self, name: str, value: Any) -> Output:
        old = self.previous.outputs.get(name) if self.previous and not self.anew else None
        try:
            return storing.store(
                self.backend,
                self.formats[name],
                value,
                key=lambda suffix: self._key(name, suffix),
                old=old,
                derived=lambda key: self._derived(name, key),
                transfers=Transfers.of(self.repository),
            )
        except FormatError as exc:
            raise FormatError(f"{self.task!r}: output {name!r}: {exc}") from exc

    def _key(self, name: str, suffix: str) -> str:
        """A key that was never used before: a second save, or a name in other case, gets an id of its own."""
        id = os.urandom(8).hex() if name.casefold() in self._keyed else self._id
        self._keyed.add(name.casefold())
        return self.repository.object_key(self.task, name, id, suffix)

    def _derived(self, name: str, key: str) -> str:
        made_from = {id: found.content for id, found in self.inputs.items()}
        made_from |= {file: observed.content for file, observed in self.files.items()}
        if self.by_hand:
            made_from[key] = ""
        return derived_content(self.repository, self.task, self.code.code, made_from, name)

    def _drop(self, output: Output | None) -> None:
        """Remove an object that no record names and none will."""
        if output is None:
            return
        kept = {o.key for o in self.previous.outputs.values()} if self.previous else set()
        kept |= {o.key for o in self.saved.values()}
        if output.key not in kept:
            with contextlib.suppress(BackendError):  # debris for gc, never a reason to hide the user's error
                self.backend.delete(output.key)

    # ------------------------------------------------------------ its end

    def __enter__(self) -> Task:
        """Make this the attempt of the running thread; on an error nothing of it remains."""
        self._token = context.attempt.set(self)
        return cast(Task, self.task)

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            if kind is not None:
                self.discard()
        finally:
            context.attempt.reset(self._token)

    def discard(self) -> None:
        """Remove what was written; the previous result is as it was."""
        saved, self.saved = self.saved, {}
        if not self._published():
            for output in saved.values():
                self._drop(output)

    def _published(self) -> bool:
        """False if it is sure that no record names what was written; an interrupt may come just after it did."""
        if not self._committing:
            return False
        try:
            found = self.repository.read_one(self.task)
        except (BackendError, ResultError):
            return True
        return found is not None and self._id in (found.write_id, *found.ancestors)

    @property
    def whole(self) -> bool:
        """True if all declared outputs are saved."""
        return len(self.saved) == len(self.formats)

    def commit(self, **told: Any) -> Record:
        """Publish the record: from here on the result is there, as a whole.

        Args:
            **told: fields of the record that are known better than this attempt knows them.

        Raises:
            SaveError: declared outputs are missing.
        """
        if not self.whole:
            missing = ", ".join(name for name in self.formats if name not in self.saved)
            saved = ", ".join(self.saved) or "nothing"
            self.discard()
            raise SaveError(
                f"{self.task!r} declares {', '.join(self.formats)} but saved {saved}; missing: {missing}. "
                "Call self.save(...) for each, or remove it from persist."
            )
        old, task = self.previous, self.task
        self._committing = True
        new = Record(
            version=record.VERSION,
            family=self.repository.family(task),
            module=type(task).__module__,
            hash=task.hash,
            params=task.parameters_json(),
            insignificant=task.parameters_json(significant=False),
            code=self.code.code,
            functions=self.code.functions,
            inputs={id: Input(found.content) for id, found in self.inputs.items()},
            shape=self.shape,
            files=self.files,
            outputs={name: self.saved[name] for name in self.formats},
            backend=task.backend or "",
            metrics=self.metrics,
            seconds=round(time.perf_counter() - self.started, 6),
            author=project.author(),
            host=project.host(),
            time=record.now(),
            git=self.git,
            versions=project.versions(),
            write_id=self._id,
            ancestors=(old.write_id, *old.ancestors)[:ANCESTORS] if old else (),
        )
        if old is not None and self.anew:
            old = replace(old, restorable=False)
        return self.repository.publish(task, replace(new, **told) if told else new, old)


def _metrics(task: Task, metrics: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in metrics.items():
        if hasattr(value, "item") and getattr(value, "shape", None) == ():
            value = value.item()
        if not isinstance(name, str) or not isinstance(value, str | int | float | bool | None):
            raise SaveError(
                f"{task!r}: metric {name!r} is a {type(value).__name__}; metrics are numbers, text, bools or None. "
                "Convert it (float(x)), or save it as an output."
            )
        if isinstance(value, float) and not math.isfinite(value):
            value = str(value)  # JSON has no word for it; `compare` makes it a number again
        plain[name] = value
    try:
        record.encode_values(plain)
    except UnicodeEncodeError as exc:
        raise SaveError(f"{task!r}: a metric is no valid Unicode ({exc.reason}). Clean the text.") from None
    return plain
