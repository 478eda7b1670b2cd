"""What a pipe of files does to both sides once they are compared."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from d6tstore.backend import Backend
from d6tstore.errors import BackendError, Conflict, D6tstoreError
from d6tstore.plainfiles.compare import SIZE_ONLY, Pair, verified
from d6tstore.plainfiles.folder import Folder
from d6tstore.plainfiles.report import (
    CONFLICT,
    EDITED,
    MODIFIED,
    NEW,
    NEW_HERE,
    PROBLEM,
    REMOVED,
    SAME,
    Changes,
    File,
    plain,
)
from d6tstore.plainfiles.state import Base, State, md5_of
from d6tstore.plainfiles.transfer import Moved, Problem, Stopped, fetch, send
from d6tstore.progress import Progress
from d6tstore.record import ROOT

Keep = Literal["ours", "theirs"]
_PULLED = {"new": (NEW,), "modified": (NEW, MODIFIED), "all": (NEW, MODIFIED, SAME)}
_PUSHED = {"new": (NEW_HERE,), "modified": (NEW_HERE, EDITED), "all": (NEW_HERE, EDITED, SAME, REMOVED)}


class FileExchange(NamedTuple):
    """One push, pull or removal.

    Args:
        pipe: its name.
        backend: the other side.
        folder: this side.
        state: what both had last; noted here as it changes.
        progress: hears how far it is.
    """

    pipe: str
    backend: Backend
    folder: Folder
    state: State
    progress: Progress

    # -------------------------------------------------------------------- pull

    def pull(self, pairs: list[Pair], mode: str, keep: Keep | None, prune: bool, dry_run: bool) -> Changes:
        """See `FilesPipe.pull`."""
        if mode == "all":
            pairs = [_refetched(pair) for pair in pairs]
        wanted = [pair for pair in pairs if pair.state in _PULLED[mode]]
        disputed = self._disputed(pairs, mode, keep, dry_run)
        changes = _changes(f"pull from {self.pipe}", pairs, dry_run, wanted)
        if not dry_run:
            changes.moved.clear()
            with self._noting() as noted:
                noted.update(self._agreed(pairs))
                self._bring(wanted + disputed, keep, changes, noted)
                if prune:
                    self._prune(pairs, changes, noted)
            changes.raise_problems()
        return changes

    def _disputed(self, pairs: list[Pair], mode: str, keep: Keep | None, dry_run: bool) -> list[Pair]:
        """Files that both sides changed, if these are concerned. Raises Conflict: nobody said who wins."""
        disputed = [pair for pair in pairs if pair.state == CONFLICT and mode != "new"]
        if disputed and keep is None and not dry_run:
            told = [f"{plain(pair.name)} ({_when(pair)})" for pair in disputed[:5]]
            more = f" and {len(disputed) - 5} more" if len(disputed) > 5 else ""
            raise Conflict(
                f"pipe {self.pipe!r}: changed here and there: {'; '.join(told)}{more}. Nothing was moved. Say "
                "keep='ours' or keep='theirs'; the other version stays beside.",
                ids=[pair.name for pair in disputed],
            )
        return disputed

    def _agreed(self, pairs: Iterable[Pair]) -> dict[str, Base]:
        """What turned out to be the same on both sides without that we knew it."""
        return {
            pair.name: Base.made(pair.there, pair.here.mtime, md5_of(self.folder.at(pair.name)))
            for pair in pairs
            if pair.state == SAME and pair.there and pair.here and not pair.known and pair.note != SIZE_ONLY
        }

    def _bring(self, pairs: list[Pair], keep: Keep | None, changes: Changes, noted: dict[str, Base | None]) -> None:
        if not pairs:
            return
        total = sum(pair.there.size for pair in pairs if pair.there)
        meter = self.progress.meter("down", self.pipe, total, len(pairs))
        with self._going_on("pull", len(pairs), changes), self.folder.room() as room:
            for moved in fetch(self.backend, pairs, room, meter):
                try:
                    changes.tell(moved.pair.name, note=self._placed(moved, keep, noted))
                except Problem as exc:
                    changes.tell(moved.pair.name, str(exc))
                except OSError as exc:
                    changes.tell(moved.pair.name, f"cannot be written here: {exc.strerror}")

    def _placed(self, moved: Moved, keep: Keep | None, noted: dict[str, Base | None]) -> str:
        """Put a file that came where it belongs. Returns what there is to say of it; raises Problem, OSError."""
        pair, path, at, note = moved.pair, moved.path, self.folder.at(moved.pair.name), ""
        if pair.there is None or path is None:
            raise Problem(moved.problem)
        taken, now = os.path.lexists(at), self.folder.here(pair.name)
        disputed = pair.state in (CONFLICT, SAME)  # of the latter the bytes may differ none the less
        if now is not None and (disputed or now != pair.here) and md5_of(at) == moved.md5:
            mtime = now.mtime
        elif now != pair.here or (taken and now is None):
            raise Problem(
                "was changed here meanwhile, or another one differs in upper and lower case only. Pull again."
            )
        elif pair.state == CONFLICT and keep == "ours":
            aside = self.folder.aside(pair.name, "theirs")
            self.folder.put(path, aside.relative_to(self.folder.path).as_posix(), pair.there.modified)
            mtime, note = 0, f"ours stays, theirs is {aside.name}"  # of no file: ours is edited
        else:
            if disputed:
                aside = self.folder.aside(pair.name, "ours")
                os.replace(at, aside)
                note = f"theirs came, ours is {aside.name}"
            mtime = self.folder.put(path, pair.name, pair.there.modified).mtime
        noted[pair.name] = Base.made(pair.there, mtime, moved.md5)
        return note

    def _prune(self, pairs: Iterable[Pair], changes: Changes, noted: dict[str, Base | None]) -> None:
        for pair in pairs:
            if pair.state == REMOVED and self.folder.here(pair.name) == pair.here:
                self.folder.remove(pair.name)
                noted[pair.name] = None
                changes.note(pair.name, "removed here too")

    # -------------------------------------------------------------------- push

    def push(self, pairs: list[Pair], mode: str, keep: Keep | None, dry_run: bool) -> Changes:
        """See `FilesPipe.push`."""
        pairs = [pair for pair in pairs if pair.state != PROBLEM]  # what cannot come here is none of a push
        wanted = [pair for pair in pairs if pair.state in _PUSHED[mode]]
        disputed = self._disputed(pairs, mode, keep, dry_run)
        changes = _changes(f"push to {self.pipe}", pairs, dry_run, wanted)
        if not dry_run:
            changes.moved.clear()
            with self._noting() as noted:
                noted.update(self._agreed(pairs))
                settled = Changes("settle", [pair.file() for pair in disputed])
                self._bring(disputed, keep, settled, noted)
                if keep == "ours":
                    wanted += [pair for pair in disputed if pair.name in settled.moved]
                self._send(wanted, changes, noted)
            settled.raise_problems()
            changes.raise_problems()
        return changes

    def _send(self, pairs: list[Pair], changes: Changes, noted: dict[str, Base | None]) -> None:
        if not pairs:
            return
        total = sum(pair.here.size for pair in pairs if pair.here)
        meter = self.progress.meter("up", self.pipe, total, len(pairs))
        with self._going_on("push", len(pairs), changes):
            try:
                for moved in send(self.backend, self.folder, pairs, meter):
                    changes.tell(moved.pair.name, moved.problem)
                    if moved.there and moved.pair.here:
                        noted[moved.pair.name] = Base.made(moved.there, moved.pair.here.mtime, moved.md5)
            finally:
                with contextlib.suppress(BackendError):  # of a local folder, it takes along what it leaves empty
                    self.backend.delete(f"{ROOT}tmp/none")

    # --------------------------------------------------------- remove, verify

    def remove(self, pairs: list[Pair], what: str, sides: set[str], dry_run: bool) -> Changes:
        """See `FilesPipe.delete`."""
        gone = [p for p in pairs if ("here" in sides and p.here) or ("there" in sides and p.there)]
        changes = _changes(f"{what} {self.pipe}", gone, dry_run, gone)
        if not dry_run:
            changes.moved.clear()
            with self._noting() as noted, self._going_on(what, len(gone), changes):
                for pair in gone:
                    if "there" in sides and pair.there:
                        self.backend.delete(pair.name)
                    if "here" in sides and pair.here:
                        self.folder.remove(pair.name)
                        noted[pair.name] = None
                    changes.moved.add(pair.name)
        return changes

    def verified(self, pairs: list[Pair], read: bool) -> list[File]:
        """See `FilesPipe.verify`."""
        both = [pair for pair in pairs if pair.there and (pair.here or pair.base)]
        sums: dict[str, str] = {}
        if read and both:
            with self._going_on("verify", len(both), Changes("verify")), self.folder.room() as room:
                meter = self.progress.meter("down", self.pipe, sum(p.there.size for p in both if p.there), len(both))
                for moved in fetch(self.backend, both, room, meter):
                    sums[moved.pair.name] = moved.problem or moved.md5
                    if moved.path:
                        moved.path.unlink()
        return [verified(pair, self.folder.at(pair.name), sums.get(pair.name)) for pair in both]

    # ------------------------------------------------------------------ within

    @contextlib.contextmanager
    def _noting(self) -> Iterator[dict[str, Base | None]]:
        """What is put there is noted at the end, however it ends."""
        noted: dict[str, Base | None] = {}
        try:
            yield noted
        finally:
            with contextlib.suppress(OSError):  # then files are compared by time and size
                self.state.update(noted)

    @contextlib.contextmanager
    def _going_on(self, what: str, total: int, changes: Changes) -> Iterator[None]:
        """Within it, what breaks off says how far it came, and how to go on."""
        try:
            yield
        except (Stopped, OSError) as exc:
            cause = exc.__cause__ if isinstance(exc, Stopped) else exc
            kind = type(cause) if isinstance(cause, D6tstoreError) else BackendError
            why = str(cause).rstrip(".")
            raise kind(
                f"the {what} of {self.pipe!r} stopped after {len(changes.moved)} of {total} files: {why}. What is "
                f"whole stays: {what} again to go on."
            ) from cause


def _refetched(pair: Pair) -> Pair:
    """A file that is fetched whatever is known of it: what would be lost here is in dispute."""
    if pair.state == EDITED or (pair.state == SAME and pair.note == SIZE_ONLY):
        return pair._replace(state=CONFLICT)
    return pair


def _when(pair: Pair) -> str:
    here = File("", 0, pair.here.mtime / 1e9 if pair.here else None, "")
    there = File("", 0, pair.there.modified if pair.there else None, "")
    return f"here {here.when or 'at an unknown time'}, there {there.when or 'at an unknown time'}"


def _changes(what: str, pairs: Iterable[Pair], dry_run: bool, wanted: Iterable[Pair]) -> Changes:
    return Changes(what, [pair.file() for pair in pairs], dry_run, {pair.name for pair in wanted})
