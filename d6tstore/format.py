"""The seam to kinds of values: value <-> bytes, a path, or an Arrow table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from d6tstore.errors import FormatError

if TYPE_CHECKING:
    import pyarrow as pa


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

    `dump` and `load` are derived: a frame is always an Arrow table in between, so that its content and schema
    are the same wherever it lies.
    """

    @abstractmethod
    def to_arrow(self, value: Any) -> pa.Table:
        """The frame as an Arrow table; its schema's metadata restores what Arrow does not express.

        Raises:
            FormatError: a column cannot be stored: column, rule, cure.
        """

    @abstractmethod
    def from_arrow(self, table: pa.Table) -> Any:
        """The frame that `to_arrow` was given."""

    @abstractmethod
    def dump_table(self, table: pa.Table, file: BinaryIO) -> None:
        """Write an Arrow table to a file."""

    @abstractmethod
    def load_table(self, file: BinaryIO, schema: pa.Schema | None = None) -> pa.Table:
        """Read an Arrow table from a seekable file; `schema` is that of the table that was dumped."""

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write a frame; see `Format.dump`."""
        self.dump_table(self.to_arrow(value), file)

    def load(self, file: BinaryIO) -> Any:
        """Read a frame; see `Format.load`."""
        return self.from_arrow(self.load_table(file))
