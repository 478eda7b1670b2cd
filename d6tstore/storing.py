"""How a value lies on a backend: the only place that decides it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from d6tstore import content
from d6tstore.backend import Backend
from d6tstore.errors import BackendError
from d6tstore.format import Format, PathFormat, TableFormat
from d6tstore.record import Output
from d6tstore.registry import format_name, format_of
from d6tstore.spool import Spool

if TYPE_CHECKING:
    import pyarrow as pa


def store(
    backend: Backend,
    declared: Any,
    value: Any,
    key: Callable[[str], str],
    old: Output | None,
    derived: Callable[[str], str],
) -> Output:
    """Store a value as its format and the backend allow: live, as a table, or as bytes.

    Args:
        backend: where to.
        declared: the format, as the task declares it.
        value: what the format takes.
        key: makes a new key with a given suffix.
        old: an output that is kept instead if it has the same content and is still there.
        derived: content of a value that has no bytes, from its key.

    Raises:
        FormatError: the format cannot store the value; nothing was written.
        BackendError: the backend failed.
    """
    format, name = format_of(declared), format_name(declared)
    if format.live and backend.holds_live:
        kept, new = format.check(value), key(format.suffix)
        backend.hold(new, kept)
        return Output(new, name, derived(new))
    rows = schema = digest = None
    if isinstance(format, TableFormat):
        value = format.to_arrow(value)
        rows, schema, digest = value.num_rows, encode_schema(value.schema), content.of_table(value)
        if old is not None and _same(backend, old, digest, name):
            return Output(old.key, name, digest, old.checksum, old.bytes, rows, schema)
    with Spool(backend) as spool:
        _dump(format, value, spool, backend)
        checksum, size = spool.checksum()
        if digest is None:
            digest = checksum
            if old is not None and _same(backend, old, digest, name):
                return old
        new = key(format.suffix)
        backend.write(new, spool.take())
    return Output(new, name, digest, checksum, size, rows, schema)


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
    if (old.content, old.format) != (digest, name):
        return False
    there = backend.stat([old.key]).get(old.key)
    return there is not None and there.size == old.bytes


def encode_schema(schema: pa.Schema) -> str:
    """An Arrow schema as text for the record."""
    return base64.b64encode(schema.serialize()).decode()


def decode_schema(text: str | None) -> pa.Schema | None:
    """An Arrow schema from the record. `None` in, `None` out."""
    if text is None:
        return None
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
