"""Where results go: from a path or URL to a store."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from d6tstore import registry
from d6tstore.backend import Backend
from d6tstore.errors import UsageError
from d6tstore.repository import Repository
from d6tstore.store import Store


def open(
    url: str | Path | None = None,
    *,
    backends: Mapping[str, str | Path | Backend] | None = None,
    **options: Any,
) -> Store:
    """A store at a place, without making it the default.

    Args:
        url: folder, or URL such as `memory://`; None is `./data`.
        backends: further places by name, for tasks that name one (`Task.backend`).
        **options: `namespace`, `check`, `keep_versions`, `root` and `trusted` as for `Repository`; all others
            go to the backend, such as `durable=True`.

    Returns:
        The store.

    Raises:
        UsageError, PluginError, BackendError: the place or an option is wrong.

    Example:
        >>> import d6tstore
        >>> d6tstore.open("memory://")
        Store('memory://')
    """
    if not isinstance(url, str | Path | None) or not str(url):
        raise UsageError(f"{url!r} is no place: give a folder or a URL, as text or path; None is ./data.")
    for name, value in (backends or {}).items():
        if not isinstance(value, str | Path | Backend) or not str(value):
            raise UsageError(f"backend {name!r}: {value!r} is no place: give a folder or a URL.")
    place = "data" if url is None else str(url)
    if isinstance(url, str) and registry.scheme(place) is None and place.isidentifier():
        raise UsageError(
            f"{place!r} would be the name of a profile, and there is none. For a folder write './{place}'."
        )
    known = {f.name for f in dataclasses.fields(Repository)} - {"default", "named"}
    settings = {name: options.pop(name) for name in list(options) if name in known}
    if "trusted" in settings:
        if isinstance(settings["trusted"], str) or not isinstance(settings["trusted"], Iterable):
            raise UsageError(f"trusted = {settings['trusted']!r} must be a list of names: [{settings['trusted']!r}].")
        settings["trusted"] = frozenset(settings["trusted"])
    if not isinstance(settings.get("root", ""), str | Path):
        raise UsageError(f"root = {settings['root']!r} must be the folder of the project.")
    if "root" in settings:
        settings["root"] = Path(settings["root"]).resolve()
    try:
        default = registry.open_backend(place, **options)
    except TypeError as exc:
        raise UsageError(
            f"{place!r}: {exc}. Options of a store are {', '.join(sorted(known))}; others are its backend's."
        ) from None
    named = {
        name: b if isinstance(b, Backend) else registry.open_backend(str(b)) for name, b in (backends or {}).items()
    }
    named.setdefault("memory", registry.open_backend("memory://"))
    return Store(Repository(default, named, **settings))
