"""Both sides of a pipe of files, file by file: who has it, and who changed it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from d6tstore.backend import Backend, check_key
from d6tstore.errors import BackendError, InvalidKey
from d6tstore.plainfiles.folder import Folder, is_ours
from d6tstore.plainfiles.patterns import Selection, matches
from d6tstore.plainfiles.report import CONFLICT, EDITED, MODIFIED, NEW, NEW_HERE, PROBLEM, REMOVED, SAME, File
from d6tstore.plainfiles.state import Base, Here, There, md5_of

_TICK = 0.001  # seconds: what arrived got the time that it has there, as near as disks keep it
SIZE_ONLY = "compared by size only"


class Pair(NamedTuple):
    """One file on both sides, and what both had last.

    Args:
        name: of the file.
        there, here, base: None where there is none.
        state: as in `File`.
        note: what else there is to say.
    """

    name: str
    there: There | None
    here: Here | None
    base: Base | None
    state: str
    note: str = ""

    @property
    def known(self) -> bool:
        """Does the base say what both sides have now?"""
        return None not in (self.base, self.there) and _told(self.base) == _told(self.there)

    def file(self) -> File:
        """For people."""
        size = self.there.size if self.there else self.here.size if self.here else 0
        return File(self.name, size, self.there.modified if self.there else None, self.state, self.note)


def _told(file: There | Base | None) -> tuple[int, str] | None:
    """What the server says of a file as long as nobody changes it."""
    return None if file is None else (file.size, file.version)


def listing(backend: Backend) -> dict[str, There]:
    """All files there by name, whatever their names. What seems empty is asked for again: web servers tell no sizes."""
    asked = time.time()
    try:
        found = {entry.key: entry for entry in backend.list() if not is_ours(entry.key)}
    except OSError as exc:
        if isinstance(exc, BackendError):
            raise
        raise BackendError(f"{backend!r} cannot be listed: {exc}. Does a link there lead back to itself?") from exc
    found.update(backend.stat([name for name, entry in found.items() if entry.size == 0 and _is_key(name)]))
    return {name: There.of(entry, asked) for name, entry in found.items()}


def _is_key(name: str) -> bool:
    try:
        return bool(check_key(name))
    except InvalidKey:
        return False


def compare(
    backend: Backend, folder: Folder, bases: Mapping[str, Base], selection: Selection, pattern: str | None
) -> list[Pair]:
    """The files of a pipe, by name.

    Args:
        backend: the other side.
        folder: this side.
        bases: what both had last.
        selection: which files belong to the pipe.
        pattern: only those.
    """
    there, here = listing(backend), folder.list()
    taken = [name for name in there if selection.takes(name)]
    newest = selection.newest_of((name, there[name].modified) for name in taken)
    pairs = []
    for name in sorted(newest.union(filter(selection.takes, here))):
        if pattern is not None and not matches(name, pattern):
            continue
        pair = _pair(folder, name, there.get(name), here.get(name), bases.get(name))
        if name in newest or pair.there is None or pair.state in (EDITED, CONFLICT):
            obstacle = folder.obstacle(name, there.keys()) if pair.state in (NEW, MODIFIED, CONFLICT) else None
            pairs.append(pair if obstacle is None else pair._replace(state=PROBLEM, note=obstacle))
    return pairs


def _pair(folder: Folder, name: str, there: There | None, here: Here | None, base: Base | None) -> Pair:
    state, note = _judged(folder, name, there, here, base)
    return Pair(name, there, here, base, state, note)


def _judged(folder: Folder, name: str, there: There | None, here: Here | None, base: Base | None) -> tuple[str, str]:
    if here is None:
        return NEW, ""
    edited = base is None or not _is_as_pulled(folder, name, here, base)
    if there is None:
        return (NEW_HERE, "") if edited else (REMOVED, "")
    if _told(there) == _told(base):
        return (EDITED, "") if edited else (SAME, "")
    if not edited:
        return MODIFIED, ""
    if _are_alike(folder, name, there, here):
        return SAME, ""
    if base is None and there.size == here.size and there.checksum is None:
        return SAME, SIZE_ONLY
    return CONFLICT, "" if base is not None else "here and there before the first pull"


def _is_as_pulled(folder: Folder, name: str, here: Here, base: Base) -> bool:
    if here == Here(base.size, base.mtime):
        return True
    return here.size == base.size and md5_of(folder.at(name)) == base.md5


def _are_alike(folder: Folder, name: str, there: There, here: Here) -> bool:
    """By size, and checksum or time."""
    if there.size != here.size:
        return False
    if there.modified is not None and abs(there.modified - here.mtime / 1e9) < _TICK:
        return True
    return there.checksum is not None and md5_of(folder.at(name)) == there.checksum


def verified(pair: Pair, at: Path, read: str | None) -> File:
    """Is a file that is there the same here, and how do we know?

    Args:
        pair: the file.
        at: where it is here.
        read: the MD5 of its bytes there, if these were read; or why they could not be.
    """
    file = pair.file()
    if pair.here is None or pair.there is None:
        return file._replace(state=PROBLEM, note="is missing here. Pull it again.")
    md5 = md5_of(at)
    if pair.here.size != pair.there.size:
        return file._replace(state=PROBLEM, note=f"differs: {pair.here.size:,} bytes here")
    if read is not None:
        why = "differs" if len(read) == len(md5) else read
        return file._replace(state=SAME, note="bytes") if read == md5 else file._replace(state=PROBLEM, note=why)
    if md5 == pair.there.checksum:
        return file._replace(state=SAME, note="checksum")
    if pair.base is not None and pair.known and md5 == pair.base.md5:
        return file._replace(state=SAME, note="as pulled")
    if pair.there.checksum is not None:
        return file._replace(state=PROBLEM, note="differs: another checksum there, unless the server encrypts")
    if pair.base is not None and pair.known:
        return file._replace(state=PROBLEM, note="differs: edited or damaged here since it was pulled")
    return file._replace(state=SAME, note="size only")
