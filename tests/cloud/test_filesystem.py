"""File systems of fsspec: SFTP passes the published suite; an archive and a web server are read."""

import contextlib
import functools
import http.server
import subprocess
import sys
import threading
import time
import zipfile
from typing import ClassVar

import pytest

import d6tstore
from d6tstore import registry
from d6tstore.credentials import Credentials
from d6tstore.errors import BackendError, Denied, NotFound, PluginError, Unsupported
from d6tstore.testing import BackendTests
from d6tstore_plugins.cloud.filesystem import FilesystemBackend
from d6tstore_plugins.cloud.filesystem_entries import entry_of

SERVER = """
import asyncio, asyncssh, os, sys

class Files(asyncssh.SFTPServer):
    # Refuses all while a file says so: to root, no rights of files would.
    def map_path(self, path):
        if os.path.exists(sys.argv[1]):
            raise asyncssh.SFTPPermissionDenied("as the test wants")
        return super().map_path(path)

class Server(asyncssh.SSHServer):
    def begin_auth(self, username):
        return True
    def password_auth_supported(self):
        return True
    def validate_password(self, username, password):
        return (username, password) == ("ann", "s3cret of ann")

async def main():
    keys = [asyncssh.generate_private_key("ssh-ed25519")]
    server = await asyncssh.listen("127.0.0.1", 0, server_factory=Server, server_host_keys=keys, sftp_factory=Files)
    print(server.get_port(), keys[0].export_public_key().decode().strip(), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture(scope="session")
def refusing(tmp_path_factory):
    """While this file is there, the server refuses all."""
    return tmp_path_factory.mktemp("sftp") / "refusing"


@pytest.fixture(scope="session")
def sftp(refusing, tmp_path_factory):
    """A server of SFTP, in a process of its own: its port, and the home of who knows it."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(refusing)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        port, _, key = process.stdout.readline().partition(" ")
        home = tmp_path_factory.mktemp("home")
        (home / ".ssh").mkdir()
        (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}")
        yield int(port), home
        process.stdin.close()


@pytest.fixture
def port(sftp, monkeypatch):
    """That of a server that we know, and its password."""
    monkeypatch.setenv("HOME", str(sftp[1]))
    monkeypatch.setenv("D6TSTORE_FILES_PASSWORD", "s3cret of ann")
    return sftp[0]


class TestSftp(BackendTests):
    rounds = 5
    kills = 3
    deviations: ClassVar = {"test_entries_tell_size_version_and_time": "SFTP tells times in whole seconds, and no more"}

    @pytest.fixture
    def backend(self, port, refusing, tmp_path):
        self.refusing = refusing
        self.folder = tmp_path / "remote"
        self.folder.mkdir()
        backend = FilesystemBackend.open(f"sftp://ann@127.0.0.1:{port}{self.folder}/place", Credentials("files"))
        yield backend
        backend.close()

    def denying(self, backend):
        @contextlib.contextmanager
        def refused():
            self.refusing.touch()
            try:
                yield
            finally:
                self.refusing.unlink()

        return refused()


class Number(d6tstore.tasks.TaskJson):
    n: int = 3

    def run(self):
        self.save(self.n)


def test_any_protocol_of_fsspec_works_by_its_url(port, tmp_path):
    store = d6tstore.open(f"sftp://ann@127.0.0.1:{port}{tmp_path}/place", credentials="files")
    store.run([Number(n=1), Number(n=2)], workers=2)
    assert store.run([Number(n=1), Number(n=2)]).ran == []
    with d6tstore.use(store):
        assert Number(n=2).output().load() == 2
    assert store.verify() == []
    assert sorted(path.suffix for path in (tmp_path / "place" / "Number").rglob("*.*")) == [".json", ".json"]


@pytest.fixture
def results(tmp_path):
    """A folder with a result, made by the local backend."""
    d6tstore.open(str(tmp_path / "results")).run(Number())
    return tmp_path / "results"


def test_an_archive_is_read_and_not_written(results, tmp_path):
    with zipfile.ZipFile(tmp_path / "results.zip", "w") as archive:
        for path in sorted(results.rglob("*")):
            archive.write(path, path.relative_to(results))
    store = d6tstore.open(f"zip://?fo={tmp_path}/results.zip")
    with d6tstore.use(store):
        assert store.run(Number()).ran == []
        assert Number().output().load() == 3
        with pytest.raises((Unsupported, BackendError, d6tstore.errors.RunFailed)):
            store.run(Number(n=4))


def test_a_web_server_is_read_and_not_written(results):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=results)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = d6tstore.open(f"http://127.0.0.1:{server.server_port}")
        with d6tstore.use(store):
            assert store.run(Number()).ran == [] and Number().output().load() == 3
        backend = store.repository.default
        with pytest.raises(Unsupported, match="is for reading"):
            backend.write("a/x", b"1")
        for call in (backend.read, backend.open_read):
            with pytest.raises(NotFound):
                call("not/there")
        server.shutdown()


def test_a_wrong_password_is_denied(port, monkeypatch, tmp_path):
    monkeypatch.setenv("D6TSTORE_FILES_PASSWORD", "wr0ng one")
    with pytest.raises(Denied, match="Ask for the rights") as caught:
        FilesystemBackend.open(f"sftp://ann@127.0.0.1:{port}{tmp_path}", Credentials("files"))
    assert "wr0ng" not in str(caught.value)


def test_a_web_server_that_refuses_is_not_empty():
    class Refusing(http.server.BaseHTTPRequestHandler):
        status = 403

        def do_GET(self):  # noqa: N802
            self.send_error(self.status)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        backend = registry.open_backend(f"http://127.0.0.1:{server.server_port}")
        for call in (backend.read, backend.open_read, lambda key: backend.stat([key])):
            Refusing.status = 403
            with pytest.raises(Denied):
                call("a")
            Refusing.status = 500
            with pytest.raises(BackendError) as caught:
                call("a")
            assert not isinstance(caught.value, NotFound)
        server.shutdown()


def test_a_server_that_nobody_knows_gets_no_password(port, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(BackendError, match=r"nobody knows .* connect once by `ssh 127.0.0.1`"):
        FilesystemBackend.open(f"sftp://ann@127.0.0.1:{port}/x", Credentials("files"))
    FilesystemBackend.open(f"sftp://ann@127.0.0.1:{port}/x?host_key_policy=auto_add", Credentials("files")).close()


def test_the_root_of_a_server(port, tmp_path):
    backend = FilesystemBackend.open(f"sftp://ann@127.0.0.1:{port}/", Credentials("files"))
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "x").write_bytes(b"1")
    key = str(tmp_path / "root" / "x").lstrip("/")
    assert backend.read(key) == b"1" and [e.key for e in backend.list(key.removesuffix("x"))] == [key]
    backend.close()


def test_a_connection_that_was_lost_is_made_again(port, tmp_path):
    backend = FilesystemBackend.open(f"sftp://ann@127.0.0.1:{port}{tmp_path}/place", Credentials("files"))
    backend.write("a/x", b"1")
    backend._files.client.close()
    assert backend.read("a/x") == b"1"
    backend._files.client.close()
    assert [entry.key for entry in backend.list()] == ["a/x"]
    backend.close()


def test_what_links_lead_to_is_listed(port, tmp_path):
    backend = FilesystemBackend.open(f"sftp://ann@127.0.0.1:{port}{tmp_path}/place", Credentials("files"))
    backend.write("a/x", b"123")
    (tmp_path / "place" / "b").symlink_to("a")
    assert sorted((entry.key, entry.size) for entry in backend.list()) == [("a/x", 3), ("b/x", 3)]
    backend.close()


def test_of_unknown_age_is_no_garbage():
    entry = entry_of("a", {"size": 1, "type": "file"})
    assert abs(entry.modified - time.time()) < 60


def test_nobody_listens(monkeypatch):
    monkeypatch.setenv("D6TSTORE_FILES_PASSWORD", "x")
    with pytest.raises(BackendError, match="Is it there"):
        FilesystemBackend.open("sftp://ann@127.0.0.1:9/x", Credentials("files"))


def test_a_protocol_whose_package_is_missing():
    with pytest.raises(PluginError, match="gcsfs|adlfs|install"):
        d6tstore.open("gs://bucket/prefix")
    with pytest.raises(PluginError, match="not installed"):
        d6tstore.open("nosuch://x")
