"""Formats `file` and `folder`: what the user's own code wrote to disk. They load as paths of copies.

The copies are in a temporary folder of this process that goes when it ends. Nobody is handed a path into the store:
who edits what he loaded, edits his copy.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from multiprocessing.util import Finalize
from operator import itemgetter
from pathlib import Path
from typing import Any

from d6tstore.errors import FormatError
from d6tstore.format import PathFormat

_SUFFIX = re.compile(r"(\.[A-Za-z0-9_]{1,16}){1,2}")
_TIME = (1980, 1, 1, 0, 0, 0)  # of every member: equal folders have equal bytes
_NAME = 65_500  # bytes that zip has for a name
_CHUNK = 1 << 20  # bytes
_SAMPLE = 64 << 10  # bytes of a file that tell whether it is worth compressing


class FileFormat(PathFormat):
    """A copy of a file, of any size. It loads as the `Path` of another copy, with the same ending."""

    def suffix_of(self, value: Any) -> str:
        """Ending of the saved file, such as `.csv` or `.tar.gz`."""
        endings = _path(value).suffixes[-2:]
        return next((e for e in ("".join(endings), *endings[-1:]) if _SUFFIX.fullmatch(e)), "")

    def dump_path(self, value: Any, path: Path) -> None:
        """Copy an existing file: its bytes, neither rights nor times."""
        source = _path(value)
        try:
            kind = source.stat().st_mode
            if stat.S_ISDIR(kind):
                raise FormatError(f"{source} is a folder. Use TaskFolder for it, or save one of its files.")
            if not stat.S_ISREG(kind):
                raise FormatError(f"{source} is no regular file. Copy what it gives into a file and save that.")
            source.open("rb").close()
        except OSError as exc:
            raise FormatError(_unreadable(source, exc)) from exc
        shutil.copyfile(source, path)

    def load_path(self, path: Path) -> Path:
        """A copy of the file. It is there until this process ends."""
        copy = _new_folder() / path.name
        try:
            shutil.copyfile(path, copy)
        except FileNotFoundError:
            raise  # the object is gone, not our room
        except OSError as exc:
            shutil.rmtree(copy.parent, ignore_errors=True)
            raise FormatError(_no_room(exc)) from exc
        return copy


class FolderFormat(PathFormat):
    """A copy of a folder with all below it, as one zip. It loads as the `Path` of another copy.

    Kept are names, bytes, empty folders and whether a file is executable. The same folder gives the same bytes.
    """

    suffix = ".zip"

    def dump_path(self, value: Any, path: Path) -> None:
        """Zip an existing folder; files of any size."""
        folder = _path(value)
        try:
            if not stat.S_ISDIR(folder.stat().st_mode):
                raise FormatError(f"{folder} is a file. Use TaskFile for it, or save the folder that holds it.")
            if path.resolve().is_relative_to(folder.resolve()):
                raise FormatError(f"{folder} holds {path.parent}, where it is written to. Save a folder outside of it.")
            entries = sorted(_entries(folder), key=itemgetter(0))
        except OSError as exc:
            raise FormatError(_unreadable(folder, exc)) from exc
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, entry in entries:
                _add(archive, name, entry)

    def load_path(self, path: Path) -> Path:
        """A copy of the folder. It is there until this process ends."""
        folder = _new_folder() / path.name.removesuffix(self.suffix)
        try:
            folder.mkdir()
            with zipfile.ZipFile(path) as archive:
                _extract(archive, folder)
        except BaseException as exc:
            shutil.rmtree(folder.parent, ignore_errors=True)
            if isinstance(exc, FormatError | FileNotFoundError) or not isinstance(exc, Exception):
                raise
            if isinstance(exc, FileExistsError | NotADirectoryError | IsADirectoryError):
                problem = f"two of its names are one here: {Path(exc.filename).relative_to(folder)}"
            elif isinstance(exc, OSError):
                raise FormatError(_no_room(exc)) from exc
            else:  # zipfile has no list of its errors
                problem = f"{type(exc).__name__}: {exc}"
            raise FormatError(f"these bytes are no zip of a folder: {problem}. Run the task again.") from exc
        return folder


def _path(value: Any) -> Path:
    if isinstance(value, str | Path) and str(value) and "\0" not in str(value):
        return Path(value)
    cure = "Save a str or Path; for text use TaskText, for bytes TaskBytes."
    if isinstance(value, tempfile.TemporaryDirectory) or hasattr(value, "read"):
        cure = "Save the path in its attribute `name`; close or flush a file before."
    raise FormatError(f"{value!r:.200} is no path of a file or folder. {cure}")


def _unreadable(path: Path, exc: OSError) -> str:
    path = Path(exc.filename or path)
    if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return (
            f"{str(path)!r:.300} does not exist (the current folder is {os.getcwd()}). Write it before self.save(...), "
            "or give its full path; for text use TaskText."
        )
    return f"{str(path)!r:.300} cannot be read: {exc.strerror}. Give this user the right to it."


def _no_room(exc: OSError) -> str:
    return (
        f"the copy cannot be written to {tempfile.gettempdir()}: {exc.strerror}. Make room there, or set the "
        "environment variable TMPDIR to a folder that has it."
    )


# ------------------------------------------------------------- zip of a folder


def _entries(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All files and folders below, by their names in the zip."""
    waiting = [("", str(folder))]
    while waiting:
        prefix, path = waiting.pop()
        with os.scandir(path) as found:
            for entry in found:
                name, problem = prefix + entry.name, None
                if entry.is_dir(follow_symlinks=False):
                    name += "/"
                    waiting.append((name, entry.path))
                elif entry.is_symlink():
                    problem = "it is a symbolic link. Put what it points to in its place (shutil.copytree does)"
                elif not entry.is_file():
                    problem = "it is no regular file. Remove it before saving"
                if problem := problem or ((rule := _refusal(name)) and f"{rule}. Rename it"):
                    raise FormatError(f"folder {folder} holds {name!r:.300}: {problem}.")
                yield name, entry


def _refusal(name: str) -> str | None:
    """Why a name in a zip could mean another place or another name somewhere."""
    if any(part in ("", ".", "..") for part in name.removesuffix("/").split("/")):
        return "it is absolute, or has an empty, '.' or '..' part"
    if "\\" in name or "\0" in name or name[1:2] == ":":
        return "it has a backslash, NUL or drive letter"
    try:
        return None if len(name.encode()) <= _NAME else f"its name is longer than {_NAME:,} bytes"
    except UnicodeEncodeError:
        return "its name is no Unicode text"


def _add(archive: zipfile.ZipFile, name: str, entry: os.DirEntry[str]) -> None:
    info = zipfile.ZipInfo(name, _TIME)
    info.create_system = 3  # Unix: the mode counts
    if name.endswith("/"):
        info.external_attr = (stat.S_IFDIR | 0o755) << 16 | 0x10
        archive.writestr(info, b"")
        return
    try:
        fd = os.open(entry.path, os.O_RDONLY)
    except OSError as exc:
        raise FormatError(_unreadable(Path(entry.path), exc)) from exc
    with open(fd, "rb") as source:
        found = os.fstat(source.fileno())
        info.external_attr = (stat.S_IFREG | (0o755 if found.st_mode & 0o111 else 0o644)) << 16
        info.file_size = found.st_size  # decides on zip64
        sample = source.read(_SAMPLE)
        source.seek(0)
        if len(zlib.compress(sample, 1)) < 0.9 * len(sample):  # images, parquet, models are compressed already
            info.compress_type = archive.compression
            info._compresslevel = archive.compresslevel  # type: ignore[attr-defined]  # a ZipInfo takes none otherwise
        with archive.open(info, "w") as member:
            left = found.st_size
            while left and (data := source.read(min(_CHUNK, left))):
                member.write(data)
                left -= len(data)
        if left or source.read(1):
            raise FormatError(f"{entry.path} changed while it was saved. Save it when nobody writes to it any more.")


def _extract(archive: zipfile.ZipFile, folder: Path) -> None:
    """Unpack a zip that may be anybody's: into this folder only, and each member a file or folder of its own."""
    made, seen = {folder}, set()
    for info in archive.infolist():
        name = info.orig_filename  # `filename` is bent to what this system takes
        problem = "it is there twice" if name in seen else _refusal(name)
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            problem = "it is neither a file nor a folder"
        if problem:
            raise FormatError(f"the zip holds {name!r:.300}: {problem}. Run the task again, or ask who sent it.")
        seen.add(name)
        path = folder / name
        missing = [f for f in (path, *path.parents) if f.is_relative_to(folder) and f not in made]
        for parent in reversed(missing if name.endswith("/") else missing[1:]):
            parent.mkdir()  # not exist_ok: `A` and `a` may be one here
            made.add(parent)
        if not name.endswith("/"):
            mode = 0o777 if info.external_attr >> 16 & 0o111 else 0o666  # and what the umask leaves
            with archive.open(info) as member, open(path, "xb", opener=functools.partial(os.open, mode=mode)) as file:
                shutil.copyfileobj(member, file, _CHUNK)


# ------------------------------------------------------------ temporary folder


def _new_folder() -> Path:
    """A new folder in the one of this process."""
    try:
        return Path(tempfile.mkdtemp(prefix="", dir=_home(os.getpid())))
    except FileNotFoundError:  # somebody cleaned up
        _home.cache_clear()
        return Path(tempfile.mkdtemp(prefix="", dir=_home(os.getpid())))


@functools.cache
def _home(pid: int) -> str:
    """The temporary folder of this process, for its user only.

    `Finalize` removes it at the end of worker processes too, where `atexit` is silent, and never in a fork.
    """
    home = tempfile.mkdtemp(prefix=f"d6tstore-{pid}-")
    Finalize(None, shutil.rmtree, (home,), {"ignore_errors": True}, exitpriority=-1)
    return home
