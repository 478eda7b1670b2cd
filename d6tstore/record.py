"""The record: which objects are the result of a task, and what they were made from."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from blake3 import blake3

from d6tstore import conversion, html, project
from d6tstore.errors import RecordError

VERSION = 1
"""Version of the record's layout. A reader refuses a newer one and says so."""

ANCESTORS = 32
"""How many earlier write ids a record knows, for comparing it with somebody else's."""

# gc=False: values of JSON cannot refer back to their record, and a collector that passes over the records of
# a large graph again and again costs more than its planning.

ROOT = ".d6tstore/"
"""Everything that is ours and not a result lies under this prefix."""

RECORDS = f"{ROOT}records/"
"""Current records lie under this one."""


class Output(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One stored output. `bytes` is the stored size; `schema` is the Arrow schema, base64.

    `table` is True for a native table of the backend, which has no bytes; `note` says why a frame is none there.
    """

    key: str
    format: str
    content: str
    checksum: str = ""
    bytes: int = 0
    rows: int | None = None
    schema: str | None = None
    table: bool = False
    note: str = ""

    @property
    def suffix(self) -> str:
        """File name ending of the object, with the dot; empty if it has none."""
        return self.key.rpartition("/")[2].rpartition("-")[2].lstrip("0123456789abcdef")

    def is_in(self, entries: Mapping[str, Any]) -> bool:
        """Is the object in a listing (entries by key), with the size that it should have? A table has none."""
        found = entries.get(self.key)
        return found is not None and (self.table or found.size == self.bytes)


class Input(msgspec.Struct, frozen=True, gc=False):
    """What was read: the content of a task's outputs, or of a raw file."""

    content: str


class File(msgspec.Struct, frozen=True, gc=False):
    """A raw input file; hashed again only when its size (bytes) or mtime (ns) differ."""

    content: str
    size: int
    mtime: int


class Acceptance(msgspec.Struct, frozen=True, gc=False):
    """Who said that an edit changes nothing, when, and which code it replaced."""

    who: str
    time: str
    code: str


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The result of one task. Replaced as a whole, never edited.

    `params` holds the significant parameters as JSON values, `insignificant` the others. `inputs` maps the id of every
    direct input to its content, in order; `shape` tells their roles (see `Graph.shapes`). `backend` is the one that the
    task names, if it does. `ancestors` are the write
    ids of earlier records, newest first. `restorable` turns False when the user asked to compute anew; `replaced` is
    when it moved to the history.
    """

    version: int
    family: str
    module: str
    hash: str
    params: dict[str, Any]
    insignificant: dict[str, Any] = {}
    code: str
    functions: dict[str, str] = {}
    inputs: dict[str, Input] = {}
    shape: str = ""
    files: dict[str, File] = {}
    outputs: dict[str, Output]
    backend: str = ""
    metrics: dict[str, Any] = {}
    seconds: float = 0.0
    author: str = ""
    host: str = ""
    time: str = ""
    git: str | None = None
    versions: dict[str, str] = {}
    origin: str | None = None
    write_id: str
    ancestors: tuple[str, ...] = ()
    accepted: tuple[Acceptance, ...] = ()
    restorable: bool = True
    replaced: str = ""

    @property
    def id(self) -> str:
        """`family-hash`, the id of the task."""
        return f"{self.family}-{self.hash}"

    @property
    def key(self) -> str:
        """Key under which a backend keeps this record."""
        return record_key(self.family, self.hash)

    @property
    def history_key(self) -> str:
        """Key under which a backend keeps this record once it is replaced."""
        return f"{history_prefix(self.family, self.hash)}{self.write_id}.json"

    @property
    def content(self) -> str:
        """Content of all outputs together: what a downstream task depends on."""
        if len(self.outputs) == 1:
            (output,) = self.outputs.values()
            return output.content
        return combine({name: output.content for name, output in self.outputs.items()})

    def _repr_html_(self) -> str:
        return html.box(html.title(self.id, f"version {self.write_id}"), html.table([], _html_rows(self)))

    @property
    def bytes(self) -> int:
        """Stored size of all outputs in bytes."""
        return sum(output.bytes for output in self.outputs.values())

    @property
    def rows(self) -> int | None:
        """Rows of all table outputs, None when there is none."""
        counts = [output.rows for output in self.outputs.values() if output.rows is not None]
        return sum(counts) if counts else None


def _html_rows(record: Record) -> Iterator[list[Any]]:
    yield ["made", f"{record.time[:19]} by {record.author or '?'}@{record.host or '?'} in {record.seconds:.3g} s"]
    for name, value in {**record.params, **record.insignificant}.items():
        yield [name, html.Raw(html.code(repr(value)))]
    for name, value in record.metrics.items():
        yield [f"metric {name}", value]
    for name, output in record.outputs.items():
        rows = "" if output.rows is None else f", {output.rows:,} rows"
        yield [f"output {name}", f"{output.format}{rows}, {'a table' if output.table else f'{output.bytes:,} bytes'}"]
    if record.origin:
        yield ["origin", record.origin]


def combine(contents: dict[str, str]) -> str:
    """One content for several named ones; a single one stands for itself.

    Example:
        >>> combine({"data": "ab12"})
        'ab12'
    """
    if len(contents) == 1:
        return next(iter(contents.values()))
    joined = msgspec.json.encode(contents, order="deterministic")
    return blake3(joined).hexdigest(length=16)


def nearest(params: Mapping[str, Any], records: Iterable[Record]) -> tuple[Record, str] | None:
    """The record whose parameters are nearest to these, and what it has otherwise; None without records."""

    def differing(found: Record) -> list[str]:
        return [n for n in {**params, **found.params} if params.get(n, ...) != found.params.get(n, ...)]

    found = min(records, key=lambda record: len(differing(record)), default=None)
    if found is None:
        return None
    return found, ", ".join(f"{n}={found.params[n]!r}" if n in found.params else f"no {n}" for n in differing(found))


def task_hash(family: str, params: dict[str, Any]) -> str:
    """The hash of a task, its identity within its store.

    Args:
        family: of its class, without a namespace.
        params: significant parameters as JSON values.
    """
    # The family counts, so that families that differ only in case stay apart on file systems that fold case.
    return blake3(family.encode() + b"\0" + conversion.encode(params)).hexdigest(length=8)


def record_key(family: str, hash: str) -> str:
    """Key of the current record of a task."""
    return f"{records_prefix(family)}{hash}.json"


def records_prefix(family: str) -> str:
    """Prefix of the keys of the current records of a family."""
    return f"{RECORDS}{family}/"


def history_prefix(family: str, hash: str) -> str:
    """Prefix of the keys of the replaced records of a task."""
    return f"{ROOT}history/{family}/{hash}/"


def now() -> str:
    """The time in UTC, ISO 8601 with microseconds, so that it sorts as text."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return f"{_second(seconds)}.{nanoseconds // 1000:06d}+00:00"


@functools.lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


_decoder = msgspec.json.Decoder(Record)
_encoder = msgspec.json.Encoder()
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def encode(record: Record) -> bytes:
    """A record as JSON."""
    return _encoder.encode(record)


def claimant() -> dict[str, str]:
    """Who takes a claim, where and since when: what those are told who find it held."""
    return {"who": project.author(), "host": project.host(), "pid": project.pid(), "since": now()}


def encode_values(values: Mapping[str, Any]) -> bytes:
    """Metrics as JSON. Raises UnicodeEncodeError."""
    return _encoder.encode(values)


def version_of(data: bytes) -> int:
    """The version of the layout of a record, which this d6tstore may not be able to read; 0 if it has none."""
    try:
        version = msgspec.json.decode(data)["version"]
    except (*_UNREADABLE, TypeError, KeyError):
        return 0
    return version if isinstance(version, int) else 0


def decode(data: bytes, key: str) -> Record:
    """A record from JSON.

    Args:
        data: what `encode` returned.
        key: where it came from, for the message.

    Raises:
        RecordError: it is damaged, or from a future version.
    """
    try:
        record = _decoder.decode(data)
    except _UNREADABLE as exc:
        record, problem = None, str(exc)
    if record is None or record.version > VERSION:
        if version_of(data) > VERSION:
            raise RecordError(
                f"record {key!r} has version {version_of(data)}, this d6tstore reads up to {VERSION}. "
                "Upgrade d6tstore, or invalidate the task to compute it anew."
            )
        raise RecordError(
            f"record {key!r} is damaged ({problem}). Run the task to compute it anew, "
            "or restore the file from a backup."
        )
    return record
