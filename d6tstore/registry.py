"""Entry points -> classes, each loaded when it is first asked for."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from d6tstore.backend import Backend
from d6tstore.credentials import Credentials
from d6tstore.errors import BackendError, ForeignError, PluginError, UsageError
from d6tstore.format import Format

BACKENDS = "d6tstore.backends"
FORMATS = "d6tstore.formats"
_GENERAL = "fsspec"  # the backend that serves schemes which no plug-in has by name
_BASES: dict[str, type] = {BACKENDS: Backend, FORMATS: Format}
_EXTRA = re.compile(r"(?P<package>[A-Za-z0-9._-]+).*;.*\bextra\s*==\s*['\"](?P<extra>[^'\"]+)['\"]")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9.+-]+):(//)?")


class Plugin(NamedTuple):
    """One entry point: what `d6tstore plugins` lists.

    `error` is None if it loads, or would with a package of its extras: `needs` says which, and how to install it.
    """

    group: str
    name: str
    target: str
    distribution: str
    error: str | None
    needs: str | None = None


@functools.cache
def _found(group: str) -> dict[str, list[EntryPoint]]:
    by_name: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        same = by_name.setdefault(point.name, [])
        if not any(p.value == point.value and _owner(p) == _owner(point) for p in same):
            same.append(point)
    return by_name


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "unknown"


@functools.cache
def load(group: str, name: str) -> Any:
    """The class that a plug-in registers.

    Args:
        group: `BACKENDS` or `FORMATS`.
        name: name of the entry point: URL scheme, or name of the format.

    Raises:
        PluginError: not installed, broken, of the wrong type, or claimed by two distributions; or it needs an
            extra that is not installed, which its attribute `needs` then says.
    """
    kind = "backend" if group == BACKENDS else "format"
    points = _found(group).get(name, [])
    if not points:
        near = difflib.get_close_matches(name, _found(group), 1)
        raise PluginError(
            f"{kind} {name!r} is not installed{f', did you mean {near[0]!r}?' if near else '.'} Installed: "
            f"{', '.join(sorted(_found(group))) or 'none (is d6tstore itself installed?)'}. "
            "Install the package that brings it; `d6tstore plugins` lists what is found."
        )
    if len(points) > 1:
        owners = " and ".join(sorted(f"{_owner(p)} ({p.value})" for p in points))
        raise PluginError(f"{kind} {name!r} is claimed by {owners}. Uninstall one of them.")
    (point,) = points
    try:
        found = point.load()
    except (Exception, SystemExit) as exc:  # a plug-in must not end the process
        if needs := _needs(point, exc):
            raise PluginError(f"{kind} {name!r} needs {needs}", needs=needs) from exc
        raise PluginError(
            f"{kind} {name!r} of {_owner(point)} cannot be loaded: {type(exc).__name__}: {exc}. "
            f"Repair or uninstall {_owner(point)}; install its missing extras."
        ) from exc
    if not (isinstance(found, type) and issubclass(found, _BASES[group])):
        raise PluginError(f"{kind} {name!r} of {_owner(point)}: {point.value} is no {_BASES[group].__name__} class.")
    return found


def _needs(point: EntryPoint, exc: BaseException) -> str | None:
    """What is missing and how to install it, if the import failed for want of a package that an extra brings."""
    if not isinstance(exc, ModuleNotFoundError) or not exc.name or point.dist is None:
        return None
    module = exc.name.partition(".")[0]
    extras: dict[str, list[str]] = {}
    for requirement in point.dist.requires or ():
        if found := _EXTRA.match(requirement):
            extras.setdefault(found["extra"], []).append(_normal(found["package"]))
    named = {_normal(module), f"{_normal(module)}-binary"}  # as psycopg2-binary brings psycopg2
    bringing = [extra for extra, packages in extras.items() if named.intersection(packages)]
    if not bringing:
        return None
    # Of several the one named after it, as `postgres` for `postgresql`; else the smallest.
    smallest = min(bringing, key=lambda extra: (not point.name.startswith(extra), len(extras[extra])))
    return f"{module}, which is not installed: pip install '{point.dist.name}[{smallest}]'"


def _normal(name: str) -> str:
    """A name as package indexes compare them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def plugins() -> list[Plugin]:
    """All backends and formats that are installed, and what is wrong with those that do not load."""
    listed = []
    for group in (BACKENDS, FORMATS):
        for name, points in sorted(_found(group).items()):
            try:
                load(group, name)
                error = needs = None
            except PluginError as exc:
                needs = getattr(exc, "needs", None)
                error = None if needs else str(exc)
            listed += [Plugin(group.split(".")[1], name, p.value, _owner(p), error, needs) for p in points]
    return listed


def refresh() -> None:
    """Look again for what is installed (after an installation in this process)."""
    _found.cache_clear()
    load.cache_clear()
    _format_named.cache_clear()


@functools.cache
def _format_named(name: str) -> Format:
    found: Format = load(FORMATS, registered_name(name))()
    return found


def registered_name(name: str) -> str:
    """The entry point of a format that a record names by its class; any other name as it is."""
    by_class = {point.value: point.name for points in _found(FORMATS).values() for point in points}
    return by_class.get(name, name)


def format_of(declared: Any) -> Format:
    """The format that a task declares by name, class or instance. Raises PluginError."""
    if isinstance(declared, str):
        return _format_named(declared)
    found: Format = declared() if isinstance(declared, type) else declared
    return found


def format_name(declared: Any) -> str:
    """How a record names a format: by its entry point; a class or instance by its own path."""
    if isinstance(declared, str):
        return declared
    kind = declared if isinstance(declared, type) else type(declared)
    return f"{kind.__module__}:{kind.__qualname__}"


def kept_format(name: str, declared: Any) -> Format:
    """The format that a record names. A record names plug-ins only: it never makes us import a module.

    Args:
        name: as the record says.
        declared: what the task declares for this output, None if nothing.

    Raises:
        PluginError: no plug-in of that name, and the task does not declare that class either.
    """
    if declared is not None and format_name(declared) == name:
        return format_of(declared)
    return _format_named(name)


def scheme(url: str) -> str | None:
    """Scheme of a URL, None if it is a path.

    Example:
        >>> scheme("memory://"), scheme("/data"), scheme("C:/data")
        ('memory', None, None)
    """
    match = _URL.match(url)
    return match[1] if match else None


def open_backend(url: str, credentials: Credentials | None = None, **options: Any) -> Backend:
    """The backend at a URL or path.

    Args:
        url: place, without a secret.
        credentials: what opens it.
        **options: of the backend.

    Raises:
        PluginError: no backend for its scheme.
        BackendError: the place cannot be used. Neither it nor what caused it has frames of the driver.
    """
    name = scheme(url)
    if name is None:
        name, url = "file", f"file://{url}"
    cls, credentials = _backend_class(name), credentials or Credentials()
    _check_options(cls, url, options)
    try:
        with credentials.guard():
            backend: Backend = cls.open(url, credentials, **options)
            return backend
    except ForeignError as exc:
        raise BackendError(
            f"{url!r} cannot be opened: {exc}. Correct the place or its options; if they are right, this is a defect "
            f"of {cls.__module__}, which must say what is wrong as a BackendError."
        ) from exc


def _check_options(cls: type[Backend], url: str, options: dict[str, Any]) -> None:
    """Tell an unknown option from an error of opening, before anything is opened."""
    derived = cls.open.__func__ is Backend.open.__func__  # type: ignore[attr-defined]
    takes = inspect.signature(cls if derived else cls.open)
    try:
        takes.bind(url, **options) if derived else takes.bind(url, None, **options)
    except TypeError as exc:
        known = [name for name in takes.parameters if name not in ("url", "credentials", "options")]
        raise UsageError(
            f"{url!r}: {exc}. Options of its backend, {cls.__name__}: {', '.join(known) or 'none'}; of every store: "
            "namespace, check, keep_versions, root, trusted, cache, backends, credentials, write_credentials."
        ) from None


def _backend_class(name: str) -> Any:
    """By the whole scheme, then by what stands before a plus sign, then the one that takes what fsspec knows."""
    found = _found(BACKENDS)
    for known in (name, name.split("+")[0]):
        if known in found:
            return load(BACKENDS, known)
    if _GENERAL in found:
        try:
            general = load(BACKENDS, _GENERAL)
        except PluginError:  # its package is missing: then the scheme is not known here
            return load(BACKENDS, name)
        if general.serves(name):
            return general
    return load(BACKENDS, name)
