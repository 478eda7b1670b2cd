"""A secret in our hands: it shows as `********`, and leaves no trace in errors."""

from __future__ import annotations

import asyncio
import base64
import functools
import hmac
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from types import TracebackType
from typing import Any, NoReturn, ParamSpec, TypeVar, final
from urllib.parse import quote_from_bytes, quote_plus

from d6tstore.errors import CredentialsError, D6tstoreError, ForeignError

MASK = "********"
_SHORT = 4  # forms with fewer characters occur by chance: they are masked where they stand alone
_LONG = 8  # a line, or a stretch of base64, that is told from other text
_MOST = 2_000  # characters of a driver's message that we keep
_P = ParamSpec("_P")
_R = TypeVar("_R")


@final
class Secret:
    """Text that shows nowhere: `repr`, `str`, f-strings and logging give `********`; it does not pickle.

    Args:
        text: the secret, not empty.

    Raises:
        CredentialsError: it is empty or no text.

    Example:
        >>> password = Secret("hunter2")
        >>> f"{password}", repr(password), password.reveal()
        ('********', '********', 'hunter2')
    """

    __slots__ = ("_reveal",)

    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or not text:
            del text  # a traceback with locals would show it
            raise CredentialsError("a secret is text, and not empty.")

        def reveal() -> str:
            return text

        self._reveal = reveal  # what lists the attributes of an object shows a function

    def reveal(self) -> str:
        """The text, for the one call that needs it: keep it in no variable, which a traceback could show."""
        return self._reveal()

    def __repr__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self.reveal()), _bytes(other.reveal()))

    def __hash__(self) -> int:
        return id(type(self))  # one for all: a hash of the text would be something to try guesses on

    def __reduce__(self) -> NoReturn:
        raise CredentialsError(
            "a secret must not leave this process. Pass its name (Credentials), which finds it where it is needed."
        )

    def __getstate__(self) -> NoReturn:
        self.__reduce__()

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        return self


# ---------------------------------------------------------------------- in texts


def masked(text: str, secrets: Iterable[Secret]) -> str:
    """A text without the secrets, in any of the forms in which they occur in messages.

    A form of fewer than 4 characters is masked where it stands alone: inside of words it would shred the message,
    and the holes would tell it.

    Example:
        >>> masked("login with p%40ss failed", [Secret("p@ss")]), masked("pin 42 of 1424 failed", [Secret("42")])
        ('login with ******** failed', 'pin ******** of 1424 failed')
    """
    forms = {form for secret in secrets for form in _forms(secret.reveal())} - {""}
    found = [re.escape(f) if len(f) >= _SHORT else rf"(?<!\w){re.escape(f)}(?!\w)" for f in sorted(forms, key=_longest)]
    return re.sub("|".join(found), MASK, text) if found else text


def _longest(form: str) -> tuple[int, str]:
    return -len(form), form


def _bytes(text: str) -> bytes:
    """Bytes of a text; of a variable of the environment that is no UTF-8, those that stood there."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass")


def _forms(text: str) -> Iterator[str]:
    data = _bytes(text)
    yield from _escaped(text)
    for line in text.splitlines():
        if len(line) >= _LONG:  # of a key in several lines, a message may show one
            yield from _escaped(line)
    for quoted in (quote_from_bytes(data, safe=""), quote_from_bytes(data), quote_plus(data)):
        yield quoted
        yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), quoted)
    for encoded in _base64(data):
        yield encoded
        yield encoded.replace("+", "-").replace("/", "_")


def _escaped(text: str) -> Iterator[str]:
    """As it is, and as it stands in a `repr`, in JSON, in HTML, and in a `repr` of those."""
    for once in {
        text,
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        repr(_bytes(text))[2:-1],
        html.escape(text),
        html.escape(text, quote=False),
        html.escape(text).replace("&#x27;", "&apos;"),
        text.replace("'", "''"),
        text.replace('"', '""'),
        text.replace("}", "}}"),
        text.strip(),
    }:
        yield once
        yield repr(once)[1:-1]
        yield repr(once + "'\"")[1:-4]  # if the text around has both quotes
        yield json.dumps(once)[1:-1]


def _base64(data: bytes) -> Iterator[str]:
    """By itself, and that stretch of it which is the same whatever stands around (`Basic` is of `user:secret`)."""
    yield base64.b64encode(data).decode().rstrip("=")
    for before, skipped in ((0, 0), (1, 2), (2, 3)):
        whole = base64.b64encode(bytes(before) + data).decode().rstrip("=")
        core = whole[skipped : len(whole) - ((before + len(data)) % 3 > 0)]
        if len(core) >= _LONG:
            yield core


# --------------------------------------------------------------------- in errors


def described(exc: BaseException) -> str:
    """Type and text of any exception; of a group, its members. Not masked."""
    kind = type(exc)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        text = str(exc)[: 100 * _MOST]
    except Exception as second:  # noqa: BLE001 - whatever a class of somebody's does
        text = f"(its text cannot be made: {type(second).__name__})"
    if isinstance(exc, BaseExceptionGroup):
        text = "; ".join([text, *map(described, exc.exceptions[:10])])
    return f"{name}: {text}" if text else name


def cleaned(exc: BaseException, secrets: Iterable[Secret]) -> BaseException:
    """An error, and all that caused it, without frames and without the secrets.

    Errors of ours keep their type. All others become `ForeignError`s with type, text and line: their frames and
    attributes (a connection, a request) hold what they were given. What is no `Exception` (Ctrl-C) is one of its
    kind, alone.
    """
    secrets = list(secrets)
    if not isinstance(exc, Exception):
        return _bare(exc, secrets)
    chain: list[BaseException] = []
    inner: BaseException | None = exc
    while inner is not None and not any(inner is other for other in chain):
        chain.append(inner)
        inner = inner.__context__ if inner.__cause__ is None and not inner.__suppress_context__ else inner.__cause__
    new: Exception | None = None
    for each in reversed(chain):
        outer = _clean(each, secrets)
        outer.__cause__ = new
        new = outer
    return new or exc


def _bare(exc: BaseException, secrets: list[Secret]) -> BaseException:
    """What ends a program, without anything that it held; what is of a class of somebody's, as a `ForeignError`."""
    if isinstance(exc, SystemExit):
        return SystemExit(exc.code if isinstance(exc.code, int | None) else masked(str(exc.code), secrets))
    for kind in (KeyboardInterrupt, GeneratorExit, asyncio.CancelledError):
        if isinstance(exc, kind):
            return kind()
    return ForeignError(masked(described(exc), secrets)[:_MOST])


def _clean(exc: BaseException, secrets: list[Secret]) -> Exception:
    """A new error instead of this one; alone."""
    new: Exception
    if isinstance(exc, D6tstoreError):
        new = type(exc).__new__(type(exc))
        new.args = _plain(exc.args, secrets)
        new.__dict__.update(_plain(exc.__dict__, secrets))
    else:
        text = masked(described(exc), secrets)
        text = text if len(text) <= _MOST else f"{text[:_MOST]}..."
        new = ForeignError(text + _line(exc.__traceback__))
        for note in getattr(exc, "__notes__", ()):
            new.add_note(str(_plain(note, secrets)))
    return new


def _line(trace: TracebackType | None) -> str:
    """Where it was raised: all that is left of its frames."""
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" ({'/'.join(PurePath(trace.tb_frame.f_code.co_filename).parts[-2:])}, line {trace.tb_lineno})"


def _plain(value: Any, secrets: list[Secret]) -> Any:
    """Texts masked, numbers as they are, and of all else the name of its type: it may hold anything."""
    if isinstance(value, str):
        return masked(value, secrets)
    if isinstance(value, tuple | list | set | frozenset):
        plain = [_plain(item, secrets) for item in value]
        return plain if isinstance(value, list) else tuple(plain)
    if isinstance(value, dict):
        return {_plain(key, secrets): _plain(item, secrets) for key, item in value.items()}
    return value if isinstance(value, bool | int | float | None) else f"<{type(value).__name__}>"


def veiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """A function whose arguments may hold a secret (a URL): errors of ours leave it without a frame that shows them."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except (D6tstoreError, Warning) as exc:
            failure = exc.with_traceback(None)
        del args, kwargs
        raise failure

    return call
