"""Raw input files of a task: their content is an input."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from d6tstore import content
from d6tstore.errors import UsageError
from d6tstore.record import File, combine
from d6tstore.task import Task


def observe(task: Task, root: Path, known: Mapping[str, File], required: bool = False) -> dict[str, File]:
    """What the raw files of a task hold now, by project-relative name.

    Args:
        task: the task that declares them.
        root: the project.
        known: what a record holds; a file is hashed again only if its size or mtime differ from that.
        required: refuse a missing file, which is else left out.

    Returns:
        Files that are there.

    Raises:
        UsageError: a required file is missing.
    """
    found: dict[str, File] = {}
    for declared in task.raw_files():
        path = root / Path(declared).expanduser()
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
        try:
            size, mtime = _stamp(path)
        except FileNotFoundError:
            if required:
                raise UsageError(
                    f"{task!r}: raw input file {path} is not there. Put it there, or correct `files` or the "
                    "parameter."
                ) from None
            continue
        old = known.get(name)
        same = old is not None and (old.size, old.mtime) == (size, mtime)
        found[name] = File(old.content if same and old else _content(path), size, mtime)
    return found


def _members(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _stamp(path: Path) -> tuple[int, int]:
    """Size (bytes) and mtime (ns) of a file, or of all files below a folder."""
    stat = path.stat()
    if not path.is_dir():
        return stat.st_size, stat.st_mtime_ns
    stats = [p.stat() for p in _members(path)]
    return sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=stat.st_mtime_ns)


def _content(path: Path) -> str:
    if not path.is_dir():
        return content.of_file(path)
    return combine({p.relative_to(path).as_posix(): content.of_file(p) for p in _members(path)} | {"": ""})
