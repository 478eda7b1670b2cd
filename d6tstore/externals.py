"""`external`: a task that somebody else runs and whose code is not here, made from the record of its result."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

from d6tstore import context, fitting, record
from d6tstore.backend import Backend
from d6tstore.errors import D6tstoreError, ExternalAbsent, RecordError, UsageError
from d6tstore.fitting import as_json
from d6tstore.parameters import MISSING, Field
from d6tstore.record import Record
from d6tstore.repository import Repository
from d6tstore.task import Task, _rebuild


class External(Task):
    """Base of the classes that `external` makes. Their parameters are the JSON values of the record."""

    external = True
    _made_of: ClassVar[tuple[Any, ...]] = ()

    def __init__(self, *unnamed: Any, **values: Any) -> None:
        family = type(self).family
        super().__init__(*unnamed, **{name: as_json(family, name, value) for name, value in values.items()})

    def __reduce__(self) -> tuple[Any, ...]:
        _, (_, state) = super().__reduce__()
        return _unpickled, (self._made_of, state)


def external(pipe: str, family: str, /, **params: Any) -> Task:
    """A task that somebody else runs and whose code is not here: name it in `requires`, or load its result.

    It is made from the record of a result: one that is here, else one at the other side of the pipe. Its parameters
    are those of the record, as JSON values: a date is text.

    Args:
        pipe: name of the pipe that shares the results.
        family: name of the task class.
        **params: parameters, as the class takes them; so many that one result fits.

    Returns:
        The task, with the id that it has where its code is. It is `EXTERNAL, absent` until it is pulled.

    Raises:
        ParameterError: no result of that class has such a parameter.
        ExternalAbsent: there is no result of that class, or none that fits.
        UsageError: several fit; or there is no such pipe.

    Example:
        >>> import d6tstore
        >>> class Prices(d6tstore.tasks.TaskJson):
        ...     year: int
        ...     def run(self):
        ...         self.save([self.year])
        >>> with d6tstore.use(d6tstore.open("memory://")) as store:
        ...     report = store.run(Prices(year=2024))
        ...     d6tstore.external("team-features", "Prices", year=2024).output().load()
        [2024]
    """
    if not all(isinstance(name, str) and name.isprintable() for name in (pipe, family)) or not family.isidentifier():
        raise UsageError(
            f"external({pipe!r}, {family!r}) must be given the name of a pipe and the name of a task class, such as "
            'external("team-features", "Prices").'
        )
    given = {name: as_json(family, name, value) for name, value in params.items()}
    place = context.attempt.get() or context.current()
    here = _Here(pipe, family, place.repository)
    if (whole := here.named(given)) is not None:
        return whole.task(given)
    results = here.all()
    if not (fit := _fitting(results, given)):
        results = _sound(pipe, family, None, _shared(pipe, family)) | results
        fit = _fitting(results, given)
    if len(fit) == 1:
        return fit[0].task(given)
    records = [result.record for result in fit or results.values()]
    if fit:
        raise fitting.several(family, given, records)
    raise fitting.none(pipe, family, given, records) if records else _unknown(pipe, family, here)


class _Result(NamedTuple):
    """The record of a result, and the class of its task."""

    record: Record
    cls: type[Task]

    def task(self, given: Mapping[str, Any]) -> Task:
        """The task of the record; what is given may differ in insignificant parameters."""
        others = {name: given.get(name, value) for name, value in self.record.insignificant.items()}
        return self.cls(**self.record.params, **others)


_Results = dict[str, _Result]  # by hash


class _Here(NamedTuple):
    """Results of a family in a store, whatever its backends."""

    pipe: str
    family: str
    repository: Repository

    @property
    def prefix(self) -> str:
        """What the store puts before the name of a family."""
        return f"{self.repository.namespace}." if self.repository.namespace else ""

    @property
    def backends(self) -> dict[str | None, Backend]:
        """By the names that tasks have for them, the default first; without the memory of this process."""
        found: dict[str | None, Backend] = {None: self.repository.default}
        return found | {name: backend for name, backend in self.repository.named.items() if not backend.holds_live}

    def named(self, params: dict[str, Any]) -> _Result | None:
        """The result with just these parameters, found by its key."""
        hash = record.task_hash(self.family, params)
        key = record.record_key(f"{self.prefix}{self.family}", hash)
        found = (self._results(name, backend.read_many([key]).items()) for name, backend in self.backends.items())
        return next((results[hash] for results in found if hash in results), None)

    def all(self) -> _Results:
        """All results of the family; of those in several places the first one counts."""
        found: _Results = {}
        for name, backend in self.backends.items():
            found = self._results(name, backend.records(f"{self.prefix}{self.family}")) | found
        return found

    def _results(self, backend: str | None, found: Iterable[tuple[str, bytes]]) -> _Results:
        records = []
        for key, data in found:
            with contextlib.suppress(RecordError):  # a damaged one is told of by the plan of its task
                decoded = record.decode(data, key)
                records += [decoded] if decoded.key == key else []
        return _sound(self.pipe, self.family, backend, records)

    def families(self) -> set[str]:
        """Names of all families that have results."""
        start = f"{record.RECORDS}{self.prefix}"
        keys = [entry.key for backend in self.backends.values() for entry in backend.list(start)]
        return {key.removeprefix(start).partition("/")[0] for key in keys}


def _shared(pipe: str, family: str) -> list[Record]:
    """Records of the family at the other side of the pipe."""
    from d6tstore.pipes import get_pipe
    from d6tstore.sharing.pipe import Pipe

    found = get_pipe(pipe)
    if not isinstance(found, Pipe):
        raise UsageError(f"the pipe {pipe!r} is of plain files, not of results. Name another one.")
    return found.records(family)


def _fitting(results: _Results, given: Mapping[str, Any]) -> list[_Result]:
    return [results[each.hash] for each in fitting.fitting((r.record for r in results.values()), given)]


def _sound(pipe: str, family: str, backend: str | None, records: Iterable[Record]) -> _Results:
    """Those records that a task of the family can have: others are damaged, or forged."""
    found = {}
    for each in records:
        names = [*each.params, *each.insignificant]
        if not all(map(_names_a_parameter, names)) or each.family.rpartition(".")[2] != family:
            continue
        outputs = tuple((name, output.format) for name, output in each.outputs.items())
        with contextlib.suppress(D6tstoreError):  # it names what no task class can have
            cls = _class(pipe, family, backend, tuple(each.params), tuple(each.insignificant), outputs)
            cls.formats()
            if record.task_hash(family, each.params) == each.hash and len(cls.fields()) == len(names):
                found[each.hash] = _Result(each, cls)
    return found


def _names_a_parameter(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_") and not hasattr(Task, name)


def _unknown(pipe: str, family: str, here: _Here) -> ExternalAbsent:
    return ExternalAbsent(
        f"there is no result of a task class {family!r}, neither here nor at the other side of the pipe {pipe!r}"
        f"{fitting.near(family, here.families())} Correct the name; `d6tstore pipe status {pipe}` tells what is shared."
    )


# --------------------------------------------------------------------- classes

_classes: dict[tuple[Any, ...], type[Task]] = {}
_making = threading.Lock()


def _class(
    pipe: str,
    family: str,
    backend: str | None,
    significant: tuple[str, ...],
    insignificant: tuple[str, ...],
    outputs: tuple[tuple[str, str], ...],
) -> type[Task]:
    """The class of such tasks, one per process. Raises ParameterError: it cannot have such parameters."""
    made_of = pipe, family, backend, significant, insignificant, outputs
    with _making:
        if made_of not in _classes:
            fields = {name: Field(Any, MISSING, name in significant, "") for name in (*significant, *insignificant)}
            settings = {"backend": backend, "persist": dict(outputs), "_made_of": made_of}
            names = {"__module__": __name__, "__qualname__": f"external.{family}", "__doc__": None}
            _classes[made_of] = type(family, (External,), {**names, "pipe": pipe, **settings, **fields})
        return _classes[made_of]


def _unpickled(made_of: tuple[Any, ...], state: dict[str, Any]) -> Task:
    return _rebuild(_class(*made_of), state)
