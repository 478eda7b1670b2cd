import gc
import pickle

import pytest

from d6tstore.errors import NotFound
from d6tstore.testing import BackendTests
from d6tstore_plugins.memory import MemoryBackend


class TestMemory(BackendTests):
    shared = False

    @pytest.fixture
    def backend(self):
        return MemoryBackend()


def test_another_process_sees_an_empty_memory(tmp_path, python):
    backend = MemoryBackend()
    backend.write("a", b"1")
    (tmp_path / "p").write_bytes(pickle.dumps(backend))
    script = "import pickle, sys; print(list(pickle.load(open(sys.argv[1], 'rb')).list()))"
    assert python(script, str(tmp_path / "p")) == "[]\n"
    assert pickle.loads((tmp_path / "p").read_bytes()) is backend


def test_it_ends_with_the_last_reference():
    backend = MemoryBackend()
    backend.write("a", b"1")
    data = pickle.dumps(backend)
    del backend
    gc.collect()
    with pytest.raises(NotFound):
        pickle.loads(data).read("a")


def test_live_objects_are_kept_as_they_are():
    backend, value = MemoryBackend(), object()
    backend.hold("a", value)
    assert backend.held("a") is value
    assert [e.key for e in backend.list()] == ["a"]
    backend.write("a", b"bytes")
    with pytest.raises(NotFound):
        backend.held("a")
    backend.hold("a", value)
    backend.delete("a")
    with pytest.raises(NotFound, match="Run its task again"):
        backend.held("a")


def test_two_memories_are_apart():
    one, two = MemoryBackend(), MemoryBackend()
    one.write("a", b"1")
    assert list(two.list()) == []
