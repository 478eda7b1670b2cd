"""Claims as advisory locks on files. The lock is the operating system's: it goes with the process that held it."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Mapping

import msgspec

from d6tstore.errors import Held

try:
    import fcntl
except ImportError:  # Windows: claims are off there, two writers are safe without
    fcntl = None  # type: ignore[assignment]


def lock(create: Callable[[int], int], key: str) -> int | None:
    """Lock the file of a claim.

    Args:
        create: opens the file with given flags, making it if it is not there, and returns its descriptor.
        key: what is claimed, for the message.

    Returns:
        The descriptor that holds the lock; None where the file system has no locks.

    Raises:
        Held: somebody else has it.
        OSError: the file cannot be made.
    """
    if fcntl is None:
        return None
    while True:
        fd = create(os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The former holder may have removed the file between our open and our lock.
            found = os.fstat(fd)
            if found.st_nlink:
                if found.st_size:  # of one that died
                    os.ftruncate(fd, 0)
                return fd
        except OSError as exc:
            held = os.pread(fd, 4096, 0)
            os.close(fd)
            if exc.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                return None
            if exc.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise Held(f"{key} is being computed", info=_info(held)) from None
        os.close(fd)


def sign(fd: int, info: Mapping[str, str]) -> None:
    """Write who holds the claim, for those who find it held."""
    try:  # noqa: SIM105 - half the time; a claim is taken for every task
        os.pwrite(fd, msgspec.json.encode(info), 0)
    except OSError:
        pass  # for people only: a full disk must not cost the claim


def release(fd: int, path: str) -> None:
    """Remove the file, then the lock: in this order nobody locks a file that is about to go."""
    try:  # noqa: SIM105
        os.unlink(path)
    except OSError:
        pass
    os.close(fd)


def _info(data: bytes) -> dict[str, str]:
    """Who holds a claim; the holder may be about to write it."""
    try:
        return dict(json.loads(data))
    except ValueError:
        return {"who": "somebody", "host": "this machine", "pid": "?", "since": time.ctime()}
