"""Conformance tests for backends and formats, ours and everybody else's.

The author of a plug-in subclasses a suite in a test file and gives it one fixture. Every test is a promise
that the seam makes to the rest of d6tstore. A promise that a plug-in cannot keep is declared, with its
reason, in `deviations`; the test is then expected to fail.

::

    import pytest
    from d6tstore.testing import BackendTests

    class TestMyBackend(BackendTests):
        deviations = {"test_keys_differ_in_case": "the service folds case"}

        @pytest.fixture
        def backend(self, tmp_path):
            return MyBackend(f"my://{tmp_path}")

It needs pytest.
"""

from __future__ import annotations

import pytest

for _module in ("backends", "crashes", "flow", "formats", "replacing", "samples", "sharing", "suite", "tables"):
    pytest.register_assert_rewrite(f"d6tstore.testing.{_module}")

from d6tstore.testing.backends import BackendTests
from d6tstore.testing.formats import FormatTests, Refused
from d6tstore.testing.suite import forbidden
from d6tstore.testing.tables import TableBackendTests

__all__ = ["BackendTests", "FormatTests", "Refused", "TableBackendTests", "forbidden"]
