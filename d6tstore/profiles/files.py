"""The files that hold profiles: which there are, what they say, and of which project they speak."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from d6tstore import project
from d6tstore.errors import ProfileError

FILE, PYPROJECT = "d6tstore.toml", "pyproject.toml"
_PROJECT = re.compile(r"(?![.\s])[^/\\:*?\"<>|\x00-\x1f\x7f]{1,100}(?<![.\s])")
_MENTIONED = re.compile(rb"""^\W*tool["'\s]*(\.["'\s]*d6tstore\b|[]=])""", re.M)  # [tool.d6tstore], tool = {...}, ...
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Table(NamedTuple):
    """The profiles and pipes of one file, as they stand there. `base` is the folder of relative paths, or None."""

    file: Path
    profiles: dict[str, dict[str, Any]]
    pipes: dict[str, dict[str, Any]]
    base: Path | None


class Project(NamedTuple):
    """What tells a project from others: its name, and the folder that it is."""

    name: str
    root: Path


def tables() -> Iterator[Table]:
    """Files that there are with their profiles, the strongest first. Raises ProfileError."""
    for file in project_files():
        yield table_of(file, file.parent)
    if (users := user_file()) is not None and os.path.lexists(users):
        yield table_of(users, None)


def user_file() -> Path | None:
    """The file of the user's own profiles. None: the user has no home (some containers)."""
    import platformdirs

    try:
        return Path(platformdirs.user_config_dir("d6tstore", appauthor=False)) / FILE
    except RuntimeError:
        return None


def writable() -> str:
    """Where profiles can be written, in words."""
    return " or ".join([FILE, *(str(file) for file in [user_file()] if file)])


def project_files() -> list[Path]:
    """The files of the nearest folder, from here upwards, else from the project's root, that has one. Or none."""
    for start in (project.folder(), project.root()):
        for folder in (start, *start.parents):
            ours, pyproject = folder / FILE, folder / PYPROJECT
            files = [ours] if os.path.lexists(ours) else []
            if os.path.isfile(pyproject) and _section(pyproject):
                files.append(pyproject)
            if files:
                return files
    return []


def current_project() -> Project:
    """The project here: named in the file of its profiles, else in its `pyproject.toml`, else as its folder.

    Raises:
        ProfileError: that is no name for a folder.
    """
    for file in project_files():
        if (name := _section(file).get("project")) is not None:
            return Project(_checked(name, f"{file}: project"), file.parent)
    root = project.root()
    if os.path.isfile(root / PYPROJECT):
        table = _read(root / PYPROJECT).get("project")
        name = table.get("name") if isinstance(table, dict) else None
        if name is not None:
            return Project(_checked(name, f"{root / PYPROJECT}: project.name"), root)
    return Project(_checked(root.name, f"the folder {root}"), root)


def _checked(name: Any, where: str) -> str:
    if not isinstance(name, str) or not _PROJECT.fullmatch(name):
        raise ProfileError(
            f'{where} cannot name a project: 1 to 100 characters, none of / \\ : * ? " < > |, no dot or space at '
            f'either end. Write project = "..." into {FILE}.'
        )
    return name


def unknown(values: Mapping[str, Any], known: tuple[str, ...], file: Path, where: str) -> None:
    """Refuse keys that are not known. ProfileError: with the near one."""
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}."
            if not where and not near and isinstance(values[key], dict):
                hint = f"a profile is written as [profiles.{shown(key)}]."
            raise ProfileError(f"{file}: {'.'.join(filter(None, [where, shown(key)]))} is unknown; {hint}")


def shown(key: str) -> str:
    """A key for a message: one that is no plain word may be a secret in the wrong place."""
    return key if _PLAIN.fullmatch(key) else "a key that is no plain word (it is not shown)"


def table_of(file: Path, base: Path | None) -> Table:
    """What a file says; `base` is the folder of relative paths. Raises ProfileError."""
    return Table(file, *_sections(file), base)


def _sections(file: Path) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The profiles and the pipes of a file."""
    section = _section(file)
    unknown(section, ("profiles", "pipes", "project"), file, "")
    return _named(section, "profiles", file), _named(section, "pipes", file)


def _named(section: dict[str, Any], kind: str, file: Path) -> dict[str, dict[str, Any]]:
    found = section.get(kind, {})
    if not isinstance(found, dict) or not all(isinstance(values, dict) for values in found.values()):
        raise ProfileError(f"{file}: {kind} must be tables. Write [{kind}.NAME] and its keys below.")
    for name in found:
        if not project.NAME.fullmatch(name):
            raise ProfileError(
                f"{file}: {shown(name)} cannot name a {kind[:-1]}. A name is a letter, then up to 63 letters, digits, "
                "_, -."
            )
    return found


def _section(file: Path) -> dict[str, Any]:
    """What a file says to us; of a `pyproject.toml` that says nothing, none of it is parsed: it may be long."""
    if file.name == PYPROJECT and not _MENTIONED.search(_bytes(file)):
        return {}
    section: Any = _read(file)
    for key in ("tool", "d6tstore") if file.name == PYPROJECT else ():
        section = section.get(key, {}) if isinstance(section, dict) else {}
    if not isinstance(section, dict):
        raise ProfileError(f"{file}: tool.d6tstore must be a table. Write [tool.d6tstore.profiles.NAME].")
    return section


def _read(file: Path) -> dict[str, Any]:
    """A file of TOML. Its errors hold what stands in it, perhaps a secret: only the position is passed on."""
    try:
        return tomllib.loads(_bytes(file).decode("utf-8-sig"))  # with or without BOM
    except UnicodeDecodeError as exc:
        problem = f"it is not UTF-8 (byte {exc.start + 1}). Save it as UTF-8."
    except tomllib.TOMLDecodeError as exc:
        place = re.search(r"\((at [a-z0-9, ]+)\)$", str(exc))
        problem = f'it is not TOML{f" ({place[1]})" if place else ""}. Texts stand in quotes: url = "...".'
    except RecursionError:
        problem = "it is nested too deeply."
    raise ProfileError(f"{file} cannot be read: {problem}")


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        problem = "it is a folder" if isinstance(exc, IsADirectoryError) else exc.strerror
    raise ProfileError(f"{file} cannot be read: {problem}. Make it a file that you may read, or remove it.")
