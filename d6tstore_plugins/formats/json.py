"""Format `json`."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from d6tstore.errors import FormatError
from d6tstore.format import Format

_DEPTH = 500  # what is nested deeper might be written, and then not be read where the stack is higher
_SCALARS = frozenset((str, int, float, bool, type(None)))


class JsonFormat(Format):
    """JSON, UTF-8. What would come back as something else is refused: tuples, sets, keys that are no text."""

    suffix = ".json"

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write a value of dicts with text keys, lists, text, numbers, bools and None."""
        if found := _problem(value, 0):
            where, problem = found
            raise FormatError(f"JSON cannot store value{where}{problem}")
        try:
            file.write(_encode(value).encode())
        except ValueError as exc:
            raise FormatError(f"JSON cannot store the value: {exc}. Save a plain value, or use TaskPickle.") from exc

    def load(self, file: BinaryIO) -> Any:
        """Read a value."""
        try:
            return json.loads(file.read())
        except (ValueError, RecursionError) as exc:
            raise FormatError(f"these bytes are no JSON: {exc}. Run the task again.") from exc


_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def _problem(value: Any, depth: int) -> tuple[str, str] | None:
    """Where the first part is that would not come back equal, with rule and cure. NaN does come back."""
    kind = type(value)
    if kind in _SCALARS:
        return None
    if kind is not dict and kind is not list:
        return "", (
            f" of type {kind.__module__}.{kind.__qualname__}: it would not come back as it is. "
            "Convert it (float(x), list(x), x.tolist(), dict(x)) or use TaskPickle."
        )
    if depth > _DEPTH:
        return "", (
            f", nested deeper than {_DEPTH} levels, or a value that holds itself. Flatten it, or use TaskPickle."
        )
    for part, item in value.items() if kind is dict else enumerate(value):
        if kind is dict and type(part) is not str:
            return "", f": key {part!r} is no text, it would come back as text. Use str keys or TaskPickle."
        if type(item) not in _SCALARS and (found := _problem(item, depth + 1)):
            path = f"[{part!r}]{found[0]}"
            return path if len(path) <= 300 else f"{path[:297]}...", found[1]
    return None
