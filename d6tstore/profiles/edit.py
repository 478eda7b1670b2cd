"""Pipes and profiles are written into their file. Comments and order stay; what would not be right is not written."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d6tstore import place, profiles, project, registry
from d6tstore.errors import CredentialsError, ProfileError, UsageError
from d6tstore.profiles import files
from d6tstore.registry import scheme
from d6tstore.repository import Repository
from d6tstore.whole import replacing

if TYPE_CHECKING:
    import tomlkit


def add_pipe(name: str, values: Mapping[str, Any], user: bool) -> Path:
    """Define a pipe.

    Args:
        name: of the pipe.
        values: what stands in its table, as in `PipeAccess`.
        user: in the user's own file, for all projects; else in that of this project.

    Returns:
        The file.

    Raises:
        UsageError, ProfileError: the name is none or is taken, or a value is wrong; the file stays as it was.
        CredentialsError: the URL holds a secret.
    """
    return _add("pipe", name, values, user)


def add_profile(name: str, values: Mapping[str, Any], user: bool) -> Path:
    """Define a profile; `values` as in `Profile`, all else as for `add_pipe`."""
    settings = {key: values[key] for key in ("namespace", "check", "keep_versions") if key in values}
    Repository(registry.open_backend("memory://"), **settings)  # raises what is wrong with them
    return _add("profile", name, values, user)


def _add(kind: str, name: str, values: Mapping[str, Any], user: bool) -> Path:
    """Write the table of a pipe or profile."""
    at = place.split(str(values["url"]))
    if at.given:
        raise CredentialsError(f"the URL {at.url!r} came with a secret, and a file is no place for one. {at.advice()}")
    if not project.NAME.fullmatch(name):
        raise UsageError(
            f"{place.displayed(name)} cannot name a {kind}. A name is a letter, then up to 63 letters, digits, _ and -."
        )

    file = _file(user)
    values = {**values, "url": _as_in(file, str(values["url"]), user)}

    def change(document: tomlkit.TOMLDocument) -> None:
        import tomlkit

        tables = document.setdefault(f"{kind}s", tomlkit.table(is_super_table=True))
        if name in tables:
            raise UsageError(f"there is a {kind} {name!r} already. Edit {file}, or choose another name.")
        table = tomlkit.table()
        for key, value in values.items():
            table.add(key, value)
        tables.add(name, table)

    _edit(file, change)
    return file


def _as_in(file: Path, url: str, user: bool) -> str:
    """A relative folder is one from here: in the file of a project it is relative to that."""
    path = project.expanded(url)
    if scheme(path) is not None or os.path.isabs(path):
        return url
    full = os.path.abspath(path)
    return full if user else Path(os.path.relpath(full, file.parent)).as_posix()


def trust_pipe(name: str, trusted: bool) -> Path:
    """Say that what comes from a pipe may run code (pickles), or that it may not. Returns the file.

    Raises:
        UsageError: no file defines the pipe.
    """

    def change(document: tomlkit.TOMLDocument) -> None:
        document["pipes"][name]["trusted"] = trusted

    for table in files.tables():
        if name in table.pipes:
            if table.file.name != files.FILE:
                raise UsageError(f"the pipe {name!r} stands in {table.file}. Write trusted = true there.")
            _edit(table.file, change)
            return table.file
    raise UsageError(
        f"no [pipes.{name if project.NAME.fullmatch(name) else 'NAME'}] stands in {files.writable()}. Define it: "
        "d6tstore pipe add NAME URL. One that is opened in code is trusted there: pipes.init(..., trusted=True); one "
        "of a profile in its table: trusted = true."
    )


def _file(user: bool) -> Path:
    if not user:
        found = [file for file in files.project_files() if file.name == files.FILE]
        return found[0] if found else project.root() / files.FILE
    file = files.user_file()
    if file is None:
        raise UsageError("this user has no home folder, so no file of profiles. Leave out --user.")
    return file


def _edit(file: Path, change: Callable[[tomlkit.TOMLDocument], None]) -> None:
    """Change a file as a whole: a temporary one is written, read as ours, and moved."""
    import tomlkit

    before = ""
    if file.exists():
        files.table_of(file, None)  # raises what is wrong with it already
        before = file.read_bytes().decode("utf-8-sig")
    document = tomlkit.parse(before)
    change(document)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as staged:
        staged.write_bytes(tomlkit.dumps(document).encode())
        try:
            profiles.check(staged, file)
        except ProfileError as exc:
            raise ProfileError(str(exc).replace(str(staged), str(file))) from None
