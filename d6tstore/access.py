"""Places as people name them: how one is opened, and the other side of a pipe."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from d6tstore import place, project, registry
from d6tstore.backend import Backend


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

    @property
    def backend(self) -> Backend:
        """What holds the results there. Raises as `opened`."""
        if self._backend is None:
            self._backend = opened(self.access, {})
        return self._backend

    def __reduce__(self) -> tuple[Any, ...]:
        return Remote, (self.name, self.access, self._backend)

    def __repr__(self) -> str:
        return f"Remote({self.name!r}, {self.access.url!r})"
