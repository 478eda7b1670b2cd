"""Local files from elsewhere come into the folder of a pipe."""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from d6tstore.backend import check_key
from d6tstore.errors import InvalidKey, UsageError
from d6tstore.plainfiles.folder import Folder, is_ours
from d6tstore.plainfiles.patterns import Selection, matches


def below(path: Path, folder: Path, pattern: str | None) -> Iterator[tuple[Path, str]]:
    """Files below a local folder, and their names there; without those that are in the pipe already.

    Raises:
        UsageError: it is no folder.
    """
    if not path.is_dir():
        raise UsageError(f"{str(path)!r} is no folder. Give one to import_dir, and files to import_files.")
    own = folder.resolve()
    for at in sorted(path.rglob("*")):
        name = at.relative_to(path).as_posix()
        if at.is_file() and own not in at.resolve().parents and (pattern is None or matches(name, pattern)):
            yield at, name


def bring(files: Sequence[tuple[Path, str]], folder: Folder, selection: Selection, move: bool) -> list[Path]:
    """Copy or move files to their names in a folder, all of them or none for a reason that can be known before.

    Raises:
        UsageError: one is no file, has a name that cannot be, or would replace another file.
    """
    names = [name for _, name in files]
    for path, name in files:
        if problem := _problem(path, name, names, folder, selection):
            raise UsageError(f"{str(path)!r} is not imported: {problem} Nothing was.")
    with _explained(), folder.room() as room:
        for i, (path, name) in enumerate(files):
            if not folder.at(name).exists():
                arrived = room / str(i)
                shutil.copy2(path, arrived)
                folder.put(arrived, name)
            if move and not os.path.samefile(path, folder.at(name)):
                path.unlink()
    return [folder.at(name) for name in names]


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise UsageError(f"the import stopped: {exc}. What was brought before is there; import again.") from exc


def _problem(path: Path, name: str, names: Sequence[str], folder: Folder, selection: Selection) -> str | None:
    if not path.is_file():
        return "it is no file. Give files, or a folder to import_dir."
    try:
        check_key(name)
    except InvalidKey as exc:
        return str(exc)
    if is_ours(name):
        return "its name is of files that d6tstore makes. Give it another one."
    if not selection.takes(name):
        return f"by its name it does not belong to the pipe (include {selection.include}, exclude {selection.exclude})."
    if names.count(name) > 1:
        return f"several of the files would be {name!r}. Import them to different subfolders: to='...'."
    at = folder.at(name)
    if at.is_file() and not filecmp.cmp(path, at, shallow=False):
        return f"{name!r} is there already, with other bytes. Delete that first, or give to='SUBFOLDER'."
    return folder.obstacle(name, ())
