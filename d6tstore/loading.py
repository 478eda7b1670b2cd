"""How a value comes back from a backend, whole or in part: the counterpart of `storing`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from d6tstore import content, frames
from d6tstore.backend import Backend, TableBackend
from d6tstore.errors import Damaged, FormatError, NotFound, SelectionError
from d6tstore.format import Format, PathFormat, TableFormat
from d6tstore.record import Output
from d6tstore.selection import Selection, check_kind
from d6tstore.storing import decode_schema
from d6tstore.transfers import SMALL, Transfers

if TYPE_CHECKING:
    import pyarrow as pa


class Part(NamedTuple):
    """What `Target.load` is asked for; `Part()` is the value as it was saved."""

    columns: Any = None
    where: Any = None
    limit: int | None = None
    as_: str | None = None


class Stored(NamedTuple):
    """An output where it lies; `owner` names its task in messages; `transfers` are how it comes from far."""

    owner: str
    backend: Backend
    output: Output
    transfers: Transfers

    def load(self, format: Format, part: Part, verify: bool) -> Any:
        """The value, or a part of it.

        Args:
            format: of the output.
            part: what is asked for.
            verify: compare the stored bytes with the record too.

        Raises:
            NotFound: the object is gone.
            Damaged: it is not what the record says.
            SelectionError: the output has no such part.
        """
        check_kind(part.as_)
        with self._told():
            return self._load(format, part, verify)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Say of which task an error is."""
        try:
            yield
        except (FormatError, SelectionError) as exc:
            where = f", object {self.output.key!r}" if isinstance(exc, FormatError) else ""
            raise type(exc)(f"{self.owner}{where}: {exc}") from exc

    def _load(self, format: Format, part: Part, verify: bool) -> Any:
        if isinstance(format, TableFormat):
            return self._frame(format, part, verify)
        if format.live:
            value = format.check(self.backend.held(self.output.key))
            return _part_of(value, part) if part != Part() else value
        if part != Part():
            raise SelectionError(
                f"an output of format {self.output.format!r} is no frame. Load it whole, without "
                "columns=, where=, limit= and as_=."
            )
        if isinstance(format, PathFormat):
            return self._with_path(verify, format.load_path)
        with self.open(verify) as file:
            return format.load(file)

    def open(self, verify: bool, whole: bool = True) -> BinaryIO:
        """A file of the object, checked against its record.

        Args:
            verify: compare the bytes where they lie, not those of a copy.
            whole: all of it will be read: then what comes from far is checked on its way, and a copy is kept.
        """
        output, backend = self.output, self.backend
        if backend.remote and not verify:
            if (copy := self.transfers.cache.open(output.checksum, output.bytes)) is not None:
                return copy
            if whole or output.bytes <= SMALL:
                return self.transfers.fetch(backend, output, self._check)
        if output.bytes <= SMALL:
            data = backend.read(output.key)
            self._check(len(data), (lambda: content.of_bytes(data)) if verify else None)
            return io.BytesIO(data)
        file = backend.open_read(output.key)
        try:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            self._check(size, (lambda: content.of_stream(file)[0]) if verify else None)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def verify(self) -> None:
        """Compare what is stored with the record. Raises Damaged, NotFound."""
        if self.output.table:
            if content.of_table(self._table(Selection())) != self.output.content:
                raise self._damaged("has other rows than its record says")
        elif self.output.checksum:
            self.open(verify=True).close()

    def _frame(self, format: TableFormat, part: Part, verify: bool) -> Any:
        schema = self._schema()
        kind = part.as_ or format.frame
        selection = Selection.of(schema, part.columns, part.where, part.limit, index=kind == "pandas")
        if self.output.table:
            if verify:
                self.verify()
            reader = self._table(selection)
            return reader if kind == "batches" else self._as(kind, reader.read_all(), format)
        file = self.open(verify, whole=not selection and kind != "batches")
        if kind == "batches":
            return self._closing(format.scan(file, schema, selection), file)
        with file:
            if selection:
                return self._as(kind, format.part(file, schema, selection), format)
            return self._as(kind, _described(format.load_table(file, schema), schema), format)

    def _closing(self, reader: pa.RecordBatchReader, file: BinaryIO) -> pa.RecordBatchReader:
        """The reader, which closes its file when it is read to the end or dropped."""
        import pyarrow as pa

        def batches() -> Iterator[pa.RecordBatch]:
            with file, self._told():
                yield from reader

        return pa.RecordBatchReader.from_batches(reader.schema, batches())

    def _as(self, kind: str, table: pa.Table, format: TableFormat) -> Any:
        return format.from_arrow(table) if kind == format.frame else frames.from_arrow(table, kind)

    def _table(self, selection: Selection) -> pa.RecordBatchReader:
        """Batches of a native table, in the types of the frame that was saved."""
        import pyarrow as pa

        backend, schema = self.backend, selection.schema(self._schema())
        if not isinstance(backend, TableBackend):  # it was left where it is one
            raise NotFound(f"{self.output.key!r} is a table, and {backend!r} has none. Pull it.")
        found = backend.read_table(self.output.key, *selection)
        if found.schema.names != schema.names:
            raise self._damaged(f"has the columns {found.schema.names}, its record says {schema.names}")

        def parts() -> Iterator[pa.RecordBatch]:
            try:
                yield from found
            except Damaged as exc:
                raise self._damaged(exc.problem) from exc

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in parts():
                try:
                    yield _cast(batch, schema)  # those without rows too, for they have the categories
                except pa.ArrowException as exc:
                    raise self._damaged(f"has rows of other types than its record says ({exc})") from exc

        return pa.RecordBatchReader.from_batches(schema, batches())

    def _schema(self) -> pa.Schema:
        """Of a frame, as its record says. Raises Damaged, RecordError."""
        schema = decode_schema(self.output.schema)
        if schema is None:
            raise self._damaged("is a frame, and its record has no schema")
        return schema

    def _check(self, size: int, checksum: Callable[[], str] | None) -> None:
        if size != self.output.bytes:
            raise self._damaged(f"has {size} bytes, its record says {self.output.bytes}")
        if checksum and checksum() != self.output.checksum:
            raise self._damaged("has other bytes than its record says")

    def _damaged(self, problem: str) -> Damaged:
        return Damaged(
            f"{self.owner}: object {self.output.key!r} in {self.backend!r} {problem}. Somebody else changed it, or "
            "the disk did. Run the task with force, or restore the object from a backup.",
            problem=problem,
        )

    def _with_path(self, verify: bool, load: Callable[[Path], Any]) -> Any:
        with self.open(verify) as file:
            path = self.backend.path(self.output.key)
            if path is not None:
                try:
                    return load(path)
                except FileNotFoundError as exc:  # a writer replaced it meanwhile
                    raise NotFound(f"{self.output.key!r} is gone: {exc}. Load it again.") from exc
            staged = self.backend.staging()
            path = staged.with_name(staged.name + self.output.suffix)  # libraries go by the ending
            try:
                with path.open("wb") as copy:
                    while chunk := file.read(1 << 20):
                        copy.write(chunk)
                return load(path)
            finally:
                staged.unlink(missing_ok=True)
                path.unlink(missing_ok=True)


def _part_of(value: Any, part: Part) -> Any:
    """A part of a live frame."""
    try:
        table = frames.to_arrow(value, "pandas")
    except FormatError as exc:
        raise SelectionError(f"this live object has no parts to load: {exc}") from exc
    kind = part.as_ or "pandas"
    selection = Selection.of(table.schema, part.columns, part.where, part.limit, index=kind == "pandas")
    reader = selection.apply(table)
    return reader if kind == "batches" else frames.from_arrow(reader.read_all(), kind)


def _described(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the metadata of the frame that was saved, which a format need not keep."""
    import pyarrow as pa

    if table.schema.equals(schema, check_metadata=True):
        return table
    try:
        return table.cast(schema)
    except (pa.ArrowException, ValueError) as exc:
        raise FormatError(f"these bytes are not the frame that was saved: {exc}. Run the task again.") from exc


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in the types of a schema; only what differs is cast: Arrow 26 breaks part of a list of nulls."""
    import pyarrow as pa

    arrays = [
        array if array.type.equals(field.type, check_metadata=True) else array.cast(field.type)
        for array, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
