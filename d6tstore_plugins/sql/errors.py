"""Errors of databases and drivers in our words: the one place that maps them."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from d6tstore.errors import BackendError, Denied, Unsupported

_errors: list[type[Exception]] = [sa.exc.DBAPIError, sa.exc.InvalidRequestError, sa.exc.TimeoutError]
for _driver in ("psycopg2", "adbc_driver_manager"):
    with contextlib.suppress(ModuleNotFoundError):  # psycopg2 does the whole job; other databases need neither
        _errors.append(importlib.import_module(_driver).Error)
ERRORS = tuple(_errors)
"""What SQLAlchemy and the drivers raise."""

_DENIED = ("28", "42501")  # invalid authorization; insufficient privilege
_UNSUPPORTED = ("22", "54")  # data that a type does not hold (NUL, dates); too many columns, a row too big
_NUL = ("22021", "22P05")  # in text, in jsonb
_DEPENDENT = "2BP01"
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


class Dependent(BackendError):
    """A view of somebody's depends on a table that is to go."""


class Gone(BackendError):
    """A table is missing."""


def mapped(exc: BaseException, place: str) -> BackendError:
    """Our error for one of a driver."""
    code = state(exc)
    said = text(exc)
    if code.startswith(_DENIED) or "authentication failed" in said or "no password supplied" in said:
        return Denied(f"{place} refuses: {said}. Ask for the rights, or correct user and credentials.")
    if code.startswith(_UNSUPPORTED):
        return Unsupported("Postgres holds no text with NUL" if code in _NUL else said)
    if code == _GONE:
        return Gone(f"{place}: {said}.")
    if code == _DEPENDENT:
        views = ", ".join(dict.fromkeys(re.findall(r"(?:view|table|rule) (\S+) .*depends on", str(exc)))) or "something"
        return Dependent(f"{place}: {said}: {views} depends on it. Drop or change that, and run gc again.")
    if "does not exist" in said and "database" in said:
        code = "3D"
    if "statement timeout" in said:
        code = "57"
    cure = _CURES.get(code[:2] or "08", "Correct it, and run again; the previous result is whole.")
    return BackendError(f"{place}: {said}. {cure}")


def text(exc: BaseException) -> str:
    """What the server or the driver says, in one line."""
    orig: Any = getattr(exc, "orig", None) or exc
    found = re.search(r"(?:ERROR|FATAL):\s*(.+)", str(orig)) or re.search(r"(.+)", str(orig))
    return found[1].strip().removesuffix(".") if found else type(orig).__name__


@contextlib.contextmanager
def mapping(place: str) -> Iterator[None]:
    """Raise our errors in the place of those of drivers."""
    try:
        yield
    except ERRORS as exc:
        raise mapped(exc, place) from exc
    except (OSError, pa.ArrowException) as exc:  # of a stream of ADBC's
        if "[libpq]" not in str(exc):
            raise
        raise mapped(exc, place) from exc
