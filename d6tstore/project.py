"""Facts about the user's project and machine: its root, its git commit, who runs, which versions."""

from __future__ import annotations

import functools
import getpass
import os
import platform
import re
import socket
import sys
from pathlib import Path

from d6tstore.errors import UsageError

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
"""What a profile or a pipe may be called."""
_MARKERS = ("d6tstore.toml", "pyproject.toml", ".git", "setup.py")
_REPORTED = ("d6tstore", "numpy", "pandas", "polars", "pyarrow", "sklearn", "scipy", "torch")


@functools.lru_cache(maxsize=64)
def _root_above(folder: str) -> Path | None:
    start = Path(folder)
    return next((p for p in (start, *start.parents) if any((p / m).exists() for m in _MARKERS)), None)


_fixed: Path | None = None


def fix_root(folder: Path) -> None:
    """Make `folder` the project of this process: a worker's is that of the process that planned."""
    global _fixed
    _fixed = folder


def folder() -> Path:
    """The working directory. UsageError: it was deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError("the current folder was deleted. Change to one that exists.") from None


def expanded(path: str) -> str:
    """A path with `~` filled in. UsageError: nobody knows which folder that is (a container without HOME)."""
    full = os.path.expanduser(path)
    if full.startswith("~"):
        raise UsageError(f"{path!r}: there is no such home folder here. Write a full path, ./~... or set HOME.")
    return full


def root() -> Path:
    """Folder of the user's project.

    Returns:
        The nearest folder at or above the working directory, else at or above the script that runs, which
        holds `d6tstore.toml`, `pyproject.toml`, `.git` or `setup.py`; the working directory when none does.
    """
    if _fixed is not None:
        return _fixed
    here = folder()
    if found := _root_above(str(here)):
        return found
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script and not _installed(Path(script).resolve()):
        return _root_above(str(Path(script).resolve().parent)) or here
    return here


def _installed(script: Path) -> bool:
    """A command of the environment (`d6tstore`, `pytest`): where that lies says nothing about the project."""
    folders = {Path(sys.prefix).resolve() / name for name in ("bin", "Scripts")} | {Path(__file__).resolve().parent}
    return script.parent in folders or "site-packages" in script.parts


def commit(folder: Path) -> str | None:
    """Git commit checked out in a project, read without starting git (a process costs more than a task).

    Args:
        folder: the project's root.

    Returns:
        40 hex digits, or None outside a git project.
    """
    try:
        git = folder / ".git"
        if git.is_file():  # a worktree or submodule: `gitdir: <path>`
            git = folder / git.read_text().removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        ref = head.removeprefix("ref: ")
        common = git / "commondir"
        places = [git, git / common.read_text().strip()] if common.is_file() else [git]
        for place in places:
            if (place / ref).is_file():
                return (place / ref).read_text().strip()
            packed = place / "packed-refs"
            if packed.is_file():
                for line in packed.read_text().splitlines():
                    if line.endswith(f" {ref}"):
                        return line.split(" ")[0]
    except OSError:
        pass
    return None


@functools.cache
def author() -> str:
    """Name of the OS user, `unknown` when there is none (some containers)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"


@functools.cache
def host() -> str:
    """Name of this machine."""
    return socket.gethostname()


@functools.cache
def pid() -> str:
    """Number of this process, as text. Asked for every task: the system is asked once, and again after a fork."""
    return str(os.getpid())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pid.cache_clear)


def versions() -> dict[str, str]:
    """Versions of Python and of those well-known packages that are loaded. Not to be edited.

    Example:
        >>> "python" in versions()
        True
    """
    return _versions(len(sys.modules))


@functools.lru_cache(maxsize=1)
def _versions(loaded: int) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _REPORTED:
        if (module := sys.modules.get(name)) is not None:
            version = getattr(module, "__version__", None)
            if isinstance(version, str):
                found[name] = str(version)  # that of torch is of a class of its own
    return found
