"""Plain folders as pipes: what moves, what is refused, what is kept."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import d6tstore
from d6tstore.access import PipeAccess, Remote
from d6tstore.backend import Backend, Entry, check_key
from d6tstore.cli import cli
from d6tstore.commands import files as files_cli
from d6tstore.errors import BackendError, Conflict, CredentialsError, Denied, ExchangeFailed, FormatError, UsageError
from d6tstore.plainfiles import folder as file_folder
from d6tstore.plainfiles import transfer as file_transfer
from d6tstore.plainfiles.patterns import Selection, matches
from d6tstore.plainfiles.pipe import FilesPipe
from d6tstore.plainfiles.state import There
from d6tstore_plugins.local import LocalBackend

OLD = 1_700_000_000


class Vendor:
    """A folder of somebody else."""

    def __init__(self, path):
        self.path = path
        path.mkdir()

    def put(self, name, text="1", age=0.0):
        at = self.path / name
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text)
        os.utime(at, (OLD - age, OLD - age))

    def names(self):
        return sorted(p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file())


@pytest.fixture
def vendor(tmp_path):
    return Vendor(tmp_path / "vendor")


@pytest.fixture
def pipe(vendor, project):
    """Makes a pipe to the vendor's folder."""

    def make(backend=None, **settings):
        access = PipeAccess(url=str(vendor.path), kind="files", **settings)
        return FilesPipe(Remote("vendor", access, backend), project)

    return make


def here(pipe):
    """All files in the local folder, ours too."""
    return {p.relative_to(pipe.folder).as_posix(): p.read_text() for p in pipe.folder.rglob("*") if p.is_file()}


def states(changes):
    return {file.name: file.state for file in changes}


# -------------------------------------------------------------------- patterns


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.csv", ["a.csv", "x/y/a.csv", ".csv"], ["a.csv.gz", "a.CSV", "csv"]),
        ("*.csv|*.xls", ["a.csv", "b/c.xls"], ["a.xlsx"]),
        (" *.csv | *.xls|", ["a.csv", "b.xls"], ["a"]),
        ("/*.csv", ["a.csv"], ["x/a.csv"]),
        ("2024/*.csv", ["2024/a.csv"], ["x/2024/a.csv", "2024/01/a.csv", "a.csv"]),
        ("2024/**", ["2024/a", "2024/01/a"], ["2024", "2025/a"]),
        ("2024/", ["2024/a", "2024/01/a"], ["2024"]),
        ("**/raw/*.csv", ["raw/a.csv", "x/y/raw/a.csv"], ["raw/x/a.csv"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a/x/c"]),
        ("prices-202[34]-??.csv", ["prices-2023-01.csv"], ["prices-2022-01.csv"]),
        ("**", ["a", "a/b"], []),
        ("**/**/a", ["a", "x/a"], ["b"]),
    ],
)
def test_patterns(pattern, yes, no):
    assert [name for name in yes + no if matches(name, pattern)] == yes


@pytest.mark.parametrize("pattern", ["", "|", "  ", None, 3])
def test_a_pattern_that_is_none(pattern):
    with pytest.raises(UsageError, match="matches nothing"):
        matches("a", pattern)


@given(st.lists(st.sampled_from(["**", "*", "a", "b"]), min_size=1, max_size=12), st.lists(st.sampled_from("ab")))
def test_patterns_end(parts, name):
    assert matches("/".join(["c", *name]), "/".join(parts)) in (True, False)


def test_the_newest():
    files = [("b", 2.0), ("a", 2.0), ("c", 1.0), ("d", None), ("README.md", 0.0)]
    assert Selection(newest=2).newest_of(files) == {"d", "b", "README.md"}
    assert Selection(newest=2).newest_of([(n, None) for n in "abc"]) == {"b", "c"}
    assert Selection().newest_of(files) == {name for name, _ in files}


# ------------------------------------------------------------------------ pull


def test_a_pull_brings_what_belongs_to_the_pipe(pipe, vendor):
    for name in ("a.csv", "sub/b.xls", "c.txt", "old/d.csv", "LICENSE"):
        vendor.put(name, name)
    p = pipe(include="*.csv|*.xls", exclude="old/")
    assert states(p.pull_preview()) == {"LICENSE": "new", "a.csv": "new", "sub/b.xls": "new"}
    assert not p.folder.exists()
    done = p.pull()
    assert here(p) == {"a.csv": "a.csv", "sub/b.xls": "sub/b.xls", "LICENSE": "LICENSE"}
    assert [file.name for file in done.new] == ["LICENSE", "a.csv", "sub/b.xls"] and done.bytes == 21
    assert (p.folder / "a.csv").stat().st_mtime == OLD
    assert p.paths() == [p.folder / "a.csv", p.folder / "sub/b.xls"]
    assert p.paths("*.xls|LICENSE") == [p.folder / "LICENSE", p.folder / "sub/b.xls"]
    assert not any(p.name == ".d6tstore" for p in [*vendor.path.rglob("*"), *p.folder.rglob("*")])
    assert states(p.pull()) == {"LICENSE": "same", "a.csv": "same", "sub/b.xls": "same"}


def test_modes(pipe, vendor):
    p = pipe()
    vendor.put("a", "1")
    vendor.put("b", "1")
    p.pull()
    vendor.put("a", "22", age=-5)
    vendor.put("c", "1")
    assert p.pull(mode="new").moved == {"c"}
    assert here(p) == {"a": "1", "b": "1", "c": "1"}
    assert p.pull().moved == {"a"} and here(p)["a"] == "22"
    assert p.pull().moved == set()
    assert p.pull("b", mode="all").moved == {"b"} and sorted(here(p)) == ["a", "b", "c"]
    with pytest.raises(UsageError, match="mode = 'newest'"):
        p.pull(mode="newest")
    with pytest.raises(UsageError, match="keep = 'mine'"):
        p.pull(keep="mine")


def test_the_newest_files_only(pipe, vendor):
    for age, name in enumerate(["prices-3.csv", "prices-2.csv", "prices-1.csv", "x.txt"]):
        vendor.put(name, age=age)
    p = pipe(include="*.csv", newest=2)
    assert [file.name for file in p.files()] == ["prices-2.csv", "prices-3.csv"]
    p.pull()
    vendor.put("prices-4.csv", age=-1)
    p.pull()
    assert sorted(here(p)) == ["prices-2.csv", "prices-3.csv", "prices-4.csv"]  # nothing was removed there
    assert [path.name for path in p.paths()] == ["prices-3.csv", "prices-4.csv"]
    assert p.pull(prune=True).removed == [] and len(here(p)) == 3
    (p.folder / "prices-2.csv").write_text("edited")
    assert states(p.status())["prices-2.csv"] == "edited here"


def test_removed_there_stays_here_unless_pruned(pipe, vendor):
    for name in ("a", "sub/b", "c", "stays"):
        vendor.put(name)
    p = pipe()
    p.pull()
    for name in ("a", "sub/b", "c"):
        (vendor.path / name).unlink()
    (p.folder / "c").write_text("edited")
    assert [file.name for file in p.pull().removed] == ["a", "sub/b"] and len(here(p)) == 4
    done = p.pull(prune=True)
    assert here(p).keys() == {"c", "stays"} and here(p)["c"] == "edited" and not (p.folder / "sub").exists()
    assert [file.note for file in done.removed] == ["removed here too"] * 2
    assert states(p.status()) == {"c": "new here", "stays": "same"} and sorted(p._state.read()) == ["c", "stays"]


def test_a_folder_that_is_empty_all_at_once_removes_nothing(pipe, vendor, project):
    vendor.put("a")
    p = pipe()
    p.pull()
    vendor.path.rename(project / "unmounted")
    for remove in (lambda: p.pull(prune=True), lambda: p.remove_orphans(dry_run=False)):
        with pytest.raises(BackendError, match="no file at all at the other side, so nothing is removed here"):
            remove()
    assert list(here(p)) == ["a"] and [file.name for file in p.pull().removed] == ["a"]


def test_an_edited_file_is_left_alone_and_pushed(pipe, vendor):
    vendor.put("a")
    p = pipe()
    p.pull()
    (p.folder / "a").write_text("mine")
    (p.folder / "new").write_text("n")
    assert p.pull().moved == set() and here(p)["a"] == "mine"
    assert states(p.push_preview()) == {"a": "edited here", "new": "new here"}
    assert (vendor.path / "a").read_text() == "1"
    assert p.push().moved == {"a", "new"}
    assert (vendor.path / "a").read_text() == "mine" and vendor.names() == ["a", "new"]
    assert not (vendor.path / ".d6tstore").exists()
    assert states(p.pull()) == {"a": "same", "new": "same"} and p.push().moved == set()


def test_a_touched_file_is_not_edited(pipe, vendor):
    vendor.put("a")
    p = pipe()
    p.pull()
    (p.folder / "a").touch()
    assert states(p.status()) == {"a": "same"}


@pytest.mark.parametrize("keep", ["ours", "theirs"])
@pytest.mark.parametrize("way", ["pull", "push"])
def test_a_conflict_stops_before_anything_moves(pipe, vendor, keep, way):
    vendor.put("a")
    p = pipe()
    p.pull()
    (p.folder / "a").write_text("ours")
    (p.folder / "mine").write_text("x")
    vendor.put("a", "theirs", age=-5)
    vendor.put("z")
    with pytest.raises(Conflict, match=r"a \(here 20.*, there 2023-11-14 22:13:25\).*keep='ours'") as caught:
        getattr(p, way)()
    assert caught.value.ids == ["a"]
    assert here(p) == {"a": "ours", "mine": "x"} and vendor.names() == ["a", "z"]
    preview = getattr(p, f"{way}_preview")()
    assert [file.name for file in preview.conflicts] == ["a"]
    done = getattr(p, way)(keep=keep)
    aside = next(name for name in here(p) if ".~" in name)
    loser = {"ours": "theirs", "theirs": "ours"}[keep]
    assert aside.startswith(f"a.~{loser}-") and here(p)[aside] == loser and here(p)["a"] == keep
    assert aside in done["a"].note or way == "push"
    assert (vendor.path / "a").read_text() == ("ours" if (keep, way) == ("ours", "push") else "theirs")
    assert aside not in vendor.names() and all(path.name != aside for path in p.paths())
    expected = {"a": "edited here" if (keep, way) == ("ours", "pull") else "same"}
    assert states(p.status("a")) == expected
    p.push()
    assert states(p.status("a")) == {"a": "same"} and (vendor.path / "a").read_text() == keep


def test_what_lost_twice_within_a_second_is_kept_twice(pipe, vendor):
    vendor.put("a", "0")
    p = pipe()
    p.pull()
    for i in range(1, 4):
        (p.folder / "a").write_text(f"ours {i}")
        vendor.put("a", f"theirs {i}", age=-i)
        p.pull(keep="theirs")
    assert sorted(here(p).values()) == ["ours 1", "ours 2", "ours 3", "theirs 3"]


def test_a_conflict_of_files_of_one_size(pipe, vendor):
    vendor.put("a", "1")
    p = pipe()
    p.pull()
    (p.folder / "a").write_text("2")
    vendor.put("a", "3", age=-5)
    with pytest.raises(Conflict):
        p.pull()
    with pytest.raises(Conflict):
        p.push()
    p.pull(keep="ours")
    assert states(p.status()) == {"a": "edited here"}


def test_what_is_new_does_not_wait_for_conflicts(pipe, vendor):
    vendor.put("a", "1")
    p = pipe()
    p.pull()
    (p.folder / "a").write_text("22")
    (p.folder / "mine").write_text("m")
    vendor.put("a", "333", age=-5)
    vendor.put("theirs")
    assert p.pull(mode="new").moved == {"theirs"} and p.push(mode="new").moved == {"mine"}
    assert here(p)["a"] == "22" and (vendor.path / "a").read_text() == "333"


def test_files_of_one_time_but_not_of_one_size(pipe, vendor):
    vendor.put("a", "1")
    p = pipe()
    p.folder.mkdir(parents=True)
    (p.folder / "a").write_text("22")
    os.utime(p.folder / "a", (OLD, OLD))
    with pytest.raises(Conflict):
        p.pull()


def test_mode_all_replaces_no_edit_silently(pipe, vendor):
    vendor.put("a")
    p = pipe()
    p.pull()
    (p.folder / "a").write_text("edited")
    with pytest.raises(Conflict):
        p.pull(mode="all")
    p.pull(mode="all", keep="theirs")
    assert sorted(here(p).values()) == ["1", "edited"] and here(p)["a"] == "1"


def test_damage_that_time_and_size_do_not_tell(pipe, vendor):
    vendor.put("a", "whole")
    p = pipe()
    p.pull()
    (p.folder / "a").write_text("whale")
    os.utime(p.folder / "a", (OLD, OLD))
    assert [file.note for file in p.verify().problems] == ["differs: edited or damaged here since it was pulled"]
    p.pull(mode="all")
    assert here(p)["a"] == "whole" and sorted(here(p).values()) == ["whale", "whole"]


# ------------------------------------------------------- without what we noted


def forget(project):
    (project / ".d6tstore/files/vendor.json").unlink()


def test_the_notes_may_be_deleted(pipe, vendor, project):
    for name in ("a", "b", "c", "d"):
        vendor.put(name, name)
    p = pipe()
    p.pull()
    (p.folder / "b").write_text("longer")
    (p.folder / "c").write_text("C")
    (p.folder / "mine").write_text("m")
    forget(project)
    assert states(p.status()) == {"a": "same", "b": "conflict", "c": "same", "d": "same", "mine": "new here"}
    assert p.status()["c"].note == "compared by size only"
    with pytest.raises(Conflict):
        p.pull()
    with pytest.raises(Conflict):
        p.push("c", mode="all") if p.pull("c").moved else p.pull("c", mode="all")
    p.pull(keep="ours")
    vendor.put("a", "A2", age=-5)
    vendor.put("c", "C2", age=-5)
    assert states(p.status())["a"] == "modified"  # what was the same for sure was noted again
    assert states(p.status())["c"] == "conflict"  # what was of one size may have been edited
    assert here(p)["c"] == "C" and here(p)["b"] == "longer"


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"url": "x", "files": {"a": 3}}', "[" * 100_000])
def test_damaged_notes_are_none(pipe, vendor, project, damage):
    vendor.put("a")
    p = pipe()
    p.pull()
    (project / ".d6tstore/files/vendor.json").write_text(damage)
    assert states(p.pull()) == {"a": "same"}


def test_notes_of_another_place_mean_nothing(pipe, vendor, project, tmp_path):
    vendor.put("a", "one")
    pipe().pull()
    other = Vendor(tmp_path / "other")
    other.put("a", "three", age=-5)
    p = FilesPipe(Remote("vendor", PipeAccess(url=str(other.path), kind="files")), project)
    with pytest.raises(Conflict):
        p.pull()


# ------------------------------------------------------------------ bad input


class Strange(Backend):
    """A server that lists what it likes: name -> (size that it says, bytes that it has)."""

    def __init__(self, objects, modified=OLD):
        self.objects, self.modified, self.reads = objects, modified, []
        self.versions = dict.fromkeys(objects, "1")

    def list(self, prefix=""):
        yield from (Entry(k, size, self.versions[k], self.modified) for k, (size, _) in self.objects.items())

    def stat(self, keys):
        keys = {check_key(key) for key in keys}
        return {entry.key: entry for entry in self.list() if entry.key in keys}

    def read(self, key):
        self.reads.append(key)
        return self.objects[key][1]

    def write(self, key, data):
        raise BackendError("broken.")

    def delete(self, key):
        pass


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../../x",
        "/etc/x",
        "a\\..\\x",
        "C:/x",
        "nul\0",
        "x" * 300,
        "a//b",
        "./a",
        "\ud800",
        "a/" * 600 + "b",
        "",
    ],
)
def test_names_that_would_leave_the_folder(pipe, project, name):
    before = sorted(project.parent.rglob("*"))
    p = pipe(Strange({name: (0, b""), "good": (1, b"1")}))
    with pytest.raises(ExchangeFailed, match="all others were") as caught:
        p.pull()
    assert [file.name for file in caught.value.exchange.problems] == [name]
    assert here(p) == {"good": "1"}
    made = set(project.parent.rglob("*")) - set(before)
    assert made <= {
        project / "pipes",
        p.folder,
        p.folder / "good",
        *(project / ".d6tstore").rglob("*"),
        project / ".d6tstore",
    }


def test_control_characters_are_not_printed(pipe):
    p = pipe(Strange({"a\x1b[2J\n.csv": (1, b"1")}))
    assert "\x1b" not in str(p.status()) and "a?[2J?.csv" in str(p.status())


def test_a_link_in_the_folder_lets_nothing_out(pipe, vendor, tmp_path):
    vendor.put("out/a")
    vendor.put("in/a")
    p = pipe()
    (tmp_path / "elsewhere").mkdir()
    (p.folder / "real").mkdir(parents=True)
    (p.folder / "out").symlink_to(tmp_path / "elsewhere")
    (p.folder / "in").symlink_to("real")
    with pytest.raises(ExchangeFailed, match="a link in its path leads out of the folder"):
        p.pull()
    assert not list((tmp_path / "elsewhere").iterdir()) and (p.folder / "real/a").read_text() == "1"


def test_a_file_that_is_a_link_is_replaced_not_followed(pipe, vendor, tmp_path):
    vendor.put("a", "theirs")
    p = pipe()
    p.folder.mkdir(parents=True)
    (tmp_path / "secret").write_text("mine")
    (p.folder / "a").symlink_to(tmp_path / "secret")
    with pytest.raises(Conflict):
        p.pull()
    p.pull(keep="theirs")
    assert (tmp_path / "secret").read_text() == "mine" and not (p.folder / "a").is_symlink()


def test_a_file_here_and_a_folder_there(pipe, vendor):
    vendor.put("a/b")
    vendor.put("c")
    p = pipe()
    (p.folder / "c").mkdir(parents=True)
    (p.folder / "c/mine").write_text("m")
    (p.folder / "a").write_text("mine")
    with pytest.raises(ExchangeFailed, match=r"'a' is a file here.*here it is a folder"):
        p.pull()
    assert here(p) == {"a": "mine", "c/mine": "m"}
    p = pipe(Strange({"x": (1, b"1"), "x/y": (1, b"1")}), local="other")
    with pytest.raises(ExchangeFailed, match="'x' is a file there too"):
        p.pull()
    assert here(p) == {"x": "1"}


@pytest.mark.parametrize(("says", "has", "why"), [(10, 5_000_000, "has more than the 10"), (10, 4, "has 6 bytes less")])
def test_a_size_that_is_wrong(pipe, says, has, why):
    p = pipe(Strange({"a": (says, b"x" * has), "b": (1, b"1")}))
    with pytest.raises(ExchangeFailed, match=why):
        p.pull()
    assert here(p) == {"b": "1"}


def test_a_file_that_changes_while_it_is_pulled(pipe):
    class Changing(Strange):
        def read(self, key):
            self.versions[key] = f"{len(self.reads)}+"
            return super().read(key)

    backend = Changing({"a": (1, b"1"), "b": (1, b"1")})
    p = pipe(backend)
    with pytest.raises(ExchangeFailed, match="'a': was changed there while it was pulled"):
        p.pull()
    assert here(p) == {}
    backend.read = lambda key: backend.objects[key][1]
    assert p.pull().moved == {"a", "b"}


def test_a_file_that_is_edited_while_it_is_pulled(pipe, vendor):
    class Slow(LocalBackend):
        def open_read(self, key):
            if key in edits:
                (p.folder / key).parent.mkdir(parents=True, exist_ok=True)
                (p.folder / key).write_text(edits[key])
            return super().open_read(key)

    vendor.put("a")
    edits = {}
    p = pipe(Slow(str(vendor.path)))
    p.pull()
    vendor.put("a", "theirs", age=-5)
    vendor.put("n", "theirs")
    edits.update(a="mine", n="mine too")
    with pytest.raises(ExchangeFailed, match="was changed here meanwhile"):
        p.pull()
    assert here(p) == {"a": "mine", "n": "mine too"}


def test_names_that_differ_in_case_on_a_disk_that_folds(pipe, monkeypatch):
    p = pipe(Strange({"A.csv": (1, b"1"), "a.csv": (1, b"2")}))
    real, looked = os.path.lexists, []

    def folding(path):
        looked.append(path)
        return real(path) or (Path(path).name == "a.csv" and real(p.folder / "A.csv"))

    monkeypatch.setattr(os.path, "lexists", folding)
    with pytest.raises(ExchangeFailed, match="differs in upper and lower case only"):
        p.pull()
    assert here(p) == {"A.csv": "1"} and looked


def test_a_full_disk_leaves_the_previous_file(pipe, vendor, monkeypatch):
    vendor.put("a", "old")
    p = pipe()
    p.pull()
    vendor.put("a", "new!", age=-5)
    real = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            self.file.write(data[:1])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode="r": Full(real(path, mode)) if mode == "xb" else real(path, mode))
        with pytest.raises(BackendError, match="stopped after 0 of 1 files.*No space left.*pull again"):
            p.pull()
    assert here(p) == {"a": "old"}
    assert p.pull().moved == {"a"} and here(p) == {"a": "new!"}


@pytest.mark.parametrize("group", [1, 4])
def test_what_arrived_stays_when_the_server_stops(pipe, monkeypatch, group):
    monkeypatch.setattr(file_transfer, "_GROUP", group)
    monkeypatch.setattr(file_transfer, "_AT_ONCE", 2)

    class Dying(Strange):
        dead = False

        def read(self, key):
            if self.dead or len(self.reads) >= 20:
                self.dead = True
                raise BackendError("the server is gone.")
            return super().read(key)

    objects = {f"{i:02}": (1, b"1") for i in range(40)}
    backend = Dying(objects)
    p = pipe(backend)
    with pytest.raises(BackendError, match=r"stopped after \d+ of 40 files: the server is gone\. What is whole stays"):
        p.pull()
    arrived = set(here(p))
    assert 10 <= len(arrived) <= 20
    backend.reads, backend.dead = [-1] * -100, False
    backend.read = lambda key: backend.reads.append(key) or objects[key][1]
    p.pull()
    assert set(backend.reads) == set(objects) - arrived and set(here(p)) == set(objects)


def test_a_server_without_times(pipe):
    now = float("inf")
    p = pipe(Strange({f"p-{i}": (1, b"1") for i in range(5)}, modified=now), newest=2)
    assert [(file.name, file.modified) for file in p.files()] == [("p-3", None), ("p-4", None)]
    p.pull()
    assert sorted(here(p)) == ["p-3", "p-4"] and p.pull().moved == set()
    assert json.dumps(p.status().as_json())


@pytest.mark.parametrize("modified", [-1e18, 1e300, float("nan"), -5.0])
def test_odd_times(pipe, modified):
    p = pipe(Strange({"a": (1, b"1")}, modified=modified))
    p.pull()
    assert here(p) == {"a": "1"} and states(p.pull()) == {"a": "same"} and str(p.files()[0])


def test_stores_within_a_folder_are_no_files(pipe, vendor):
    for name in ("a", ".d6tstore/records/x", "sub/.d6tstore/records/x", "a.csv.~theirs-20240131T101500-2"):
        vendor.put(name)
    p = pipe()
    assert states(p.pull()) == {"a": "new"} and here(p) == {"a": "1"}


def test_an_empty_folder(pipe, vendor):
    p = pipe()
    assert str(p.pull()) == "pull from vendor: no files" and p.files() == p.paths() == []
    assert not p.folder.exists() and p.push().moved == set() and not len(p.verify())


def test_thousands_of_files(pipe, vendor):
    for i in range(2_000):
        vendor.put(f"{i % 10}/{i}", str(i))
    p = pipe()
    assert len(p.pull().moved) == 2_000
    assert len(p.pull().same) == 2_000
    assert len(str(p.pull(mode="all")).splitlines()) == 22


def test_a_link_there_that_leads_back(pipe, vendor):
    vendor.put("sub/a")
    (vendor.path / "round").symlink_to(".")
    (vendor.path / "sub" / "up").symlink_to("..")
    p = pipe()
    p.pull()
    assert list(here(p)) == ["sub/a"]


def test_folders_that_lie_in_one_another(pipe, vendor, project):
    for local in (vendor.path, vendor.path / "below", vendor.path.parent):
        with pytest.raises(UsageError, match="lie in one another"):
            pipe(local=str(local)).pull()


@pytest.mark.parametrize(
    "settings", [{"include": ""}, {"exclude": "|"}, {"newest": 0}, {"newest": "3"}, {"include": 3}], ids=str
)
def test_settings_that_cannot_be(pipe, settings):
    with pytest.raises(UsageError):
        pipe(**settings)


def test_a_name_that_would_leave_the_project(vendor, project):
    with pytest.raises(d6tstore.errors.InvalidKey):
        FilesPipe(Remote("../x", PipeAccess(url=str(vendor.path), kind="files")), project)


PULL = """
import sys
from pathlib import Path
from d6tstore.access import PipeAccess, Remote
from d6tstore.plainfiles.pipe import FilesPipe
from d6tstore_plugins.local import LocalBackend

class Telling(LocalBackend):
    def open_read(self, key):
        print(key, flush=True)
        return super().open_read(key)

access = PipeAccess(url=sys.argv[1], kind="files")
getattr(FilesPipe(Remote("vendor", access, Telling(sys.argv[1])), Path(sys.argv[2])), sys.argv[3])()
print("done", flush=True)
"""


def test_a_pull_that_is_killed_goes_on(pipe, vendor, project):
    expected = {f"{i % 7}/{i}": f"{i}" * 20_000 for i in range(300)}
    for name, text in expected.items():
        vendor.put(name, text)
    p = pipe()
    for reads in (1, 60, 150, 290):
        command = [sys.executable, "-c", PULL, str(vendor.path), str(project), "pull"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            before = set(p._folder.list())
            started = {process.stdout.readline().strip() for _ in range(reads)}
            process.kill()
        assert not started & before  # what arrived is not fetched again
        fetched = {name: (p.folder / name).read_text() for name in p._folder.list()}
        assert fetched == {name: expected[name] for name in fetched}  # each is whole
    p.pull()
    assert {name: (p.folder / name).read_text() for name in p._folder.list()} == expected
    assert states(p.pull()) == dict.fromkeys(expected, "same")


# ------------------------------------------------------------------------ push


def test_a_pipe_for_reading_refuses(pipe, vendor):
    vendor.put("a")
    p = pipe(role="read")
    p.pull()
    (p.folder / "b").write_text("1")
    for refused in (
        p.push,
        p.push_preview,
        lambda: p.delete("a", where="there"),
        lambda: p.delete("a", where="both", dry_run=False),
        lambda: p.remove_orphans("there"),
        lambda: p.describe(readme="x"),
    ):
        with pytest.raises(Denied, match=r"is for reading.*role = 'write'"):
            refused()
    assert vendor.names() == ["a"] and sorted(here(p)) == ["a", "b"]


def test_push_modes(pipe, vendor):
    vendor.put("gone")
    vendor.put("same")
    vendor.put("theirs")
    p = pipe(exclude="*.tmp")
    p.pull()
    (vendor.path / "gone").unlink()
    vendor.put("theirs", "newer", age=-5)
    (p.folder / "new").write_text("n")
    (p.folder / "x.tmp").write_text("n")
    (p.folder / "same").write_text("edited")
    assert p.push(mode="new").moved == {"new"}
    assert p.push().moved == {"same"} and "gone" not in vendor.names()
    assert p.push(mode="all").moved == {"gone", "new", "same"}
    assert (vendor.path / "theirs").read_text() == "newer" and "x.tmp" not in vendor.names()


def test_a_push_is_not_concerned_with_names_that_cannot_come(pipe, vendor):
    vendor.put("a\\b")
    p = pipe()
    p.folder.mkdir(parents=True)
    (p.folder / "c").write_text("1")
    assert p.push().moved == {"c"}


def test_a_push_that_stops(pipe, vendor):
    class Half(LocalBackend):
        broken = True

        def upload(self, key, data, tell):
            if self.broken and key >= "b":
                raise Denied("you may not. Ask.")
            super().upload(key, data, tell)

    p = pipe(Half(str(vendor.path)))
    p.folder.mkdir(parents=True)
    for name in "abc":
        (p.folder / name).write_text(name)
    with pytest.raises(Denied, match=r"the push of 'vendor' stopped after . of 3 files: you may not\. Ask\. What is"):
        p.push()
    Half.broken = False
    sent = set(vendor.names())
    assert p.push().moved == set("abc") - sent and vendor.names() == ["a", "b", "c"]
    assert states(p.status()) == dict.fromkeys("abc", "same")


def test_a_file_that_is_edited_while_it_is_pushed(pipe, vendor, monkeypatch):
    p = pipe()
    p.folder.mkdir(parents=True)
    (p.folder / "a").write_text("1")
    real = Path.read_bytes

    def read(path):
        data = real(path)
        if path.name == "a":
            path.write_text("22")
        return data

    monkeypatch.setattr(Path, "read_bytes", read)
    with pytest.raises(ExchangeFailed, match="was edited while it was pushed"):
        p.push()
    assert vendor.names() == []


@pytest.mark.parametrize("name", ["a", "new"])
def test_a_file_that_somebody_else_pushes_meanwhile(pipe, vendor, name):
    vendor.put("a")
    pipe().pull()
    p = pipe(Replaced(vendor, 2, **{name: "of a colleague"}))
    (p.folder / "a").write_text("mine")
    (p.folder / "new").write_text("mine")
    with pytest.raises(ExchangeFailed, match=f"'{name}': was changed there meanwhile") as caught:
        p.push()
    assert caught.value.exchange.moved == {"a", "new"} - {name}
    assert (vendor.path / name).read_text() == "of a colleague"
    with pytest.raises(Conflict):
        p.push()


class Replaced(LocalBackend):
    """Somebody puts a file at the moment when it is asked about for the nth time."""

    def __init__(self, vendor, nth, **files):
        super().__init__(str(vendor.path))
        self.left, self.put = nth, lambda: [vendor.put(name, text, age=-9) for name, text in files.items()]

    def stat(self, keys):
        self.left -= 1
        if self.left == 0:
            self.put()
        return super().stat(keys)


def test_a_file_that_somebody_else_replaces_right_after(pipe, vendor):
    vendor.put("a")
    pipe().pull()
    p = pipe(Replaced(vendor, 3, a="of a colleague"))
    (p.folder / "a").write_text("mine")
    assert p.push().moved == {"a"}
    with pytest.raises(Conflict):
        p.push()
    assert here(p)["a"] == "mine" and (vendor.path / "a").read_text() == "of a colleague"


def test_a_conflict_that_changes_while_it_is_settled(pipe, vendor):
    vendor.put("a")
    pipe().pull()
    vendor.put("a", "theirs", age=-5)
    p = pipe(Replaced(vendor, 2, a="of a colleague"))
    (p.folder / "a").write_text("mine")
    with pytest.raises(ExchangeFailed, match="was changed there while it was pulled"):
        p.push(keep="ours")
    assert here(p) == {"a": "mine"} and (vendor.path / "a").read_text() == "of a colleague"


def test_a_file_here_that_cannot_be_read(pipe, vendor, monkeypatch):
    vendor.put("a")
    p = pipe()
    p.pull()
    (p.folder / "a").write_text("2")
    real = Path.open

    def refused(path, *args, **named):
        if path == p.folder / "a":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *args, **named)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(UsageError, match="cannot be read: Permission denied"):
        p.status()
    with pytest.raises(UsageError):
        p.push()


def test_a_folder_that_cannot_be_made(pipe, vendor, project):
    vendor.put("a")
    (project / "file").write_text("x")
    p = pipe(local="file/below")
    with pytest.raises(ExchangeFailed, match="Not a directory"):
        p.pull()
    with pytest.raises(UsageError, match="cannot be written to"):
        p.describe(readme="x")
    with pytest.raises(UsageError, match="is not imported: cannot be here"):
        p.import_files(project / "file")


def test_large_files_go_both_ways(pipe, vendor, monkeypatch):
    p = pipe()
    p.folder.mkdir(parents=True)
    data = os.urandom(3 << 20)
    (p.folder / "a").write_bytes(data)
    heard = []
    monkeypatch.setattr("d6tstore.progress._PATIENCE", 0.0)
    p.push(progress=heard.append)
    assert (vendor.path / "a").read_bytes() == data and heard[-1].done == len(data) and heard[-1].direction == "up"
    (p.folder / "a").unlink()
    p.pull(progress=heard.append)
    assert (p.folder / "a").read_bytes() == data
    assert heard[-1][:2] == ("down", "vendor") and heard[-1].done == heard[-1].total == len(data)
    assert (heard[-1].objects, heard[-1].of) == (1, 1)


# ---------------------------------------------------------------------- verify


def test_verify_says_how(pipe, vendor, project):
    for name in ("a", "b", "c", "d"):
        vendor.put(name, name)
    p = pipe()
    p.pull()
    (p.folder / "b").write_text("B")
    (p.folder / "c").unlink()
    (p.folder / "d").write_text("dd")
    told = {file.name: (file.state, file.note) for file in p.verify()}
    assert told["a"] == ("same", "as pulled")
    assert told["b"][0] == "problem" and told["c"] == ("problem", "is missing here. Pull it again.")
    assert told["d"] == ("problem", "differs: 2 bytes here")
    forget(project)
    told = {file.name: (file.state, file.note) for file in p.verify()}
    assert told["b"] == ("same", "size only")
    told = {file.name: (file.state, file.note) for file in p.verify(read=True)}
    assert told["a"] == ("same", "bytes") and told["b"] == ("problem", "differs")


@pytest.mark.parametrize(
    ("version", "checksum"),
    [
        ('"0123456789abcdef0123456789abcdef"', "0123456789abcdef0123456789abcdef"),
        ('"0123456789abcdef0123456789abcdef-12"', None),
        ("0123456789abcdef0123456789abcdef-1706693400.0-12", "0123456789abcdef0123456789abcdef"),
        ("0123456789abcdef0123456789abcdef-None-12", "0123456789abcdef0123456789abcdef"),
        ("0123456789abcdef0123456789abcdef-12", None),
        ("CY9rzUYh03PK3k6DJie09g==-1706693400.0-4", "098f6bcd4621d373cade4e832627b4f6"),
        ("1706693400000000000-12", None),
        ("-None-5", None),
        ("", None),
    ],
)
def test_checksums_in_versions(version, checksum):
    assert There(1, version, None).checksum == checksum


# -------------------------------------------------------------------- tidying


def test_import(pipe, tmp_path, vendor):
    p = pipe(include="*.csv")
    source = tmp_path / "source"
    (source / "x").mkdir(parents=True)
    for name in ("a.csv", "b.csv", "x/c.csv", "x/d.txt"):
        (source / name).write_text(name)
    assert p.import_files([source / "a.csv", str(source / "b.csv")]) == [p.folder / "a.csv", p.folder / "b.csv"]
    assert p.import_files(source / "a.csv", move=True, to="sub/") == [p.folder / "sub/a.csv"]
    assert not (source / "a.csv").exists()
    assert p.import_dir(source, "*.csv") == [p.folder / "b.csv", p.folder / "x/c.csv"]
    assert p.push().moved == {"a.csv", "b.csv", "sub/a.csv", "x/c.csv"}
    assert p.import_dir(source, "*.csv", move=True) and not (source / "x/c.csv").exists()


@pytest.mark.parametrize(
    ("names", "to", "why"),
    [
        (["b.csv", "new.txt"], "", "does not belong to the pipe"),
        (["b.csv", "nope.csv"], "", "is no file"),
        (["b.csv", "x"], "", "a folder to import_dir"),
        (["b.csv", "a.csv"], "", "there already, with other bytes"),
        (["b.csv", "x/b.csv"], "", "several of the files"),
        (["b.csv"], "../..", "is refused"),
        (["b.csv"], ".d6tstore", "of files that d6tstore makes"),
    ],
)
def test_import_refuses_before_anything_is_copied(pipe, tmp_path, names, to, why):
    p = pipe(include="*.csv")
    p.folder.mkdir(parents=True)
    (p.folder / "a.csv").write_text("another")
    source = tmp_path / "source"
    (source / "x").mkdir(parents=True)
    for name in ("a.csv", "b.csv", "new.txt", "x/b.csv"):
        (source / name).write_text(name)
    with pytest.raises(UsageError, match=why):
        p.import_files([source / name for name in names], to=to, move=True)
    assert here(p) == {"a.csv": "another"} and (source / "b.csv").exists()


def test_import_of_the_project_leaves_the_pipe_out(pipe, vendor, project):
    vendor.put("a")
    p = pipe()
    p.pull()
    (project / "data.csv").write_text("1")
    assert p.import_dir(project, "*.csv|a") == [p.folder / "data.csv"]
    with pytest.raises(UsageError, match="is no folder"):
        p.import_dir(project / "data.csv")


@pytest.mark.parametrize(
    ("where", "left_here", "left_there"),
    [("here", ["b"], ["a.csv", "b"]), ("there", ["a.csv", "b"], ["b"]), ("both", ["b"], ["b"])],
)
def test_delete(pipe, vendor, where, left_here, left_there):
    vendor.put("a.csv", age=5)
    vendor.put("b")
    p = pipe()
    p.pull()
    p = pipe(newest=1)  # which "b" is: what is older can be deleted all the same
    preview = p.delete("*.csv", where=where)
    assert preview.dry_run and [file.name for file in preview] == ["a.csv"] and len(here(p)) == 2
    assert p.delete("*.csv", where=where, dry_run=False).moved == {"a.csv"}
    assert sorted(here(p)) == left_here and vendor.names() == left_there
    assert ("a.csv" in p._state.read()) == (where == "there")
    pipe().push()
    assert vendor.names() == left_there  # what was removed there does not come back
    with pytest.raises(UsageError, match="where"):
        p.delete("*", where="everywhere")


def test_orphans(pipe, vendor):
    vendor.put("a")
    vendor.put("only-there")
    vendor.put("x.txt")
    p = pipe(exclude="*.txt")
    p.pull("a")
    (p.folder / "mine").write_text("1")
    (p.folder / "notes.txt").write_text("1")
    assert [file.name for file in p.remove_orphans()] == ["mine"] and "mine" in here(p)
    p.remove_orphans(dry_run=False)
    assert sorted(here(p)) == ["a", "notes.txt"]
    assert [file.name for file in p.remove_orphans("there")] == ["only-there"]
    p.remove_orphans("there", dry_run=False)
    assert vendor.names() == ["a", "x.txt"]


# --------------------------------------------------------------------- reading


def test_how_to_read_travels_with_the_files(pipe, vendor, tmp_path, project):
    publisher = pipe()
    publisher.describe(schema={"pandas": {"sep": ";", "decimal": ","}}, readme="Prices", license="CC0")
    (publisher.folder / "p.csv").write_text("a;b\n1,5;2\n")
    publisher.push()
    assert vendor.names() == ["LICENSE", "README.md", "d6tstore-pipe.json", "p.csv"]
    access = PipeAccess(
        url=str(vendor.path), kind="files", include="*.csv", schema={"pandas": {"nrows": 1, "decimal": "."}}
    )
    reader = FilesPipe(Remote("reader", access), project)
    assert reader.schema == {"pandas": {"nrows": 1, "decimal": "."}}
    reader.pull()
    assert reader.schema == {"pandas": {"sep": ";", "decimal": ".", "nrows": 1}}
    assert [path.name for path in reader.paths()] == ["p.csv"]
    assert (reader.folder / "README.md").read_text() == "Prices"
    publisher.describe(schema={})
    assert publisher.schema == {} and here(publisher)["README.md"] == "Prices"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"schema": 3}', '{"schema": ' + "[" * 20_000, "x" * 100_000, "\udcff", '{"schema": {"a": NaN}}'],
)
def test_a_description_that_is_none(pipe, vendor, text):
    vendor.put("d6tstore-pipe.json")
    (vendor.path / "d6tstore-pipe.json").write_bytes(text.encode(errors="surrogateescape"))
    p = pipe()
    p.pull()
    with pytest.raises(FormatError, match=r"d6tstore-pipe.json.*exclude ="):
        _ = p.schema


@pytest.mark.parametrize(
    "schema", [{"a": object()}, {"a": (1, 2)}, {"a": {1: 2}}, {"a": "x" * 70_000}, {"a": float("nan")}]
)
def test_a_schema_of_more_than_plain_values(pipe, schema):
    p = pipe()
    with pytest.raises(UsageError, match="plain values"):
        p.describe(schema=schema, readme="x")
    assert not p.folder.exists()


def test_a_schema_with_a_secret(pipe):
    with pytest.raises(CredentialsError) as caught:
        pipe().describe(schema={"pandas": {"storage_options": {"password": "hunter2"}}})
    assert "hunter2" not in str(caught.value)


# ----------------------------------------------------------------------- tasks


FLOW = """
    from pathlib import Path
    import d6tstore

    class Prices(d6tstore.tasks.TaskJson):
        files = ["pipes/vendor/prices.csv"]
        def run(self):
            self.save(Path(self.files[0]).read_text())

    class Names(d6tstore.tasks.TaskJson):
        path: Path = Path("pipes/vendor/names.csv")
        def run(self):
            self.save(self.path.read_text())

    @d6tstore.requires(Prices)
    class Total(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(self.input().load() + "!")
"""


def test_a_pull_makes_exactly_the_dependents_stale(pipe, vendor, store, flow):
    vendor.put("prices.csv", "1")
    vendor.put("names.csv", "ann")
    p = pipe()
    p.pull()
    f = flow(FLOW)
    tasks = [f.Total(), f.Names()]
    store.run(tasks)
    p.pull()
    assert store.run(tasks).ran == []
    vendor.put("prices.csv", "2", age=-5)
    vendor.put("names.csv", "ann", age=-5)  # written again, the same
    p.pull()
    report = store.run(tasks)
    assert report.ran == [f.Prices(), f.Total()] and "Names" not in str(report.ran)
    assert report.reasons()[f.Prices()] == "file pipes/vendor/prices.csv changed"
    assert f.Total().output().load() == "2!"


def test_paths_are_declared_as_files(pipe, vendor, store, flow):
    vendor.put("a.csv", "1")
    vendor.put("README.md", "1")
    p = pipe()
    p.pull()
    f = flow("""
        import d6tstore
        class All(d6tstore.tasks.TaskJson):
            files = []
            def run(self):
                self.save([path.read_text() for path in self.files])
    """)
    f.All.files = p.paths()
    assert store.run(f.All()).ran == [f.All()] and store.run(f.All()).ran == []
    vendor.put("a.csv", "22")
    p.pull()
    assert store.run(f.All()).reasons() == {f.All(): "file pipes/vendor/a.csv changed"}


# ---------------------------------------------------------------- command line


@pytest.fixture
def call(pipe, monkeypatch):
    made = pipe()
    monkeypatch.setattr(files_cli, "_pipe", lambda name: made)

    def run(command, *args, code=0, **options):
        result = CliRunner().invoke(command, list(args), **options)
        assert result.exit_code == code, (result.output, result.exception)
        return result

    run.pipe = made
    return run


def test_commands(call, vendor, tmp_path):
    vendor.put("a.csv", "1")
    vendor.put("b.txt", "22")
    assert call(files_cli.files, "vendor").stdout.splitlines()[-1] == "2 files, 3 bytes"
    shown = json.loads(call(files_cli.files, "vendor", "*.csv", "--json").stdout)
    assert shown == [{"name": "a.csv", "size": 1, "modified": "2023-11-14T22:13:20+00:00", "state": "new", "note": ""}]
    call.pipe.pull()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/c.csv").write_text("3")
    (tmp_path / "d.csv").write_text("4")
    done = call(files_cli.import_, "vendor", str(tmp_path / "in"), str(tmp_path / "d.csv"), "--move", "--to", "x")
    assert done.stdout.startswith("2 files are in ") and "x/c.csv" in here(call.pipe)
    assert not (tmp_path / "d.csv").exists()
    assert "no terminal" in str(call(files_cli.orphans, "vendor", code=1).exception)
    assert "x/d.csv" in here(call.pipe)
    assert "x/d.csv" in call(files_cli.orphans, "vendor", "--yes").stdout and "x/d.csv" not in here(call.pipe)
    call(files_cli.delete, "vendor", "*.txt", "--there", "--yes")
    assert vendor.names() == ["a.csv"] and "b.txt" in here(call.pipe)
    assert "no files" in call(files_cli.delete, "vendor", "*.nope").stdout


def test_the_whole_way_in_a_shell(vendor, project):
    def call(*words, code=0):
        result = CliRunner().invoke(cli, ["pipe", *words], prog_name="d6tstore")
        assert result.exit_code == code, (result.output, result.exception)
        return result.output

    vendor.put("a.csv", "1")
    vendor.put("b.txt", "22")
    call("add", "vendor", str(vendor.path), "--files", "--include", "*.csv")
    assert "1 files, 1 bytes" in call("files", "vendor")
    assert call("pull", "vendor").startswith("pull from vendor: 1 new; 1 files, 1 bytes")
    assert "as pulled" in call("verify", "vendor")
    (project / "c.csv").write_text("3")
    call("import", "vendor", "c.csv")
    assert "1 new here, 1 same" in call("status", "vendor")
    call("push", "vendor")
    assert vendor.names() == ["a.csv", "b.txt", "c.csv"]
    (project / "pipes/vendor/a.csv").write_text("ours")
    vendor.put("a.csv", "theirs", age=-5)
    assert "--keep" in call("pull", "vendor", code=2) or "keep=" in call("pull", "vendor", code=2)
    call("pull", "vendor", "--keep", "ours")
    assert json.loads(call("delete", "vendor", "c.csv", "--there", "--yes") and call("status", "vendor", "--json"))[
        "counts"
    ] == {"edited here": 1, "removed": 1}
    call("add", "results", str(project / "shared"))
    assert "is of results" in call("files", "results", code=2)


def test_two_pulls_at_once(pipe, vendor):
    for i in range(100):
        vendor.put(str(i), str(i))
    failures = []

    def pull():
        try:
            pipe().pull()
        except Exception as exc:
            failures.append(exc)

    threads = [threading.Thread(target=pull) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert here(pipe()) == {str(i): str(i) for i in range(100)}
    assert not failures
    assert states(pipe().pull()) == {str(i): "same" for i in range(100)}


def test_what_a_dead_pull_left_goes(pipe, vendor, monkeypatch):
    vendor.put("a")
    p = pipe()
    left = p.folder / ".d6tstore/arriving-x"
    left.mkdir(parents=True)
    (left / "0").write_text("half")
    os.utime(left, (OLD, OLD))
    assert states(p.status()) == {"a": "new"}
    p.pull()
    assert here(p) == {"a": "1"} and not (p.folder / ".d6tstore").exists() and file_folder.is_ours(".d6tstore/x")
