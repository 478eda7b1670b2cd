"""Files and folders."""

import contextlib
import io
import os
import shutil
import socket
import stat
import tempfile
import tracemalloc
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import d6tstore
from d6tstore import registry
from d6tstore.errors import FormatError
from d6tstore.testing import FormatTests, Refused
from d6tstore.testing.formats import _dumped, _loaded


class Made(FormatTests):
    """Values that a test makes in its own folder."""

    def pytest_generate_tests(self, metafunc):
        for argument, makers in (("value", self.values), ("refusal", self.refused)):
            if argument in metafunc.fixturenames:
                metafunc.parametrize(argument, list(makers.values()), ids=list(makers), indirect=True)

    @pytest.fixture
    def value(self, request, tmp_path):
        return request.param(tmp_path)

    @pytest.fixture
    def refusal(self, request, tmp_path):
        with contextlib.ExitStack() as stack:
            yield request.param(tmp_path, stack)


def written(name, data=b"1"):
    def make(folder):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return make


def as_text(make):
    return lambda folder: str(make(folder))


def linked(folder):
    (folder / "link.csv").symlink_to(written("real")(folder))
    return folder / "link.csv"


def unreadable(path, stack):
    path.chmod(0)
    stack.callback(path.chmod, 0o700)
    if os.access(path, os.R_OK):
        pytest.skip("root reads all")
    return path


def pipe(folder):
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


class TestFile(Made):
    values = {
        "path": written("a.csv", b"a\r\n1\n"),
        "text": as_text(written("a.tar.gz")),
        "empty": written("empty.txt", b""),
        "no ending": written("README"),
        "odd name": written("a b'\"ü\n.csv"),
        "large": written("large.bin", b"ab" * 3_000_000),
        "link": linked,
        "relative": lambda folder: Path(os.path.relpath(written("a.csv")(folder))),
    }
    refused = {
        "missing": lambda t, _: Refused(t / "x.csv", "x.csv' does not exist.*Write it before"),
        "relative": lambda t, _: Refused("x.csv", "'x.csv' does not exist .the current folder is .*project.*full path"),
        "text": lambda t, _: Refused("some long text\n" * 500, "does not exist.*TaskText"),
        "below a file": lambda t, _: Refused(written("a")(t) / "b", "does not exist"),
        "dead link": lambda t, _: Refused(dead(t), "does not exist"),
        "folder": lambda t, _: Refused(t, "is a folder. Use TaskFolder"),
        "pipe": lambda t, _: Refused(pipe(t), "no regular file"),
        "device": lambda t, _: Refused("/dev/zero", "no regular file"),
        "unreadable": lambda t, stack: Refused(unreadable(written("a")(t), stack), "cannot be read.*right"),
        "bytes": lambda t, _: Refused(b"a.csv", "is no path.*TaskBytes"),
        "NUL": lambda t, _: Refused("a\0b", "is no path"),
        "empty": lambda t, _: Refused("", "is no path"),
        "None": lambda t, _: Refused(None, "is no path"),
        "open file": lambda t, stack: Refused(stack.enter_context(tempfile.NamedTemporaryFile()), "attribute `name`"),
        "buffer": lambda t, _: Refused(io.BytesIO(b"1"), "is no path"),
        "list": lambda t, _: Refused([written("a")(t)], "is no path"),
    }

    @pytest.fixture
    def format(self):
        return registry.format_of("file")

    def equal(self, saved, loaded):
        assert isinstance(loaded, Path)
        return Path(saved).read_bytes() == loaded.read_bytes()

    @pytest.mark.parametrize(
        ("name", "suffix"),
        [
            ("a.csv", ".csv"),
            ("a.tar.gz", ".tar.gz"),
            ("README", ""),
            (".bashrc", ""),
            ("v1.2", ".2"),
            ("final version. really.docx", ".docx"),
            ("a.ü", ""),
            ("a." + "x" * 17, ""),
            ("a.b.c.d", ".c.d"),
            ("a.", ""),
        ],
    )
    def test_ending(self, format, name, suffix):
        assert format.suffix_of(f"/folder.x/{name}") == format.suffix_of(Path(name)) == suffix


def dead(folder):
    (folder / "dead").symlink_to(folder / "nowhere")
    return folder / "dead"


def tree(folder):
    root = folder / "tree"
    for name, data in {
        "a.txt": b"a\r\n",
        "A b/ü/deep.bin": bytes(70_000),
        "A b/empty": b"",
        "run.sh": b"#!/bin/sh\n",
        ".hidden/x": b"1",
        "a/b": b"2",
        "a.b": b"3",
        "CON:": b"4",
    }.items():
        written(name, data)(root)
    (root / "run.sh").chmod(0o755)
    (root / "none" / "at all").mkdir(parents=True)
    return root


def empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def deep(folder):
    path = root = empty(folder)
    for _ in range(200):
        path = path / "d"
        path.mkdir()
    return root


def content(folder):
    return {
        p.relative_to(folder).as_posix(): (p.read_bytes() if p.is_file() else None, bool(p.stat().st_mode & 0o111))
        for p in sorted(Path(folder).rglob("*"))
    }


def holding(make):
    def maker(folder, stack):
        root = tree(folder)
        return make(root) or root

    return maker


def bad(make, match):
    return lambda folder, stack: Refused(holding(make)(folder, stack), match)


def bind(root):
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(root):
        made.bind("s")


class TestFolder(Made):
    values = {
        "tree": tree,
        "text": as_text(tree),
        "empty": empty,
        "deep": deep,
        "link to it": lambda folder: (folder / "link").symlink_to(tree(folder)) or folder / "link",
    }
    refused = {
        "link": bad(lambda root: (root / "l").symlink_to(root / "a.txt"), "'l': it is a symbolic link. Put what"),
        "itself": bad(lambda root: (root / "a" / "self").symlink_to(root), "'a/self': it is a symbolic link"),
        "dead link": bad(lambda root: (root / "l").symlink_to("nowhere"), "symbolic link"),
        "pipe": bad(lambda root: os.mkfifo(root / "p"), "'p': it is no regular file. Remove"),
        "socket": bad(bind, "'s': it is no regular file"),
        "backslash": bad(lambda root: written("a\\b")(root) and None, "backslash.*Rename"),
        "drive": bad(lambda root: written("c:x")(root) and None, "drive letter.*Rename"),
        "no Unicode": bad(lambda root: written(os.fsdecode(b"\xff"))(root) and None, "no Unicode.*Rename"),
        "missing": lambda t, _: Refused(t / "x", "does not exist"),
        "file": lambda t, _: Refused(written("a")(t), "is a file. Use TaskFile"),
        "temporary": lambda t, stack: Refused(tempfile_open(stack), "attribute `name`"),
        "None": lambda t, _: Refused(None, "is no path"),
        "unreadable": lambda t, stack: Refused(unreadable(tree(t) / "a", stack).parent, "cannot be read"),
    }

    @pytest.fixture
    def format(self):
        return registry.format_of("folder")

    def equal(self, saved, loaded):
        return content(saved) == content(loaded)

    def test_the_same_folder_gives_the_same_bytes(self, format, tmp_path):
        (tmp_path / "other").mkdir()
        one, other = tree(tmp_path), tree(tmp_path / "other")
        for path in one.rglob("*"):
            os.utime(path, (1e9, 1e9))
        (one / "a.txt").chmod(0o600)
        (one / "run.sh").chmod(0o700)
        shutil.copytree(one, tmp_path / "third")
        made = {_dumped(format, path, tmp_path)[0] for path in (one, other, tmp_path / "third")}
        assert len(made) == 1
        with zipfile.ZipFile(tmp_path / "dumped.zip") as archive:
            assert sum(info.compress_size for info in archive.infolist()) < 2000  # of 70,000
            assert archive.namelist() == sorted(archive.namelist())  # not as this file system lists them
        (one / "a.txt").write_bytes(b"b")
        assert _dumped(format, one, tmp_path)[0] not in made

    def test_what_does_not_compress_is_not_compressed(self, format, tmp_path):
        root = tree(tmp_path)
        (root / "image").write_bytes(os.urandom(200_000))
        _dumped(format, root, tmp_path)
        with zipfile.ZipFile(tmp_path / "dumped.zip") as archive:
            kinds = {info.filename: info.compress_type for info in archive.infolist()}
        assert (kinds["image"], kinds["A b/ü/deep.bin"]) == (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        assert content(root) == content(format.load_path(tmp_path / "dumped.zip"))

    def test_a_file_that_grows_meanwhile(self, format, tmp_path, monkeypatch):
        root, real = tree(tmp_path), os.fstat

        def smaller(fd):
            found = real(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size != 70_000:
                return found
            return os.stat_result([*found[:6], 10, *found[7:]])

        monkeypatch.setattr(os, "fstat", smaller)
        with pytest.raises(FormatError, match="deep.bin changed while it was saved"):
            _dumped(format, root, tmp_path)

    @pytest.mark.parametrize(
        ("names", "problem"),
        [
            (["../x"], "'..'"),
            (["a/../../x"], "'..'"),
            (["/etc/x"], "absolute"),
            (["a//b"], "empty"),
            (["./a"], "'.'"),
            (["C:/x"], "drive letter"),
            (["C:x"], "drive letter"),
            (["a\\..\\x"], "backslash"),
            ([""], "empty"),
            (["/"], "empty"),
            (["a", "a"], "twice"),
            (["a/", "a/"], "twice"),
            (["a", "a/"], "two of its names are one here: a"),
            (["a/", "a"], "two of its names are one here: a"),
            (["a", "a/b"], "two of its names are one here: a"),
            (["a" * 300], "File name too long"),
        ],
    )
    def test_a_zip_that_is_dangerous(self, format, tmp_path, names, problem):
        path = tmp_path / "x.zip"
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings(action="ignore"):
            archive.writestr("good", "1")
            for name in names:
                info = zipfile.ZipInfo("x")
                info.filename = name
                archive.writestr(info, "")
        before = set(tmp_path.rglob("*"))
        with pytest.raises(FormatError, match=problem):
            format.load_path(path)
        assert set(tmp_path.rglob("*")) - {_home()} == before

    @pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
    def test_a_zip_of_links_and_devices(self, format, tmp_path, kind):
        path = tmp_path / "x.zip"
        with zipfile.ZipFile(path, "w") as archive:
            info = zipfile.ZipInfo("x")
            info.external_attr = (kind | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
        with pytest.raises(FormatError, match="'x': it is neither a file nor a folder"):
            format.load_path(path)

    def test_a_zip_of_others(self, format, tmp_path):
        """No entries of folders, another compression, made on Windows."""
        path = tmp_path / "x.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            for name in ("b/c/d", "b/a", "a"):
                info = zipfile.ZipInfo(name)
                info.create_system, info.compress_type = 0, zipfile.ZIP_LZMA
                archive.writestr(info, name)
        loaded = format.load_path(path)
        assert {n: d for n, (d, _) in content(loaded).items()} == {
            "a": b"a", "b": None, "b/a": b"b/a", "b/c": None, "b/c/d": b"b/c/d",
        }  # fmt: skip

    def test_damage_leaves_nothing(self, format, tmp_path):
        path = tmp_path / "x.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("first", bytes(100))
            archive.writestr("second", bytes(100))
        data = bytearray(path.read_bytes())
        data[200] ^= 1
        path.write_bytes(data)
        with pytest.raises(FormatError, match="no zip of a folder: BadZipFile.*CRC.*Run the task"):
            format.load_path(path)
        assert list(_home().iterdir()) == []

    def test_what_is_executable_and_what_is_not(self, format, tmp_path):
        loaded = _loaded(format, _dumped(format, tree(tmp_path), tmp_path), tmp_path)
        assert os.access(loaded / "run.sh", os.X_OK)
        assert stat.S_IMODE((loaded / "a.txt").stat().st_mode) & 0o111 == 0


def tempfile_open(stack):
    made = tempfile.TemporaryDirectory()
    stack.enter_context(made)
    return made


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A temporary folder for each test."""
    from d6tstore_plugins.formats import files

    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    files._home.cache_clear()
    yield tmp_path / "tmp"
    files._home.cache_clear()


def _home():
    (found,) = Path(tempfile.gettempdir()).iterdir()
    return found


class Report(d6tstore.tasks.TaskFile):
    def run(self):
        Path("report.tar.gz").write_bytes(b"12")
        self.save("report.tar.gz")


class Tree(d6tstore.tasks.TaskFolder):
    def run(self):
        written("x/y")(Path("tree"))
        self.save("tree")


def test_who_edits_what_he_loaded_edits_his_copy(any_store):
    any_store.run([Report(), Tree()])
    Report().output().load().write_bytes(b"edited")
    shutil.rmtree(Tree().output().load())
    Path("report.tar.gz").unlink()
    assert Report().output().load(verify=True).read_bytes() == b"12"
    assert (Tree().output().load(verify=True) / "x" / "y").read_bytes() == b"1"


def test_a_folder_that_holds_the_store(store, tmp_path):
    for folder in (tmp_path, Path("..")):
        with pytest.raises(FormatError, match="where it is written to. Save a folder outside"):
            Tree().save(folder)
    assert not Tree().output().exists()


def test_the_ending_is_kept(store):
    store.run(Report())
    assert Report().output().path.name.endswith(".tar.gz")
    assert Report().output().load().name.endswith(".tar.gz")


def test_copies_are_for_their_user_only(store, temporary):
    store.run(Report())
    loaded = Report().output().load()
    (home,) = temporary.iterdir()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700 and loaded.is_relative_to(home)


def test_somebody_cleans_the_temporary_folder(store, temporary):
    store.run(Report())
    Report().output().load()
    shutil.rmtree(_home())
    assert Report().output().load().read_bytes() == b"12"


def test_threads_load_copies_of_their_own(store):
    store.run(Tree())
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda target: target.load(), [Tree().output()] * 8))
    assert len(set(loaded)) == 8 and all((path / "x" / "y").is_file() for path in loaded)


def test_no_room_says_what_to_do(store, temporary, monkeypatch):
    store.run([Report(), Tree()])
    Report().output().load()

    def full(*_, **__):
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(shutil, "copyfile", full)
    monkeypatch.setattr(shutil, "copyfileobj", full)
    for task in (Report(), Tree()):
        with pytest.raises(FormatError, match="No space left.*TMPDIR"):
            task.output().load()
    assert len(list(_home().iterdir())) == 1


LOAD = """
import os, sys, tempfile, multiprocessing
from pathlib import Path
import d6tstore
from d6tstore import registry
tempfile.tempdir = sys.argv[1]
def load():
    loaded = registry.format_of("file").load_path(Path(sys.argv[2]))
    assert loaded.read_bytes() == b"1"
    return loaded
"""


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ("load()", 0),
        ("load(); raise SystemExit(0)", 0),
        # a fork that ends: neither by hand nor by multiprocessing does it remove what is its parent's
        ("kept = load()\nif os.fork() == 0: sys.exit(0)\nos.wait(); assert kept.is_file()", 0),
        ("kept = load()\nif os.fork() == 0: load(); sys.exit(0)\nos.wait(); assert kept.is_file()", 0),
        (
            "kept = load()\np = multiprocessing.get_context('fork').Process(target=load)\np.start(); p.join()\n"
            "assert p.exitcode == 0 and kept.is_file() and len(os.listdir(sys.argv[1])) == 1",
            0,
        ),
        (
            "if __name__ == '__main__':\n"
            "  with multiprocessing.get_context('spawn').Pool(1) as p: p.apply(os.getpid)\n"
            "  load()",
            0,
        ),
        ("load(); os._exit(0)", 1),
    ],
)
def test_copies_go_with_their_process(python, tmp_path, source, left):
    (tmp_path / "t").mkdir()
    path = written("x.csv")(tmp_path)
    python(LOAD + source, str(tmp_path / "t"), str(path))
    assert len(list((tmp_path / "t").iterdir())) == left


@pytest.mark.parametrize("name", ["file", "folder"])
def test_large_files_are_not_read_into_memory(name, tmp_path):
    (tmp_path / "big").mkdir()
    with (tmp_path / "big" / "x").open("wb") as file:
        file.truncate(48 << 20)
    format = registry.format_of(name)
    tracemalloc.start()
    try:
        format.dump_path(tmp_path / "big" if name == "folder" else tmp_path / "big" / "x", tmp_path / "stored")
        loaded = format.load_path(tmp_path / "stored")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (loaded / "x" if name == "folder" else loaded).stat().st_size == 48 << 20
    assert peak < 8 << 20, f"{peak} bytes"


@pytest.mark.parametrize("place", ["memory://", "folder"])
def test_the_ending_is_that_of_the_file_last_saved(place, tmp_path):
    class Kept(d6tstore.tasks.TaskFile):
        def run(self):
            pass

    with d6tstore.use(d6tstore.open(place if "://" in place else tmp_path / place)):
        for name in ("a.csv", "a.tar.gz", "plain"):
            path = tmp_path / name
            path.write_text("the same")
            Kept().save(path)
            assert Kept().output().load().suffixes == path.suffixes
