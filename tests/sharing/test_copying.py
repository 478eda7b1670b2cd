"""`Store.copy_to`: between any two backends, complete there without running; interrupted, refused, damaged."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

import d6tstore
from d6tstore.errors import UsageError

RAN = []


class Prices(d6tstore.tasks.TaskPqPandas):
    days: int = 3

    def run(self):
        RAN.append("Prices")
        days = pd.date_range("2026-01-01", periods=self.days, freq="D", tz="Europe/Berlin")
        self.save(pd.DataFrame({"day": days, "price": [1.5] * self.days, "name": ["ü", None, "x"][: self.days]}))


class Panel(d6tstore.tasks.TaskPqPolars):
    def run(self):
        RAN.append("Panel")
        self.save(pl.DataFrame({"a b": [1, None, 3], "deep": [[1], [], None]}))


@d6tstore.requires(Prices)
class Model(d6tstore.tasks.TaskPickle):
    persist = {"model": "pickle", "report": "json"}

    def run(self):
        RAN.append("Model")
        self.save({"model": {"mean": self.input().load().price.mean()}, "report": [1, 2]}, metrics={"mean": 1.5})


class Live(d6tstore.tasks.TaskCache):
    backend = None  # the default one, which may hold what is live

    def run(self):
        self.save(object())


TASKS = [Model(), Panel(), Prices(days=2)]


@pytest.fixture
def opened(tmp_path, request):
    stores = []

    def open_(kind, name, **options):
        url = {
            "file": lambda: str(tmp_path / name),
            "memory": lambda: f"memory://{name}",
            "sqlite": lambda: f"sqlite:///{tmp_path / name}.db",
            "postgres": lambda: request.getfixturevalue("database").url,
        }[kind]()
        stores.append(d6tstore.open(url, **options))
        return stores[-1]

    yield open_
    for store in stores:
        store.close()


KINDS = ["file", "memory", "sqlite"]


def values(store):
    with d6tstore.use(store):
        return [Model().output()["model"].load(), Model().output()["report"].load(), Prices().output().load(),
                Prices(days=2).output().load(), Panel().output().load()]  # fmt: skip


def same(one, other):
    return one.equals(other) if hasattr(one, "equals") else one == other


def check(here, there):
    RAN.clear()
    assert there.complete(TASKS)
    assert there.run(TASKS).ran == [] and RAN == []
    assert all(same(one, other) for one, other in zip(values(here), values(there), strict=True))
    assert there.verify() == [] and there.gc(older_than=0).keys == []
    mine, theirs = (store.history(Model())[0] for store in (here, there))
    assert theirs.metrics == {"mean": 1.5} and (theirs.write_id, theirs.time) == (mine.write_id, mine.time)


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_what_was_copied_is_complete(opened, source, target):
    here, there = opened(source, "here"), opened(target, "there")
    here.run(TASKS)
    plan = here.copy_to(there, dry_run=True)
    assert sorted(plan) == sorted(here.copy_to(there, dry_run=True)) and len(plan) == 4
    assert list(there.repository.default.list()) == []
    done = here.copy_to(there)
    assert sorted(done) == sorted(plan) and not done.problems
    check(here, there)
    assert {each.action for each in here.copy_to(there)} == {"same"}


def test_frames_are_tables_where_there_are_tables(opened):
    here, there, back = opened("file", "here"), opened("sqlite", "there"), opened("file", "back")
    here.run(TASKS)
    here.copy_to(there)
    with d6tstore.use(there):
        assert Prices().output().record().outputs["data"].table
        assert not Model().output()["model"].record().outputs["model"].table
    there.copy_to(back)
    with d6tstore.use(back):
        record = Prices().output().record()
        assert pd.read_parquet(back.repository.default.path(record.outputs["data"].key)).equals(
            Prices().output().load()
        )
        assert record.outputs["data"].content == here.history(Prices())[0].outputs["data"].content
    check(here, back)


def test_to_postgres_and_back(opened):
    here, there, back = opened("file", "here"), opened("postgres", "there"), opened("memory", "back")
    here.run(TASKS)
    assert not here.copy_to(there).problems
    check(here, there)
    assert not there.copy_to(back).problems
    check(here, back)


def test_only_what_is_asked_for_goes(opened):
    here, there = opened("file", "here"), opened("file", "there")
    here.run(TASKS)
    here.copy_to(there, Model())
    assert there.complete(Model()) and there.complete(Prices()) and not there.complete(Panel())


def test_namespaces(opened):
    here, there = opened("file", "here", namespace="a"), opened("file", "there", namespace="b")
    here.run(TASKS)
    assert not here.copy_to(there, TASKS).problems
    check(here, there)
    shared = opened("file", "here", namespace="c")
    assert not here.copy_to(shared).problems
    check(here, shared)


def test_pickles_are_not_opened(opened, monkeypatch):
    here, there = opened("file", "here"), opened("sqlite", "there")
    here.run(Model())
    monkeypatch.setattr(pickle, "load", None)
    monkeypatch.setattr(pickle, "loads", None)
    assert not here.copy_to(there).problems


def test_another_result_stays_unless_told(opened):
    here, there = opened("file", "here"), opened("file", "there")
    here.run(Prices())
    there.run(Prices())
    theirs = there.history(Prices())[0]
    (done,) = here.copy_to(there)
    assert done.action == "differs there" and there.history(Prices())[0] == theirs
    (done,) = here.copy_to(there, replace=True)
    assert done.action == "copied"
    assert [old.write_id for old in there.history(Prices())] == [here.history(Prices())[0].write_id, theirs.write_id]


def test_what_followed_ours_is_newer(opened):
    here, there = opened("file", "here"), opened("file", "there")
    here.run(Prices())
    here.copy_to(there)
    there.run(Prices(), force=True)
    assert [each.action for each in here.copy_to(there, replace=True)] == ["newer there"]
    assert [each.action for each in there.copy_to(here)] == ["copied"]


def test_what_is_damaged_is_told_and_stops_nothing_else(opened):
    here, there = opened("file", "here"), opened("file", "there")
    here.run(TASKS)
    with d6tstore.use(here):
        path = Model().output()["model"].path
    path.chmod(0o644)
    path.write_bytes(b"x" * path.stat().st_size)
    done = here.copy_to(there)
    (problem,) = done.problems
    assert problem.id == Model().id and "is not what its record says" in problem.problem and "1 failed" in str(done)
    assert there.complete([Prices(), Panel()]) and not there.complete(Model())
    assert not list(there.repository.default.list(".d6tstore/records/Model"))


def test_what_was_interrupted_goes_on(opened, monkeypatch):
    here, there = opened("file", "here"), opened("file", "there")
    here.run(TASKS)
    publish = type(there.repository.default).publish
    with monkeypatch.context() as patch:
        patch.setattr(type(there.repository.default), "publish", lambda *_: (_ for _ in ()).throw(OSError("cut")))
        assert len(here.copy_to(there).problems) == 4
    written = {entry.key: entry.version for entry in there.repository.default.list()}
    assert written and publish
    assert not here.copy_to(there).problems
    after = {entry.key: entry.version for entry in there.repository.default.list()}
    assert written.items() <= after.items(), "nothing went twice"
    check(here, there)


def test_an_evicted_object_comes_again(opened):
    here, there = opened("file", "here"), opened("file", "there")
    here.run(Prices())
    here.copy_to(there)
    there.repository.default.delete(there.history(Prices())[0].outputs["data"].key)
    assert [each.action for each in here.copy_to(there)] == ["copied"]
    assert there.complete(Prices()) and there.verify() == []


def test_named_backends_go_to_those_of_the_same_name(opened, tmp_path):
    class Named(d6tstore.tasks.TaskJson):
        backend = "lake"

        def run(self):
            self.save(1)

    here = opened("file", "here", backends={"lake": tmp_path / "lake"})
    here.run(Named())
    with pytest.raises(UsageError, match=r"backend 'lake', which the other one lacks.*backends=\{'lake': url\}"):
        here.copy_to(opened("file", "there"))
    there = opened("file", "there", backends={"lake": f"sqlite:///{tmp_path}/lake.db"})
    here.copy_to(there)
    assert there.complete(Named())


def test_what_is_only_in_memory_stays(opened):
    here, there = opened("memory", "here"), opened("file", "there")
    here.run([Live(), Prices()])
    assert sorted(each.action for each in here.copy_to(there)) == ["copied", "only in memory"]


def test_to_itself(opened):
    here = opened("file", "here")
    here.run(Prices())
    assert len(here.copy_to(opened("file", "here"))) == 0
    assert str(here.copy_to(here)) == "nothing to copy, 0 bytes"


KILLED = """
import itertools, os, sys
sys.path.insert(0, {tests!r})
import d6tstore, test_copying
from d6tstore_plugins.local import LocalBackend
publish, numbers = LocalBackend.publish, itertools.count()
def dying(self, *given):
    if next(numbers) == 2:  # the third, whichever thread it is
        os.kill(os.getpid(), 9)
    publish(self, *given)
LocalBackend.publish = dying
d6tstore.open({here!r}).copy_to(d6tstore.open({there!r}))
"""


@pytest.mark.skipif(os.name == "nt", reason="this system has no SIGKILL")
def test_a_killed_copy_goes_on(opened, tmp_path):
    here = opened("file", "here")
    here.run([Prices(days=n) for n in (1, 2, 3)] + TASKS)
    program = KILLED.format(
        tests=str(Path(__file__).parent), here=str(tmp_path / "here"), there=str(tmp_path / "there")
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    there = opened("file", "there")
    assert there.verify() == []
    done = here.copy_to(there)
    assert not done.problems and {each.action for each in done} == {"same", "copied"}
    there.gc(older_than=0)  # what the killed one was writing
    check(here, there)


# ------------------------------------------------------ stores that change, and records that lie


def entry(store, task, name="data"):
    """Key and bytes of the record of a task; it is edited and put back by `forge`."""
    key = store.history(task)[0].key
    return key, json.loads(store.repository.default.read(key))


def forge(store, key, told):
    store.repository.default.write(key, json.dumps(told).encode())


def test_what_is_computed_there_meanwhile_is_kept(opened, monkeypatch):
    here, there = opened("file", "here"), opened("file", "there")
    here.run(Prices())
    backend, stat, begun = there.repository.default, there.repository.default.stat, []

    def racing(keys):  # after the records of the other store were read
        if not begun:
            begun.append(there.run(Prices()))
        return stat(keys)

    monkeypatch.setattr(backend, "stat", racing)
    (done,) = here.copy_to(there)
    assert begun and done.action == "differs there"
    assert there.history(Prices())[0].write_id != here.history(Prices())[0].write_id and there.verify() == []


def test_what_is_replaced_here_meanwhile_is_read_again(opened, monkeypatch):
    here, there = opened("file", "here"), opened("file", "there")
    here.run(Prices())
    backend, read, begun = here.repository.default, here.repository.default.read, []

    def racing(key):
        if not begun:
            begun.append(here.run(Prices(), force=True))
            backend.delete(key)
        return read(key)

    monkeypatch.setattr(backend, "read", racing)
    (done,) = here.copy_to(there)
    assert begun and done.action == "copied", done
    assert there.history(Prices())[0].write_id == here.history(Prices())[0].write_id


def test_a_record_in_the_place_of_another_one_goes_nowhere(opened):
    here, there = opened("file", "here"), opened("file", "there")
    here.run([Prices(), Panel()])
    there.run(Prices())
    mine = there.history(Prices())[0]
    _, told = entry(here, Prices())
    forge(here, here.history(Panel())[0].key, told)
    done = {each.id: each for each in here.copy_to(there, replace=False)}
    assert "it is that of Prices" in done[Panel().id].problem
    assert there.history(Prices()) == [mine] and not there.history(Panel())


@pytest.mark.parametrize(
    "forged",
    ["Panel/x-0123456789abcdef/data-0123456789abcdef.parquet", ".d6tstore/records/Panel/x.json", "../../x", "x"],
)
def test_keys_of_a_forged_record_are_not_written(opened, forged):
    here, there = opened("file", "here"), opened("file", "there")
    here.run([Prices(), Panel()])
    there.run(Panel())
    before = {item.key: item.version for item in there.repository.default.list()}
    key, told = entry(here, Prices())
    told["outputs"]["data"]["key"] = forged
    forge(here, key, told)
    done = {each.id: each for each in here.copy_to(there)}
    assert "is none of its task" in done[Prices().id].problem and done[Panel().id].action == "differs there"
    assert {item.key: item.version for item in there.repository.default.list()} == before


@pytest.mark.parametrize("replacing", [False, True])
def test_a_record_of_a_newer_version_stays(opened, replacing):
    here, there = opened("file", "here"), opened("file", "there")
    here.run(TASKS)
    there.run(Prices())
    key, told = entry(there, Prices())
    forge(there, key, told | {"version": told["version"] + 1})
    before = there.repository.default.read(key)
    (problem,) = here.copy_to(there, replace=replacing).problems
    assert problem.id == Prices().id and there.repository.default.read(key) == before
    assert there.complete(Panel())


def test_a_damaged_schema_stops_nothing_else(opened):
    here, there = opened("file", "here"), opened("sqlite", "there")
    here.run([Prices(), Panel()])
    key, told = entry(here, Prices())
    told["outputs"]["data"]["schema"] = "no schema"
    forge(here, key, told)
    (problem,) = here.copy_to(there).problems
    assert "its schema is none" in problem.problem and there.complete(Panel())


def test_versions_there_are_kept_as_many_as_it_says(opened):
    here, there = opened("file", "here"), opened("file", "there", keep_versions=1)
    for _ in range(4):
        here.run(Prices(), force=True)
        assert [each.action for each in here.copy_to(there)] == ["copied"]
    assert len(there.history(Prices())) == 2
    there.gc(older_than=0)
    assert len(list(there.repository.default.list("Prices/"))) == 2


def test_what_is_replaced_there_is_kept_before_older_versions(opened):
    here, there = opened("file", "here"), opened("file", "there")
    for _ in range(4):
        here.run(Prices(), force=True)
        here.copy_to(there)
    there.invalidate(Prices())
    there.run(Prices(), force=True)
    theirs = there.history(Prices())[0].write_id
    here.run(Prices(), force=True)
    assert [each.action for each in here.copy_to(there, replace=True)] == ["copied"]
    assert theirs in [old.write_id for old in there.history(Prices())]


def test_values_that_tables_do_not_hold_go_as_bytes(opened):
    class Nul(d6tstore.tasks.TaskPqPandas):
        def run(self):
            self.save(pd.DataFrame({"text": ["a\0b"]}))

    here, there = opened("file", "here"), opened("sqlite", "there")
    here.run(Nul())
    assert not here.copy_to(there).problems
    output = there.history(Nul())[0].outputs["data"]
    assert not output.table and "NUL" in output.note
    with d6tstore.use(there):
        assert Nul().output().load().text.tolist() == ["a\0b"]


def test_damage_there_is_mended_when_told(opened):
    here, there = opened("file", "here"), opened("file", "there")
    here.run(Prices())
    here.copy_to(there)
    with d6tstore.use(there):
        path = Prices().output().path
    path.chmod(0o644)
    path.write_bytes(b"x" * path.stat().st_size)
    assert [each.action for each in here.copy_to(there)] == ["same"] and there.verify()
    assert [each.action for each in here.copy_to(there, replace=True)] == ["copied"] and not there.verify()


def test_a_backend_that_does_not_matter_need_not_be_there(opened, tmp_path):
    class Named(d6tstore.tasks.TaskJson):
        backend = "lake"

        def run(self):
            self.save(1)

    here = opened("file", "here", backends={"lake": tmp_path / "lake", "again": tmp_path / "here"})
    here.run([Named(), Prices()])
    there = opened("file", "there", backends={"again": tmp_path / "other"})
    assert [each.action for each in here.copy_to(there, Prices())] == ["copied"]
    assert not list(there.repository.named["again"].list())


def test_what_was_never_run_is_said(opened):
    here, there = opened("file", "here"), opened("file", "there")
    assert [(each.id, each.action) for each in here.copy_to(there, Prices())] == [(Prices().id, "no result here")]


def test_a_path_is_no_store(opened):
    with pytest.raises(UsageError, match=r"takes a store, not str\. Open it: d6tstore\.open\(url\)"):
        opened("file", "here").copy_to("there")
