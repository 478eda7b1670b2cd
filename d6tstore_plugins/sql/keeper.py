"""Runs a private server until its last user is gone. A program of its own, so that it outlives whoever is killed.

Nobody is counted: each user holds a shared lock on one file, which the kernel takes from those that die. Who gets the
exclusive one is alone. It needs only the standard library: `python -I -S keeper.py '{...}'`.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any


def main(
    command: list[str], owner: dict[str, Any], data: str, log: str, address: str, sockets: str, users: int, server: int
) -> None:
    """Start the server, say `ready`, and wait for its end or that of its last user.

    Args:
        command: of the server.
        owner: as whom it runs, for `subprocess`.
        data: its folder.
        log: file for what it says.
        address: file that says where it listens, while it does.
        sockets: folder of its socket, removed at the end.
        users: descriptor of the file that users lock.
        server: descriptor with the lock that is held as long as any process of the server lives: they inherit it.
    """
    if os.fork():
        os._exit(0)  # nobody's child: no parent need wait for us
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(log, "ab") as out:
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=[server], cwd=data, **owner
        )

    def when_alone() -> None:
        fcntl.flock(users, fcntl.LOCK_EX)
        process.send_signal(signal.SIGINT)  # "fast": connections are closed, all is written

    threading.Thread(target=when_alone, daemon=True).start()
    while process.poll() is None and not is_ready(Path(data, "postmaster.pid"), process.pid):
        time.sleep(0.01)
    if process.poll() is None:
        Path(f"{address}.new").write_text(sockets)
        os.replace(f"{address}.new", address)
        os.write(1, b"ready\n")
        for stream in (1, 2):  # whoever started us waits for their end
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    process.wait()
    Path(address).unlink(missing_ok=True)
    shutil.rmtree(sockets, ignore_errors=True)
    os.close(server)  # before the lock on `users`: who gets that one finds this one free


def is_ready(file: Path, pid: int) -> bool:
    """Does `postmaster.pid` say that the server takes connections? An older one is of another process."""
    try:
        lines = file.read_text().split("\n")
    except OSError:
        return False
    return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
