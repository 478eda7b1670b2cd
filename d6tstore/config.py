"""Where results go: from a path, URL or profile to a store."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from d6tstore import context, profiles, project, registry
from d6tstore.access import Access, PipeAccess, Remote, chosen, opened
from d6tstore.backend import Backend
from d6tstore.credentials.secret import veiled
from d6tstore.errors import BackendError, Conflict, CredentialsError, ExchangeFailed, UsageError
from d6tstore.profiles import central
from d6tstore.repository import Repository
from d6tstore.store import Store

_REMOTE = "remote://"


class RemoteWarning(UserWarning):
    """The local copy of a shared place could not be brought up to date."""


@veiled
def open(
    url: str | Path | None = None,
    *,
    backends: Mapping[str, str | Path | Backend] | None = None,
    credentials: str | None = None,
    write_credentials: str | None = None,
    **options: Any,
) -> Store:
    """A store at a place, without making it the default.

    Args:
        url: folder, URL such as `memory://`, or name of a profile (see `d6tstore profile list`). `remote://NAME` is
            a local copy of what the pipe NAME shares: its records come at once, objects when they are loaded, and
            `pipe.push()` gives back. None is the profile that `D6TSTORE_PROFILE` names, else the profile `default`
            if there is one, else `./data`.
        backends: further places by name, for tasks that name one (`Task.backend`).
        credentials: name of the credentials that open the place; None is `user@host` of the URL.
        write_credentials: name of other credentials, for writing.
        **options: `namespace`, `check`, `keep_versions`, `root`, `trusted` and `cache` as for `Repository`; all others
            go to the backend, such as `durable=True`. They go before what a profile says.

    Returns:
        The store.

    Raises:
        UsageError, PluginError, BackendError, CredentialsError: the place or an option is wrong.

    Example:
        >>> import d6tstore
        >>> d6tstore.open("memory://")
        Store('memory://')
    """
    if not isinstance(url, str | Path | None) or not str(url):
        raise UsageError(f"{_kind(url)} is no place: give a folder, a URL or a profile.")
    for name, value in (backends or {}).items():
        if not isinstance(value, str | Path | Backend) or not str(value):
            raise UsageError(f"backend {name!r}: {_kind(value)} is no place: give a folder or a URL.")
    project.folder()  # what is relative is relative to it
    profile_name = os.environ.get("D6TSTORE_PROFILE") or profiles.default() if url is None else url
    settings, further, pipes = {}, {}, profiles.pipes()
    access = Access("data" if url is None else str(url), {}, credentials, write_credentials)
    if isinstance(profile_name, str) and (url is None or _is_word(profile_name)):
        profile = profiles.load(profile_name).profile
        settings, further, access = profile.settings, profile.backends, profile.access
        pipes |= profile.pipes
        if profile.central is not None:
            central.claim(Path(access.url))
        access = replace(
            access,
            credentials=credentials or access.credentials,
            write_credentials=write_credentials or access.write_credentials,
        )
    shared = access.url.removeprefix(_REMOTE).strip("/") if access.url.startswith(_REMOTE) else None
    if shared is not None:
        found = chosen(known_remotes(pipes), shared).access
        access = Access(str(project.root() / project.expanded(found.local or f"remotes/{shared}")))
    known = {f.name for f in dataclasses.fields(Repository)} - {"default", "named", "pipes"}
    settings |= {name: options.pop(name) for name in list(options) if name in known}
    _check(settings)
    default = opened(access, options)
    named: dict[str, Backend] = {name: opened(access, {}) for name, access in further.items()}
    for name, value in (backends or {}).items():
        named[name] = value if isinstance(value, Backend) else opened(Access(str(value)), {})
    named.setdefault("memory", registry.open_backend("memory://"))
    store = Store(Repository(default, named, pipes=known_remotes(pipes), **settings))
    if shared is not None:
        _refresh(store, shared)
    return store


def known_remotes(pipes: Mapping[str, PipeAccess]) -> dict[str, Remote]:
    """Those of files, and before them those that this process opened."""
    return {name: Remote(name, access) for name, access in pipes.items()} | context.pipes


def _refresh(store: Store, name: str) -> None:
    """Bring the records of a shared place into its local copy, which works without it too."""
    try:
        store.pipe(name).pull(data=False)
    except (BackendError, CredentialsError, Conflict, ExchangeFailed) as exc:
        warnings.warn(
            f"the local copy of {name!r} is not up to date: {exc} It works as it is; `d6tstore pipe status {name}` "
            "tells more.", RemoteWarning, stacklevel=4,
        )  # fmt: skip


def _kind(value: Any) -> str:
    """What a value is, for a message: it may hold a secret."""
    return f"a value of type {type(value).__name__}" if value != "" else "an empty text"


def _is_word(place: str) -> bool:
    """A bare word is the name of a profile: for a folder one writes ./word."""
    return registry.scheme(place) is None and place.replace("-", "_").isidentifier()


def _check(settings: dict[str, Any]) -> None:
    if "trusted" in settings:
        if isinstance(settings["trusted"], str) or not isinstance(settings["trusted"], Iterable):
            raise UsageError(f"trusted = {settings['trusted']!r} must be a list of names: [{settings['trusted']!r}].")
        settings["trusted"] = frozenset(settings["trusted"])
    if not isinstance(settings.get("root", ""), str | Path):
        raise UsageError(f"root = {settings['root']!r} must be the folder of the project.")
    if "root" in settings:
        settings["root"] = Path(settings["root"]).resolve()
