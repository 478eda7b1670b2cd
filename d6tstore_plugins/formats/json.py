"""Format `json`."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from d6tstore.errors import FormatError
from d6tstore.format import Format


class JsonFormat(Format):
    """JSON, UTF-8. What would come back as something else is refused: tuples, sets, keys that are no text."""

    suffix = ".json"

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write a value of dicts with text keys, lists, text, numbers, bools and None."""
        if problem := _problem(value, "value"):
            raise FormatError(f"JSON cannot store {problem}")
        try:
            file.write(_encode(value).encode())
        except (ValueError, RecursionError) as exc:
            raise FormatError(
                f"JSON cannot store the value: {exc}. Save a plain value, or use TaskPickle."
            ) from exc

    def load(self, file: BinaryIO) -> Any:
        """Read a value."""
        try:
            return json.loads(file.read())
        except ValueError as exc:
            raise FormatError(f"these bytes are no JSON: {exc}. Run the task again.") from exc


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _problem(value: Any, where: str) -> str | None:
    """The first part that would not come back equal, with rule and cure. NaN and infinity do come back."""
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                return f"{where}: key {key!r} is no text, it would come back as text. Use str keys or TaskPickle."
            if found := _problem(item, f"{where}[{key!r}]"):
                return found
    elif kind is list:
        for i, item in enumerate(value):
            if found := _problem(item, f"{where}[{i}]"):
                return found
    elif kind not in (str, int, float, bool, type(None)):
        return (
            f"{where} of type {kind.__module__}.{kind.__qualname__}: it would not come back as it is. "
            "Convert it (float(x), list(x), x.tolist(), dict(x)) or use TaskPickle."
        )
    return None
