"""Names of temporary files that tell who writes them."""

from __future__ import annotations

import functools
import itertools
import os
import platform
import re

from d6tstore import project

_count = itertools.count()


def name() -> str:
    """A new name: `host-pid-token`."""
    pid = project.pid()
    return f"{_writer(pid)}-{_token(pid)}{next(_count)}"


@functools.cache
def _token(pid: str) -> str:
    """What tells this process from an earlier one of the same number."""
    return os.urandom(8).hex()


@functools.cache
def _writer(pid: str) -> str:
    """Names a process of this machine in temporary files: `host-pid`."""
    host = re.sub(r"[^A-Za-z0-9.]", "_", platform.node())[:64]
    return f"{host}-{pid}"


def alive(name: str) -> bool:
    """True if the writer of a temporary file is a process of this machine that still runs."""
    writer = name.rpartition("-")[0]
    pid = writer.rpartition("-")[2]
    if not pid.isdecimal() or writer != _writer(pid):
        return False
    if os.name == "nt":
        return True  # asking would send it Ctrl-C
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it runs, as another user
    return True
