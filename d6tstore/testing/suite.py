"""What all suites share: declared deviations."""

from __future__ import annotations

from collections.abc import Mapping
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
