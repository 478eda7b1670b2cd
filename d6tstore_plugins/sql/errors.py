"""Errors of databases and drivers in our words: the one place that maps them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from d6tstore.errors import BackendError, Denied, Unsupported

_DENIED = ("28", "42501")  # invalid authorization; insufficient privilege
_UNSUPPORTED = ("22", "54")  # data that a type does not hold (NUL, dates); too many columns, a row too big
_GONE = "42P01"  # undefined table
_CURES = {
    "08": "Is the server running, and the host right?",
    "3D": "Create the database, or correct its name in the URL.",
    "53": "Free space or connections on the server, and run again; the previous result is whole.",
    "57": "The server stops, or a time limit of it (statement_timeout) was reached; raise it, and run again.",
    "55": "Somebody else holds a lock on it; run again when they are done.",
}


def state(exc: BaseException) -> str:
    """The SQLSTATE of an error of psycopg2, SQLAlchemy or ADBC; empty if it has none."""
    orig = getattr(exc, "orig", None) or exc
    return str(getattr(orig, "pgcode", None) or getattr(orig, "sqlstate", None) or "")


def is_gone(exc: BaseException) -> bool:
    """Is a table missing?"""
    return state(exc) == _GONE


def mapped(exc: BaseException, place: str) -> BackendError:
    """Our error for one of a driver."""
    code = state(exc)
    text = _text(exc)
    if code.startswith(_DENIED) or "authentication failed" in text or "no password supplied" in text:
        return Denied(f"{place} refuses: {text}. Ask for the rights, or correct user and credentials.")
    if code.startswith(_UNSUPPORTED):
        return Unsupported(text)
    if "does not exist" in text and "database" in text:
        code = "3D"
    cure = _CURES.get(code[:2] or "08", "Correct it, and run again; the previous result is whole.")
    return BackendError(f"{place}: {text}. {cure}")


def _text(exc: BaseException) -> str:
    orig: Any = getattr(exc, "orig", None) or exc
    found = re.search(r"(?:ERROR|FATAL):\s*(.+)", str(orig)) or re.search(r"(.+)", str(orig))
    return found[1].strip().removesuffix(".") if found else type(orig).__name__


@contextlib.contextmanager
def mapping(place: str) -> Iterator[None]:
    """Raise our errors in the place of those of drivers."""
    import sqlalchemy as sa
    from adbc_driver_manager import Error as AdbcError

    try:
        yield
    except (sa.exc.DBAPIError, AdbcError, sa.exc.InvalidRequestError) as exc:
        raise mapped(exc, place) from exc
