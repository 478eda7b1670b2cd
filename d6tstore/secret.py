"""A secret in our hands: it shows as `********`, and leaves no trace in errors."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn
from urllib.parse import quote, quote_plus

from d6tstore.errors import CredentialsError, D6tstoreError, ForeignError

MASK = "********"


class Secret:
    """Text that shows nowhere: `repr`, `str`, f-strings and logging give `********`; it does not pickle.

    Example:
        >>> password = Secret("hunter2")
        >>> f"{password}", repr(password), password.reveal()
        ('********', '********', 'hunter2')
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or not text:
            raise CredentialsError("a secret is text, and not empty.")
        self._text = text

    def reveal(self) -> str:
        """The text, for the one call that needs it."""
        return self._text

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(errors="replace"), other._text.encode(errors="replace"))

    def __hash__(self) -> int:
        return id(type(self))

    def __reduce__(self) -> NoReturn:
        raise CredentialsError(
            "a secret must not leave this process. Pass its name (Credentials), which finds it where it is needed."
        )

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        return self


def masked(text: str, secrets: Iterable[Secret]) -> str:
    """A text without the secrets, in any of the forms in which they occur in messages."""
    forms = {form for secret in secrets for form in _forms(secret.reveal())}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text


def _forms(text: str) -> Iterator[str]:
    yield text
    yield quote(text, safe="")
    yield quote(text)
    yield quote_plus(text)
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield repr(text)[1:-1]
    yield base64.b64encode(text.encode(errors="replace")).decode().rstrip("=")
    yield base64.urlsafe_b64encode(text.encode(errors="replace")).decode().rstrip("=")


def cleaned(exc: BaseException, secrets: Iterable[Secret]) -> Exception:
    """An error, and all that caused it, without frames and without the secrets.

    Errors of ours stay what they are. All others become `ForeignError`s with type and text: their frames and
    attributes (a connection, a request) hold what they were given.
    """
    secrets = list(secrets)
    new: Exception
    if isinstance(exc, D6tstoreError):
        new = exc
        new.args = tuple(masked(a, secrets) if isinstance(a, str) else a for a in exc.args)
    else:
        kind = type(exc)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        new = ForeignError(masked(f"{name}: {exc}", secrets))
    inner = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    new.__traceback__ = None
    new.__cause__ = None if inner is None else cleaned(inner, secrets)
    new.__context__ = None
    return new
