"""Environment variables in profiles: `${NAME}` or `${NAME:-default}`; never one that holds a secret."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from d6tstore.credentials.words import is_secret
from d6tstore.errors import ProfileError
from d6tstore.profiles.files import shown

_VARIABLE = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^${}]*))?\}|(\{))")


def expanded(value: Any, file: Path, where: str) -> Any:
    """Environment variables as `${NAME}` or `${NAME:-default}`; `$$` is a dollar sign."""
    if isinstance(value, dict):
        return {key: expanded(item, file, f"{where}.{shown(key)}") for key, item in value.items()}
    if isinstance(value, list):
        return [expanded(item, file, where) for item in value]
    if not isinstance(value, str):
        return value

    def expand(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        if match[3]:
            raise ProfileError(f"{file}: {where}: write ${{NAME}}, ${{NAME:-default}}, or $$ for a dollar sign.")
        if is_secret(match[1]) and match[1] not in ("PWD", "OLDPWD"):  # those are folders
            raise ProfileError(
                f"{file}: {where}: the environment variable {match[1]} is called as a secret is, and a profile holds "
                "none. Write credentials = 'NAME', and let D6TSTORE_<NAME>_<FIELD> or the keyring have it."
            )
        found = os.environ.get(match[1]) or match[2]
        if found is None and match[1] not in os.environ:
            raise ProfileError(
                f"{file}: {where} needs the environment variable {match[1]}, which is not set. Set it, or write "
                f"${{{match[1]}:-default}}."
            )
        return found or ""

    return _VARIABLE.sub(expand, value)
