"""Results and files shared with others: choose a pipe by its name."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from d6tstore import context, project
from d6tstore.errors import NotInitialised, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from d6tstore.access import Remote
    from d6tstore.plainfiles.pipe import FilesPipe
    from d6tstore.sharing.exchange import Exchange
    from d6tstore.sharing.pipe import Pipe


def init(name: str, url: str | Path | None = None, **settings: Any) -> Pipe:
    """A pipe to results that are shared with others, for this process.

    Args:
        name: of the pipe: a letter, then letters, digits, `_` and `-`.
        url: of the place, as for `d6tstore.init`; None is what `d6tstore.toml` says of a pipe of that name.
        **settings: of the pipe, which go before what the file says: `role="read"` refuses to push, `trusted=True` lets
            pickles from there be loaded, `namespace`, `keep_versions`, `credentials` and `write_credentials`; all
            others go to the backend.

    Returns:
        The pipe. `get_pipe(name)` gives it again.

    Raises:
        UsageError: no such pipe is known, or a setting is wrong.
        PluginError, BackendError, CredentialsError: as for `d6tstore.open`.

    Example:
        >>> d6tstore.pipes.init("team-features", url="s3://bucket/team", role="read")  # doctest: +SKIP
        Pipe('team-features', 's3://bucket/team')
    """
    from d6tstore.sharing.pipe import Pipe

    try:
        remote = _registered(name, url, settings, "results")
    finally:
        del url, settings  # a traceback with locals would show a secret that stands in them
    return Pipe(remote)


def files(name: str, url: str | Path | None = None, **settings: Any) -> FilesPipe:
    """A pipe to plain files in somebody's folder, for this process.

    Args:
        name, url: as for `init`.
        **settings: those of `init`, and `include`, `exclude`, `newest`, `local` and `schema`; see `FilesPipe`.

    Returns:
        The pipe. `get_pipe(name)` gives it again.

    Raises:
        UsageError, PluginError, BackendError, CredentialsError: as for `init`.

    Example:
        >>> d6tstore.pipes.files("vendor", url="sftp://ann@host/drop", include="*.csv")  # doctest: +SKIP
    """
    from d6tstore.plainfiles.pipe import FilesPipe

    try:
        remote = _registered(name, url, settings, "files")
    finally:
        del url, settings
    return FilesPipe(remote, project.root())


def get_pipe(name: str | None = None) -> Pipe | FilesPipe:
    """A pipe that was chosen in this process, or that `d6tstore.toml` names.

    Args:
        name: of the pipe; None is the only one.

    Raises:
        UsageError: there is no such pipe, or there are several.
    """
    from d6tstore.access import chosen

    return _made(chosen(known(), name))


def push_all(tasks: Any, pipe: str | None = None, **options: Any) -> Exchange:
    """Push tasks and all that they need, with their objects. `options` as for `Pipe.push`."""
    return _of_results(pipe).push(tasks, upstream=True, **options)


def pull_all(tasks: Any, pipe: str | None = None, **options: Any) -> Exchange:
    """Pull tasks and all that they need, with their objects. `options` as for `Pipe.pull`."""
    return _of_results(pipe).pull(tasks, upstream=True, **options)


def known() -> dict[str, Remote]:
    """All pipes by name: of this process, of the store in use, of the files of the project and the user."""
    from d6tstore import profiles
    from d6tstore.access import Remote

    found = {name: Remote(name, access) for name, access in profiles.pipes().items()}
    with contextlib.suppress(NotInitialised):
        found |= context.current().repository.pipes
    return found | context.pipes


def _made(remote: Remote) -> Pipe | FilesPipe:
    if remote.access.kind == "files":
        from d6tstore.plainfiles.pipe import FilesPipe

        return FilesPipe(remote, project.root())
    from d6tstore.sharing.pipe import Pipe

    return Pipe(remote)


def _of_results(name: str | None) -> Pipe:
    from d6tstore.sharing.pipe import Pipe

    pipe = get_pipe(name)
    if not isinstance(pipe, Pipe):
        raise UsageError(f"the pipe {pipe.name!r} is of plain files, not of results. Name another one.")
    return pipe


def _registered(name: str, url: Any, settings: dict[str, Any], kind: str) -> Remote:
    from d6tstore.access import defined

    remote = defined(name, url, settings, kind, known())
    context.pipes[name] = remote
    context.rename()
    return remote
