"""What file systems of fsspec say of files, each in its own words."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable
from typing import Any

from d6tstore.backend import Entry

_VERSIONS = ("ETag", "etag", "e_tag", "md5Hash", "content_md5", "checksum", "ino")
_PIECE = 32 << 10  # bytes that SFTP servers send at once
_PATIENCE = 60.0  # seconds
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


def info_of(at: str) -> Callable[[Any], Any]:
    """Asks what is known of a file."""
    return lambda files: files.info(at)


def listing_of(folder: str) -> Callable[[Any], Any]:
    """Asks what is in a folder."""
    return lambda files: files.ls(folder, detail=True)


def target_of(name: str) -> Callable[[Any], Any]:
    """Asks what a link leads to."""

    def followed(files: Any) -> dict[str, Any]:
        return {"type": "directory"} if files.isdir(name) else {"type": "file", "size": len(files.cat_file(name))}

    return followed


def part_of(at: str, start: int, end: int) -> Callable[[Any], bytes]:
    """Asks for a part of a file; of SFTP its pieces all at once, not one after the answer to the other."""

    def got(files: Any) -> bytes:
        if not hasattr(files, "ftp"):
            return bytes(files.cat_file(at, start=start, end=end))
        with files.ftp.open(at, "rb") as file:
            if file.stat().st_size < end:
                return b""  # it became shorter: for what is not there paramiko would wait
            file.settimeout(_PATIENCE)  # so it does if that happens now
            return b"".join(file.readv([(i, min(_PIECE, end - i)) for i in range(start, end, _PIECE)]))

    return got


def entry_of(key: str, info: dict[str, Any]) -> Entry:
    """An entry of ours for what a file system says of a file."""
    moment = next((info[name] for name in _TIMES if info.get(name)), None)
    if isinstance(moment, str):
        with contextlib.suppress(ValueError):
            moment = dt.datetime.fromisoformat(moment)
    if isinstance(moment, dt.datetime):
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
    tag = next((str(info[name]) for name in _VERSIONS if info.get(name)), "")
    # Of unknown age is as good as new: nobody takes it for garbage.
    modified = float(moment) if isinstance(moment, int | float) else time.time()
    return Entry(key, int(info.get("size") or 0), f"{tag}-{moment}-{info.get('size')}", modified)
