"""Which SSH servers are who they say: those in `~/.ssh/known_hosts`, as for `ssh` itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import paramiko

_FILES = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")


class KnownHosts(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # which has no types
    """Refuses a server whose key is not known: whoever is in between would get the password."""

    def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
        """Raises BadHostKey: the server is unknown, or has another key."""
        known = paramiko.HostKeys()
        for file in _FILES:
            path = Path(file).expanduser()
            if path.is_file():
                known.load(str(path))
        if not known.check(hostname, key):
            name = hostname.strip("[]").partition("]")[0]
            why = f"nobody knows {hostname}" if known.lookup(hostname) is None else f"{hostname} has another key now"
            raise BadHostKey(
                f"{why}: compare its key with what its owner says, and connect once by `ssh {name}`, which notes it in "
                "~/.ssh/known_hosts"
            )


class BadHostKey(paramiko.SSHException):  # type: ignore[misc]
    """The server may be somebody else."""
