"""Pipes of results: push, pull, previews, conflicts, versions, what is left there, trust."""

import datetime
import itertools
import pickle
import sys

import numpy as np
import pandas as pd
import pytest

import d6tstore
from d6tstore import config, context, record
from d6tstore.errors import (
    BackendError,
    Conflict,
    Denied,
    ExchangeFailed,
    ExternalAbsent,
    OutputMissing,
    RunFailed,
    UsageError,
)
from d6tstore.record import ANCESTORS
from d6tstore.sharing.pipe import Pipe

RAN = []
NUMBERS = itertools.count(1)


class Prices(d6tstore.tasks.TaskPqPandas):
    days: int = 3

    def run(self):
        RAN.append("Prices")
        self.save(pd.DataFrame({"day": range(self.days), "price": np.linspace(1, 2, self.days)}))


@d6tstore.requires(Prices)
class Model(d6tstore.tasks.TaskPickle):
    persist = {"model": "pickle", "report": "json"}

    def run(self):
        RAN.append("Model")
        self.save({"model": {"mean": self.input().load().price.mean()}, "report": [self.days]}, metrics={"m": 1.5})


class Now(d6tstore.tasks.TaskJson):
    """Another result at each run."""

    which: int = 0

    def run(self):
        RAN.append("Now")
        self.save(next(NUMBERS))


class Theirs(Prices):
    external = True


@d6tstore.requires(Theirs)
class Sum(d6tstore.tasks.TaskJson):
    def run(self):
        RAN.append("Sum")
        self.save(float(self.input().load().price.sum()))


@pytest.fixture
def people(tmp_path):
    """Two people's stores and the pipe between them: `ann`, `bob`, each with `.pipe` and `.store`."""
    RAN.clear()

    class Person:
        def __init__(self, name, **options):
            self.store = d6tstore.open(tmp_path / name, **options)

        def pipe(self, **settings):
            d6tstore.pipes.init("team", url=tmp_path / "shared", **settings)
            return Pipe(context.pipes["team"], self.store.repository)

    return Person


def actions(done):
    return {item.id.partition("-")[0]: item.action for item in done}


def versions(person, task):
    return [record.write_id for record in person.store.history(task)]


def run(person, tasks, **options):
    RAN.clear()
    person.store.run(tasks, **options)
    return RAN


# ------------------------------------------------------------- there and back


def test_what_was_pulled_is_complete(ann, bob):
    run(ann, [Model(), Prices(days=5)])
    preview = ann.pipe().push_preview()
    assert len(preview.new) == 3 and preview.dry_run and preview.bytes > 0
    assert list(ann.pipe().there.default.list()) == []
    pushed = ann.pipe().push()
    assert pushed.items == preview.items and str(pushed) == f"push to team: 3 new, {preview.bytes:,} bytes"
    assert actions(ann.pipe().push()) == {"Model": "same", "Prices": "same"}
    assert bob.pipe().pull_preview().bytes == bob.pipe().pull().bytes == preview.bytes
    assert run(bob, [Model(), Prices(days=5)]) == [] and bob.store.complete(Model())
    assert bob.store.verify() == [] == bob.pipe().verify() == ann.store.verify()
    mine, theirs = ann.store.history(Model())[0], bob.store.history(Model())[0]
    assert (theirs.write_id, theirs.metrics, theirs.origin) == (mine.write_id, {"m": 1.5}, "team")
    with d6tstore.use(bob.store):
        assert Prices(days=5).output().load().price.tolist() == [1, 1.25, 1.5, 1.75, 2]
    assert actions(bob.pipe().pull()) == actions(bob.pipe().push()) == {"Model": "same", "Prices": "same"}


def test_results_go_back(ann, bob):
    run(ann, Prices())
    ann.pipe().push()
    bob.pipe().pull()
    assert run(bob, Sum()) == ["Sum"]
    assert actions(bob.pipe().push()) == {"Prices": "same", "Sum": "new"}
    assert actions(ann.pipe().status()) == {"Prices": "same", "Sum": "only there"}
    assert actions(ann.pipe().pull()) == {"Prices": "same", "Sum": "new"}
    assert ann.store.complete(Sum())


def test_only_what_changed_travels(ann, bob):
    run(ann, [Now(which=0), Now(which=1)])
    ann.pipe().push()
    run(ann, Now(which=1), force=True)
    done = ann.pipe().push()
    assert [item.action for item in done] != ["same", "same"] and len(done.changed) == len(done.same) == 1
    assert [item.reason for item in done.changed] == ["newer here"]
    assert len(bob.pipe().pull().new) == 2
    assert versions(bob, Now(which=1))[0] == versions(ann, Now(which=1))[0]


def test_new_data_make_just_the_dependents_stale(ann, bob):
    run(ann, [Prices(), Prices(days=5)])
    ann.pipe().push()
    bob.pipe().pull()
    assert run(bob, [Sum(), Sum(days=5)]) == ["Sum", "Sum"]
    with d6tstore.use(ann.store):
        Prices(days=5).save(pd.DataFrame({"price": [7.0]}))
    ann.pipe().push()
    assert actions(bob.pipe().pull(Theirs(days=5))) == {"Prices": "changed"}
    plan = bob.store.plan([Sum(), Sum(days=5)])
    assert str(plan[Sum()].state) == "COMPLETE" and plan[Sum(days=5)].reason == "input Prices changed"
    assert run(bob, [Sum(), Sum(days=5)]) == ["Sum"]


def test_the_same_content_makes_nothing_stale(ann, bob):
    run(ann, Prices())
    ann.pipe().push()
    bob.pipe().pull()
    run(bob, Sum())
    run(ann, Prices(), force=True)
    ann.pipe().push()
    bob.pipe().pull()
    assert run(bob, Sum()) == []


def test_two_who_computed_the_same_have_no_conflict(ann, bob):
    run(ann, Prices())
    run(bob, Prices())
    ann.pipe().push()
    assert actions(bob.pipe().push()) == {"Prices": "same"}
    run(bob, Prices(), force=True)
    assert actions(bob.pipe().status()) == {"Prices": "newer here"}


def test_an_absent_one_says_which_pull_brings_it(ann, bob):
    bob.pipe()
    plan = bob.store.plan(Sum())
    assert str(plan[Theirs()]) == (
        "Theirs(days=3): EXTERNAL, absent (d6tstore pipe pull team brings it, if it is shared there)"
    )
    with pytest.raises(RunFailed) as raised:
        bob.store.run(Sum())
    assert isinstance(raised.value.__cause__, ExternalAbsent) and "pipe pull team" in str(raised.value)


# ----------------------------------------------------------------- named tasks


def test_records_of_what_a_task_needs_travel_with_it(ann, bob):
    run(ann, Model())
    done = ann.pipe().push(Model())
    assert actions(done) == {"Model": "new", "Prices": "new"} and done["Prices-b36f134fb05c6b40"].bytes == 0
    there = d6tstore.open(ann.pipe().there.default.root)
    assert not there.repository.missing([(Model(), there.history(Model())[0])])
    assert there.repository.missing([(Prices(), there.history(Prices())[0])])
    bob.pipe().pull()
    assert bob.store.complete(Model()) and str(bob.store.plan(Model())[Prices()].state) == "EVICTED"
    assert actions(ann.pipe().push(Model())) == {"Model": "same", "Prices": "same"}
    assert actions(ann.pipe().push(Model(), upstream=True)) == {"Model": "same", "Prices": "restored"}
    assert actions(bob.pipe().pull()) == {"Model": "same", "Prices": "restored"}


def test_methods_of_tasks_and_functions(ann, bob, tmp_path):
    run(ann, Model())
    with d6tstore.use(ann.store):
        d6tstore.pipes.init("team", url=tmp_path / "shared")
        assert actions(Model().push(message="mine")) == {"Model": "new", "Prices": "new"}
        assert actions(d6tstore.pipes.push_all(Model())) == {"Model": "same", "Prices": "restored"}
    with d6tstore.use(bob.store):
        assert actions(Prices().pull("team")) == {"Prices": "new"}
        assert actions(d6tstore.pipes.pull_all(Model(), "team")) == {"Model": "new", "Prices": "same"}
    assert bob.store.pipe("team").log()[-1].message == "mine"


# ------------------------------------------------------------- records without objects


def test_objects_come_when_they_are_loaded(ann, bob):
    run(ann, Model())
    ann.pipe().push()
    done = bob.pipe(trusted=True).pull(data=False)
    assert done.bytes == 0 and len(done.new) == 2
    assert not [entry for entry in bob.store.repository.default.list() if not entry.key.startswith(".d6tstore")]
    plan = bob.store.plan(Model())
    assert str(plan[Model()]) == "Model(days=3): EVICTED (in team)"
    assert bob.store.complete(Model()) and run(bob, Model()) == [] and bob.store.verify() == []
    with d6tstore.use(bob.store):
        assert Prices().output().load(columns=["price"]).price.tolist() == [1, 1.5, 2]
        assert Model().output()["report"].load() == [3]
        assert Model().output().load()["model"] == {"mean": 1.5}
    assert str(bob.store.plan(Model())[Model()].state) == "COMPLETE" and bob.store.verify() == []


def test_what_builds_on_them_runs(ann, bob):
    run(ann, Prices())
    ann.pipe().push()
    bob.pipe().pull(data=False)
    assert run(bob, Sum()) == ["Sum"]
    run(bob, Model())
    assert RAN == ["Model"]


def test_a_pull_brings_what_is_missing_here(ann, bob):
    run(ann, Prices())
    ann.pipe().push()
    bob.pipe().pull(data=False)
    assert actions(bob.pipe().pull_preview()) == {"Prices": "restored"}
    done = bob.pipe().pull()
    assert actions(done) == {"Prices": "restored"} and done.bytes > 0 and bob.store.verify() == []
    assert actions(bob.pipe().pull(data=False)) == {"Prices": "same"}


def test_what_was_replaced_there_since_is_told(ann, bob):
    run(ann, Now())
    ann.pipe(keep_versions=1).push()
    bob.pipe().pull(data=False)
    for _ in range(3):
        run(ann, Now(), force=True)
        ann.pipe(keep_versions=1).push()
    with d6tstore.use(bob.store), pytest.raises(OutputMissing, match="was replaced in the pipe 'team' since it was pu"):
        Now().output().load()


def test_a_kept_version_still_comes(ann, bob):
    run(ann, Now())
    ann.pipe().push()
    bob.pipe().pull(data=False)
    run(ann, Now(), force=True)
    ann.pipe().push()
    with d6tstore.use(bob.store):
        assert isinstance(Now().output().load(), int)


# -------------------------------------------------------------------- conflicts


@pytest.fixture
def conflict(ann, bob):
    """A result that both changed since both had it."""
    run(ann, Now())
    ann.pipe().push()
    bob.pipe().pull()
    run(ann, Now(), force=True)
    ann.pipe().push()
    bob.store.run(Now(), force=True)


def test_a_conflict_stops_before_anything_moves(ann, bob, conflict):
    run(bob, Prices())
    for call in (bob.pipe().push, bob.pipe().pull):
        with pytest.raises(
            Conflict, match=r"1 results were changed on both sides.*here by .*@.* at 20.*there by "
        ) as e:
            call()
        assert e.value.ids == [Now().id]
    assert bob.pipe().push_preview().conflicts and bob.pipe().pull_preview().conflicts
    assert actions(ann.pipe().status()) == {"Now": "same"}


def test_ours_is_kept_by_a_push(ann, bob, conflict):
    before = versions(ann, Now())[0]
    assert actions(bob.pipe().push(keep="ours")) == {"Now": "changed"}
    there = d6tstore.open(ann.pipe().there.default.root)
    assert [r.write_id for r in there.history(Now())][:2] == [versions(bob, Now())[0], before]
    assert actions(ann.pipe().pull()) == {"Now": "changed"}  # to ann it is newer, no conflict
    assert versions(ann, Now())[:2] == [versions(bob, Now())[0], before]


def test_theirs_is_kept_by_a_pull(ann, bob, conflict):
    mine = versions(bob, Now())[0]
    assert actions(bob.pipe().pull(keep="theirs")) == {"Now": "changed"}
    assert versions(bob, Now())[:2] == [versions(ann, Now())[0], mine]
    with d6tstore.use(bob.store):
        assert Now().output().load(version=mine) == Now().output().load() + 1
    assert actions(bob.pipe().status()) == {"Now": "same"}


def test_ours_is_kept_by_a_pull_and_may_then_be_pushed(ann, bob, conflict):
    mine = versions(bob, Now())[0]
    assert actions(bob.pipe().pull(keep="ours")) == {"Now": "left"} and versions(bob, Now())[0] == mine
    assert actions(bob.pipe().push()) == {"Now": "changed"}
    assert actions(ann.pipe().pull()) == {"Now": "changed"}


def test_theirs_is_kept_by_a_push(ann, bob, conflict):
    mine = versions(bob, Now())
    assert actions(bob.pipe().push(keep="theirs")) == {"Now": "left"} and versions(bob, Now()) == mine
    assert actions(bob.pipe().status()) == {"Now": "in conflict"}


def test_more_versions_than_a_record_knows(ann, bob):
    run(ann, Now())
    ann.pipe().push()
    bob.pipe().pull()
    for _ in range(ANCESTORS + 2):
        ann.store.run(Now(), force=True)
    assert actions(ann.pipe().push()) == {"Now": "changed"}
    assert actions(bob.pipe().pull()) == {"Now": "changed"}
    assert versions(bob, Now())[0] == versions(ann, Now())[0]


# --------------------------------------------------------------------- removal


def test_what_was_removed_there_is_told_and_stays_here(ann, bob):
    run(ann, [Prices(), Now()])
    ann.pipe().push()
    bob.pipe().pull()
    ann.store.invalidate(Now())
    assert actions(ann.pipe().push()) == {"Now": "removed here", "Prices": "same"}
    assert [item.id for item in ann.pipe().push_preview().removed] == [Now().id]
    assert actions(bob.pipe().status())["Now"] == "same"
    assert actions(ann.pipe().push(prune=True))["Now"] == "removed"
    assert "Now" not in actions(ann.pipe().status())
    assert ann.pipe().log()[0].removed == [Now().id]
    assert actions(bob.pipe().pull())["Now"] == "removed there" and bob.store.complete(Now())
    assert actions(bob.pipe().push())["Now"] == "left"
    assert actions(bob.pipe().pull(prune=True))["Now"] == "removed" and not bob.store.complete(Now())
    assert actions(bob.pipe().status()) == {"Prices": "same"}


def test_what_was_forgotten_here_comes_back_when_it_is_named(ann, bob):
    run(ann, [Now(), Prices()])
    ann.pipe().push()
    ann.store.invalidate(Now())
    assert actions(ann.pipe().status())["Now"] == "removed here"
    assert actions(ann.pipe().pull())["Now"] == "left" and not ann.store.complete(Now())
    assert actions(ann.pipe().pull(Now())) == {"Now": "new"} and ann.store.complete(Now())


def test_what_was_forgotten_here_comes_back_when_it_is_changed_there(ann, bob):
    run(ann, Now())
    ann.pipe().push()
    bob.pipe().pull()
    bob.store.invalidate(Now())
    run(ann, Now(), force=True)
    ann.pipe().push()
    assert actions(bob.pipe().pull()) == {"Now": "new"}


def test_what_is_removed_there_goes_again_if_it_is_named(ann, bob):
    run(ann, Now())
    ann.pipe().push()
    bob.pipe().pull()
    ann.store.invalidate(Now())
    ann.pipe().push(prune=True)
    assert actions(bob.pipe().push(Now())) == {"Now": "new"}


def test_what_vanished_there_is_sent_again(ann):
    run(ann, [Prices(), Now()])
    ann.pipe().push()
    there = ann.pipe().there.default
    for entry in list(there.list()):
        if entry.key.startswith(("Prices/", ".d6tstore/records/Now")):
            there.delete(entry.key)
    assert actions(ann.pipe().push()) == {"Now": "left", "Prices": "same"}
    done = ann.pipe().push(verify=True)
    assert actions(done) == {"Now": "new", "Prices": "restored"} and ann.pipe().verify() == []
    assert actions(ann.pipe().push(verify=True)) == {"Now": "same", "Prices": "same"}


# ------------------------------------------------------------------- log and time


def test_the_log(ann, bob):
    assert ann.pipe().log() == []
    run(ann, Now())
    ann.pipe().push(message="first\x1b[31m\nline")
    ann.pipe().push(message="nothing to do")
    run(ann, Now(), force=True)
    ann.pipe().push(message="second")
    second, first = bob.pipe().log()
    assert (second.number, first.number) == (2, 1) and second.message == "second" and second.who and second.host
    assert "\x1b" not in str(first) and "\n" not in str(first) and "1 results: first" in str(first)
    assert first.pushed.keys() == {Now().id} and second.pushed == {Now().id: versions(ann, Now())[0]}
    assert bob.pipe().log(1) == [second]


def test_an_earlier_state(ann, bob):
    run(ann, [Now(), Prices()])
    ann.pipe().push()
    first = versions(ann, Now())[0]
    between = datetime.datetime.now(datetime.UTC)
    run(ann, [Now(), Prices()], force=Now)
    run(ann, Now(which=1))
    ann.pipe().push()
    bob.pipe().pull()
    assert bob.pipe().pull_preview(at=1)[Now().id].action == "changed"
    done = bob.pipe().pull(at=between)
    assert done[Now().id].action == "changed" and versions(bob, Now())[0] == first
    assert actions(bob.pipe().pull(at="#1"))["Prices"] == "same" and versions(bob, Now())[0] == first
    assert done[Now(which=1).id].action == "left"
    assert bob.pipe().pull()[Now().id].action == "changed"
    assert versions(bob, Now())[0] == versions(ann, Now())[0]


def test_an_earlier_state_that_is_kept_no_more(ann, bob):
    for _ in range(4):
        run(ann, Now(), force=True)
        ann.pipe(keep_versions=1).push()
    with pytest.raises(UsageError, match=r"1 results of that time are not kept any more: Now-.*keep_versions"):
        bob.pipe().pull(at=1)
    assert bob.pipe().pull(at=3)[Now().id].action == "new"


@pytest.mark.parametrize("at", [0, 9, "#9", "yesterday", 1.5, True])
def test_no_such_time(ann, at):
    run(ann, Now())
    ann.pipe().push()
    with pytest.raises(UsageError, match=r"at=|there is no push"):
        ann.pipe().pull(at=at)


def test_gc_tells_first_and_keeps_what_records_name(ann, bob):
    for _ in range(5):
        run(ann, Now(), force=True)
        ann.pipe().push()
    pipe = ann.pipe()
    told = pipe.gc(older_than=0)
    assert told.dry_run and len(told.keys) == 2
    assert pipe.gc(dry_run=False, older_than=0).keys == told.keys and pipe.gc(older_than=0).keys == []
    assert pipe.verify() == [] and bob.pipe().pull(at=3)


# ------------------------------------------------------------------ roles and trust


def test_who_may_only_read_is_refused(ann, bob):
    run(ann, Now())
    before = list(ann.pipe().there.default.list())
    with pytest.raises(Denied, match="the pipe 'team' is for reading"):
        ann.pipe(role="read").push()
    assert list(ann.pipe().there.default.list()) == before
    assert len(ann.pipe(role="read").push_preview().new) == 1


def test_pickles_are_refused_until_the_pipe_is_trusted(ann, bob, monkeypatch):
    run(ann, Model())
    ann.pipe().push()
    bob.pipe().pull()
    with d6tstore.use(bob.store):
        assert Model().output()["report"].load() == [3]
        with pytest.raises(Denied, match=r"came from 'team', which is not trusted.*d6tstore pipe trust team"):
            Model().output()["model"].load()
        bob.pipe(trusted=True)
        assert Model().output()["model"].load() == {"mean": 1.5}
    other = d6tstore.open(bob.store.repository.default.root.replace("bob", "third"))
    bob.store.copy_to(other)
    bob.pipe()
    with d6tstore.use(other), pytest.raises(Denied):
        Model().output()["model"].load()


def test_an_origin_cannot_be_forged(ann, bob):
    run(ann, Model())
    ann.pipe().push()
    there = d6tstore.open(ann.pipe().there.default.root)
    from msgspec.structs import replace

    found = there.history(Model())[0]
    there.repository.default.publish(replace(found, origin="some trusted one"))
    bob.pipe().pull()
    assert bob.store.history(Model())[0].origin == "team"


# ---------------------------------------------------------------------- the rest


def test_results_in_memory_stay(people, tmp_path):
    class Live(d6tstore.tasks.TaskCache):
        backend = None

        def run(self):
            self.save(object())

    store = d6tstore.open("memory://")
    store.run([Live(), Now()])
    d6tstore.pipes.init("team", url=tmp_path / "shared")
    assert actions(store.pipe().push()) == {"Live": "left", "Now": "new"}


def test_named_backends(people, tmp_path):
    class Lake(d6tstore.tasks.TaskJson):
        backend = "lake"

        def run(self):
            self.save(1)

    ann = people("ann", backends={"lake": tmp_path / "lake-ann"})
    bob = people("bob", backends={"lake": tmp_path / "lake-bob"})
    ann.store.run([Lake(), Now()])
    ann.pipe().push()
    bob.pipe().pull()
    assert bob.store.plan([Lake(), Now()]).complete
    assert list((tmp_path / "lake-bob" / "Lake").iterdir()) and not (tmp_path / "bob" / "Lake").exists()


def test_namespaces(people):
    ann, bob = people("ann", namespace="a"), people("bob", namespace="b")
    run(ann, Model())
    assert len(ann.pipe(namespace="shared").push().new) == 2
    assert len(bob.pipe(namespace="shared").pull().new) == 2 and bob.store.complete(Model())
    assert len(bob.pipe().pull()) == 2 and not bob.pipe().pull().new  # without it nothing of theirs is seen
    assert {entry.key.split("/")[0] for entry in ann.pipe().there.default.list()} == {
        "shared.Model", "shared.Prices", ".d6tstore",
    }  # fmt: skip


def test_one_that_fails_stops_no_other(ann, bob):
    run(ann, [Now(which=n) for n in range(3)])
    ann.pipe().push()
    there = ann.pipe().there.default
    key = next(e.key for e in there.list("Now/which=1"))
    there.write(key, b"-" * len(there.read(key)))
    with pytest.raises(ExchangeFailed, match=r"1 of 3 results failed.*is not what its record says") as raised:
        bob.pipe().pull()
    assert [item.id for item in raised.value.exchange.problems] == [Now(which=1).id]
    assert bob.store.plan([Now(which=0), Now(which=2)]).complete
    assert not bob.store.plan(Now(which=1)).complete
    assert [problem.id for problem in ann.pipe().verify()] == [Now(which=1).id]
    assert ann.pipe().verify(repair=True) == [] == ann.pipe().verify()
    assert [item.id for item in bob.pipe().pull().new] == [Now(which=1).id]


def test_pipes_by_name(project, tmp_path):
    (project / "d6tstore.toml").write_text(
        '[pipes.team]\nurl = "shared"\nrole = "read"\n'
        '[profiles.prod]\nurl = "x"\n[profiles.prod.pipes.lake]\nurl = "y"\n'
    )
    assert d6tstore.pipes.get_pipe().remote.access.url == str(project / "shared")
    assert d6tstore.pipes.get_pipe("team").remote.access.role == "read"
    with pytest.raises(UsageError, match=r"no pipe 'teem', did you mean 'team'\? There are team"):
        d6tstore.pipes.get_pipe("teem")
    store = d6tstore.init("prod")
    assert store.pipe("lake").remote.access.url == str(project / "y")
    with pytest.raises(UsageError, match="which pipe\\? There are lake, team"):
        d6tstore.pipes.get_pipe()
    assert d6tstore.pipes.init("team", role="write").remote.access.role == "write"
    assert pickle.loads(pickle.dumps(context.current())).repository.remote("team").access.role == "write"


@pytest.mark.parametrize("name", ["a/b", "..", "a b", "", "x" * 65, "é", None, 5, "-x", "a.b"])
def test_names(name, tmp_path):
    with pytest.raises(UsageError, match="cannot name a pipe"):
        d6tstore.pipes.init(name, url=tmp_path)


@pytest.mark.parametrize("settings", [{"role": "admin"}, {"keep_versions": "many"}, {"trusted": "yes"}])
def test_settings(settings, tmp_path):
    with pytest.raises(UsageError, match="the pipe 'team': "):
        d6tstore.pipes.init("team", url=tmp_path / "shared", **settings)


def test_a_secret_in_the_url_is_not_kept(tmp_path):
    from d6tstore.access import SecretWarning

    with pytest.warns(SecretWarning):
        pipe = d6tstore.pipes.init("team", url="memory://ann:hunter2@host/x")
    assert "hunter2" not in repr(pipe) + repr(pipe.remote) + repr(pipe.remote.access)


def test_a_worker_process_finds_the_pipe(ann, bob, tmp_path):
    run(ann, Prices())
    ann.pipe().push()
    d6tstore.pipes.init("team", url=tmp_path / "shared")
    store = d6tstore.init(tmp_path / "bob")
    store.pipe().pull(data=False)
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        report = store.run(Sum(), executor=pool)
    assert [type(task) for task in report.ran] == [Sum] and sys.modules[__name__]


# ------------------------------------------------------------------- remote://


def test_a_store_that_is_the_local_copy_of_a_pipe(ann, project, tmp_path):
    run(ann, Model())
    ann.pipe().push()
    store = d6tstore.init("remote://team")
    assert store.repository.default.url == f"file://{project}/remotes/team"
    RAN.clear()
    store.run(Model())
    store.run(Sum())
    assert RAN == ["Sum"]
    assert actions(store.pipe("team").push()) == {"Model": "same", "Prices": "same", "Sum": "new"}
    assert actions(ann.pipe().pull()) == {"Model": "same", "Prices": "same", "Sum": "new"}


def test_it_works_while_the_other_side_is_away(ann, project, tmp_path):
    run(ann, Prices())
    ann.pipe().push()
    d6tstore.init("remote://team").pipe("team").pull()
    (tmp_path / "shared").rename(tmp_path / "away")
    (tmp_path / "shared").touch()
    with pytest.warns(config.RemoteWarning, match="the local copy of 'team' is not up to date"):
        store = d6tstore.open("remote://team")
    assert store.complete(Prices())


def test_no_such_pipe():
    with pytest.raises(UsageError, match="there is no pipe 'team'"):
        d6tstore.open("remote://team")


def test_a_place_that_is_empty_all_at_once_is_not_believed(ann, bob, tmp_path):
    run(ann, [Prices(), Now()])
    ann.pipe().push()
    bob.pipe().pull()
    (tmp_path / "shared").rename(tmp_path / "unmounted")
    for call in (bob.pipe().pull, bob.pipe().push, bob.pipe().status, lambda: bob.pipe().pull(prune=True)):
        with pytest.raises(BackendError, match="where both sides of 'team' had 2. Is it mounted"):
            call()
    assert bob.store.plan([Prices(), Now()]).complete and not (tmp_path / "shared").exists()
    assert len(ann.pipe().push(verify=True).new) == 2


def test_tables_of_a_database_go_through_a_folder(project, tmp_path):
    class Panel(d6tstore.tasks.TaskSQLPandas):
        def run(self):
            self.save(pd.DataFrame({"x": [1, 2, 3]}))

    d6tstore.db.init(f"sqlite:///{tmp_path}/ann.db")
    d6tstore.init(tmp_path / "ann").run(Panel())
    pipe = d6tstore.pipes.init("team", url=tmp_path / "shared")
    assert len(pipe.push().new) == 1 and list((tmp_path / "shared" / "Panel").rglob("*.parquet"))
    d6tstore.db.init(f"sqlite:///{tmp_path}/bob.db")
    store = d6tstore.init(tmp_path / "bob")
    assert len(pipe.pull().new) == 1 and store.complete(Panel())
    assert Panel().output().record().outputs["data"].table and Panel().output().load().x.tolist() == [1, 2, 3]


# -------------------------------------------------------- what a reviewer found


def test_two_stores_in_one_folder_are_two(people):
    a, b = people("one", namespace="a"), people("one", namespace="b")
    run(a, Now())
    a.pipe().push()
    run(b, Now())
    with pytest.raises(Conflict):
        b.pipe().push()
    run(a, Now(which=1))
    a.pipe().push()
    assert not b.pipe().push_preview().removed


def test_a_backend_that_is_not_open_is_not_empty(people, tmp_path):
    class Lake(d6tstore.tasks.TaskJson):
        backend = "lake"

        def run(self):
            self.save(1)

    ann = people("ann", backends={"lake": tmp_path / "lake"})
    ann.store.run([Lake(), Now()])
    ann.pipe().push()
    without = people("ann")
    assert not without.pipe().push(prune=True).removed
    assert len(without.pipe().log()) == 1


def test_a_record_alone_replaces_no_whole_result(ann, bob):
    run(ann, Model())
    ann.pipe().push()
    bob.pipe(trusted=True).pull()
    with d6tstore.use(ann.store):
        Prices().save(pd.DataFrame({"day": [1], "price": [9.0]}))
    run(ann, Model())
    ann.pipe().push(Model())
    bob.pipe(trusted=True).pull()
    with d6tstore.use(bob.store):
        assert Prices().output().load().price.tolist() == [9.0]
        assert Model().output()["model"].load() == {"mean": 9.0}


def test_what_is_not_here_is_not_pushed_on(ann, bob, tmp_path):
    run(ann, Prices())
    ann.pipe().push()
    bob.pipe().pull(data=False)
    d6tstore.pipes.init("next", url=tmp_path / "next")
    done = bob.store.pipe("next").push()
    assert [(item.action, item.reason) for item in done] == [
        ("left", "its objects are not here; pull or load it first")
    ]
    bob.pipe().pull()
    assert actions(bob.store.pipe("next").push()) == {"Prices": "new"}


def test_what_vanished_there_displaces_nothing_here(ann, bob):
    run(ann, Now())
    ann.pipe().push()
    bob.pipe().pull()
    before = versions(bob, Now())
    run(ann, Now(), force=True)
    ann.pipe().push()
    there = ann.pipe().there.default
    there.delete(ann.store.history(Now())[0].outputs["data"].key)
    with pytest.raises(ExchangeFailed, match="is not there, so ours stays"):
        bob.pipe().pull()
    assert versions(bob, Now()) == before
    ann.pipe().push(verify=True)
    assert actions(bob.pipe().pull()) == {"Now": "changed"}


def forged(person, task, **changes):
    """Write a record at the other side as somebody hostile would."""
    from msgspec.structs import replace

    there = d6tstore.open(person.pipe().there.default.root)
    old = there.history(task)[0]
    new = replace(old, **{name: change(old) for name, change in changes.items()})
    there.repository.default.write(new.key, record.encode(new))
    return there.repository.default


def test_no_object_here_is_overwritten(ann, bob):
    from msgspec.structs import replace

    from d6tstore import content

    run(ann, Now())
    ann.pipe().push()
    bob.pipe().pull()
    mine = bob.store.history(Now())[0]
    evil = b'["evil"]'
    output = replace(
        mine.outputs["data"], bytes=len(evil), checksum=content.of_bytes(evil), content=content.of_bytes(evil)
    )
    backend = forged(
        ann, Now(), write_id=lambda old: "f" * 16, ancestors=lambda old: (old.write_id,),
        outputs=lambda old: {"data": output},
    )  # fmt: skip
    backend.write(output.key, evil)
    with pytest.raises(ExchangeFailed, match="objects are never overwritten"):
        bob.pipe().pull()
    assert versions(bob, Now()) == [mine.write_id] and bob.store.verify() == []


def test_one_write_id_is_one_result(ann, bob):
    from msgspec.structs import replace

    run(ann, Now())
    ann.pipe().push()
    bob.pipe().pull()
    forged(ann, Now(), outputs=lambda old: {"data": replace(old.outputs["data"], content="0" * 32)})
    assert actions(bob.pipe().status()) == {"Now": "failed"}
    with pytest.raises(ExchangeFailed, match="on both sides, with other contents"):
        bob.pipe().pull()


def test_what_is_restored_here_stays_ours(ann, bob):
    run(ann, Model())
    ann.pipe().push()
    mine = ann.store.history(Model())[0]
    ann.store.repository.default.delete(mine.outputs["model"].key)
    assert actions(ann.pipe().pull())["Model"] == "restored"
    assert ann.store.history(Model())[0] == mine
    with d6tstore.use(ann.store):
        assert Model().output()["model"].load()


def test_what_was_removed_since_is_there_at_that_time(ann, bob):
    run(ann, [Now(), Prices()])
    ann.pipe().push()
    ann.store.invalidate(Now())
    ann.pipe().push(prune=True)
    run(ann, Now(which=1))
    ann.pipe().push()
    assert {item.id: item.action for item in bob.pipe().pull(at=1)} == {Now().id: "new", Prices().id: "new"}
    assert not bob.pipe().pull(at=1, prune=True).removed


@pytest.mark.parametrize("at", ["9" * 5000, "0001-01-01", "9999-12-31"])
def test_times_beyond_all_times(ann, at):
    run(ann, Now())
    ann.pipe().push()
    try:
        ann.pipe().pull(at=at)
    except UsageError as exc:
        assert len(str(exc)) < 200


def test_what_was_accepted_here_can_be_loaded(ann, bob):
    run(ann, Prices())
    ann.pipe().push()
    there = d6tstore.open(ann.pipe().there.default.root)
    from msgspec.structs import replace

    old = there.history(Prices())[0]
    there.repository.default.publish(replace(old, code="other", write_id="a" * 16, ancestors=(old.write_id,)), old)
    bob.pipe().pull(data=False)
    assert bob.store.accept(Prices()) == [Prices()]
    with d6tstore.use(bob.store):
        assert len(Prices().output().load()) == 3


def test_bytes_of_a_preview_are_those_that_go(ann):
    run(ann, Prices())
    ann.pipe().push()
    run(ann, Prices(), force=True)
    ann.store.accept(Prices())
    there = ann.pipe().there.default
    preview = ann.pipe().push_preview()
    key = ann.store.history(Prices())[0].outputs["data"].key
    there.write(key, ann.store.repository.default.read(key))
    assert preview.bytes > 0 and ann.pipe().push_preview().bytes == 0 == ann.pipe().push().bytes


def test_namespaces_that_share_a_place_have_logs_of_their_own(people):
    a, b = people("a"), people("b")
    run(a, Now())
    a.pipe(namespace="a").push()
    run(b, Now())
    b.pipe(namespace="b").push()
    assert [push.number for push in a.pipe(namespace="a").log()] == [1]
    assert [push.number for push in b.pipe(namespace="b").log()] == [2]
    assert a.pipe(namespace="a").pull(at=1).same


def test_a_clock_far_ahead_takes_nobody_along(ann, monkeypatch):
    from d6tstore.sharing import journal

    journal.write(ann.pipe().there.default, "", {}, [])
    key = next(e.key for e in ann.pipe().there.default.list(".d6tstore/log/"))
    data = ann.pipe().there.default.read(key)
    ann.pipe().there.default.write(key, data.replace(b'"time":"20', b'"time":"99'))
    run(ann, Now())
    ann.pipe().push()
    assert ann.pipe().log(1)[0].time < "2100"


def test_what_is_no_plain_file_is_no_result(ann, tmp_path):
    import os

    run(ann, Now())
    ann.pipe().push()
    folder = tmp_path / "shared" / ".d6tstore" / "records" / "Now"
    os.mkfifo(folder / "0123456789abcdef.json")
    (folder / "0123456789abcde0.json").symlink_to("0123456789abcde0.json")
    assert actions(ann.pipe().status()) == {"Now": "same"}


@pytest.mark.parametrize("settings", [{"keep_versions": -1}, {"namespace": "a/b"}])
def test_settings_are_checked_when_they_are_given(settings, tmp_path):
    with pytest.raises(UsageError, match="the pipe 'team': keep_versions must be"):
        d6tstore.pipes.init("team", url=tmp_path / "shared", **settings)


def test_a_profile_may_be_the_local_copy_of_a_pipe(ann, project, tmp_path):
    run(ann, Prices())
    ann.pipe().push()
    (project / "d6tstore.toml").write_text('[profiles.shared]\nurl = "remote://team"\n')
    store = d6tstore.init("shared")
    assert store.complete(Prices()) and store.repository.default.url == f"file://{project}/remotes/team"
