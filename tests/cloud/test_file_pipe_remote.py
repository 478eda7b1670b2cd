"""Pipes of plain files over networks: two S3 servers, SFTP, a web server, an archive."""

import functools
import hashlib
import http.server
import os
import threading
import zipfile
from types import SimpleNamespace

import paramiko
import pytest
from s3proxy import ACCESS_DENIED
from test_filesystem import port, refusing, sftp  # noqa: F401 - fixtures

from d6tstore import registry
from d6tstore.access import PipeAccess, Remote
from d6tstore.credentials import Credentials
from d6tstore.errors import BackendError, Conflict, Denied, ExchangeFailed, Unsupported
from d6tstore.plainfiles.pipe import FilesPipe
from d6tstore_plugins.cloud import filesystem_entries
from d6tstore_plugins.cloud.filesystem import FilesystemBackend

OLD = 1_700_000_000


def pipe(backend, project, name="vendor", **settings):
    access = PipeAccess(url=backend.url, kind="files", **settings)
    return FilesPipe(Remote(name, access, backend), project)


def here(pipe):
    return {p.relative_to(pipe.folder).as_posix(): p.read_bytes() for p in pipe.folder.rglob("*") if p.is_file()}


def states(changes):
    return {file.name: file.state for file in changes}


def there_and_back(one, other):
    """Two people and a place: what one pushes the other pulls, edits and pushes back."""
    one.folder.mkdir(parents=True)
    (one.folder / "sub dir").mkdir()
    large = os.urandom(12 << 20)
    for name, data in (("a.csv", b"1"), ("sub dir/ü#?.csv", b"22"), ("empty", b""), ("large", large)):
        (one.folder / name).write_bytes(data)
    assert one.push().moved == {"a.csv", "sub dir/ü#?.csv", "empty", "large"}
    assert states(one.status()) == dict.fromkeys(here(one), "same") and one.push().moved == set()
    assert other.pull().moved == set(here(one)) and here(other) == here(one)
    assert not other.verify().problems and other.pull().moved == set()
    for file in other.files():
        assert abs(file.modified - (other.folder / file.name).stat().st_mtime) < 0.001
    (other.folder / "a.csv").write_bytes(b"edited")
    assert other.push().moved == {"a.csv"}
    assert one.pull().moved == {"a.csv"} and here(one)["a.csv"] == b"edited"
    (one.folder / "a.csv").write_bytes(b"ours")
    (other.folder / "a.csv").write_bytes(b"of them")  # SFTP tells sizes, and times in whole seconds
    other.push()
    with pytest.raises(Conflict):
        one.pull()
    one.push(keep="ours")
    assert sorted(set(here(one).values()) - {large}) == [b"", b"22", b"of them", b"ours"]
    assert other.pull().moved == {"a.csv"} and here(other)["a.csv"] == b"ours"
    assert one.delete("sub dir/", where="both", dry_run=False).moved == {"sub dir/ü#?.csv"}
    assert other.pull(prune=True).removed and "sub dir/ü#?.csv" not in here(other)


@pytest.mark.parametrize("place", ["moto", "seaweedfs"], indirect=True)
def test_s3(place, project, tmp_path):
    backend = place.open()
    there_and_back(pipe(backend, project), pipe(backend, tmp_path / "elsewhere"))
    backend.close()


@pytest.mark.parametrize("driver", ["obstore", "boto3"])
def test_checksums_of_s3(place, project, driver):
    backend = place.open(driver=driver)
    backend.write("a", b"1")
    backend.write("b", b"2")
    p = pipe(backend, project)
    p.pull()
    (project / ".d6tstore/files/vendor.json").unlink()
    assert [file.note for file in p.verify()] == ["checksum", "checksum"]
    (p.folder / "b").write_bytes(b"3")
    assert states(p.status()) == {"a": "same", "b": "conflict"}
    assert [file.note for file in p.verify().problems] == [
        "differs: another checksum there, unless the server encrypts"
    ]
    (p.folder / "a").write_bytes(b"1")  # another time, the same bytes
    assert p.pull("a").moved == set() and states(p.status("a")) == {"a": "same"}
    backend.close()


def test_s3_costs_one_listing_when_nothing_is_to_do(place, project):
    backend = place.open()
    backend.write_many({f"{i % 3}/{i}": b"1" for i in range(50)})
    p = pipe(backend, project)
    assert len(p.pull().moved) == 50
    place.proxy.requests.clear()
    assert len(p.pull().same) == 50 and len(place.proxy.requests) == 1
    backend.close()


def test_the_same_bytes_written_again_are_fetched_but_change_nothing(place, project):
    backend = place.open()
    backend.write("a", b"1")
    p = pipe(backend, project)
    p.pull()
    before = (p.folder / "a").stat()
    backend.write("a", b"1")
    p.pull(mode="all")
    assert (p.folder / "a").stat().st_mtime_ns == before.st_mtime_ns
    backend.close()


def test_one_object_that_may_not_be_read(place, project):
    backend = place.open()
    backend.write_many({"a": b"1", "b": b"2"})
    p = pipe(backend, project)
    with (
        place.proxy.when("GET", path="/b(\\?|$)", answer=ACCESS_DENIED),
        place.proxy.when("HEAD", path="/b(\\?|$)", answer=ACCESS_DENIED),
        pytest.raises(ExchangeFailed, match="'b': "),
    ):
        p.pull()
    assert here(p) == {"a": b"1"} and p.pull().moved == {"b"}
    backend.close()


def test_a_push_with_keys_that_may_not_write(place, project):
    place.open().write("a", b"1")
    backend = place.open(place.server.lacking["write"])
    p = pipe(backend, project)
    p.pull()
    (p.folder / "b").write_bytes(b"2")
    with pytest.raises(Denied, match="stopped after 0 of 1 files"):
        p.push()
    assert states(p.status()) == {"a": "same", "b": "new here"}
    backend.close()


def test_our_own_objects_are_no_files(place, project):
    backend = place.open()
    backend.write_many({"a": b"1", ".d6tstore/records/X/1.json": b"2", ".d6tstore/tmp/x": b"3"})
    p = pipe(backend, project)
    assert states(p.pull()) == {"a": "new"}
    backend.close()


@pytest.fixture
def files(port, tmp_path):  # noqa: F811
    """A folder of an SFTP server."""
    (tmp_path / "drop").mkdir()
    backend = FilesystemBackend.open(f"sftp://ann@127.0.0.1:{port}{tmp_path}/drop", Credentials("files"))
    yield backend
    backend.close()


def test_sftp(files, project, tmp_path):
    there_and_back(pipe(files, project), pipe(files, tmp_path / "elsewhere"))


def test_a_folder_of_sftp_is_left_as_it_was(files, project, tmp_path):
    for name in ("a.csv", "sub/b.csv", "c.txt"):
        at = tmp_path / "drop" / name
        at.parent.mkdir(exist_ok=True)
        at.write_text(name)
        os.utime(at, (OLD, OLD))
    before = sorted((tmp_path / "drop").rglob("*"))
    p = pipe(files, project, include="*.csv", role="read")
    p.pull()
    assert here(p) == {"a.csv": b"a.csv", "sub/b.csv": b"sub/b.csv"}
    assert (p.folder / "a.csv").stat().st_mtime == OLD
    assert [file.note for file in p.verify()] == ["as pulled"] * 2
    (project / ".d6tstore/files/vendor.json").unlink()
    assert states(p.pull()) == {"a.csv": "same", "sub/b.csv": "same"}  # by size and time
    assert sorted((tmp_path / "drop").rglob("*")) == before
    with pytest.raises(Denied):
        p.push()


def test_many_files_of_sftp(files, project, tmp_path):
    for i in range(300):
        (tmp_path / "drop" / f"{i}.csv").write_text(str(i))
    p = pipe(files, project)
    p.pull()
    assert here(p) == {f"{i}.csv": str(i).encode() for i in range(300)}


def test_a_file_of_sftp_that_becomes_shorter(files, project, tmp_path, monkeypatch):
    (tmp_path / "drop" / "a").write_bytes(os.urandom(40 << 20))
    (tmp_path / "drop" / "b").write_text("1")
    real = files.open_read

    def open_read(key):
        source = real(key)
        if key == "a":
            source.read(1 << 20)
            source.seek(0)
            os.truncate(tmp_path / "drop" / "a", 1000)
        return source

    p = pipe(files, project)
    with monkeypatch.context() as patch, pytest.raises(ExchangeFailed, match="'a': became shorter there"):
        patch.setattr(files, "open_read", open_read)
        p.pull()
    assert here(p) == {"b": b"1"}
    assert p.pull().moved == {"a"}


def test_a_part_of_sftp_that_never_comes(files, tmp_path, monkeypatch):
    (tmp_path / "drop" / "a").write_bytes(b"1" * 100)
    monkeypatch.setattr(filesystem_entries, "_PATIENCE", 0.2)
    monkeypatch.setattr(paramiko.SFTPFile, "stat", lambda _: SimpleNamespace(st_size=1 << 20))
    try:  # paramiko itself would wait for ever
        found = filesystem_entries.part_of(f"{tmp_path}/drop/a", 0, 1 << 20)(files._files)
    except (OSError, EOFError):
        return
    assert len(found) <= 100, "what came before the end of the file: who asked sees that it is too little"


def test_a_server_of_sftp_that_refuses_midway(files, refusing, project, tmp_path):  # noqa: F811
    for name in ("a", "b"):
        (tmp_path / "drop" / name).write_text(name)
    p = pipe(files, project)
    p.pull("a")
    refusing.touch()
    try:
        with pytest.raises(Denied):
            p.pull()
        assert p.paths() == [p.folder / "a"]
    finally:
        refusing.unlink()
    assert p.pull().moved == {"b"}


def test_a_web_server(project, tmp_path):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    site = tmp_path / "site"
    (site / "sub").mkdir(parents=True)
    for name in ("a.csv", "sub/b c.csv", "c.txt"):
        (site / name).write_text(name)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        p = pipe(registry.open_backend(f"http://127.0.0.1:{server.server_port}"), project, include="*.csv")
        p.pull()
        assert here(p) == {"a.csv": b"a.csv", "sub/b c.csv": b"sub/b c.csv"}
        assert p.pull().moved == set() and not p.verify().problems
        (site / "a.csv").write_text("another")
        assert p.pull().moved == {"a.csv"} and here(p)["a.csv"] == b"another"
        (p.folder / "new.csv").write_text("x")
        with pytest.raises(Unsupported, match="is for reading"):
            p.push()
        server.shutdown()


def test_an_archive(project, tmp_path):
    with zipfile.ZipFile(tmp_path / "drop.zip", "w") as archive:
        archive.writestr("a.csv", "1")
        archive.writestr("sub/b.csv", "22")
    p = pipe(registry.open_backend(f"zip://?fo={tmp_path}/drop.zip"), project)
    p.pull()
    assert here(p) == {"a.csv": b"1", "sub/b.csv": b"22"} and p.pull().moved == set()


def test_a_server_that_stops_midway(place, project):
    backend = place.open()
    backend.write_many({f"{i:03}": hashlib.md5(str(i).encode()).digest() for i in range(100)})
    p = pipe(backend, project)
    with (
        place.proxy.when("GET", path=r"/0[5-9]\d(\?|$)", answer=ACCESS_DENIED),
        pytest.raises((ExchangeFailed, BackendError)),
    ):
        p.pull()
    arrived = set(here(p))
    assert len(arrived) == 50
    assert p.pull().moved == {f"{i:03}" for i in range(100)} - arrived
    backend.close()
