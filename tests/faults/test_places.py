"""Places that fail: a full disk, no rights, files where folders belong, a folder that goes away.

Each gives an error of ours that names the object and the cure, and costs no result that was there before.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path

import pytest

import d6tstore
from d6tstore.credentials import Credentials, vault
from d6tstore.errors import BackendError, D6tstoreError, Denied, OutputMissing, ProfileError, RunFailed, UsageError

GEN = 1


@pytest.fixture(autouse=True)
def first_generation():
    global GEN
    GEN = 1
    yield
    GEN = 1


class Get(d6tstore.tasks.TaskJson):
    version = 1

    def run(self):
        self.save({"gen": GEN})


@d6tstore.requires(Get)
class Fit(d6tstore.tasks.TaskPickle):
    persist = ["small", "large"]
    size: int = 1000

    def run(self):
        gen = self.input().load()["gen"]
        self.save({"small": gen})
        self.save({"large": bytes([gen]) * self.size})


class Frame(d6tstore.tasks.TaskPqPandas):
    def run(self):
        import numpy as np
        import pandas as pd

        self.save(pd.DataFrame({"x": np.random.default_rng(1).random(800_000) + GEN}))


def root_of(store):
    return Path(store.repository.default.root)


def cause(caught):
    """The error behind RunFailed; the cure stands in both messages."""
    assert str(caught.value.__cause__) in str(caught.value)
    return caught.value.__cause__


# ------------------------------------------------------------------ full disk


def full_after(monkeypatch, allowed, kind=errno.ENOSPC):
    """The disk takes so many bytes more, by `os.write` and through files of Python."""
    left = [allowed]
    real = os.write

    def write(fd, data):
        if fd <= 2:
            return real(fd, data)
        if left[0] <= 0:
            raise OSError(kind, os.strerror(kind))
        count = real(fd, bytes(data)[: left[0]])
        left[0] -= count
        return count

    monkeypatch.setattr(os, "write", write)


@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_at_any_byte(store, monkeypatch, kind):
    global GEN
    store.run(Fit())
    before = Fit().output().load()
    GEN = 2
    failures = 0
    for allowed in range(0, 6000, 150):
        with monkeypatch.context() as patch:
            full_after(patch, allowed, kind)
            try:
                store.run(Fit(), force=True)
            except RunFailed as exc:
                failures += 1
                assert isinstance(exc.__cause__, BackendError)
                assert "Free space" in str(exc) and str(root_of(store)) in str(exc)
                assert os.strerror(kind) in str(exc)
            else:
                break
        assert Fit().output().load(verify=True) == before  # old and whole, both outputs
        assert Get().output().load(verify=True)["gen"] in (1, 2)
        assert store.verify() == []
    assert failures >= 10
    assert Fit().output().load(verify=True) == {"small": 2, "large": bytes([2]) * 1000}
    left = {e.key for e in store.repository.default.list("Fit/")}
    named = {o.key for r in store.history(Fit()) for o in r.outputs.values()}
    assert left == named, "a failed attempt left objects"
    assert store.repository.default.clean(float("inf")) == []


LIMITED = """
import resource, signal, sys, d6tstore
import pandas as pd
from d6tstore.errors import BackendError, RunFailed
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

class Small(d6tstore.tasks.TaskJson):
    def run(self):
        self.save("small")

class Frame(d6tstore.tasks.TaskPqPandas):
    n: int
    def run(self):
        import numpy as np
        self.save(pd.DataFrame({"x": np.random.default_rng(1).random(self.n)}))

class Blob(d6tstore.tasks.TaskPickle):
    n: int
    def run(self):
        import numpy as np
        self.save(np.random.default_rng(1).random(self.n))

class Table(d6tstore.tasks.TaskCSVPandas):
    n: int
    def run(self):
        self.save(pd.DataFrame({"x": ["text"] * self.n}))

store = d6tstore.open(sys.argv[1])
limit = int(sys.argv[2])
with d6tstore.use(store):
    store.run(Small())
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for task in (Frame(n=900_000), Blob(n=900_000), Table(n=1_300_000), Blob(n=300_000), Frame(n=300_000)):
        try:
            store.run([Small(), task])
        except RunFailed as exc:
            assert isinstance(exc.__cause__, BackendError), repr(exc.__cause__)
            assert sys.argv[1] in str(exc) or "file://" in str(exc), exc
            assert "again" in str(exc) or "Check" in str(exc), exc
        else:
            raise SystemExit(f"{task} fits")
        assert store.repository.read_one(task) is None
        assert Small().output().load(verify=True) == "small"
        assert store.verify() == []
        assert list(store.repository.default.list(task.family)) == []
        assert store.repository.default.clean(float("inf")) == []
    print("all refused")
"""


def test_files_that_may_not_grow(children, tmp_path):
    """RLIMIT_FSIZE: the operating system itself breaks off a write, for root too."""
    pytest.importorskip("resource", reason="this system has no resource limits")
    assert "all refused" in children.run(LIMITED, tmp_path / "store", 1_000_000)


def test_a_disk_that_is_full(children, tmp_path):
    """A tmpfs of a few hundred pages; where mounting is not ours, in a user namespace."""
    if sys.platform != "linux":
        pytest.skip("mounts of its own need Linux")
    import subprocess

    place = tmp_path / "disk"
    place.mkdir()
    program = tmp_path / "project" / "limited.py"
    program.write_text(LIMITED)
    mount = f'mount -t tmpfs -o size=1500k tmpfs "{place}"'
    script = f'{mount} && exec "{sys.executable}" "{program}" "{place}/store" 0'
    namespace = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if not shutil.which("unshare") or subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount; test_files_that_may_not_grow covers the rest")
    done = subprocess.run([*namespace, "sh", "-c", script], capture_output=True, text=True, timeout=120)
    if "mount:" in done.stderr:
        pytest.skip("this machine lets nobody mount; test_files_that_may_not_grow covers the rest")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all refused" in done.stdout


# --------------------------------------------------------------------- rights

READ_ONLY = """
import os, sys, d6tstore
from d6tstore.errors import Denied, RunFailed

class Get(d6tstore.tasks.TaskJson):
    n: int = 1
    def run(self):
        self.save(self.n)

if os.geteuid() == 0:
    import blake3, msgspec, json, d6tstore.display, d6tstore.engine, d6tstore.store, d6tstore.explain
    import email.parser, tempfile
    with tempfile.TemporaryDirectory() as warm:  # loads all modules: nobody may not read them later
        d6tstore.open(warm).run(Get())
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
store = d6tstore.open(sys.argv[1])
with d6tstore.use(store):
    if sys.argv[2] == "unreadable":
        for use in (Get().output().load, lambda: store.plan(Get()), lambda: store.run(Get()), store.verify):
            try:
                use()
            except (Denied, RunFailed) as exc:
                assert isinstance(exc, Denied) or isinstance(exc.__cause__, Denied)
                assert "Permission denied" in str(exc) and "right" in str(exc), exc
            else:
                raise SystemExit(f"{use} went through: denied is never absent")
        print("refused")
        raise SystemExit
    assert Get().output().load(verify=True) == 1
    assert Get().complete() and store.run(Get()).ran == [] and store.verify() == []
    assert store.why(Get()) and len(store.preview([Get(), Get(n=2)]).pending) == 1
    for use in (
        lambda: store.run(Get(), force=True),
        lambda: store.run(Get(n=2)),
        lambda: Get(n=2).save(3),
        Get().invalidate,
        store.invalidate_all,
        lambda: store.repository.default.staging() and store.repository.default.write("a/b", b"x"),
        lambda: store.gc(older_than=-10),
    ):
        try:
            use()
        except (Denied, RunFailed) as exc:
            assert isinstance(exc, Denied) or isinstance(exc.__cause__, Denied), repr(exc.__cause__)
            assert sys.argv[1] in str(exc) and "right" in str(exc), exc
        else:
            raise SystemExit(f"{use} went through")
        assert Get().output().load(verify=True) == 1
print("refused")
"""

PREPARE = READ_ONLY.split("if os.geteuid")[0] + "store = d6tstore.open(sys.argv[1]); store.run(Get())\n"


def protect(root, folders, files):
    for path in [*sorted(root.rglob("*"), reverse=True), root]:  # what is in a folder first
        path.chmod(folders if path.is_dir() else files)


@pytest.mark.parametrize("how", ["read-only", "unreadable"])
def test_no_rights(children, tmp_path, how):
    """Root ignores permissions: there the child becomes the user `nobody`."""
    if not hasattr(os, "setuid"):
        pytest.skip("this system has no permission bits")
    root = tmp_path / "store"
    children.run(PREPARE, root)
    if how == "read-only":  # something for gc
        shutil.copy(next(root.glob("Get/*/data-*")), next(root.glob("Get/*")) / "data-0123456789abcdef.json")
    path = root
    while os.geteuid() == 0 and path != path.parent:  # pytest's folders are ours alone
        if path != root and path.stat().st_uid == 0 and path.stat().st_mode & 0o7777 == 0o700:
            path.chmod(0o711)
        path = path.parent
    protect(root, 0o555 if how == "read-only" else 0o000, 0o444 if how == "read-only" else 0o000)
    try:
        assert "refused" in children.run(READ_ONLY, root, how)
    finally:
        root.chmod(0o755)
        for folder, folders, names in os.walk(root):
            for name in [*folders, *names]:
                os.chmod(os.path.join(folder, name), 0o755)


# ------------------------------------------------------- what is in the way


def test_a_file_as_the_place(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BackendError, match=r"file is a file, results need a folder. Give another path"):
        d6tstore.open(tmp_path / "file")
    with d6tstore.use(d6tstore.open(tmp_path / "file" / "below")) as store:
        with pytest.raises(RunFailed) as caught:
            store.run(Get())
    error = cause(caught)
    assert isinstance(error, BackendError)
    assert f"{tmp_path / 'file'} is no folder" in str(error) and "Move away" in str(error)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_place_that_became_a_file(store):
    store.run(Fit())
    shutil.rmtree(root_of(store))
    root_of(store).write_text("mine")
    for use in (lambda: store.run(Fit()), Fit().output().load, lambda: store.plan(Fit())):
        with pytest.raises(D6tstoreError) as caught:
            use()
        assert str(root_of(store)) in str(caught.value)
    assert root_of(store).read_text() == "mine"


def test_links(tmp_path):
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BackendError, match="dangling is a link to nowhere"):
        d6tstore.open(tmp_path / "dangling")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with d6tstore.use(d6tstore.open(tmp_path / "link")) as store:
        store.run(Fit())
    with d6tstore.use(d6tstore.open(tmp_path / "real")) as store:
        assert store.run(Fit()).ran == []
        (tmp_path / "link").unlink()
        assert Fit().output().load()["small"] == 1


def test_a_link_whose_goal_goes_away(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with d6tstore.use(d6tstore.open(tmp_path / "link")) as store:
        store.run(Get())
        (tmp_path / "real").rmdir() if not any((tmp_path / "real").iterdir()) else shutil.rmtree(tmp_path / "real")
        with pytest.raises(RunFailed) as caught:
            store.run(Get())
        assert f"{tmp_path / 'link'} is no folder" in str(cause(caught))


@pytest.mark.parametrize(
    "place",
    [".d6tstore", ".d6tstore/records", ".d6tstore/records/Fit", ".d6tstore/tmp", ".d6tstore/claims", "Fit"],
)
def test_a_file_in_place_of_a_folder_inside(store, place):
    store.run(Get())
    path = root_of(store) / place
    if path.exists():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    with pytest.raises(RunFailed) as caught:
        store.run(Fit())
    error = cause(caught)
    assert isinstance(error, BackendError) and not isinstance(error, KeyError), repr(error)
    assert f"{path} is no folder" in str(error) and "Move away" in str(error)
    store.preview(Fit())
    store.verify()
    try:
        store.gc(older_than=0)
    except BackendError as exc:  # no claims can be made
        assert f"{path} is no folder" in str(exc)
    assert path.read_text() == "mine"
    path.unlink()
    store.run(Fit())
    assert Fit().output().load(verify=True)["small"] == 1


def test_a_folder_in_place_of_a_record_or_an_object(store):
    store.run(Fit())
    object_path = Fit().output()["small"].path
    record_path = root_of(store) / store.repository.read_one(Fit()).key
    record_path.unlink()
    record_path.mkdir()
    (record_path / "x").write_text("mine")
    with pytest.raises(RunFailed) as caught:
        store.run(Fit())
    assert f"{record_path} is a folder" in str(cause(caught))
    shutil.rmtree(record_path)
    store.run(Fit())
    object_path = Fit().output()["small"].path
    object_path.unlink()
    object_path.mkdir()
    assert store.plan(Fit())[Fit()].reason == "output missing"
    with pytest.raises(OutputMissing):
        Fit().output().load()
    assert [p.problem for p in store.verify()] == ["missing"]
    store.run(Fit())
    assert Fit().output().load(verify=True)["small"] == 1


# --------------------------------------------------- a folder that goes away


class Vanish(d6tstore.tasks.TaskJson):
    """Removes the folder of the results while it runs; `when` says at which point."""

    folder: str
    when: str
    persist = ["a", "b"]

    def run(self):
        if self.when == "before":
            shutil.rmtree(self.folder)
        self.save({"a": 1})
        if self.when == "between":
            shutil.rmtree(self.folder)
        self.save({"b": 2})
        if self.when == "after":
            shutil.rmtree(self.folder)


@d6tstore.requires(Vanish)
class Next(d6tstore.tasks.TaskJson):
    def run(self):
        self.save(sum(self.input().load().values()))


@d6tstore.requires(Get)
class Late(d6tstore.tasks.TaskJson):
    folder: str

    def run(self):
        shutil.rmtree(self.folder)
        self.save(self.input().load())


@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_the_folder_is_deleted_while_a_task_runs(store, when, workers):
    task = Next(folder=str(root_of(store)), when=when)
    if when == "before":
        store.run(task, workers=workers)
        assert task.output().load() == 3
    else:
        with pytest.raises(RunFailed) as caught:
            store.run(task, workers=workers)
        assert isinstance(cause(caught), OutputMissing)
        assert "Vanish" in str(caught.value) and "Run the task again" in str(caught.value)
        assert store.plan(task)[task].state == "PENDING"
    assert store.run(Get()).ran == [Get()]  # the store works on


def test_the_folder_is_deleted_between_two_tasks(store):
    task = Late(folder=str(root_of(store)))
    with pytest.raises(RunFailed) as caught:
        store.run(task)
    assert isinstance(cause(caught), OutputMissing)
    assert not store.plan(task).complete
    assert store.run(Get()).ran == [Get()]


def test_folders_are_deleted_all_the_time(store):
    """A writer whose folders vanish between its steps writes all the same."""
    import threading

    stop = threading.Event()
    folder = root_of(store)

    def remove():
        while not stop.is_set():
            for name in ("Get", ".d6tstore/tmp", ".d6tstore/claims"):
                for path in sorted((folder / name).rglob("*"), reverse=True) if (folder / name).exists() else []:
                    try:
                        os.rmdir(path)
                    except OSError:
                        pass
                try:
                    os.rmdir(folder / name)
                except OSError:
                    pass

    thread = threading.Thread(target=remove)
    thread.start()
    try:
        for _ in range(100):
            store.run(Get(), force=True)
            assert Get().output().load(verify=True) == {"gen": 1}
            Get().invalidate()
    finally:
        stop.set()
        thread.join()


def test_a_parent_that_goes_while_its_folders_are_made(store, monkeypatch):
    real, raised = os.mkdir, []

    def mkdir(path, *args, **kwargs):
        if "/records/" in str(path) and len(raised) < 5:
            raised.append(path)  # as if another process had removed the parent just before
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        real(path, *args, **kwargs)

    monkeypatch.setattr(os, "mkdir", mkdir)
    store.run(Get())
    assert len(raised) == 5
    assert Get().output().load(verify=True) == {"gen": 1}


def test_denied_is_never_absent():
    assert issubclass(Denied, PermissionError) and not issubclass(Denied, KeyError)


def test_a_restore_that_fails_costs_only_its_task(store, monkeypatch):
    global GEN

    class Code(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(GEN)

    for GEN in (1, 2):
        store.run(Code())
    GEN = 1
    assert store.plan(Code())[Code()].restore is not None
    kind = type(store.repository.default)
    real = kind.write

    def write(self, key, data):
        if "/Code/" in key:
            raise Denied("no right to write. Get it.")
        real(self, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "write", write)
        with pytest.raises(RunFailed) as caught:
            store.run([Code(), Get()])
    assert isinstance(cause(caught), Denied)
    assert caught.value.report.ran == [Get()]
    assert Code().output().load() == 2
    assert store.run(Code()).restored == [Code()]
    assert Code().output().load() == 1


def test_a_kept_version_that_gc_takes_before_it_is_restored_is_computed(store, monkeypatch):
    """Between the plan and the claim somebody trims and collects what the plan wants to restore."""
    global GEN

    class Code(d6tstore.tasks.TaskJson):
        def run(self):
            self.save([GEN])

    for GEN in (1, 2):
        store.run(Code())
    GEN = 1
    kind = type(store.repository.default)
    real, gone = kind.claim, []

    def claim(self, key, info):
        if not gone:
            kept = store.history(Code())[1]
            gone.append(kept.outputs["data"].key)
            self.delete(kept.history_key)
            self.delete(gone[0])
        return real(self, key, info)

    monkeypatch.setattr(kind, "claim", claim)
    assert store.run(Code()).ran == [Code()]
    assert gone
    assert Code().output().load(verify=True) == [1]


# ------------------------------------------------------------------ nobody's home


@pytest.fixture
def no_home(monkeypatch):
    """A container whose user has neither HOME nor an entry in /etc/passwd."""
    pwd = pytest.importorskip("pwd")

    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "PYTHON_KEYRING_BACKEND"):
        monkeypatch.delenv(variable, raising=False)


def test_who_has_no_home_has_no_file_of_profiles_and_no_keyring(no_home, project):
    import keyring.core

    active, keyring.core._keyring_backend = keyring.core._keyring_backend, None
    try:
        assert Credentials("x").find() is None
        assert vault.status().advice.startswith("no keyring is available on this machine")
    finally:
        keyring.core._keyring_backend = active
    d6tstore.init("./data").run(Get())
    assert (project / "data").is_dir()
    with pytest.raises(ProfileError, match=r"Write \[profiles.prod\] into d6tstore.toml. For a folder"):
        d6tstore.open("prod")
    for place in ("~/x", Path("~/x"), "~nosuchuser/x"):
        with pytest.raises(UsageError, match="there is no such home folder here"):
            d6tstore.open(place)


def test_the_current_folder_was_deleted(project, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for place in (None, "./x", "prod", "memory://"):
        with pytest.raises(UsageError, match="the current folder was deleted. Change to one that exists"):
            d6tstore.open(place)
