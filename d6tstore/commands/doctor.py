"""What works on this machine: Python, libraries, plug-ins, the keyring, places, the disk, the clock."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from d6tstore import inventory, profiles, registry
from d6tstore.backend import Backend
from d6tstore.credentials import vault
from d6tstore.errors import CredentialsError, D6tstoreError
from d6tstore.inventory import Use

if TYPE_CHECKING:
    from d6tstore.store import Store

OK, NOTE, FAILED = "ok", "note", "failed"
_LOW = 1 << 30  # bytes of free disk: beyond, nobody need know
_SKEW = 5.0  # seconds
_CLAIMS = "no two runs compute a task at the same time"
_NO_CLAIMS = "not supported: two runs at the same time may compute a task twice, and each result is whole"
_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")


class Check(NamedTuple):
    """One thing that was looked at. `state` is `ok`; `note`: nobody needs it here; or `failed`: somebody does."""

    what: str
    state: str
    told: str


def checks(open_store: Store | D6tstoreError) -> Iterator[Check]:
    """Look at everything, one thing after the other.

    Args:
        open_store: the store in use, or why there is none.
    """
    yield Check("python", OK, f"{platform.python_version()} on {platform.platform(terse=True)}")
    yield Check("d6tstore", OK, _versions("d6tstore"))
    yield from _plugins()
    yield _keyring()
    yield from _places()
    yield from _store(open_store)


def _versions(distribution: str) -> str:
    """Its version, and those of what it needs or can use, as far as they are installed."""
    names = [match[0] for line in metadata.requires(distribution) or () if (match := _REQUIREMENT.match(line))]
    found = {distribution: metadata.version(distribution)}
    for name in dict.fromkeys(names):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return f"{found.pop(distribution)}; " + ", ".join(f"{name} {version}" for name, version in found.items())


def _plugins() -> Iterator[Check]:
    plugins = registry.plugins()
    for group in ("backends", "formats"):
        working = [each.name for each in plugins if each.group == group and not (each.error or each.needs)]
        yield Check(group, OK, ", ".join(working))
    lacking: dict[str, list[str]] = {}
    for each in plugins:
        if each.needs:
            lacking.setdefault(each.needs, []).append(each.name)
    if lacking:
        names = ", ".join(name for names in lacking.values() for name in names)
        yield Check("not installed", NOTE, f"{names}. Who wants one: `d6tstore plugins` says what it needs")
    for each in plugins:
        if each.error:
            yield Check(f"{each.group[:-1]} {each.name}", NOTE, each.error)


def _keyring() -> Check:
    try:
        status = vault.status()
    except CredentialsError as exc:
        return Check("keyring", NOTE, str(exc))
    good = status.usable and status.safe
    return Check("keyring", OK if good else NOTE, status.backend + (f": {status.advice}" if status.advice else ""))


def _places() -> Iterator[Check]:
    """Every profile and pipe: whether it is right, and whether its place answers."""
    try:
        used = inventory.uses()
        profiles.pipes()  # raises what is wrong with them
        broken = [found for found in profiles.load_all() if found.problem]
    except D6tstoreError as exc:
        yield Check("profiles and pipes", FAILED, str(exc))
        return
    for found in broken:
        yield Check(f"profile {found.name}", FAILED, found.problem)
    for use in used:
        yield _visited(use)
    if not used:
        yield Check("profiles", OK, "none: `d6tstore init` writes one")


def _visited(use: Use) -> Check:
    try:
        visit = inventory.visit(use.access)
    except D6tstoreError as exc:
        return Check(use.what, FAILED, str(exc))
    return Check(use.what, OK, f"{visit.backend}: {', '.join(visit.done)}")


def _store(open_store: Store | D6tstoreError) -> Iterator[Check]:
    """The store in use: does it answer, is there room, are there claims, is its clock ours?"""
    if isinstance(open_store, D6tstoreError):
        yield Check("store", FAILED, str(open_store))
        return
    backend = open_store.repository.default
    try:
        next(iter(backend.list()), None)
    except D6tstoreError as exc:
        yield Check("store", FAILED, str(exc))
        return
    yield Check("store", OK, backend.url)
    claims = type(backend).claim is not Backend.claim
    yield Check("claims", OK if claims else NOTE, _CLAIMS if claims else _NO_CLAIMS)
    folder = backend.path("x")
    if folder is not None:
        yield from _disk(next(p for p in (folder.parent, *folder.parent.parents) if p.is_dir()))


def _disk(folder: Path) -> Iterator[Check]:
    free = shutil.disk_usage(folder).free
    yield Check("disk", OK if free > _LOW else NOTE, f"{free / 1e9:,.1f} GB free at {folder}")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            skew = abs(os.fstat(file.fileno()).st_mtime - time.time())
    except OSError as exc:
        yield Check("store", FAILED, f"{folder} cannot be written: {exc.strerror}. Get the right, or choose another.")
        return
    told = "that of the disk is ours" if skew < _SKEW else f"that of the disk is {skew:,.0f} s off: set both by NTP"
    yield Check("clock", OK if skew < _SKEW else NOTE, told)


def failed(found: Iterable[Check]) -> list[Check]:
    """What somebody needs and does not work."""
    return [each for each in found if each.state == FAILED]
