"""A central folder: each project has a folder of its own there, which says whose it is."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from d6tstore.errors import ProfileError
from d6tstore.profiles.files import FILE, current_project

_MARK = ".d6tstore/projects.txt"
_HEAD = "# The project whose results lie here: its folders, one a line. Its other clones may be added.\n"


def folder(root: str) -> Path:
    """The folder of the current project below a central one. Nothing is made. Raises ProfileError."""
    return Path(root) / current_project().name


def claim(place: Path) -> None:
    """Mark a folder as that of the current project.

    Raises:
        ProfileError: it is another project's of the same name, or that of this one before it moved.
    """
    mine, mark = _folder_text(current_project().root), place / _MARK
    try:
        if not _known(mark):
            mark.parent.mkdir(parents=True, exist_ok=True)
            _write(mark, f"{_HEAD}{mine}\n")
        known = _known(mark)
    except OSError as exc:
        if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return  # who may not write there mixes nothing
        raise ProfileError(f"{place} cannot be used as folder of the project {mine}: {exc.strerror}.") from exc
    if mine not in known:
        raise ProfileError(
            f"{place} holds the results of the project in {' and '.join(known)}; this one is in {mine}. Is it another "
            f'project: give it a name of its own, project = "..." in {Path(mine) / FILE}. Is it the same one, moved or '
            f"cloned: add the line {mine} to {mark}."
        )


def _write(mark: Path, text: str) -> None:
    for mode in ("x", "a"):  # of two projects at once the first one wins; an empty file is what a crash left
        with contextlib.suppress(FileExistsError):
            if mode == "x" or not _known(mark):
                with mark.open(mode, encoding="utf-8", errors="surrogateescape") as file:
                    file.write(text)
                return


def _known(mark: Path) -> list[str]:
    try:
        lines = mark.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return []
    return [os.path.normcase(line.strip()) for line in lines if line.strip() and not line.startswith("#")]


def _folder_text(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))
