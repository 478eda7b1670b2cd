"""One result on its way from one place to another: its objects first, each compared with the record."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from d6tstore import content, record, storing, transfers
from d6tstore.backend import Backend, Entry, TableBackend
from d6tstore.errors import Damaged, FormatError, NotFound, Unsupported
from d6tstore.format import TableFormat
from d6tstore.loading import Part, Stored
from d6tstore.record import Output, Record
from d6tstore.registry import kept_format
from d6tstore.transfers import SMALL, Transfers

_FEW = 32  # objects that are asked for one by one
_WORTH = 50  # objects that are listed as fast as one is asked for

Tell = Callable[[int], None] | None


class Route(NamedTuple):
    """From one place to another, which may have namespaces.

    Args:
        source: where results are.
        before: namespace there.
        target: where they go.
        after: namespace there.
        cure: what helps where an object is not what its record says.
    """

    source: Backend
    before: str
    target: Backend
    after: str
    cure: str = "Run the task with force, and copy it again."

    def family(self, family: str) -> str:
        """The name of a family at the target."""
        plain = family.removeprefix(f"{self.before}.") if self.before else family
        return f"{self.after}.{plain}" if self.after else plain

    def key(self, key: str) -> str:
        """The key of a record or an object at the target."""
        root = record.RECORDS if key.startswith(record.RECORDS) else ""
        family, slash, rest = key.removeprefix(root).partition("/")
        return f"{root}{self.family(family)}{slash}{rest}"

    def keys(self, output: Output) -> list[str]:
        """Where an output may be at the target: a database has it as a table, or as bytes."""
        as_table = [self._as_table(output).key] if isinstance(self.target, TableBackend) else []
        return [self.key(output.key), *as_table]

    def _as_table(self, output: Output) -> Output:
        stem = self.key(output.key).removesuffix(output.suffix)
        return replace(output, key=stem, checksum="", bytes=0, table=True, note="")

    def carry(
        self, old: Record, arrived: Callable[[Output], bool], names: Collection[str] | None = None, tell: Tell = None
    ) -> Record:
        """Bring the objects of a result.

        Args:
            old: the record at the source.
            arrived: is an object at the target already?
            names: only these outputs; of the others the record says what it says at the source.
            tell: is called with the bytes of each step.

        Returns:
            The record that the target is to have. It is not written.

        Raises:
            NotFound: an object is gone from the source.
            Damaged: it is not what its record says; it does not arrive.
            BackendError, FormatError: one of the places fails.
        """
        outputs = {
            name: self._output(old, output, arrived, tell)
            if names is None or name in names
            else replace(output, key=self.key(output.key))
            for name, output in old.outputs.items()
        }
        return replace(old, family=self.family(old.family), outputs=outputs)

    def moved(self, old: Record) -> Record:
        """The record that the target is to have of objects that go as they are."""
        outputs = {name: replace(output, key=self.key(output.key)) for name, output in old.outputs.items()}
        return replace(old, family=self.family(old.family), outputs=outputs)

    def _output(self, old: Record, output: Output, arrived: Callable[[Output], bool], tell: Tell) -> Output:
        key, note = self.key(output.key), output.note
        if output.table or isinstance(self.target, TableBackend):
            format = kept_format(output.format, None)
            if isinstance(format, TableFormat):
                table = self._as_table(output)
                if isinstance(self.target, TableBackend) and arrived(table):
                    if tell is not None:
                        tell(output.bytes)
                    return table
                try:
                    return self._frame(old, output, format, "", tell)
                except FormatError as exc:
                    if not isinstance(exc.__cause__, Unsupported):
                        raise
                    note = str(exc.__cause__)  # of values that its tables do not hold
                if output.table:
                    return self._frame(old, output, format, note, tell)
        same = replace(output, key=key, note=note)
        if not arrived(same):
            self._object(old, output, key, tell)
        return same

    def _object(self, old: Record, output: Output, key: str, tell: Tell) -> None:
        """Bring the bytes of an object as they are."""

        def check(size: int, checksum: Callable[[], str]) -> None:
            if size != output.bytes or checksum() != output.checksum:
                raise Damaged(
                    f"{old.id}: object {output.key!r} in {self.source!r} is not what its record says. {self.cure}",
                    problem="has other bytes than its record says",
                )

        if output.bytes <= SMALL:
            data = self.source.read(output.key)
            check(len(data), lambda: content.of_bytes(data))
            self.target.upload(key, data, tell)
            return
        with self._staged(output, check, tell) as path:
            self.target.upload(key, path, None if self.source.remote else tell)

    @contextlib.contextmanager
    def _staged(self, output: Output, check: Callable[[int, Callable[[], str]], None], tell: Tell) -> Iterator[Path]:
        """A file with the bytes of an object, compared with its record, that the target may take."""
        path = self.target.staging()
        try:
            if (file := self.source.path(output.key)) is not None:
                _copied(file, path, linked=self.target.path(output.key) is None)
                check(path.stat().st_size, lambda: content.of_file(path))
            else:
                with path.open("wb") as copy:
                    transfers.copy(self.source, output, copy, check, tell if self.source.remote else None)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _frame(self, old: Record, output: Output, format: TableFormat, note: str, tell: Tell) -> Output:
        """A frame by value, as the target holds it; with a note, as bytes."""
        plain = Transfers.plain()
        frame = Stored(old.id, self.source, output, plain).load(format, Part(as_="batches"), verify=False)
        stem = self.key(output.key).removesuffix(output.suffix)
        made = storing.store_frame(
            self.target, format, output.format, frame, lambda suffix: stem + suffix, None, plain, note
        )
        if made.content != output.content:
            self.target.delete(made.key)  # else the next try would find it there
            raise Damaged(
                f"{old.id}: the frame came out of {self.source!r} otherwise than its record says. {self.cure}",
                problem="has another content than its record says",
            )
        if tell is not None:
            tell(output.bytes)
        return made


def entries(
    wanted: Iterable[tuple[Backend, Iterable[str]]],
    ask: Callable[[Backend, list[str]], dict[str, Entry]] = lambda backend, keys: backend.stat(keys),
) -> dict[Backend, dict[str, Entry]]:
    """Those of many keys that exist, asked for at once at each place."""
    keys: dict[Backend, list[str]] = {}
    for backend, group in wanted:
        keys.setdefault(backend, []).extend(group)
    return {backend: ask(backend, group) for backend, group in keys.items()}


def shown(backend: Backend, keys: list[str]) -> dict[str, Entry]:
    """Those of many objects that listings show. A place may have others too, which it takes long to ask for."""
    wanted = set(keys)
    if not backend.remote or len(wanted) <= _FEW:
        return backend.stat(wanted)
    found, left = {}, (_FEW + len(wanted)) * _WORTH
    for family in {key.partition("/")[0] for key in wanted}:
        for entry in itertools.islice(backend.list(f"{family}/"), left):
            left -= 1
            if entry.key in wanted:
                found[entry.key] = entry
    return found if left else backend.stat(wanted)  # there are far more than are wanted


def _copied(file: Path, path: Path, linked: bool) -> None:
    """The file under another name that may be removed; without a link where both would stay files.

    Raises:
        NotFound: it is gone.
    """
    path.unlink(missing_ok=True)
    try:
        if linked:
            with contextlib.suppress(OSError):  # another file system, or one without links
                os.link(file, path)
                return
        shutil.copyfile(file, path)
    except FileNotFoundError as exc:
        raise NotFound(f"{str(file)!r} is gone. Run its task again, or pull it.") from exc
