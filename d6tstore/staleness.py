"""Why a record is no longer the result of its task: small predicates, each a reason."""

from __future__ import annotations

from collections.abc import Mapping

from d6tstore import content, context, files
from d6tstore.fingerprint import Fingerprint, changed, fingerprint
from d6tstore.record import Record
from d6tstore.registry import format_name
from d6tstore.repository import Repository
from d6tstore.tables import one_line
from d6tstore.task import Task, pipe_of


class Code:
    """Fingerprints of the code of task classes, each computed once per plan."""

    def __init__(self, repository: Repository) -> None:
        self._root = repository.root
        self._known: dict[type[Task], Fingerprint] = {}

    def of(self, task: Task) -> Fingerprint:
        """Fingerprint of a task's code, or of its `version` if it has one."""
        cls = type(task)
        known = self._known.get(cls)
        if known is None:
            if cls.external:
                known = Fingerprint("external", {})
            elif cls.version is not None and _versioned(cls):
                known = Fingerprint(f"version {cls.version}", {})
            else:
                known = fingerprint(cls, root=self._root, track=cls.track)
            self._known[cls] = known
        return known


def _versioned(cls: type[Task]) -> bool:
    """A version speaks for the `run` that it stands beside or below, not for one that a subclass writes."""
    first = next(k for k in cls.__mro__ if "version" in vars(k) or "run" in vars(k))
    return "version" in vars(first)


def other_module(task: Task, found: Record) -> str | None:
    """The record was made by a class of another module; `__main__` is any module."""
    here = type(task).__module__
    if found.module in (here, "__main__") or here == "__main__":
        return None
    return f"made by module {found.module}, this is {here}; accept() adopts it"


def changed_code(found: Record, code: Fingerprint) -> str | None:
    """The code is not the one that made the record."""
    if found.code == code.code or any(code.code == by.code for by in found.accepted):
        return None
    if found.code.startswith("version ") or code.code.startswith("version "):
        return f"code changed: {_named(found.code)} is now {_named(code.code)}"
    what = changed(found.functions, code.functions)
    return f"code of {', '.join(what) or 'another version of d6tstore'}"


def changed_format(task: Task, found: Record) -> str | None:
    """An output is declared in another format than it was stored in."""
    for name, declared in task.formats().items():
        if name in found.outputs and found.outputs[name].format != format_name(declared):
            return f"format of output {name} changed"
    return None


def changed_input(found: Record, inputs: Mapping[str, str | None], shape: str) -> str | None:
    """An input has other content, or plays another role, than when it was read. None in `inputs`: not known yet."""
    for id, now in inputs.items():
        if id not in found.inputs:
            return f"input {_family(id)} added"
        if now is not None and found.inputs[id].content != now:
            return f"input {_family(id)} changed"
    gone = [id for id in found.inputs if id not in inputs]
    if gone:
        return f"input {_family(gone[0])} removed"
    reordered = shape != found.shape or (not shape and list(inputs) != list(found.inputs))
    return "roles of inputs changed" if reordered else None


def _family(id: str) -> str:
    return id.rpartition("-")[0]


def changed_file(task: Task, found: Record, repository: Repository) -> str | None:
    """A raw input file has other content than the one that was read."""
    if not found.files and not task.raw_files():
        return None
    now = files.observe(task, repository.root, found.files)
    for name in {**now, **found.files}:
        if name not in now:
            return f"file {name} removed"
        if name not in found.files:
            return f"file {name} added"
        if now[name].content != found.files[name].content:
            return f"file {name} changed"
    return None


def stale(
    repository: Repository,
    task: Task,
    found: Record,
    code: Fingerprint,
    inputs: Mapping[str, str | None],
    shape: str,
) -> str | None:
    """The first reason why a record is not the result of a task as it is now; None if it is."""
    if task.external:
        return None
    check = repository.check_of(task)
    if check == "exists":
        return None
    reason = (
        (check == "code" and (other_module(task, found) or changed_code(found, code)))
        or changed_format(task, found)
        or changed_input(found, inputs, shape)
        or changed_file(task, found, repository)
    )
    return one_line(reason) if reason else None  # it tells what a record says, perhaps somebody else's


def _named(code: str) -> str:
    return code if code.startswith("version ") else "its code"


def absent(repository: Repository, task: Task) -> str:
    """What brings the result of an external task that is not here."""
    name = pipe_of(type(task))
    names = [name] if name else sorted({*repository.pipes, *context.pipes})
    if not names:
        return "pull it from the pipe that shares it (d6tstore pipe add NAME URL), or run it where its code is"
    return f"{' or '.join(f'd6tstore pipe pull {name}' for name in names[:3])} brings it, if it is shared there"


def derived_content(repository: Repository, task: Task, code: str, inputs: Mapping[str, str], name: str) -> str:
    """Content of a value that has no bytes: what it was made from (`inputs`: contents of tasks and files)."""
    code = code if repository.check_of(task) == "code" else ""
    text = "\0".join([task.id, code, name, *(f"{k}={v}" for k, v in sorted(inputs.items()))])
    return content.of_bytes(text.encode())
