"""Profiles: places by name, in `d6tstore.toml` of the project and of the user. Never a secret."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from d6tstore import place, project
from d6tstore.access import Access, PipeAccess
from d6tstore.credentials.secret import veiled
from d6tstore.errors import ProfileError
from d6tstore.profiles import central
from d6tstore.profiles.files import Table, shown, table_of, tables, unknown, user_file, writable
from d6tstore.profiles.variables import expanded
from d6tstore.registry import scheme

T = TypeVar("T", bound=msgspec.Struct)
A = TypeVar("A", bound=Access)
_DEFAULT = "default"
_WORD = re.compile(r"[\w-]{1,64}")
_SETTINGS = ("namespace", "check", "keep_versions", "trusted", "cache")
_CHECKS = ("exists", "content", "code")
_NAMES = ("credentials", "write_credentials")


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `init("name")` opens.

    Give a `url`, or a `central` folder: below that, each project has a folder of its own. `namespace`, `check`,
    `keep_versions`, `trusted` and `cache` are those of a store; `backends` and `pipes` are further places by name.
    """

    url: str | None = None
    central: str | None = None
    options: dict[str, Any] = {}
    credentials: str | None = None
    write_credentials: str | None = None
    namespace: str | None = None
    check: str | None = None
    keep_versions: int | None = None
    trusted: list[str] | None = None
    cache: int | str | None = None
    backends: dict[str, Access] = {}
    pipes: dict[str, PipeAccess] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """Those settings of a store that the profile has."""
        return {name: value for name in _SETTINGS if (value := getattr(self, name)) is not None}

    @property
    def access(self) -> Access:
        """The default place. ProfileError: this project has no name for its folder in the central one."""
        url = self.url if self.central is None else str(central.folder(self.central))
        return Access(url or "", self.options, self.credentials, self.write_credentials)

    def places(self) -> dict[str, Access]:
        """All its places by what they are: `default`, `backend lake`, `pipe team`."""
        found = {"default": self.access}
        found |= {f"backend {name}": access for name, access in self.backends.items()}
        return found | {f"pipe {name}": access for name, access in self.pipes.items()}


class Found(NamedTuple):
    """A profile and the file that has it. `problem` says what is wrong with it, and then `profile` is empty."""

    name: str
    profile: Profile
    file: Path
    problem: str = ""


@veiled
def load(name: str) -> Found:
    """The profile of a name: the project's, else the user's. Nothing of the other one is taken over.

    Raises:
        ProfileError: there is none, or it is not right: file, key, rule, cure.
    """
    known: list[str] = []
    for table in tables():
        if name in table.profiles:
            return Found(name, _profile(name, table), table.file)
        known += table.profiles
    near = difflib.get_close_matches(name, known, 1)
    there = (
        f"There are {', '.join(known)}."
        if known
        else f"Write [profiles.{name if _WORD.fullmatch(name) else 'NAME'}] into {writable()}."
    )
    raise ProfileError(
        f"there is no profile {place.displayed(name)}{f', did you mean {near[0]!r}?' if near else '.'} {there}"
        + (f" For a folder of that name write './{name}'." if _WORD.fullmatch(name) else "")
    )


@veiled
def load_all() -> list[Found]:
    """Every profile that there is, in order of precedence, also those that are not right.

    Raises:
        ProfileError: a whole file is not right.
    """
    found: dict[str, Found] = {}
    for table in tables():
        for name in table.profiles:
            if name not in found:
                try:
                    found[name] = Found(name, _profile(name, table), table.file)
                except ProfileError as exc:
                    found[name] = Found(name, Profile(), table.file, str(exc))
    return list(found.values())


@veiled
def pipes() -> dict[str, PipeAccess]:
    """The pipes that files name for all profiles; those of the project go before those of the user.

    Raises:
        ProfileError: one of them, or a file, is not right.
    """
    found: dict[str, PipeAccess] = {}
    for table in tables():
        found = _pipes(table) | found
    return found


def default() -> str | None:
    """The name of the profile for those who name none, if there is one. Raises ProfileError: a file is not right."""
    return _DEFAULT if any(_DEFAULT in table.profiles for table in tables()) else None


def check(file: Path, as_file: Path) -> None:
    """Read the pipes of a file as those of another one will be read. Raises ProfileError: they are not right."""
    _pipes(table_of(file, None if as_file == user_file() else as_file.parent))


def _pipes(table: Table) -> dict[str, PipeAccess]:
    found = {}
    for name, values in table.pipes.items():
        access = _converted(values, PipeAccess, table, f"pipes.{name}", name)
        found[name] = replace(access, url=_full(access.url, table, f"pipes.{name}.url"))
    return found


def _profile(name: str, table: Table) -> Profile:
    where = f"profiles.{name}"
    profile = _converted(table.profiles[name], Profile, table, where, name)
    if problem := _problem(profile):
        raise ProfileError(f"{table.file}: {where}: {problem}. Correct it.")
    return _resolved(profile, table, where)


def _converted(values: dict[str, Any], kind: type[T], table: Table, where: str, name: str) -> T:
    """What a table of a file says, without secrets, with variables filled in."""
    file = table.file
    for at, inner, _ in _tables(values, where, kind):
        _refuse_misplaced(inner, file, at)
    _refuse_secrets(values, file, where, name, "stands in the file")
    values = expanded(values, file, where)
    _refuse_secrets(values, file, where, name, "comes from an environment variable")
    for at, inner, known in _tables(values, where, kind):
        unknown(inner, known, file, at)
    try:
        made = msgspec.convert(values, kind)
    except msgspec.ValidationError as exc:
        problem = str(exc)
    else:
        problem = _misnamed([made, *getattr(made, "backends", {}).values(), *getattr(made, "pipes", {}).values()])
    if problem:
        raise ProfileError(f"{file}: {where}: {problem}. Correct it.")
    return made


def _misnamed(places: Iterable[Any]) -> str:
    """What no type says of names of credentials, of numbers and of pipes; empty if all is well."""
    for access in places:
        for kind in _NAMES:
            name = getattr(access, kind)
            if name is not None and place.shown_name(name) != name:
                return f"{kind} must be the name of credentials, such as 'warehouse'; what stands there is not shown"
        if (access.keep_versions or 0) < 0 if hasattr(access, "keep_versions") else False:
            return "keep_versions must be 0 or more"
    return ""


def _problem(profile: Profile) -> str:
    """What no type says."""
    if (profile.url is None) == (profile.central is None):
        return "needs one of url (a folder or URL) and central (a folder where each project has its own)"
    if profile.check not in (None, *_CHECKS):
        return f"check must be one of {', '.join(_CHECKS)}"
    return ""


def _tables(
    values: dict[str, Any], where: str, outer: type[msgspec.Struct]
) -> Iterator[tuple[str, dict[str, Any], tuple[str, ...]]]:
    """What a file says and the places inside of it, each with the keys that it may have."""
    yield where, values, outer.__struct_fields__
    for kind, struct in (("backends", Access), ("pipes", PipeAccess)) if outer is Profile else ():
        inner = values.get(kind)
        for name, access in inner.items() if isinstance(inner, dict) else ():
            if isinstance(access, dict):
                yield f"{where}.{kind}.{shown(name)}", access, struct.__struct_fields__


def _refuse_misplaced(values: dict[str, Any], file: Path, where: str) -> None:
    """Options go to the backend as they are: a key of the profile among them is in the wrong place."""
    options = values.get("options")
    for key in options if isinstance(options, dict) else ():
        if key in Profile.__struct_fields__ or key == "root":
            raise ProfileError(f"{file}: {where}.options.{key} is no option of a backend. Write it as {where}.{key}.")


def _resolved(profile: Profile, table: Table, where: str) -> Profile:
    """Folders as absolute paths."""

    def all_full(places: Mapping[str, A], kind: str) -> dict[str, A]:
        return {
            n: replace(access, url=_full(access.url, table, f"{where}.{kind}.{n}.url")) for n, access in places.items()
        }

    if profile.central is not None and scheme(profile.central) is not None:
        raise ProfileError(f"{table.file}: {where}.central must be a folder. For a URL write url = ... per project.")
    return replace(
        profile,
        url=None if profile.url is None else _full(profile.url, table, f"{where}.url"),
        central=None if profile.central is None else _full(profile.central, table, f"{where}.central"),
        backends=all_full(profile.backends, "backends"),
        pipes=all_full(profile.pipes, "pipes"),
    )


def _full(url: str, table: Table, at: str) -> str:
    """A URL, or a folder as absolute path: a relative one is relative to the file, if that is the project's."""
    if not url:
        raise ProfileError(f"{table.file}: {at} is empty. Give a folder or URL.")
    path = project.expanded(url)
    if scheme(url) is not None or os.path.isabs(path) or PureWindowsPath(path).is_absolute():
        return path
    if table.base is None or path.startswith("~"):
        raise ProfileError(
            f"{table.file}: {at} is a relative folder, and nothing says to what, for this file is for all "
            "projects. Write a full path or ~/..., or central = ... for a folder in which each project has its own."
        )
    return os.path.normpath(table.base / path)


def _refuse_secrets(values: dict[str, Any], file: Path, where: str, name: str, whence: str) -> None:
    """A file is no place for a secret: say which command takes it, and do not show it."""
    for at, field in _secrets(values):
        kind, _, inside = at.partition(".")
        inner = values[kind].get(inside.partition(".")[0]) if kind in ("backends", "pipes") and inside else None
        own = inner.get("credentials") if isinstance(inner, dict) else None
        called = place.shown_name(own or values.get("credentials") or name)
        path = ".".join(shown(part) for part in re.sub(r"\[\d+\]", "", at).split("."))
        raise ProfileError(
            f"{file}: {where}.{path} holds a secret, which {whence}. Run: d6tstore credentials set {called} {field}; "
            f"then remove it there and write credentials = {called!r} beside the url."
        )


def _secrets(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Where secrets stand in a profile. Names of credentials and places are none, though they may sound so."""
    kept = {key: value for key, value in values.items() if key not in _NAMES}
    for kind in ("backends", "pipes"):
        inner = kept.get(kind)
        if isinstance(inner, dict):
            del kept[kind]
            for name, access in inner.items():
                found = _secrets(access) if isinstance(access, dict) else place.secrets_in(access)
                yield from ((f"{kind}.{name}.{at}".rstrip("."), field) for at, field in found)
    yield from place.secrets_in(kept)
