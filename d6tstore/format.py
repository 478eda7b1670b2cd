"""The seam to kinds of values: value <-> bytes, a path, or an Arrow table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from d6tstore import frames
from d6tstore.errors import FormatError

if TYPE_CHECKING:
    import pyarrow as pa

    from d6tstore.selection import Selection


class Format(ABC):
    """How a value becomes bytes and comes back. Two methods; instances have no state.

    Example:
        >>> class TextFormat(Format):
        ...     suffix = ".txt"
        ...     def dump(self, value, file):
        ...         file.write(value.encode())
        ...     def load(self, file):
        ...         return file.read().decode()
    """

    suffix: ClassVar[str] = ""
    """File name ending, with the dot."""
    runs_code: ClassVar[bool] = False
    """True if loading runs code that the bytes name (pickle): refused for what came from an untrusted remote."""
    live: ClassVar[bool] = False
    """True if values are kept in memory as they are; `dump` and `load` are not used then."""

    def suffix_of(self, value: Any) -> str:
        """File name ending, with the dot, of one value."""
        return self.suffix

    def check(self, value: Any) -> Any:
        """For live formats: the object to keep, or to hand out. Raises FormatError."""
        return value

    @abstractmethod
    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write a value to a file that is open for writing.

        Raises:
            FormatError: it cannot be stored: the value, the rule, the cure.
        """

    @abstractmethod
    def load(self, file: BinaryIO) -> Any:
        """Read a value from a seekable file.

        Raises:
            FormatError: the bytes are not of this format.
        """


class PathFormat(Format):
    """A format whose library wants a path rather than an open file."""

    @abstractmethod
    def dump_path(self, value: Any, path: Path) -> None:
        """Write a value to a path that does not exist yet. Raises as `dump`."""

    @abstractmethod
    def load_path(self, path: Path) -> Any:
        """Read a value from a path. Raises as `load`."""

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Not used: the engine calls `dump_path`."""
        raise FormatError(f"{type(self).__name__} writes to a path; use dump_path().")

    def load(self, file: BinaryIO) -> Any:
        """Not used: the engine calls `load_path`."""
        raise FormatError(f"{type(self).__name__} reads from a path; use load_path().")


class TableFormat(Format):
    """A format of frames: on a backend that holds tables they become tables, elsewhere bytes.

    A frame is always Arrow data in between, so that its content and its schema are the same wherever it lies.
    The author writes `dump_table` and `load_table`; `frame` says whose frames they are. All else is derived, and
    overridden for speed only.

    Example:
        >>> import pyarrow as pa
        >>> class IpcFormat(TableFormat):
        ...     suffix = ".arrows"
        ...     frame = "polars"
        ...     def dump_table(self, batches, file):
        ...         with pa.ipc.new_stream(file, batches.schema) as writer:
        ...             for batch in batches:
        ...                 writer.write_batch(batch)
        ...     def load_table(self, file, schema=None):
        ...         return pa.ipc.open_stream(file).read_all()
    """

    frame: ClassVar[str] = "pandas"
    """Kind of the frames: `pandas`, `polars` or `arrow`."""
    only_tables: ClassVar[bool] = False
    """True if a frame that the backend cannot hold as a table is refused, in the place of being stored as bytes."""

    @abstractmethod
    def dump_table(self, batches: pa.RecordBatchReader, file: BinaryIO) -> None:
        """Write the batches of a frame, reading each once, in order.

        Args:
            batches: of one schema; dictionaries of a column are the same in all of them.
            file: open for writing.

        Raises:
            FormatError: a column cannot be stored: column, rule, cure.
        """

    @abstractmethod
    def load_table(self, file: BinaryIO, schema: pa.Schema | None = None) -> pa.Table:
        """Read a whole frame from a seekable file.

        Args:
            file: what `dump_table` wrote.
            schema: of the frame that was dumped, its metadata with it; None if nothing but the file is known.

        Raises:
            FormatError: the bytes are not of this format, or not of that schema.
        """

    def scan(self, file: BinaryIO, schema: pa.Schema, selection: Selection) -> pa.RecordBatchReader:
        """Read a part of a frame, in the order of its rows.

        Args:
            file: what `dump_table` wrote; it stays open while the reader is used.
            schema: of the frame that was dumped.
            selection: the columns, conditions and number of rows that are asked for.

        Returns:
            A reader of just that, in the types of `schema`. Raises as `load_table`, at once or later.
        """
        return selection.apply(self.load_table(file, schema))

    def part(self, file: BinaryIO, schema: pa.Schema, selection: Selection) -> pa.Table:
        """The same part as `scan`, in memory as a whole."""
        return self.scan(file, schema, selection).read_all()

    def to_arrow(self, value: Any) -> pa.Table | pa.RecordBatchReader:
        """Arrow data of a frame; its schema's metadata restores what Arrow does not express.

        Raises:
            FormatError: no frame, or one that would not come back equal: column, rule, cure.
        """
        return frames.to_arrow(value, self.frame)

    def from_arrow(self, table: pa.Table) -> Any:
        """The frame that `to_arrow` was given."""
        return frames.from_arrow(table, self.frame)

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write a frame; see `Format.dump`."""
        self.dump_table(frames.stream.reader(self.to_arrow(value)), file)

    def load(self, file: BinaryIO) -> Any:
        """Read a frame; see `Format.load`."""
        return self.from_arrow(self.load_table(file))
