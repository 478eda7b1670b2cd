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
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NoReturn

from d6tstore import vault
from d6tstore.errors import CredentialsError
from d6tstore.secret import Secret, cleaned

PASSWORD = "password"  # noqa: S105  # the usual field
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,199}")
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,63}")

# Secrets that were handed out since a `guard` began: their text is removed from errors.
_handed: ContextVar[list[Secret] | None] = ContextVar("d6tstore_handed", default=None)


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
        self._given = dict(given or {})

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
        handed = _handed.get()
        if found is not None and handed is not None:
            handed.append(found)
        return found

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

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Inside, secrets are given to a driver: an error leaves without its frames, and without their text."""
        token = _handed.set([])
        failure = None
        try:
            yield
        except Exception as exc:  # noqa: BLE001 - whatever a driver raises; raised again below
            failure = cleaned(exc, [*(_handed.get() or ()), *self._given.values()])
        finally:
            _handed.reset(token)
        if failure is not None:
            raise failure

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
        if self.name is None:
            return "Credentials()"
        write = f", write={self.write!r}" if self.write else ""
        fields = sorted({PASSWORD, *self._given}) if not self._given else sorted(self._given)
        return f"Credentials({self.name!r}{write}, {self.origin(fields[0])})"


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
