"""File systems of fsspec: SFTP passes the published suite; an archive and a web server are read."""

import contextlib
import functools
import http.server
import subprocess
import sys
import threading
import zipfile
from typing import ClassVar

import pytest

import d6tstore
from d6tstore import registry
from d6tstore.credentials import Credentials
from d6tstore.errors import BackendError, Denied, PluginError, Unsupported
from d6tstore.testing import BackendTests
from d6tstore_plugins.cloud.filesystem import FilesystemBackend

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
    print(server.get_port(), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture(scope="session")
def refusing(tmp_path_factory):
    """While this file is there, the server refuses all."""
    return tmp_path_factory.mktemp("sftp") / "refusing"


@pytest.fixture(scope="session")
def sftp(refusing):
    """A server of SFTP, in a process of its own; its port."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(refusing)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield int(process.stdout.readline())
        process.stdin.close()


class TestSftp(BackendTests):
    rounds = 5
    kills = 3
    deviations: ClassVar = {"test_entries_tell_size_version_and_time": "SFTP tells times in whole seconds, and no more"}

    @pytest.fixture
    def backend(self, sftp, refusing, tmp_path, monkeypatch):
        self.refusing = refusing
        monkeypatch.setenv("D6TSTORE_FILES_PASSWORD", "s3cret of ann")
        self.folder = tmp_path / "remote"
        self.folder.mkdir()
        backend = FilesystemBackend.open(f"sftp://ann@127.0.0.1:{sftp}{self.folder}/place", Credentials("files"))
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


def test_any_protocol_of_fsspec_works_by_its_url(sftp, tmp_path, monkeypatch):
    monkeypatch.setenv("D6TSTORE_FILES_PASSWORD", "s3cret of ann")
    store = d6tstore.open(f"sftp://ann@127.0.0.1:{sftp}{tmp_path}/place", credentials="files")
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
        backend = registry.open_backend(f"http://127.0.0.1:{server.server_port}")
        assert backend.read(next(e.key for e in backend.list(".d6tstore/records/"))).startswith(b"{")
        with pytest.raises(BackendError):
            backend.write("a/x", b"1")
        server.shutdown()


def test_a_wrong_password_is_denied(sftp, monkeypatch, tmp_path):
    monkeypatch.setenv("D6TSTORE_FILES_PASSWORD", "wr0ng one")
    with pytest.raises(Denied, match="Ask for the rights") as caught:
        FilesystemBackend.open(f"sftp://ann@127.0.0.1:{sftp}{tmp_path}", Credentials("files"))
    assert "wr0ng" not in str(caught.value)


def test_nobody_listens(monkeypatch):
    monkeypatch.setenv("D6TSTORE_FILES_PASSWORD", "x")
    with pytest.raises(BackendError, match="Is it there"):
        FilesystemBackend.open("sftp://ann@127.0.0.1:9/x", Credentials("files"))


def test_a_protocol_whose_package_is_missing():
    with pytest.raises(PluginError, match="gcsfs|adlfs|install"):
        d6tstore.open("gs://bucket/prefix")
    with pytest.raises(PluginError, match="not installed"):
        d6tstore.open("nosuch://x")
