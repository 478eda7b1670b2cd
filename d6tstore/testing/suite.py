"""What all suites share: declared deviations; how files are refused."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest


class Suite:
    """Base of the suites."""

    deviations: ClassVar[Mapping[str, str]] = {}
    """Name of a test -> why this plug-in cannot pass it. It must then fail: a stale entry is an error."""

    @pytest.fixture(autouse=True)
    def _declared(self, request: pytest.FixtureRequest) -> None:
        unknown = [name for name in self.deviations if not hasattr(self, name)]
        assert not unknown, f"deviations name tests that there are not: {', '.join(unknown)}"
        name = getattr(request.node, "originalname", request.node.name)
        if name in self.deviations:
            request.applymarker(pytest.mark.xfail(reason=self.deviations[name], strict=True))


@contextlib.contextmanager
def forbidden(path: str | Path) -> Iterator[None]:
    """Within the context nobody may use a file or enter a folder: for `BackendTests.denying`.

    Root may do everything, so there the process is the user `nobody` meanwhile.

    Args:
        path: file or folder; it gets its rights back.
    """
    if not hasattr(os, "seteuid"):
        pytest.skip("this system has no permission bits")
    mode, root = os.stat(path).st_mode, os.geteuid() == 0
    os.chmod(path, 0)
    try:
        if root:
            os.seteuid(65534)
        yield
    finally:
        if root:
            os.seteuid(0)
        os.chmod(path, mode & 0o7777)
