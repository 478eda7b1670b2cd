"""Raw input files of a task: their content is an input."""

from __future__ import annotations

import errno
import functools
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from d6tstore import content
from d6tstore.errors import UsageError
from d6tstore.record import File, combine
from d6tstore.task import Task

_RACY = 2 * 10**9  # ns: a file changed so recently may change again without its mtime telling (as in git's index)
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def observe(task: Task, root: Path, known: Mapping[str, File], required: bool = False) -> dict[str, File]:
    """What the raw files of a task hold now, by project-relative name.

    Args:
        task: the task that declares them.
        root: the project.
        known: what a record holds; a file is hashed again only if its size or mtime differ from that.
        required: refuse a missing file, which is else left out.

    Returns:
        Files that are there; a folder counts with all files below it.

    Raises:
        UsageError: a required file is missing, or one cannot be read.
    """
    found: dict[str, File] = {}
    for declared in task.raw_files():
        path = root / Path(declared).expanduser()
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
        try:
            found[name] = _observe(str(path), known.get(name))
        except (OSError, ValueError) as exc:
            absent = isinstance(exc, ValueError) or exc.errno in _ABSENT
            if required or not absent:
                problem = "is not there" if absent else f"cannot be read: {exc}"
                raise UsageError(
                    f"{task!r}: raw input file {str(path)[:200]} {problem}. Put it there, or correct `files` or "
                    "the parameter."
                ) from None
    return found


def _observe(path: str, known: File | None) -> File:
    size, mtime = _stamp(path)
    if known is not None and (known.size, known.mtime) == (size, mtime):
        return known
    if time.time_ns() - max(mtime, 0) > _RACY or os.path.isdir(path):
        return File(_hash_once(path, size, mtime), size, mtime)
    return File(_hash(path), size, -1)  # too young to be known by its mtime: the next look hashes it again


def _stamp(path: str) -> tuple[int, int]:
    """Size (bytes) and mtime (ns) of a file; for a folder those of all files below, the mtimes as one number."""
    stat = os.stat(path)
    if not os.path.isdir(path):
        return stat.st_size, stat.st_mtime_ns
    stats = [(os.path.relpath(p, path), os.stat(p)) for p in _members(path)]
    listed = "\n".join(f"{name}\0{s.st_size}\0{s.st_mtime_ns}" for name, s in stats)
    young = any(time.time_ns() - s.st_mtime_ns <= _RACY for _, s in stats)
    digest = int(content.of_bytes(listed.encode(errors="surrogateescape"))[:15], 16)
    return sum(s.st_size for _, s in stats), time.time_ns() if young else digest


def _members(folder: str) -> Iterator[str]:
    """Files below a folder, by name; folders behind links too, each once."""
    seen: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(f for f in folders if os.path.realpath(os.path.join(here, f)) not in seen)
        seen.update(os.path.realpath(os.path.join(here, f)) for f in folders)
        yield from (os.path.join(here, name) for name in sorted(names))


@functools.lru_cache(maxsize=1024)
def _hash_once(path: str, size: int, mtime: int) -> str:
    """A file is hashed once per process, though many plans ask: its record may hold an older mtime for long."""
    return _hash(path)


def _hash(path: str) -> str:
    if not os.path.isdir(path):
        return content.of_file(Path(path))
    files = {os.path.relpath(p, path).replace(os.sep, "/"): content.of_file(Path(p)) for p in _members(path)}
    return combine(files | {"": ""})
