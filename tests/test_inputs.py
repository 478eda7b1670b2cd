"""What counts as an input: roles, formats, raw files and folders, results that are in memory only."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import d6tstore
from d6tstore.errors import RunFailed

ROLES = """
    import d6tstore

    class A(d6tstore.tasks.TaskJson):
        def run(self):
            self.save("a")

    class B(d6tstore.tasks.TaskJson):
        def run(self):
            self.save("b")

    class Both(d6tstore.tasks.TaskAggregator):
        def requires(self):
            return [A(), B()]

    class Reads(d6tstore.tasks.TaskJson):
        def requires(self):
            return {"train": A(), "test": B()}
        def run(self):
            self.save(self.input().load())
"""


@pytest.mark.parametrize(
    ("before", "after", "reruns"),
    [
        ('{"train": A(), "test": B()}', '{"train": B(), "test": A()}', True),
        ('{"train": A(), "test": B()}', '{"test": B(), "train": A()}', False),
        ("[A(), B()]", "[B(), A()]", True),
        ("[A(), B()]", "[A(), B(), A()]", True),
        ("[A(), B()]", "(A(), B())", False),
        ("[A(), [B()]]", "[[A()], B()]", True),
        ('{"x": Both()}', '{"x": [A(), B()]}', False),
        ('{"x": Both()}', '{"x": [B(), A()]}', True),
    ],
)
def test_the_role_of_an_input_counts(store, flow, before, after, reruns):
    default = '{"train": A(), "test": B()}'
    store.run(flow(ROLES.replace(default, before)).Reads())
    f = flow(ROLES.replace(default, after))
    report = store.run(f.Reads())
    assert [t.family for t in report.ran] == (["Reads"] if reruns else [])
    if reruns:
        assert report.reasons()[f.Reads()] == "roles of inputs changed"
        assert store.run(f.Reads()).ran == []


def test_an_aggregator_that_is_reordered(store, flow):
    source = ROLES.replace('{"train": A(), "test": B()}', "Both()")
    store.run(flow(source).Reads())
    f = flow(source.replace("return [A(), B()]", "return [B(), A()]"))
    assert store.run(f.Reads()).ran == [f.Reads()] and f.Reads().output().load() == ["b", "a"]


def test_a_format_that_changes(store, flow):
    source = """
    import d6tstore, pandas as pd
    class F(d6tstore.tasks.TaskCSVPandas):
        def run(self):
            self.save(pd.DataFrame({'x': [1]}))
    """
    store.run(flow(source).F())
    f = flow(source.replace("TaskCSVPandas", "TaskPqPandas"))
    report = store.run(f.F())
    assert report.reasons()[f.F()] == "format of output data changed"
    assert f.F().output().path.suffix == ".parquet"


def test_an_output_that_is_added(store, flow):
    source = """
    import d6tstore
    class F(d6tstore.tasks.TaskJson):
        persist = ['a']
        version = 1
        def run(self):
            self.save(1)
    """
    store.run(flow(source).F())
    f = flow(source.replace("['a']", "['a', 'b']").replace("self.save(1)", "self.save({'a': 1, 'b': 2})"))
    assert not f.F().complete()
    assert store.run(f.F()).ran == [f.F()] and f.F().output().load() == {"a": 1, "b": 2}


class RawCache(d6tstore.tasks.TaskCache):
    files = ["raw.txt"]

    def run(self):
        self.save(Path("raw.txt").read_text())


@d6tstore.requires(RawCache)
class ReadsCache(d6tstore.tasks.TaskJson):
    def run(self):
        self.save(self.input().load())


def test_raw_files_of_a_result_in_memory(store, project):
    for text in ("1", "22"):
        (project / "raw.txt").write_text(text)
        store.run(ReadsCache())
        assert ReadsCache().output().load() == text
    (project / "raw.txt").write_text("333")
    later = d6tstore.open(store.repository.default.root)
    later.run(ReadsCache())
    assert ReadsCache().output().load() == "333"


def test_a_value_saved_by_hand_into_memory(store, project):
    (project / "raw.txt").write_text("1")
    for value in ("x", "y"):
        RawCache().save(value)
        store.run(ReadsCache())
        assert ReadsCache().output().load() == value


class Folder(d6tstore.tasks.TaskJson):
    path: Path

    def run(self):
        self.save(sorted(str(p.relative_to(self.path)) for p in self.path.rglob("*")))


def test_changes_of_a_folder(store, project):
    raw, elsewhere = project / "raw", project / "elsewhere"
    raw.mkdir()
    elsewhere.mkdir()
    (raw / "a").write_text("1")
    (elsewhere / "x").write_text("1")
    (raw / "link").symlink_to(elsewhere)
    (elsewhere / "round").symlink_to(raw)
    task = Folder(path="raw")
    store.run(task)
    assert task.complete()
    for change in (
        lambda: (raw / "a").rename(raw / "b"),
        lambda: (raw / "b").write_text("2"),
        lambda: (elsewhere / "x").write_text("3"),
        lambda: (raw / "c").touch(),
        lambda: (raw / "c").unlink(),
    ):
        change()
        assert not task.complete()
        store.run(task, force=task)
        assert task.complete()
    old = time.time() - 10_000
    for path in (raw / "b", elsewhere / "x"):
        os.utime(path, (old, old))
    store.run(task)
    os.utime(raw / "b", (old + 50, old + 50))
    assert task.complete()  # another mtime, the same content


class OneFile(d6tstore.tasks.TaskJson):
    path: Path

    def run(self):
        self.save(self.path.read_text())


def test_an_edit_that_mtime_and_size_do_not_tell(store, project):
    """Within one tick of the clock: a young file is not known by its mtime."""
    file = project / "raw.txt"
    file.write_text("1")
    stamp = file.stat().st_mtime_ns
    task = OneFile(path="raw.txt")
    store.run(task)
    file.write_text("2")
    os.utime(file, ns=(stamp, stamp))
    assert not task.complete()


@pytest.mark.parametrize("path", ["missing", "file.txt/below", "x" * 5000, "nul\0byte", "loop"])
def test_a_raw_file_that_cannot_be(store, project, path):
    (project / "file.txt").write_text("1")
    (project / "loop").symlink_to("loop")
    task = OneFile(path=path)
    assert store.plan(task)[task].will_run
    with pytest.raises(RunFailed, match="raw input file .* is not there"):
        store.run(task)


def test_paths_belong_to_the_project_where_the_task_was_made(project, tmp_path, monkeypatch):
    task = OneFile(path="raw.txt")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "other")
    assert task.parameters_json()["path"] == "raw.txt" and task.path == project / "raw.txt"
    assert task.id == OneFile(path="raw.txt").id
