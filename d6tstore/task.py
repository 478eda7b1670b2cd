"""`Task`: identity, requirements and names of outputs. Where results lie is the store's affair."""

from __future__ import annotations

import copy
import functools
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, dataclass_transform

from d6tstore import context, conversion, html, parameters, record
from d6tstore.declaration import all_parameters, own_parameters
from d6tstore.errors import FrozenError, GraphError, ParameterError, SaveError
from d6tstore.parameters import MISSING, Field

_OUTPUT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,63}")
_LONGEST_FAMILY = 100  # bytes; file names end at 255, and a namespace comes before
_FINAL = frozenset(("fields", "formats", "hash", "id", "parameters", "parameters_json"))
_NO_PLAIN_FUNCTION = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_epoch = 0  # grows when a class is defined again (a notebook cell): what was derived from the old one is void
_defined: set[tuple[str, str]] = set()


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(parameters.Parameter,))
class Task:
    """A parameterised computation whose outputs are kept. Subclass a class of `d6tstore.tasks`.

    Annotated class attributes are parameters; a task is made with keyword arguments, which are converted
    and validated, and is frozen, hashable and picklable from then on.

    Class attributes:
        persist: names of the outputs, or a mapping from names to formats. Default: one output, `data`.
        format: the format of outputs that `persist` gives none.
        external: True if somebody else runs it; it is only loaded here.
        version: replaces the hash of the code: change it to run again, keep it to edit freely.
        track: further code that counts as this task's own: modules, functions, classes, dotted names.
        files: raw input files, relative to the project; or override `raw_files`.
        backend: name of a backend of the store; None is its default.
        check: "exists", "content" or "code": what decides that a result is stale; None asks the store.

    Attributes:
        hash: 16 hex digits over family and significant parameters: the identity, wherever results lie.
        id: `family-hash`.

    Raises:
        ParameterError: an unknown, missing or unsuitable parameter.

    Example:
        >>> import d6tstore
        >>> class Squares(d6tstore.tasks.TaskJson):
        ...     n: int = 3
        ...     def run(self):
        ...         self.save([i * i for i in range(self.n)])
        >>> with d6tstore.use(d6tstore.open("memory://")) as store:
        ...     report = store.run(Squares(n=4))
        ...     Squares(n=4).output().load()
        [0, 1, 4, 9]
    """

    persist: ClassVar[Sequence[str] | Mapping[str, Any]] = ("data",)
    format: ClassVar[Any] = "pickle"
    external: ClassVar[bool] = False
    version: ClassVar[int | str | None] = None
    track: ClassVar[Sequence[Any]] = ()
    files: ClassVar[Sequence[str | Path]] = ()
    backend: ClassVar[str | None] = None
    check: ClassVar[str | None] = None
    aggregates: ClassVar[bool] = False

    family: ClassVar[str] = "Task"
    hash: str
    id: str
    _json: tuple[dict[str, Any], dict[str, Any]]
    _framework: ClassVar[bool] = True
    _requires: ClassVar[Any] = None  # a Requirement, by the decorator
    _own: ClassVar[dict[str, tuple[Any, Field]]] = {}
    _fields: ClassVar[dict[str, Field]] = {}
    _fields_epoch: ClassVar[int] = -1
    _formats: ClassVar[tuple[Any, Any, dict[str, Any]] | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        global _epoch
        name = (cls.__module__, cls.__qualname__)
        if name in _defined:
            _epoch += 1
        _defined.add(name)
        cls._framework = cls.__module__.split(".")[0] in ("d6tstore", "d6tstore_plugins")
        base = next((b for b in cls.__mro__[1:] if issubclass(b, Task) and _is_somebodys(b)), None)
        cls.family = base.family if base and cls.__dict__.get("external") else cls.__name__
        if not cls.family.isidentifier() or len(cls.family.encode()) > _LONGEST_FAMILY:
            raise ParameterError(
                f"task class {cls.family[:120]!r}: its name is the family of its results and must be a Python "
                f"identifier of at most {_LONGEST_FAMILY} bytes. Rename the class."
            )
        if taken := _FINAL & vars(cls).keys():
            raise ParameterError(
                f"{cls.__name__} redefines {', '.join(sorted(taken))}, by which its results are found. Rename it."
            )
        cls._fields_epoch = -1
        cls._own = own_parameters(cls, Task)
        if cls.run is not Task.run and not hasattr(
            cls.run, "_binds"
        ):  # written in the class, or in a mixin that is no task
            cls.run = _runnable(cls, cls.run)  # type: ignore[method-assign]

    def __init__(self, *unnamed: Any, **values: Any) -> None:
        cls, state = type(self), self.__dict__
        significant: dict[str, Any] = {}
        insignificant: dict[str, Any] = {}
        fields = cls.fields()
        if unnamed:
            example = f"{next(iter(fields))}={unnamed[0]!r}" if fields else ""
            raise ParameterError(f"{cls.__name__}: parameters are given by name. Write {cls.__name__}({example}).")
        for name, field in fields.items():
            if name in values:
                value = field.convert(values.pop(name), cls.__name__)
            elif field.default is not MISSING:
                value = field.default_value(cls.__name__)
            else:
                raise ParameterError(
                    f"{cls.__name__}: parameter {name!r} ({conversion.type_name(field.type)}) is required. "
                    f"Pass {name}=..., or give it a default in the class."
                )
            plain = type(value) in conversion.PLAIN
            if plain or not conversion.is_mutable(value):
                state[name] = value
            else:
                state.setdefault("_mutable", {})[name] = value
            as_json = value if plain else conversion.to_json(value)
            (significant if field.significant else insignificant)[name] = as_json
        if values:
            known = ", ".join(fields) or "no parameters"
            unknown = ", ".join(map(repr, values))
            raise ParameterError(
                f"{cls.__name__} has no parameter {unknown}; it has {known}. "
                "Correct the name, or declare it in the class: `name: type = default`."
            )
        # The identity is made here and now: paths are relative to the project that we are in.
        state["_json"] = significant, insignificant
        state["hash"] = cls.hash_of(significant)
        state["id"] = f"{cls.family}-{state['hash']}"

    def __getattr__(self, name: str) -> Any:
        """Value of a mutable parameter: a copy, for a task is frozen."""
        try:
            return copy.deepcopy(self.__dict__["_mutable"][name])
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

    # ---------------------------------------------------------------- identity

    @classmethod
    def fields(cls) -> dict[str, Field]:
        """Parameters of this class by name: its own first, then those inherited through `requires`."""
        if cls._fields_epoch != _epoch:
            cls._fields = all_parameters(cls)
            cls._fields_epoch = _epoch
        return cls._fields

    @property
    def parameters(self) -> dict[str, Any]:
        """Values of all parameters by name."""
        return {name: getattr(self, name) for name in type(self).fields()}

    def parameters_json(self, significant: bool = True) -> dict[str, Any]:
        """The significant (or the other) parameters as JSON values, as the record holds them."""
        return self._json[not significant]

    @classmethod
    def hash_of(cls, values: dict[str, Any]) -> str:
        """The `hash` of the task with these significant parameters (JSON values)."""
        return record.task_hash(cls.family, values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Task):
            return NotImplemented
        return type(self) is type(other) and self.id == other.id and self.parameters == other.parameters

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        return f"{type(self).__name__}({inner})"

    def _repr_html_(self) -> str:
        told = {name: repr(value) for name, value in self.parameters.items()} | {"outputs": ", ".join(self.formats())}
        return html.described(type(self).__name__, self.id, told)

    def __setattr__(self, name: str, value: Any) -> None:
        raise FrozenError(
            f"{self!r} is frozen: attribute {name!r} cannot be set, for results are found by a task's "
            f"parameters. Use a local variable in run(), or clone({name}=...) for another parameter."
        )

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    def __reduce__(self) -> tuple[Any, ...]:
        cls: Any = type(self)
        if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
            # Not importable elsewhere: the class travels by value.
            import cloudpickle

            cls = cloudpickle.dumps(cls)
        state = {name: value for name, value in self.__dict__.items() if name != "_attempt"}
        return _rebuild, (cls, state)  # with its identity: a path is relative to the project where it was made

    def clone(self, cls: type[Task] | None = None, /, **changes: Any) -> Any:
        """A task of this or another class with the parameters that both have.

        Args:
            cls: class of the new task; None is this one's.
            **changes: parameters that differ.

        Raises:
            ParameterError: a change does not fit the class.

        Example:
            >>> import d6tstore
            >>> class Train(d6tstore.tasks.TaskPickle):
            ...     model: str = "ols"
            >>> Train().clone(model="svm")
            Train(model='svm')
        """
        cls = cls or type(self)
        own = type(self).fields()
        shared = {name: getattr(self, name) for name in cls.fields() if name in own and name not in changes}
        return cls(**shared, **changes)

    # ------------------------------------------------------------ requirements

    def requires(self) -> Any:
        """What this task reads: a task, a list, tuple or dict of tasks, or None. Override or decorate."""
        if self._requires is None:
            return None
        return self._requires.tasks(self)

    def raw_files(self) -> list[Path]:
        """Raw input files: `files` and all parameters that are paths. Override for a list that depends."""
        named: Any = self.files
        located = [getattr(self, name) for name, field in self.fields().items() if field.located]
        if not named and not located:
            return []
        declared = [Path(p) for p in ([named] if isinstance(named, str | Path) else named)]
        return declared + conversion.paths(located)

    @classmethod
    def formats(cls) -> dict[str, Any]:
        """Format of every output by its name.

        Raises:
            SaveError: `persist` is empty or a name is not fit for a file name.
        """
        persist, known = cls.persist, cls._formats
        if known is not None and known[0] is persist and known[1] is cls.format:
            return known[2]
        try:
            named = dict(persist) if isinstance(persist, Mapping) else dict.fromkeys(persist, cls.format)
        except TypeError:
            named = {}
        if isinstance(persist, str) or not named or not all(isinstance(n, str) and _OUTPUT.fullmatch(n) for n in named):
            raise SaveError(
                f"{cls.__name__}: persist = {persist!r} must be a list of names, or a mapping from names to "
                "formats; a name has 1 to 64 ASCII letters, digits, '_', '-', '.' or spaces."
            )
        for name, format in named.items():
            if not isinstance(format, str) and not hasattr(format, "dump"):
                raise SaveError(
                    f"{cls.__name__}: the format of output {name!r} is {format!r}; it must be the name of a format, "
                    "such as 'json', or a Format class."
                )
        cls._formats = persist, cls.format, named
        return named

    def run(self) -> None:
        """Compute and `save` the outputs. Override."""
        raise GraphError(
            f"{self!r} has no run(). Define run(self) in {type(self).__name__}, or set external = True if "
            "somebody else computes it."
        )

    # ---------------------------------------------- storage, all by the store

    def _place(self) -> Any:
        """What answers questions about results: the attempt that runs, which asks no global; else the store."""
        return self.__dict__.get("_attempt") or context.attempt.get() or context.current()

    def save(self, value: Any, metrics: Mapping[str, Any] | None = None) -> None:
        """Store an output: the value itself, or a dict by name if the task declares several.

        Args:
            value: whatever the format of the output takes.
            metrics: numbers or text to keep with the result, see `log`.

        Raises:
            SaveError: an undeclared name, or not a dict where several outputs are declared.
            FormatError: the format cannot store this value; nothing became visible.
        """
        self._place().save(self, value, metrics)

    def log(self, **metrics: Any) -> None:
        """Keep numbers or text with the result; `compare` shows them.

        Raises:
            SaveError: called outside of `run`, or with a value that is no number, text or bool.
        """
        self._place().log(self, metrics)

    def input(self) -> Any:
        """Targets of what `requires` returns, in the same shape; `.load()` loads them in that shape."""
        return self._place().input(self)

    def output(self) -> Any:
        """Target of the output, or a dict of targets by name if the task declares several."""
        return self._place().output(self)

    def push(self, pipe: str | None = None, **options: Any) -> Any:
        """Give the result to others, with the records of all that it needs.

        Args:
            pipe: name; None is what the class says (`pipe = "team-features"`), else the only one.
            **options: as for `Pipe.push`.
        """
        return context.current().pipe(pipe or pipe_of(type(self))).push(self, **options)

    def pull(self, pipe: str | None = None, **options: Any) -> Any:
        """Take over the result of others, with the records of all that it needs. Arguments as for `push`."""
        return context.current().pipe(pipe or pipe_of(type(self))).pull(self, **options)

    def complete(self) -> bool:
        """True if the result is there and up to date with code, parameters, inputs and files."""
        return bool(self._place().complete(self))

    def invalidate(self) -> None:
        """Forget the result: the next run computes it anew. The old objects stay until `gc`."""
        self._place().invalidate(self)


def latest(cls: type[Task]) -> type[Task]:
    """The newest definition of a class under its module and qualified name (a notebook cell run again)."""
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    same = isinstance(found, type) and issubclass(found, Task) and found.__qualname__ == cls.__qualname__
    return found if same else cls


def newest(task: Task) -> Task:
    """The task in the newest definition of its class. Raises ParameterError if that takes other parameters."""
    cls = latest(type(task))
    return task if cls is type(task) else cls(**task.parameters)


def pipe_of(cls: type[Task]) -> str | None:
    """The name of the pipe that a class names: an attribute `pipe`, unless that is a parameter."""
    named = getattr(cls, "pipe", None)
    return named if isinstance(named, str) else None


def _is_somebodys(cls: type[Task]) -> bool:
    """A task class with a `run` of its own, or declared external: not only a base with settings."""
    return not cls._framework and (cls.run is not Task.run or cls.external)


def _runnable(cls: type[Task], run: Any) -> Any:
    """`run`, such that a call by hand binds and commits as the engine does."""
    if getattr(getattr(run, "__code__", None), "co_flags", 0) & _NO_PLAIN_FUNCTION:
        raise GraphError(
            f"{cls.__name__}.run is a generator or coroutine: it would never run. Make it a plain function; declare "
            "what it needs in requires."
        )

    @functools.wraps(run)
    def wrapper(self: Task) -> Any:
        if "_attempt" in self.__dict__:
            return run(self)
        return context.current().run_by_hand(self)

    wrapper._binds = True  # type: ignore[attr-defined]
    return wrapper


def _rebuild(cls: Any, state: dict[str, Any]) -> Task:
    if isinstance(cls, bytes):
        import cloudpickle

        cls = cloudpickle.loads(cls)
    made = {**state["_json"][0], **state["_json"][1]}
    if set(cls.fields()) != set(made):  # another version of the class
        made_from = {**state, **state.get("_mutable", {})}
        rebuilt: Task = cls(**{name: made_from[name] for name in made})
        return rebuilt
    task: Task = object.__new__(cls)
    task.__dict__.update(state)
    return task
