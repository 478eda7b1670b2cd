"""Profiles: places by name, in `d6tstore.toml` of the project and of the user. Never a secret."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from d6tstore import place, project
from d6tstore.errors import CredentialsError, ProfileError

FILE = "d6tstore.toml"
_VARIABLE = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place: URL, options of its backend, and names of the credentials that open it (and write to it)."""

    url: str
    options: dict[str, Any] = {}
    credentials: str | None = None
    write_credentials: str | None = None


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `init("name")` opens.

    Give a `url`, or a `central` folder: below that, each project has a folder of its own. `namespace`, `check`,
    `keep_versions` and `trusted` are those of a store; `backends` and `pipes` are further places by name.
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
    backends: dict[str, Access] = {}
    pipes: dict[str, Access] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """Those settings of a store that the profile has."""
        named = ("namespace", "check", "keep_versions", "trusted")
        return {name: value for name in named if (value := getattr(self, name)) is not None}

    @property
    def access(self) -> Access:
        """The default place."""
        url = self.url
        if self.central is not None:
            url = str(Path(self.central).expanduser() / project_name())
        return Access(url or "", self.options, self.credentials, self.write_credentials)


class Found(NamedTuple):
    """A profile and the file that has it."""

    name: str
    profile: Profile
    file: Path


def load(name: str) -> Found:
    """The profile of a name: the project's, else the user's.

    Raises:
        ProfileError: there is none, or it is not right: file, key, rule, cure.
    """
    tables = _tables()
    for file, table in tables:
        if name in table:
            return Found(name, _profile(name, table[name], file), file)
    known = sorted({name for _, table in tables for name in table})
    near = difflib.get_close_matches(name, known, 1)
    places = " or ".join(str(file) for file in (Path(FILE), user_file()))
    there = f"There are {', '.join(known)}." if known else f"Write [profiles.{name}] into {places}."
    raise ProfileError(
        f"there is no profile {name!r}{f', did you mean {near[0]!r}?' if near else '.'} {there} "
        f"For a folder of that name write './{name}'."
    )


def load_all() -> list[Found | ProfileError]:
    """Every profile that there is, in order of precedence; what is wrong with those that are not right."""
    found: dict[str, Found | ProfileError] = {}
    for file, table in _tables():
        for name, values in table.items():
            if name not in found:
                try:
                    found[name] = Found(name, _profile(name, values, file), file)
                except ProfileError as exc:
                    found[name] = exc
    return list(found.values())


def user_file() -> Path:
    """The file of the user's own profiles."""
    import platformdirs

    return Path(platformdirs.user_config_dir("d6tstore", appauthor=False)) / FILE


def project_files() -> list[Path]:
    """The files of the nearest folder upwards from here that has one with profiles."""
    for folder in (here := Path.cwd(), *here.parents):
        files = [path for path in (folder / FILE, folder / "pyproject.toml") if path.is_file()]
        if files and (files[0].name == FILE or "d6tstore" in _read(files[0]).get("tool", {})):
            return files
    return []


def project_name() -> str:
    """Name of the project: as its profiles or `pyproject.toml` say, else that of its folder."""
    for file in project_files():
        if isinstance(name := _section(file).get("project"), str):
            return name
    root = project.root()
    if (root / "pyproject.toml").is_file():
        name = _read(root / "pyproject.toml").get("project", {}).get("name")
        if isinstance(name, str):
            return name
    return root.name


def _tables() -> list[tuple[Path, dict[str, Any]]]:
    """Files that there are with their tables of profiles, the strongest first."""
    files = [*project_files(), user_file()]
    tables = []
    for file in files:
        if not file.is_file():
            continue
        section = _section(file)
        _known(section, ("profiles", "project"), file, "")
        table = section.get("profiles", {})
        if not isinstance(table, dict) or not all(isinstance(value, dict) for value in table.values()):
            raise ProfileError(f"{file}: profiles must be tables. Write [profiles.NAME] and its keys below.")
        for name in table:
            if not _NAME.fullmatch(name):
                raise ProfileError(f"{file}: {name!r} cannot name a profile: a letter, then letters, digits, _ and -.")
        tables.append((file, table))
    return tables


def _section(file: Path) -> dict[str, Any]:
    read = _read(file)
    section = read.get("tool", {}).get("d6tstore", {}) if file.name == "pyproject.toml" else read
    if not isinstance(section, dict):
        raise ProfileError(f"{file}: tool.d6tstore must be a table. Write [tool.d6tstore.profiles.NAME].")
    return section


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ProfileError(f"{file} cannot be read: {exc}. Correct it.") from None  # its text may hold a secret


def _profile(name: str, values: dict[str, Any], file: Path) -> Profile:
    where = f"profiles.{name}"
    _refuse_secrets(values, file, where, values.get("credentials") or name)
    values = _expanded(values, file, where)
    _refuse_secrets(values, file, where, values.get("credentials") or name)
    _known(values, Profile.__struct_fields__, file, where)
    for kind in ("backends", "pipes"):
        for inner, access in (values.get(kind) or {}).items() if isinstance(values.get(kind), dict) else ():
            if isinstance(access, dict):
                _known(access, Access.__struct_fields__, file, f"{where}.{kind}.{inner}")
    try:
        profile = msgspec.convert(values, Profile)
    except msgspec.ValidationError as exc:
        raise ProfileError(f"{file}: {where}: {exc}. Correct it.") from None
    if (profile.url is None) == (profile.central is None):
        raise ProfileError(
            f"{file}: {where} needs one of url (a folder or URL) and central (a folder where each project has its own)."
        )
    return profile


def _known(values: Mapping[str, Any], known: tuple[str, ...], file: Path, where: str) -> None:
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"Known keys are {', '.join(known)}."
            raise ProfileError(f"{file}: {'.'.join(filter(None, [where, key]))} is unknown; {hint}")


def _refuse_secrets(values: Any, file: Path, where: str, name: Any) -> None:
    """A file is no place for a secret: say which command takes it, and do not show it."""
    for key, value in values.items() if isinstance(values, dict) else ():
        at = f"{where}.{key}"
        shown = name if isinstance(name, str) else "NAME"
        if isinstance(value, dict):
            _refuse_secrets(value, file, at, value.get("credentials") or shown)
        elif isinstance(value, str) and value and key not in ("credentials", "write_credentials"):
            fields = [key.lower()] if place.is_secret(key) else []
            if not fields and key == "url":
                try:
                    fields = list(place.split(value).given)
                except CredentialsError:
                    fields = [place.PASSWORD]
            if fields:
                raise ProfileError(
                    f"{file}: {at} holds a secret, and a file is no place for it. Run: "
                    f"d6tstore credentials set {shown} {fields[0]}; then remove it from the file and write "
                    f"credentials = {shown!r} there."
                )


def _expanded(value: Any, file: Path, where: str) -> Any:
    """Environment variables as `${NAME}` or `${NAME:-default}`; `$$` is a dollar sign."""
    if isinstance(value, dict):
        return {key: _expanded(item, file, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_expanded(item, file, where) for item in value]
    if not isinstance(value, str):
        return value

    def expand(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        found = os.environ.get(match[1], match[2])
        if found is None:
            raise ProfileError(
                f"{file}: {where} needs the environment variable {match[1]}, which is not set. Set it, or write "
                f"${{{match[1]}:-default}}."
            )
        return found

    return _VARIABLE.sub(expand, value)
