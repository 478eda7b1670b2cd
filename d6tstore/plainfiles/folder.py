"""The local folder of a pipe of files: nothing is written outside of it, nor half."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from d6tstore.backend import check_key
from d6tstore.errors import InvalidKey
from d6tstore.plainfiles.state import Here
from d6tstore.record import ROOT

_ASIDE = re.compile(r".*\.~(ours|theirs)-\d{8}T\d{6}(-\d+)?", re.S)
_ROOM = "arriving-"
_ABANDONED = 86_400.0  # seconds after which nobody writes there any more


def is_ours(name: str) -> bool:
    """Is it a file that we made in a folder, which belongs to no pipe?"""
    return f"/{ROOT}" in f"/{name}" or _ASIDE.fullmatch(name) is not None


class Folder:
    """Files below a local folder, which need not be there yet.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def at(self, name: str) -> Path:
        """Where a file lies."""
        return self.path / name

    def here(self, name: str) -> Here | None:
        """What is known of a file; None if there is none."""
        try:
            return Here.of(self.at(name))
        except OSError:
            return None

    def list(self) -> dict[str, Here]:
        """All files; folders behind links are not entered."""
        found = {}
        for folder, _, names in os.walk(self.path):
            at = os.path.relpath(folder, self.path).replace(os.sep, "/")
            for name in names:
                key = name if at == "." else f"{at}/{name}"
                if is_ours(key):
                    continue
                with contextlib.suppress(OSError):
                    info = os.stat(os.path.join(folder, name))
                    if stat.S_ISREG(info.st_mode):
                        found[key] = Here(info.st_size, info.st_mtime_ns)
        return found

    def obstacle(self, name: str, others: Collection[str]) -> str | None:
        """Why a file of a name cannot come here; None if it can.

        Args:
            name: as the other side says it.
            others: all names there.
        """
        try:
            check_key(name)
        except InvalidKey as exc:
            return f"{str(exc).partition(' A record')[0]} Ask for another name."
        parents = name.split("/")[:-1]
        above = ["/".join(parents[: i + 1]) for i in range(len(parents))]
        if blocking := next((each for each in above if each in others), None):
            return f"{blocking!r} is a file there too, and cannot be a folder here. Exclude one of them."
        if blocking := next((each for each in above if self._is_no_folder(each)), None):
            return f"{blocking!r} is a file here. Move it away."
        if os.path.isdir(self.at(name)):
            return "here it is a folder. Move it away."
        try:
            os.lstat(self.at(name))
        except FileNotFoundError:
            pass
        except OSError as exc:
            return f"cannot be here: {exc.strerror}."
        root, parent = os.path.realpath(self.path), os.path.realpath(self.at(name).parent)
        if parent != root and not parent.startswith(root.rstrip(os.sep) + os.sep):
            return "a link in its path leads out of the folder. Remove the link."
        return None

    def _is_no_folder(self, name: str) -> bool:
        at = self.at(name)
        return os.path.lexists(at) and not os.path.isdir(at)

    @contextlib.contextmanager
    def room(self) -> Iterator[Path]:
        """Within it there is a folder for files that arrive, on the same disk."""
        rooms = self.path / ROOT
        rooms.mkdir(parents=True, exist_ok=True)
        for old in rooms.glob(f"{_ROOM}*"):
            with contextlib.suppress(OSError):
                if old.stat().st_mtime < time.time() - _ABANDONED:
                    shutil.rmtree(old)
        room = tempfile.mkdtemp(prefix=_ROOM, dir=rooms)
        try:
            yield Path(room)
        finally:
            shutil.rmtree(room, ignore_errors=True)
            with contextlib.suppress(OSError):
                rooms.rmdir()

    def put(self, arrived: Path, name: str, modified: float | None = None) -> Here:
        """Put a whole file in its place, with the time of its last change. Raises OSError."""
        at = self.at(name)
        at.parent.mkdir(parents=True, exist_ok=True)
        if modified is not None:
            with contextlib.suppress(OSError, OverflowError, ValueError):  # a time that no file can have
                os.utime(arrived, (modified, modified))
        os.replace(arrived, at)
        return Here.of(at)

    def aside(self, name: str, whose: str) -> Path:
        """A free path beside a file, for what lost a conflict: `prices.csv.~ours-20240131T101500`."""
        moment = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}"
        plain = self.at(f"{name}.~{whose}-{moment}")
        plain.parent.mkdir(parents=True, exist_ok=True)
        numbered = (plain.with_name(f"{plain.name}-{i}") for i in range(2, 10_000))
        return next(path for path in (plain, *numbered) if not os.path.lexists(path))

    def remove(self, name: str) -> None:
        """Remove a file, and folders that it leaves empty. Raises OSError."""
        at = self.at(name)
        at.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            while (at := at.parent) != self.path:
                at.rmdir()
