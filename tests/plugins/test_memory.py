import pytest

from d6tstore.testing import BackendTests
from d6tstore_plugins.memory import MemoryBackend


class TestMemory(BackendTests):
    shared = False

    @pytest.fixture
    def backend(self):
        return MemoryBackend()
