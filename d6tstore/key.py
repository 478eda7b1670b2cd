"""What a key may be: relative, and whole on every file system."""

from __future__ import annotations

import re

from d6tstore.errors import InvalidKey

# What our own keys look like: settles nearly all of them at once.
_ORDINARY = re.compile(r"(?:\.?[A-Za-z0-9_=,+-][A-Za-z0-9_=,.+-]{0,250}(?:/(?!\Z)|\Z))+")


def check_key(key: str) -> str:
    """Refuse a key that could leave its root or that some file system cannot hold.

    Args:
        key: `/`-separated, relative.

    Returns:
        The key.

    Raises:
        InvalidKey: it is empty, absolute, too long, has an empty, `.` or `..` part, a backslash, a drive, NUL or
            a lone surrogate.

    Example:
        >>> check_key("Train/model=svm-5f1c/data.pkl")
        'Train/model=svm-5f1c/data.pkl'
    """
    if len(key) <= 1024 and _ORDINARY.fullmatch(key):
        return key
    parts = key.split("/")
    if (
        any(part in ("", ".", "..") or len(part.encode(errors="replace")) > 255 for part in parts)
        or "\0" in key
        or "\\" in key
        or (len(key) > 1 and key[1] == ":")
        or len(key.encode(errors="replace")) > 1024
        or any("\ud800" <= char <= "\udfff" for char in key)
    ):
        shown = key if len(key) <= 120 else key[:117] + "..."
        raise InvalidKey(
            f"key {shown!r} is refused: a key is relative, without empty, '.' or '..' parts, backslash, drive "
            "or NUL, each part at most 255 bytes, at most 1,024 in all. A record that holds it is damaged or forged."
        )
    return key
