"""What errors of file systems mean: each package has its own."""

from __future__ import annotations

import errno
from collections.abc import Iterator

_DENIED = ("Forbidden", "Unauthorized", "Authentication", "AccessDenied", "BadHostKey")


def status_of(exc: BaseException) -> int | None:
    """The number of an HTTP answer, in the error or in what led to it; 0 if there was no answer at all."""
    for each in _causes(exc):
        for holder in (each, getattr(each, "response", None)):
            for name in ("status", "status_code"):
                if isinstance(found := getattr(holder, name, None), int):
                    return found
        if "Connect" in type(each).__name__ or isinstance(each, ConnectionError | TimeoutError):
            return 0
    return None


def is_denied(exc: BaseException) -> bool:
    """Were we refused?"""
    return status_of(exc) in (401, 403) or any(
        isinstance(each, PermissionError)
        or getattr(each, "errno", None) in (errno.EACCES, errno.EPERM)
        or any(sign in type(each).__name__ or str(each).startswith(sign) for sign in _DENIED)
        for each in _causes(exc)
    )


def is_lost(exc: BaseException) -> bool:
    """Is the connection gone, so that a new one may do?"""
    return isinstance(exc, EOFError | ConnectionError) or "Socket is closed" in str(exc)


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """The error, and those of a package that it came from."""
    found: BaseException | None = exc
    for _ in range(5):
        if found is None:
            return
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
