"""Places as people name them: how one is opened, and the other side of a pipe."""

from __future__ import annotations

import difflib
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote, unquote

import msgspec
from msgspec.structs import replace

from d6tstore import place, project, registry
from d6tstore.backend import Backend
from d6tstore.credentials.secret import veiled
from d6tstore.errors import UsageError

A = TypeVar("A", bound="Access")


NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
"""What may stand before the families of a store."""


class SecretWarning(UserWarning):
    """A URL holds a secret. It works, but does not belong there."""


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place: URL, options of its backend, and names of the credentials that open it (and write to it)."""

    url: str
    options: dict[str, Any] = {}
    credentials: str | None = None
    write_credentials: str | None = None


class PipeAccess(Access, frozen=True, forbid_unknown_fields=True):
    """The other side of a pipe, and what may be done there.

    `role` "read" refuses a push; `trusted` lets what came from there run code (pickles); `namespace` and
    `keep_versions` are those of the store there. The others are of plain files (`kind` "files"): which of them,
    where they lie here, and how to read them.
    """

    kind: Literal["results", "files"] = "results"
    role: Literal["read", "write"] = "write"
    trusted: bool = False
    namespace: str = ""
    keep_versions: int = 2
    include: str | None = None
    exclude: str | None = None
    newest: int | None = None
    local: str | None = None
    schema: dict[str, Any] = {}


def for_writing(access: A) -> A:
    """The place as who writes there opens it: with the credentials for that, where it has other ones.

    Example:
        >>> reader = Access("postgresql://sam@db/prices", write_credentials="emma@db")
        >>> for_writing(reader).url, for_writing(reader).credentials
        ('postgresql://emma@db/prices', 'emma@db')
    """
    if access.write_credentials is None:
        return access
    url, (who, named, _) = access.url, access.write_credentials.rpartition("@")
    if named and place.split(url).user:  # the password is of that user
        start, _, rest = url.partition("://")
        url = f"{start}://{quote(unquote(who.replace('+', '%')), safe='')}@{rest.partition('@')[2]}"
    return replace(access, url=url, credentials=access.write_credentials, write_credentials=None)


def opened(access: Access, options: Mapping[str, Any]) -> Backend:
    """The backend of a place, with credentials that hold nothing of what the URL may have held.

    Args:
        access: the place.
        options: of the backend, which go before its own.

    Raises:
        UsageError, PluginError, BackendError, CredentialsError: the place or an option is wrong.
    """
    at = place.split(project.expanded(access.url))
    access = replace(access, url=at.url)
    options = {**access.options, **options}
    place.refuse_secrets(options, access.credentials or at.name)
    if at.given:
        # No source line, which the usual warning shows: it holds the secret.
        message = f"the URL {at.url!r} came with a secret. {at.advice(access.credentials)}"
        warnings.warn_explicit(message, SecretWarning, "<d6tstore>", 1, registry={})
    opens = at.credentials(access.credentials, access.write_credentials, options)
    return registry.open_backend(at.url, opens, **options)


class Remote:
    """The other side of a pipe. It is opened when it is first used, and pickles without secrets.

    Args:
        name: of the pipe.
        access: the place, without a secret.
        backend: of it, if it is open already.
    """

    def __init__(self, name: str, access: PipeAccess, backend: Backend | None = None) -> None:
        self.name = name
        self.access = access
        self._backend = backend
        self._writing: Remote | None = None

    @property
    def backend(self) -> Backend:
        """What holds the results there. Raises as `opened`."""
        if self._backend is None:
            self._backend = opened(self.access, {})
        return self._backend

    def for_writing(self) -> Remote:
        """The same place, as who writes there opens it: this one, unless it has other credentials for that."""
        access = for_writing(self.access)
        if access is self.access:
            return self
        if self._writing is None:
            self._writing = Remote(self.name, access)
        return self._writing

    def __reduce__(self) -> tuple[Any, ...]:
        return Remote, (self.name, self.access, self._backend)

    def __repr__(self) -> str:
        return f"Remote({self.name!r}, {self.access.url!r})"


@veiled
def defined(name: str, url: Any, settings: Mapping[str, Any], kind: str, known: Mapping[str, Remote]) -> Remote:
    """A pipe as somebody defines it in code.

    Args:
        name: of the pipe.
        url: of the other side; None is that of the pipe of this name that is known.
        settings: fields of `PipeAccess`; all others are options of the backend.
        kind: of the pipe.
        known: pipes by name.

    Raises:
        UsageError: the name is none, the pipe is not known, or a setting is wrong.
        PluginError, BackendError, CredentialsError: as `opened`.
    """
    if not isinstance(name, str) or not project.NAME.fullmatch(name):
        raise UsageError(
            f"{place.displayed(str(name))} cannot name a pipe. A name is a letter, then up to 63 letters, digits, "
            "_ and -."
        )
    if url is None:
        before = chosen(known, name).access
        if before.kind != kind:
            raise UsageError(f"the pipe {name!r} is one of {before.kind}. Use get_pipe({name!r}).")
    elif not isinstance(url, str | Path) or not str(url):
        raise UsageError(f"the pipe {name!r} needs a folder or URL, not a {type(url).__name__}.")
    else:
        before = PipeAccess(_full(str(url)), kind=kind)  # type: ignore[arg-type]
    fields = {key: value for key, value in settings.items() if key in PipeAccess.__struct_fields__}
    options = {key: value for key, value in settings.items() if key not in fields}
    try:
        given = msgspec.convert({**msgspec.to_builtins(before), **fields, "kind": kind}, PipeAccess)
    except msgspec.ValidationError as exc:
        raise UsageError(f"the pipe {name!r}: {exc}. Correct that setting.") from None
    if given.keep_versions < 0 or (given.namespace and not NAMESPACE.fullmatch(given.namespace)):
        raise UsageError(
            f"the pipe {name!r}: keep_versions must be 0 or more, and namespace 1 to 64 letters, digits, '_' or '-'."
        )
    backend = opened(given, options)
    shown = place.split(project.expanded(given.url)).url
    return Remote(name, replace(given, url=shown, options={**given.options, **options}), backend)


def chosen(known: Mapping[str, Remote], name: str | None) -> Remote:
    """The pipe of a name; None is the only one. Raises UsageError."""
    there = f"There are {', '.join(sorted(known))}." if known else "There is none."
    if name is None:
        if len(known) == 1:
            return next(iter(known.values()))
        raise UsageError(f"which pipe? {there} Name one, or define it: d6tstore pipe add NAME URL.")
    try:
        return known[name]
    except (KeyError, TypeError):
        near = difflib.get_close_matches(str(name), known, 1)
        hint = f", did you mean {near[0]!r}?" if near else "."
        raise UsageError(
            f"there is no pipe {place.displayed(str(name))}{hint} {there} Define it: d6tstore pipe add NAME URL, or "
            "d6tstore.pipes.init(name, url=...)."
        ) from None


def _full(url: str) -> str:
    """A URL; a folder as absolute path."""
    path = project.expanded(url)
    return path if registry.scheme(path) is not None else os.path.abspath(path)
