"""Files of people that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from d6tstore.errors import UsageError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside a file, for its new content: if the block ends well it takes the place of the file, else it goes.

    Args:
        path: of the file. One that is there gives its permissions to the new one.

    Raises:
        UsageError: it cannot be written there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "x.txt")) as staged:
        ...         size = staged.write_text("new")
        ...     print(Path(folder, "x.txt").read_text())
        new
    """
    path = Path(path)
    staged = path.with_name(f".d6tstore-{secrets.token_hex(8)}{path.suffix}")
    try:
        try:
            yield staged
            if path.exists():
                os.chmod(staged, path.stat().st_mode & 0o777)
            os.replace(staged, path)
        finally:
            staged.unlink(missing_ok=True)
    except OSError as exc:
        raise UsageError(f"{str(path)!r} cannot be written: {exc.strerror or exc}. Choose another place.") from exc
