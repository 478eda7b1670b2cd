"""Formats `bytes` and `text`."""

from __future__ import annotations

from typing import Any, BinaryIO

from d6tstore.errors import FormatError
from d6tstore.format import Format


class BytesFormat(Format):
    """Bytes as they are."""

    suffix = ".bin"

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write bytes; all else, even a bytearray, would come back as something else and is refused."""
        if not isinstance(value, bytes):
            raise FormatError(
                f"a {type(value).__name__} is no bytes and would not come back as it is. Save bytes(x), "
                "b''.join(parts), text.encode() or file.read(); for a path use TaskFile."
            )
        file.write(value)

    def load(self, file: BinaryIO) -> bytes:
        """All bytes."""
        return file.read()


class TextFormat(Format):
    """Text, in UTF-8. Line ends stay as they are."""

    suffix = ".txt"

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write text."""
        if not isinstance(value, str):
            raise FormatError(
                f"a {type(value).__name__} is no text and would not come back as it is. Save str(x), "
                "'\\n'.join(lines) or data.decode(); for a file use TaskFile, for data TaskJson."
            )
        file.write(encode(value))

    def load(self, file: BinaryIO) -> str:
        """All text."""
        return decode(file.read())


def encode(text: str) -> bytes:
    """UTF-8 of a text. Raises FormatError for half of a character (a lone surrogate)."""
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise FormatError(
            f"the text holds {text[exc.start]!r} at position {exc.start}, half of a character, and has no UTF-8. "
            "Read it with the right encoding, or save text.encode(errors='surrogateescape') with TaskBytes."
        ) from exc


def decode(data: bytes) -> str:
    """The text of UTF-8. Raises FormatError."""
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise FormatError(f"these bytes are no UTF-8 text: {exc}. Run the task again.") from exc
