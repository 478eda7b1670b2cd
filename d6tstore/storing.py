"""How a value lies on a backend: the only place that decides it."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from d6tstore import content
from d6tstore.backend import Backend, TableBackend
from d6tstore.errors import BackendError, FormatError, RecordError, Unsupported
from d6tstore.format import Format, PathFormat, TableFormat
from d6tstore.frames import stream
from d6tstore.record import Output
from d6tstore.registry import format_name, format_of
from d6tstore.spool import Spool
from d6tstore.transfers import Transfers

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 1 << 16  # of a batch that is cut from a table
_AHEAD = 1 << 20  # rows that may wait for the hash while they are written


def store(
    backend: Backend,
    declared: Any,
    value: Any,
    key: Callable[[str], str],
    old: Output | None,
    derived: Callable[[str], str],
    transfers: Transfers,
) -> Output:
    """Store a value as its format and the backend allow: live, as a table, or as bytes.

    Args:
        backend: where to.
        declared: the format, as the task declares it.
        value: what the format takes.
        key: makes a new key with a given suffix.
        old: an output that is kept instead if it has the same content and is still there.
        derived: content of a value that has no bytes, from its key.
        transfers: how it goes far.

    Raises:
        FormatError: the format cannot store the value; nothing was written.
        BackendError: the backend failed.
    """
    format, name = format_of(declared), format_name(declared)
    if format.live and backend.holds_live:
        kept, new = format.check(value), key(format.suffix)
        backend.hold(new, kept)
        return Output(new, name, derived(new))
    if isinstance(format, TableFormat):
        with stream.closing(value):
            frame = format.to_arrow(value)
            return store_frame(backend, format, name, frame, key, old, transfers, only_tables=format.only_tables)
    with Spool(backend) as spool:
        _dump(format, value, spool, backend)
        checksum, size = spool.checksum()
        suffix = format.suffix_of(value)
        if old is not None and old.suffix == suffix and _same(backend, old, checksum, name):
            return old
        new = key(suffix)
        transfers.send(backend, new, spool.take(), checksum)
    return Output(new, name, checksum, checksum, size)


def store_frame(
    backend: Backend,
    format: TableFormat,
    name: str,
    frame: Any,
    key: Callable[[str], str],
    old: Output | None,
    transfers: Transfers,
    note: str = "",
    only_tables: bool = False,
) -> Output:
    """A native table where the backend takes it, else bytes. What comes in parts is hashed as it goes by.

    With a note, which says why not, no table is tried. `only_tables` refuses bytes; a copy elsewhere may be bytes.
    """
    schema = frame.schema
    if old is not None and hasattr(frame, "num_rows"):  # all is there: perhaps nothing need be written
        digest = content.of_table(frame)
        if _same(backend, old, digest, name):
            return _again(old, digest, frame.num_rows, schema)
    if isinstance(backend, TableBackend) and not note:
        refusal = backend.accepts(schema)
        if refusal is None:
            at, known = key(""), getattr(frame, "nbytes", None)  # of what comes in parts nobody knows how much it is
            hashed = _Hashed(frame, None if known is None else transfers.progress.meter("up", at, known))
            try:
                return _store_table(backend, name, hashed, schema, at, old)
            except Unsupported as exc:  # for its values, not its schema
                if exc is hashed.raised:
                    raise
                if not hasattr(frame, "num_rows"):
                    raise FormatError(
                        f"{backend!r} holds no table of this frame: {exc}. It came in parts, which are gone now; in "
                        "one piece (read_all(), pd.concat, collect()) it is stored as bytes. Or change those values."
                    ) from exc
                refusal = str(exc)
        note = refusal
    if only_tables:
        raise FormatError(
            f"{backend!r} cannot hold it as a table: {note or 'it holds no tables'}. Choose a database "
            "(d6tstore.db.init), change the frame, or use a task class that may store bytes (TaskPqPandas)."
        )
    hashed = _Hashed(frame)
    with Spool(backend) as spool:
        hashed.give_to(lambda batches: _dump(format, batches, spool, backend))
        digest, rows = hashed.digest()
        if old is not None and _same(backend, old, digest, name):
            return _again(old, digest, rows, schema)
        checksum, size = spool.checksum()
        new = key(format.suffix)
        transfers.send(backend, new, spool.take(), checksum)
    return Output(new, name, digest, checksum, size, rows, encode_schema(schema), note=note)


def _store_table(
    backend: TableBackend, name: str, hashed: _Hashed, schema: pa.Schema, key: str, old: Output | None
) -> Output:
    """A native table. Raises Unsupported: values that the backend does not hold."""
    hashed.give_to(lambda batches: backend.write_table(key, batches))
    digest, rows = hashed.digest()
    if old is not None and _same(backend, old, digest, name):
        backend.delete(key)
        return _again(old, digest, rows, schema)
    return Output(key, name, digest, rows=rows, schema=encode_schema(schema), table=True)


def _again(old: Output, digest: str, rows: int, schema: pa.Schema) -> Output:
    """The old object, which says the same; the schema may hold other metadata."""
    encoded = encode_schema(schema)
    return Output(old.key, old.format, digest, old.checksum, old.bytes, rows, encoded, old.table, old.note)


class _Hashed:
    """A frame on its way to storage, hashed beside it in a thread: blake3 and Arrow release the lock.

    Args:
        frame: whole, or in parts.
        tell: is called with the bytes of each part that went.
    """

    def __init__(self, frame: pa.Table | pa.RecordBatchReader, tell: Callable[[int], None] | None = None) -> None:
        self._frame, self._tell = frame, tell
        self._hasher = content.TableHasher(frame.schema)
        self.raised: Exception | None = None  # by what gives the parts
        self._drained = False

    def reader(self) -> pa.RecordBatchReader:
        """The batches. Reading them is what hashes them."""
        import pyarrow as pa

        frame = self._frame
        batches = self._drawn(stream.reader(frame, _ROWS))
        small = isinstance(frame, pa.Table) and frame.num_rows <= _ROWS
        return pa.RecordBatchReader.from_batches(
            frame.schema, self._inline(batches) if small else self._beside(batches)
        )

    def give_to(self, write: Callable[[pa.RecordBatchReader], None]) -> None:
        """Write the frame. What its parts raise reaches the user as it is, whatever the writer makes of it."""
        try:
            write(self.reader())
        except Exception:
            if self.raised is None:
                raise
        if self.raised is not None:
            raise self.raised
        if not self._drained:
            raise FormatError(
                "the format or backend did not read the frame to its end, so rows would be lost: a defect of that "
                "plug-in: tell its author (FormatTests finds it), and use another format."
            )

    def _drawn(self, batches: Any) -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                yield batch
                if self._tell is not None:
                    self._tell(batch.nbytes)
            self._drained = True
        except Exception as exc:
            self.raised = exc
            raise

    def _inline(self, batches: Any) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self._hasher.update(batch)
            yield batch

    def _beside(self, batches: Any) -> Iterator[pa.RecordBatch]:
        waiting: deque[tuple[int, Future[None]]] = deque()
        rows = 0
        with ThreadPoolExecutor(1, "d6tstore-hash") as pool:
            for batch in batches:
                waiting.append((batch.num_rows, pool.submit(self._hasher.update, batch)))
                rows += batch.num_rows
                while rows > _AHEAD:
                    done, future = waiting.popleft()
                    future.result()
                    rows -= done
                yield batch
            for _, future in waiting:
                future.result()

    def digest(self) -> tuple[str, int]:
        """Content and number of rows, once all is read."""
        return self._hasher.digest(), self._hasher.rows


def _dump(format: Format, value: Any, spool: Any, backend: Backend) -> None:
    try:
        if isinstance(format, PathFormat):
            format.dump_path(value, spool.as_path())
        elif isinstance(format, TableFormat):
            format.dump_table(value, spool)
        else:
            format.dump(value, spool)
    except OSError as exc:
        raise BackendError(
            f"writing to {backend!r} failed: {exc.strerror or exc}. Free space or give the rights, and run again; the "
            "previous result is whole."
        ) from exc


def _same(backend: Backend, old: Output, digest: str, name: str) -> bool:
    """True if the old output says the same in the same format, and its object is still there."""
    return (old.content, old.format) == (digest, name) and old.is_in(backend.stat([old.key]))


def encode_schema(schema: pa.Schema) -> str:
    """An Arrow schema as text for the record."""
    return base64.b64encode(schema.serialize()).decode()


def decode_schema(text: str | None) -> pa.Schema | None:
    """An Arrow schema from the record. `None` in, `None` out."""
    if text is None:
        return None
    import pyarrow as pa

    try:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
    except (ValueError, OSError) as exc:
        raise RecordError(f"the record is damaged: its schema is none ({exc}). Run the task with force.") from exc
