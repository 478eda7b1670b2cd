"""Every error that d6tstore raises, as one tree.

A message names the object, the rule that it broke and the cure.

::

    D6tstoreError
    ├── UsageError              the call or the definition of a task is wrong
    │   ├── ParameterError      a parameter: unknown, missing, of the wrong type (also a ValueError)
    │   ├── FrozenError         a task was edited after it was made (also an AttributeError)
    │   ├── GraphError          a cycle, two tasks of one family, a `requires` that returns something else
    │   ├── SaveError           an output that is undeclared, missing or saved in the wrong shape
    │   ├── ProfileError        a profile: none of that name, an unknown key, a secret in it
    │   ├── SelectionError      columns=, where=, limit= or as_= of a load do not fit the output (also a ValueError)
    │   ├── UndeclaredLoad      `run` loaded a task that it does not declare in `requires`
    │   └── NotInitialised      no store was chosen yet
    ├── FormatError             a value that its format cannot store, or bytes that it cannot read
    ├── BackendError            the place where results lie
    │   ├── NotFound            no object under this key (also a KeyError)
    │   ├── Denied              the place refuses; never reported as NotFound (also a PermissionError)
    │   ├── InvalidKey          a key that would leave the root
    │   ├── Held                somebody else is computing this; `.info` says who
    │   ├── Changed             somebody else wrote it since it was read
    │   └── Unsupported         this backend cannot do that
    ├── ResultError             a result
    │   ├── NeverRun            there is none yet
    │   ├── OutputMissing       its record is there, its object is not
    │   ├── Damaged             its object is not what its record says
    │   ├── RecordError         its record cannot be read
    │   ├── Collision           another task has the same id
    │   ├── Conflict            results were changed on both sides of a pipe; `.ids` says which
    │   └── ExternalAbsent      somebody else's result is not here
    ├── ExchangeFailed          results did not go through a pipe; `.exchange` has all
    ├── CredentialsError        a secret: none there, not kept, or the keyring fails
    ├── ForeignError            an exception of a library as text, for its frames hold secrets; only ever a cause
    ├── PluginError             a backend or format that is not installed, broken, or claimed twice
    ├── WorkerError             an exception that cannot leave its worker process, as text
    └── RunFailed               tasks failed; `.report` has all, `__cause__` the first one's exception
"""

from __future__ import annotations

from typing import Any


class D6tstoreError(Exception):
    """Base of all errors of d6tstore. Keyword arguments become attributes and survive pickling."""

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(message)
        self.__dict__.update(details)

    def __str__(self) -> str:
        # Some subclasses are also KeyError, whose str() would quote the message.
        return str(self.args[0]) if self.args else ""


class UsageError(D6tstoreError):
    """The call, or the definition of a task, is wrong."""


class ParameterError(UsageError, ValueError):
    """A parameter is unknown, missing, or of the wrong type."""


class FrozenError(UsageError, AttributeError):
    """A task was edited after it was made."""


class GraphError(UsageError):
    """The tasks do not form a DAG of well-defined tasks."""


class SaveError(UsageError):
    """An output is undeclared, missing, or saved in the wrong shape."""


class ProfileError(UsageError):
    """A profile is not there or not right: the file, the key, the cure."""


class SelectionError(UsageError, ValueError):
    """`columns=`, `where=`, `limit=` or `as_=` of a load do not fit the output."""


class UndeclaredLoad(UsageError):
    """`run` loaded a task that it does not declare in `requires`."""


class NotInitialised(UsageError):
    """No store was chosen yet."""


class FormatError(D6tstoreError):
    """A value that its format cannot store, or bytes that it cannot read."""


class BackendError(D6tstoreError):
    """The place where results lie failed."""


class NotFound(BackendError, KeyError):
    """There is no object under this key."""


class Denied(BackendError, PermissionError):
    """The place refuses access."""


class InvalidKey(BackendError, ValueError):
    """A key that would leave the root of the backend."""


class Held(BackendError):
    """Somebody else holds the claim; `info` maps `who`, `host`, `pid` and `since` to text."""

    info: dict[str, str]


class Changed(BackendError):
    """Somebody else wrote it since it was read."""


class Unsupported(BackendError):
    """This backend cannot do that."""


class ResultError(D6tstoreError):
    """A result cannot be used."""


class NeverRun(ResultError):
    """The task has no result yet."""


class OutputMissing(ResultError):
    """The record is there, the object that it names is not."""


class Damaged(ResultError):
    """The stored object is not what its record says; `.problem` is in what."""

    problem: str


class RecordError(ResultError):
    """A record cannot be read."""


class Collision(ResultError):
    """Two tasks with different parameters have the same id."""


class Conflict(ResultError):
    """Results were changed on both sides of a pipe; `ids` are those of their tasks."""

    ids: list[str]


class ExternalAbsent(ResultError):
    """The result of an external task is not here."""


class ExchangeFailed(D6tstoreError):
    """Some results did not go through a pipe, all others did; `exchange` has all."""

    exchange: Any


class CredentialsError(D6tstoreError):
    """A secret is not there, cannot be kept, or the keyring fails. The message never shows it."""


class ForeignError(D6tstoreError):
    """An exception of a library, as text: its frames and attributes hold secrets. Only ever a cause."""


class PluginError(D6tstoreError):
    """A plug-in is not installed, broken, or its name is claimed twice."""


class WorkerError(D6tstoreError):
    """An exception of a task that does not pickle: its text and traceback, as they were in the worker."""


class RunFailed(D6tstoreError):
    """Tasks failed. `report` tells of all tasks; `__cause__` is the first failure, with its traceback."""

    report: Any
