"""A secret by name: from an environment variable that the user set, or from the keyring of the OS.

A secret has a name (of a place, such as `warehouse`) and a field (`password`, `secret_key`, ...). It is looked
up at the moment of use: first the variable `D6TSTORE_<NAME>_<FIELD>`, then the entry of the service
`d6tstore:<name>` for the user `<field>` in whatever keyring is active. Nothing of ours ever holds one: not a
file, not a record, not a pickle.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, NoReturn

from d6tstore.credentials import vault
from d6tstore.credentials.secret import Secret, cleaned
from d6tstore.errors import CredentialsError

PASSWORD = "password"  # noqa: S105  # the usual field
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,199}")
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,63}")

# What was handed out, by the name of its credentials: a pool hands a password out in one thread, and reports it in
# another one, much later. Of other places it is not masked, for it may be a word (`data`) that messages need.
_handed: dict[str | None, list[Secret]] = {}
_here: ContextVar[list[Secret] | None] = ContextVar("d6tstore_handed", default=None)  # within the outermost guard


class Guard:
    """What `Credentials.guard` returns: a context manager."""

    __slots__ = ("_here", "_names", "_token")

    def __init__(self, *names: str | None) -> None:
        self._names = names
        self._here: list[Secret] = []
        self._token: Token[list[Secret] | None] | None = None

    def __enter__(self) -> None:
        if _here.get() is None:
            self._token = _here.set(self._here)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        here = self._here if self._token is not None else _here.get() or []
        if self._token is not None:
            with contextlib.suppress(ValueError):  # a generator, which another thread reads to its end
                _here.reset(self._token)
        if exc is None or (isinstance(exc, GeneratorExit) and not exc.args):
            return
        failure = cleaned(exc, [*here, *(secret for name in self._names for secret in _handed.get(name, ()))])
        if failure is exc:
            return
        del exc, trace  # what a traceback with locals would show of this frame
        try:
            raise failure
        finally:
            failure.__context__ = None  # Python has just put the driver's error there, with all that it holds


def _hand(name: str | None, secret: Secret) -> Secret:
    """Remember what a driver may tell."""
    for known in (_handed.setdefault(name, []), _here.get()):
        if known is not None and secret not in known:
            known.append(secret)
    return secret


class Credentials:
    """Resolves the secrets of one place at the moment of use, and holds none.

    Args:
        name: of the place; None if it needs no secret.
        write: name of other credentials that writing needs; None if one does for both.
        user: who we are there, from the URL; no secret.
        given: secrets that stood in the URL, by field. Such an object does not pickle.

    Example:
        >>> Credentials("warehouse")
        Credentials('warehouse', from the keyring)
    """

    __slots__ = ("_given", "name", "user", "write")

    def __init__(
        self,
        name: str | None = None,
        write: str | None = None,
        user: str | None = None,
        given: Mapping[str, Secret] | None = None,
    ) -> None:
        self.name = None if name is None else check_name(name)
        self.write = None if write is None else check_name(write)
        self.user = user
        self._given = {field: _hand(self.name, secret) for field, secret in (given or {}).items()}

    def get(self, field: str = PASSWORD) -> Secret:
        """The secret of a field.

        Raises:
            CredentialsError: there is none, with the ways to give it; or the keyring fails.
        """
        found = self.find(field)
        if found is None:
            self._missing(field)
        return found

    def find(self, field: str = PASSWORD) -> Secret | None:
        """The secret of a field, None if nobody gave one: the place may have other ways to know us.

        Raises:
            CredentialsError: the keyring is locked, broken, or does not answer.
        """
        found = self._given.get(field) or (None if self.name is None else lookup(self.name, field))
        return None if found is None else _hand(self.name, found)

    def for_writing(self) -> Credentials:
        """The credentials that writing needs: others, or these."""
        return self if self.write is None else Credentials(self.write, user=self.user)

    def origin(self, field: str = PASSWORD) -> str:
        """Where the answer would come from, in words. Nothing is asked."""
        if field in self._given:
            return "from the URL"
        if self.name is None:
            return "none"
        variable = variable_of(self.name, field)
        return f"from {variable}" if variable in os.environ else "from the keyring"

    def guard(self) -> Guard:
        """A context within which secrets are given to a driver: its errors leave without frames and without secrets.

        Errors of ours keep their type; all others become `ForeignError`. The frame of the `with` itself stays:
        give a secret to the driver in the call, `connect(password=credentials.get().reveal())`, not in a variable.
        Use it by `with`: the frames of an `ExitStack` hold the error as it came.
        """
        return Guard(self.name, self.write)

    def _missing(self, field: str) -> NoReturn:
        if self.name is None:
            raise CredentialsError(
                f"a {field} is needed, but nothing names the credentials of this place. Write user@host in the URL, "
                "or credentials='NAME'."
            )
        variable, why = variable_of(self.name, field), vault.problem()
        raise CredentialsError(
            f"there is no {field} for {self.name!r}{f' ({why})' if why else ''}. Store it: "
            f"d6tstore credentials set {self.name} {field}; or set the environment variable {variable} "
            f"(containers, CI).{' ' + vault.ADVICE if why else ''}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        if self._given:
            fields = " ".join(self._given)
            raise CredentialsError(
                f"the URL of {self.name!r} holds a secret, which must not leave this process. Store it: "
                f"d6tstore credentials set {self.name} {fields}; then remove it from the URL."
            )
        return Credentials, (self.name, self.write, self.user)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Credentials):
            return NotImplemented
        mine, theirs = ((c.name, c.write, c.user) for c in (self, other))
        return mine == theirs and self._given == other._given

    def __hash__(self) -> int:
        return hash((self.name, self.write, self.user))

    def __repr__(self) -> str:
        if self.name is None and not self._given:
            return "Credentials()"
        write = f", write={self.write!r}" if self.write else ""
        return f"Credentials({self.name!r}{write}, {self.origin(min(self._given, default=PASSWORD))})"


def lookup(name: str, field: str) -> Secret | None:
    """The secret of a name and field, None if there is none.

    Raises:
        CredentialsError: a name or field that cannot be; an empty variable; the keyring fails.
    """
    check_name(name)
    check_field(field)
    variable = variable_of(name, field)
    value = os.environ.get(variable)
    if value == "":
        raise CredentialsError(f"the environment variable {variable} is empty. Give it the {field}, or unset it.")
    if value is not None:
        return Secret(value)
    return vault.get(name, field)


def variable_of(name: str, field: str) -> str:
    """The environment variable of a secret.

    Example:
        >>> variable_of("etl@db.example.com", "password")
        'D6TSTORE_ETL_DB_EXAMPLE_COM_PASSWORD'
    """
    return "_".join(["D6TSTORE", re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").upper(), field.upper()])


def check_name(name: str) -> str:
    """The name. CredentialsError: it is none (perhaps a secret, so it is not shown)."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CredentialsError(
            "a name of credentials has 1 to 200 letters, digits and ._@:+- and begins with a letter or digit, such as "
            "'warehouse' or 'etl@db.example.com'. The one given is not shown, for it may be a secret."
        )
    return name


def check_field(field: str) -> str:
    """The field. CredentialsError: it is none (perhaps a secret, so it is not shown)."""
    if not isinstance(field, str) or not _FIELD.fullmatch(field):
        raise CredentialsError(
            "a field of credentials has 1 to 64 small letters, digits and _ and begins with a letter, such as "
            "'password'. The one given is not shown, for it may be a secret: d6tstore asks for it, or reads --stdin."
        )
    return field
