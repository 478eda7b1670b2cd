"""What travels with the files of a pipe: how to read them, `README`, `LICENSE`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from d6tstore.errors import FormatError, UsageError
from d6tstore.place import refuse_secrets
from d6tstore.plainfiles.patterns import DESCRIPTION
from d6tstore.plainfiles.state import replace

_LARGEST = 64 << 10  # bytes: somebody else wrote it


class Description(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the publisher says of the files.

    Args:
        schema: settings by reader; plain values, as JSON has them.
    """

    schema: dict[str, Any] = {}


def read(folder: Path) -> dict[str, Any]:
    """The schema that came with the files of a folder; empty if none did.

    Raises:
        FormatError: it is too large, or no JSON of this form.
    """
    at = folder / DESCRIPTION
    try:
        if at.stat().st_size > _LARGEST:
            raise FormatError(f"{at} has more than {_LARGEST:,} bytes. {_CURE}")
        return msgspec.json.decode(at.read_bytes(), type=Description).schema
    except FileNotFoundError:
        return {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OSError) as exc:
        raise FormatError(f"{at} does not say how to read the files: {exc}. {_CURE}") from exc


_CURE = (
    "Ask its publisher to correct it, or leave it out of the pipe: exclude = 'd6tstore-pipe.json', and delete it here."
)


def write(folder: Path, schema: Mapping[str, Any] | None, readme: str | None, license: str | None) -> list[Path]:
    """Write those that are given; returns their paths.

    Raises:
        UsageError: the schema is larger than readers take, or has other values than JSON.
        CredentialsError: it holds a secret.
    """
    texts: dict[str, bytes] = {}
    if schema is not None:
        refuse_secrets(schema, None)
        try:
            data = msgspec.json.format(msgspec.json.encode(Description(dict(schema))))
            plain = msgspec.json.decode(data, type=Description).schema == schema
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as exc:
            raise UsageError(f"schema = {schema!r} is not as JSON has it: {exc}. Use plain values.") from exc
        if not plain or len(data) > _LARGEST:
            raise UsageError(f"a schema has plain values, as JSON has them, and at most {_LARGEST:,} bytes.")
        texts[DESCRIPTION] = data + b"\n"
    texts |= {name: text.encode() for name, text in (("README.md", readme), ("LICENSE", license)) if text is not None}
    try:
        for name, data in texts.items():
            replace(folder / name, data)
    except OSError as exc:
        raise UsageError(f"{folder} cannot be written to: {exc.strerror}. Choose another: local = 'FOLDER'.") from exc
    return [folder / name for name in texts]


def merged(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Both settings, reader by reader; ours go before.

    Example:
        >>> merged({"pandas": {"sep": ";", "decimal": ","}}, {"pandas": {"decimal": "."}})
        {'pandas': {'sep': ';', 'decimal': '.'}}
    """
    result = dict(theirs)
    for key, value in ours.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result
