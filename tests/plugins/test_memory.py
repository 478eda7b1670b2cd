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


def test_another_process_is_told_that_it_cannot_see_it(tmp_path, python):
    backend = MemoryBackend()
    backend.write("a", b"1")
    (tmp_path / "p").write_bytes(pickle.dumps(backend))
    script = """
    import pickle, sys
    from d6tstore.errors import Unsupported
    with open(sys.argv[1], "rb") as file:
        backend = pickle.load(file)
    calls = [lambda: backend.read("a"), lambda: backend.write("a", b""), lambda: backend.delete("a")]
    calls += [lambda: list(backend.list()), lambda: backend.stat(["a"])]
    for call in [*calls, lambda: backend.hold("a", 1), lambda: backend.held("a")]:
        try:
            call()
        except Unsupported as exc:
            assert "memory of another process" in str(exc)
        else:
            raise AssertionError("went through")
    """
    python(script, str(tmp_path / "p"))
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
