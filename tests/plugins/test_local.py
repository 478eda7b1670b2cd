import multiprocessing
import os
import stat
import subprocess
import sys

import pytest

from d6tstore.errors import BackendError, Denied, Held, NotFound
from d6tstore.testing import BackendTests, forbidden
from d6tstore_plugins.local import LocalBackend


class TestLocal(BackendTests):
    @pytest.fixture
    def backend(self, tmp_path):
        return LocalBackend(str(tmp_path / "root with ünï #%20"))

    def denying(self, backend):
        return forbidden(backend.root)


class TestDurable(TestLocal):
    rounds = 5
    kills = 2

    @pytest.fixture
    def backend(self, tmp_path):
        return LocalBackend(str(tmp_path / "root"), durable=True)


@pytest.fixture
def backend(tmp_path):
    return LocalBackend(str(tmp_path / "root"))


def files(backend):
    return sorted(
        os.path.relpath(os.path.join(at, f), backend.root) for at, _, names in os.walk(backend.root) for f in names
    )


def test_a_key_is_the_path_of_a_file(backend):
    backend.write("a/b c", b"1")
    assert files(backend) == ["a/b c"]
    assert backend.path("a/b c").read_bytes() == b"1"
    assert backend.uri("a/b c") == f"file://{backend.root}/a/b c"


def test_delete_leaves_no_empty_folders(backend):
    backend.write("a/b/c", b"1")
    backend.write("a/d", b"1")
    backend.delete("a/b/c")
    assert os.listdir(os.path.join(backend.root, "a")) == ["d"]
    backend.delete("a/d")
    assert "a" not in os.listdir(backend.root)
    assert os.path.isdir(backend.root)


def test_a_failed_write_leaves_the_old_value_and_no_debris(backend, monkeypatch):
    backend.write("k", b"old")

    def full(fd, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(BackendError, match="No space left.*Free space"):
        backend.write("k", b"new")
    monkeypatch.undo()
    assert backend.read("k") == b"old"
    assert files(backend) == ["k"]


def test_short_writes_and_reads_are_continued(backend, monkeypatch):
    write, read = os.write, os.read
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    monkeypatch.setattr(os, "read", lambda fd, n: read(fd, min(n, 5)))
    backend.write("k", bytes(range(100)))
    assert backend.read("k") == bytes(range(100))


def test_durable_flushes_file_and_folder(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(stat.S_ISDIR(os.fstat(fd).st_mode)), fsync(fd)))
    LocalBackend(str(tmp_path / "fast")).write("a/k", b"1")
    assert synced == []
    backend = LocalBackend(str(tmp_path / "safe"), durable=True)
    backend.write("a/k", b"1")
    assert synced[0] is False and True in synced[1:]
    synced.clear()
    path = backend.staging()
    path.write_bytes(b"2")
    backend.write("a/k", path)
    assert synced[0] is False and True in synced[1:]


def test_what_is_forbidden_is_denied_not_absent(backend):
    backend.write("a/k", b"1")
    with forbidden(backend.path("a/k")), pytest.raises(Denied) as caught:
        backend.read("a/k")
    assert not isinstance(caught.value, NotFound)


@pytest.mark.parametrize("call", ["read", "open_read", "stat", "list", "write", "delete"])
def test_permission_errors_are_denied(backend, monkeypatch, call):
    backend.write("a/k", b"1")

    def denied(*args, **options):
        raise PermissionError(13, "Permission denied")

    for name in ("open", "stat", "scandir", "unlink"):
        monkeypatch.setattr(os, name, denied)
    monkeypatch.setattr("builtins.open", denied)
    calls = {
        "read": lambda: backend.read("a/k"),
        "open_read": lambda: backend.open_read("a/k"),
        "stat": lambda: backend.stat(["a/k"]),
        "list": lambda: list(backend.list("a/")),
        "write": lambda: backend.write("a/k", b"2"),
        "delete": lambda: backend.delete("a/k"),
    }
    with pytest.raises(Denied, match="Permission denied.*Give this user the right"):
        calls[call]()
    monkeypatch.undo()
    assert backend.read("a/k") == b"1"


def test_a_root_that_is_a_file(tmp_path):
    (tmp_path / "f").touch()
    with pytest.raises(BackendError, match="is a file"):
        LocalBackend(str(tmp_path / "f"))


def test_the_folder_may_vanish_at_any_time(backend):
    import shutil

    backend.write("a/k", b"1")
    path = backend.staging()
    shutil.rmtree(backend.root)
    assert list(backend.list()) == []
    with pytest.raises(NotFound):
        backend.read("a/k")
    backend.delete("a/k")
    backend.write("a/k", b"2")
    assert backend.read("a/k") == b"2"
    assert not path.exists()


HOLD = """
import sys
from d6tstore_plugins.local import LocalBackend
with LocalBackend(sys.argv[1]).claim("Task-1", {"who": "ann", "pid": "1"}):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_claim_holds_between_processes_and_ends_with_them(backend):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, backend.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Held) as caught, backend.claim("Task-1", {}):
            pass
        assert caught.value.info == {"who": "ann", "pid": "1"}
    finally:
        holder.kill()  # it cannot release anything
        holder.communicate()
    with backend.claim("Task-1", {"who": "bob"}):
        pass


def test_clean_removes_what_crashed_writers_left(backend, python):
    backend.write("a/k", b"1")
    script = "import sys; from d6tstore_plugins.local import LocalBackend; p = LocalBackend(sys.argv[1]).staging()"
    half = python(f"{script}; p.write_bytes(b'half'); print(p, end='')", backend.root)
    left = ".d6tstore/claims/Task-1"
    os.makedirs(os.path.join(backend.root, ".d6tstore/claims"))
    open(os.path.join(backend.root, left), "w").close()
    mine = backend.staging()
    mine.write_bytes(b"being written")
    assert backend.clean(before=0) == []
    with backend.claim("Task-2", {}):
        removed = backend.clean(before=mine.stat().st_mtime + 3600)
    assert sorted(removed) == sorted([os.path.relpath(half, backend.root), left])
    assert files(backend) == [os.path.relpath(mine, backend.root), "a/k"]


def _race(root, seed):
    backend = LocalBackend(root)
    for i in range(100):
        backend.write(f"a/b{i % 3}/k", b"%d" % seed * 1000)
        backend.delete(f"a/b{(i + seed) % 3}/k")
    return True


def test_processes_write_and_remove_the_same_folders(backend):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.starmap(_race, [(backend.root, 1), (backend.root, 2)]) == [True, True]
    for entry in backend.list():
        assert set(backend.read(entry.key)) in ({ord("1")}, {ord("2")})
    assert os.listdir(os.path.join(backend.root, ".d6tstore", "tmp")) == []
