"""Plain folders of a vendor or a colleague as pipes: their files here, and ours there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from d6tstore.access import Remote
from d6tstore.backend import check_key
from d6tstore.errors import BackendError, Denied, UsageError
from d6tstore.plainfiles import description, importing
from d6tstore.plainfiles.compare import Pair, compare
from d6tstore.plainfiles.exchange import FileExchange, Keep
from d6tstore.plainfiles.folder import Folder
from d6tstore.plainfiles.patterns import Selection, is_companion, matches
from d6tstore.plainfiles.report import NEW, NEW_HERE, REMOVED, Changes, File
from d6tstore.plainfiles.state import State
from d6tstore.progress import Progress, Transfer
from d6tstore.project import expanded

Mode = Literal["new", "modified", "all"]
Tell = Callable[[Transfer], object]


class FilesPipe:
    """A folder somewhere, whose files are brought here, and perhaps sent back.

    Nothing here or there is ever replaced silently: what both sides changed is a conflict, which stops a transfer
    before it begins unless `keep` says who wins; the other version stays beside.

    Args:
        remote: the other side, and the settings of the pipe.
        root: the project; files lie at `<root>/pipes/<name>`, or where the setting `local` says.

    Raises:
        UsageError: a setting is wrong.
    """

    def __init__(self, remote: Remote, root: Path) -> None:
        access = remote.access
        self.name = check_key(remote.name)
        self.remote = remote
        self.folder = root / expanded(access.local or f"pipes/{remote.name}")
        self._folder = Folder(self.folder)
        self._selection = Selection(access.include, access.exclude, access.newest).check(repr(self))
        self._state = State(root, remote.name, access.url)

    def __repr__(self) -> str:
        return f"FilesPipe({self.name!r}, {self.remote.access.url!r})"

    # ---------------------------------------------------------------- looking

    def files(self, pattern: str | None = None) -> list[File]:
        """The files that are there, by name: size, time of the last change, and how they compare with those here.

        Args:
            pattern: only those, such as `"*.csv|*.xls"`; see `file_patterns.matches`.

        Raises:
            BackendError, Denied: the other side cannot be listed.
        """
        return [pair.file() for pair in self._pairs(pattern) if pair.there is not None]

    def paths(self, pattern: str | None = None) -> list[Path]:
        """The files that are here, by name, for `files` of a task or for a reader. The other side is not asked.

        Without a pattern, `README`, `LICENSE` and the like are left out.
        """
        known, here = self._state.read(), self._folder.list()
        taken = [name for name in here if self._selection.takes(name)]
        times = {name: known[name].modified if name in known else here[name].mtime / 1e9 for name in taken}
        newest = self._selection.newest_of(times.items())
        wanted = (not is_companion(name) if pattern is None else matches(name, pattern) for name in sorted(newest))
        return [self._folder.at(name) for name, take in zip(sorted(newest), wanted, strict=True) if take]

    def status(self, pattern: str | None = None) -> Changes:
        """All files of both sides, with who changed them."""
        return Changes(f"status of {self.name}", [pair.file() for pair in self._pairs(pattern)])

    def verify(self, pattern: str | None = None, *, read: bool = False) -> Changes:
        """Compare files that are on both sides, and say of each how: by `checksum`, `as pulled`, or by `size only`.

        `as pulled`: there nothing has changed since the pull, as far as size, time and version tell, and here the
        bytes are those that came. What differs or is missing here is a problem.

        Args:
            pattern: only those.
            read: read all files there, and compare bytes.
        """
        return Changes(f"verify {self.name}", self._exchange().verified(self._pairs(pattern), read))

    # ----------------------------------------------------------------- moving

    def pull(
        self, pattern: str | None = None, *, mode: Mode = "modified", keep: Keep | None = None, prune: bool = False,
        dry_run: bool = False, progress: Progress | Tell | None = None,
    ) -> Changes:  # fmt: skip
        """Bring files here. Each is whole or not there, has the time it has there, and is not fetched twice.

        Args:
            pattern: only those.
            mode: `"new"`: what is not here; `"modified"`: also what was changed there; `"all"`: everything again.
            keep: of a file that both sides changed: `"ours"` stays and theirs is put beside it, or `"theirs"` comes
                and ours is put beside, as `<name>.~ours-<time>`.
            prune: remove what was removed there, unless it was edited here.
            dry_run: only tell.
            progress: is told how far it is.

        Returns:
            All files, with what was done.

        Raises:
            Conflict: both sides changed a file and `keep` is not given; nothing was moved.
            ExchangeFailed: some files could not come, all others did; `.exchange` has all.
            BackendError, Denied: the other side or the disk failed. What arrived stays; pull again to go on.
        """
        if prune:
            self._refuse_emptiness()
        pairs = self._pairs(pattern)
        return self._exchange(progress).pull(pairs, _checked(mode, keep), keep, prune, dry_run)

    def pull_preview(self, pattern: str | None = None, *, mode: Mode = "modified", prune: bool = False) -> Changes:
        """What `pull` would do."""
        return self.pull(pattern, mode=mode, prune=prune, dry_run=True)

    def push(
        self, pattern: str | None = None, *, mode: Mode = "modified", keep: Keep | None = None, dry_run: bool = False,
        progress: Progress | Tell | None = None,
    ) -> Changes:  # fmt: skip
        """Send files that are new or edited here.

        Args:
            pattern: only those.
            mode: `"new"`: what is not there; `"modified"`: also what was edited here; `"all"`: everything again,
                but not over what was changed there.
            keep: as in `pull`.
            dry_run: only tell.
            progress: is told how far it is.

        Raises:
            Denied: the pipe is for reading; nothing was sent.
            Conflict, ExchangeFailed: as in `pull`.
            BackendError: the other side failed. What went stays; push again to go on.
        """
        self._check_writable("push")
        pairs = self._pairs(pattern)
        return self._exchange(progress, writing=True).push(pairs, _checked(mode, keep), keep, dry_run)

    def push_preview(self, pattern: str | None = None, *, mode: Mode = "modified") -> Changes:
        """What `push` would do."""
        return self.push(pattern, mode=mode, dry_run=True)

    # --------------------------------------------------------------- tidying

    def import_files(self, paths: str | Path | Iterable[str | Path], *, move: bool = False, to: str = "") -> list[Path]:
        """Bring local files from elsewhere into the folder, for a later push.

        Args:
            paths: of files.
            move: remove them there.
            to: subfolder.

        Returns:
            Where they are now.

        Raises:
            UsageError: one is no file, does not belong to the pipe by its name, or would replace another one.
        """
        files = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
        return self._import([(path, path.name) for path in files], move, to)

    def import_dir(
        self, path: str | Path, pattern: str | None = None, *, move: bool = False, to: str = ""
    ) -> list[Path]:
        """Bring the files below a local folder, as `import_files`; with a pattern, only those. Subfolders stay."""
        return self._import(importing.below(Path(path), self.folder, pattern), move, to)

    def _import(self, files: Iterable[tuple[Path, str]], move: bool, to: str) -> list[Path]:
        to = f"{to.strip('/')}/" if to.strip("/") else ""
        return importing.bring([(path, to + name) for path, name in files], self._folder, self._selection, move)

    def delete(
        self, pattern: str, *, where: Literal["here", "there", "both"] = "here", dry_run: bool = True
    ) -> Changes:
        """Remove files. Without `dry_run=False` it only tells which.

        Args:
            pattern: of the files.
            where: what is removed here only comes back with the next pull.
            dry_run: only tell.

        Raises:
            Denied: the pipe is for reading, and they are to be removed there.
        """
        sides: set[str] = {"here", "there"} if where == "both" else {where}
        return self._remove(self._pairs(pattern, every=True), "delete", sides, dry_run)

    def remove_orphans(self, where: Literal["here", "there"] = "here", *, dry_run: bool = True) -> Changes:
        """Remove files that only one side has. Without `dry_run=False` it only tells which.

        Args:
            where: `"here"`: what the other side does not have, pushed or not; `"there"`: what is not here.
            dry_run: only tell.
        """
        if where == "here":
            self._refuse_emptiness()
        states = (NEW_HERE, REMOVED) if where == "here" else (NEW,)
        pairs = [pair for pair in self._pairs(None, every=True) if pair.state in states]
        return self._remove(pairs, "remove orphans", {where}, dry_run)

    def _remove(self, pairs: list[Pair], what: str, sides: set[str], dry_run: bool) -> Changes:
        if not sides <= {"here", "there"}:
            raise UsageError(f"where = {' '.join(sides)!r} must be 'here', 'there' or 'both'.")
        if "there" in sides:
            self._check_writable(what)
        return self._exchange(writing="there" in sides).remove(pairs, what, sides, dry_run)

    # ---------------------------------------------------------------- reading

    @property
    def schema(self) -> dict[str, Any]:
        """How the files are read: what came with them, and above that the pipe's own setting `schema`.

        Example: `pd.read_csv(path, **pipe.schema["pandas"])`.

        Raises:
            FormatError: what came is none.
        """
        return description.merged(description.read(self.folder), self.remote.access.schema)

    def describe(
        self, *, schema: dict[str, Any] | None = None, readme: str | None = None, license: str | None = None
    ) -> list[Path]:
        """Write down what readers should know; the next push sends it, and their pull brings it.

        Args:
            schema: settings by reader, such as `{"pandas": {"sep": ";"}}`; plain values, no secrets.
            readme, license: texts.

        Returns:
            The files that were written.
        """
        self._check_writable("describe")
        return description.write(self.folder, schema, readme, license)

    # ----------------------------------------------------------------- within

    def _pairs(self, pattern: str | None, every: bool = False) -> list[Pair]:
        """Both sides, file by file; with `every` also what is not among the newest."""
        backend, here = self.remote.backend, self.folder.resolve()
        if (at := backend.path("x")) is not None:
            there = at.parent.resolve()
            if there in (here, *here.parents) or here in there.parents:
                raise UsageError(
                    f"{self!r}: its local folder {here} and the other side {there} lie in one another. Choose another "
                    "one: local = 'FOLDER'."
                )
        selection = self._selection._replace(newest=None) if every else self._selection
        return compare(backend, self._folder, self._state.read(), selection, pattern)

    def _refuse_emptiness(self) -> None:
        """Raise BackendError if nothing at all is there: a folder that is not mounted looks like that."""
        if next(iter(self.remote.backend.list()), None) is None:
            raise BackendError(
                f"{self!r}: there is no file at all at the other side, so nothing is removed here. Is it mounted, and "
                "the right place? If it was emptied: delete('*', dry_run=False) removes what is here."
            )

    def _exchange(self, progress: Progress | Tell | None = None, writing: bool = False) -> FileExchange:
        progress = progress if isinstance(progress, Progress) else Progress(progress)
        remote = self.remote.for_writing() if writing else self.remote
        return FileExchange(self.name, remote.backend, self._folder, self._state, progress)

    def _check_writable(self, what: str) -> None:
        if self.remote.access.role == "read":
            raise Denied(
                f"pipe {self.name!r} is for reading: {what} is refused, and nothing was changed. Set role = 'write' if "
                "the place is yours to write to."
            )


def _checked(mode: Mode, keep: Keep | None) -> Mode:
    if mode not in ("new", "modified", "all"):
        raise UsageError(f"mode = {mode!r} must be 'new', 'modified' or 'all'.")
    if keep not in (None, "ours", "theirs"):
        raise UsageError(f"keep = {keep!r} must be 'ours' or 'theirs'.")
    return mode
