import pytest

from d6tstore.testing import BackendTests
from d6tstore_plugins.local import LocalBackend


class TestLocal(BackendTests):
    @pytest.fixture
    def backend(self, tmp_path):
        return LocalBackend(str(tmp_path / "root with ünï #%20"))


class TestDurable(BackendTests):
    rounds = 5

    @pytest.fixture
    def backend(self, tmp_path):
        return LocalBackend(str(tmp_path / "root"), durable=True)
