"""Pipes to databases: who pushes at once, is refused, cut off; frames that are tables there and bytes here."""

import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
from pipe_people import Frame, Model, Number, Person, Process, actions, race, whole
from postgres import connect

import d6tstore
from d6tstore.errors import BackendError, Conflict, Denied, ExchangeFailed
from d6tstore.sharing import journal, publishing


@pytest.fixture(params=["postgres", "sqlite"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shared.db"
    return request.getfixturevalue("database").url


@pytest.fixture
def people(url, tmp_path):
    def made(name, **settings):
        return Person(tmp_path / name, url, **settings)

    return made


def test_two_push_at_once(ann, bob, tmp_path):
    race(ann, bob, tmp_path)


# -------------------------------------------------------------------- tables there, bytes here


@pytest.fixture(params=["folder", "sqlite"])
def here(request, tmp_path):
    """A store of each kind, and what makes another one."""
    return lambda name: f"sqlite:///{tmp_path}/{name}.db" if request.param == "sqlite" else tmp_path / name


@pytest.mark.parametrize("data", [True, False])
def test_frames_are_tables_where_there_are_tables(url, here, data):
    ann, bob = Person(here("ann"), url, trusted=True), Person(here("bob"), url, trusted=True)
    tasks = [Frame(rows=50), Number(n=1), Model()]
    ann.run(*tasks)
    assert len(ann.pipe.push().new) == 3
    assert ann.there.repository.read_one(Frame(rows=50)).outputs["data"].table
    bob.pipe.pull(data=data)
    assert bob.load(Frame(rows=50), columns=["i"], where=[("i", ">=", 48)]).i.tolist() == [48, 49]
    assert bob.load(Frame(rows=50)).equals(ann.load(Frame(rows=50))) and bob.load(Number(n=1)) == ann.load(Number(n=1))
    assert bob.load(Frame(rows=50), as_="arrow").num_rows == 50
    output = bob.record(Frame(rows=50)).outputs["data"]
    assert output.table == hasattr(bob.store.repository.default, "read_table")
    assert output.content == ann.record(Frame(rows=50)).outputs["data"].content
    bob.pipe.pull()
    assert bob.store.complete(tasks) and bob.run(*tasks).ran == []
    whole(ann.store, bob.store, ann.there)
    for person in (ann, bob):
        assert {item.action for item in person.pipe.push()} == {item.action for item in person.pipe.pull()} == {"same"}
        assert person.pipe.verify() == []


def test_a_frame_is_loaded_later_by_many_at_once(ann, bob):
    """The record changes while others load by it: a table there, bytes here."""
    ann.run(*[Frame(rows=n) for n in range(10, 14)])
    ann.pipe.push()
    bob.pipe.pull(data=False)
    stale = {n: bob.record(Frame(rows=n)) for n in range(10, 14)}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: len(bob.load(Frame(rows=n))), [10, 11, 12, 13] * 6))
    assert found == [10, 11, 12, 13] * 6
    assert all(stale[n] != bob.record(Frame(rows=n)) for n in stale)
    whole(bob.store)


def test_of_two_outputs_one_comes_later(ann, bob):
    ann.run(Both())
    ann.pipe.push()
    bob.pipe.pull(data=False)
    with d6tstore.use(bob.store):
        assert len(Both().output()["one"].load()) == 3
        assert len(Both().output()["other"].load()) == 4
        assert len(Both().output()["one"].load()) == 3 and len(Both().output().load()) == 2
    whole(bob.store)
    assert actions(bob.pipe.pull()) == {"Both": "same"}


class Both(d6tstore.tasks.TaskPqPandas):
    persist = ["one", "other"]

    def run(self):
        self.save({"one": pd.DataFrame({"x": range(3)}), "other": pd.DataFrame({"y": range(4)})})


@pytest.mark.parametrize("keep", ["ours", "theirs"])
@pytest.mark.parametrize("way", ["push", "pull"])
def test_conflicts(ann, bob, way, keep):
    tasks = [Frame(), Number(n=1)]
    ann.run(*tasks)
    bob.run(*tasks)
    ann.pipe.push()
    before = {(person, task.id): person.versions(task)[0] for person in (ann, bob) for task in tasks}
    with pytest.raises(Conflict, match="here by .*, there by .*Nothing was transferred"):
        getattr(bob.pipe, way)()
    getattr(bob.pipe, way)(keep=keep)
    if way == "pull" and keep == "ours":
        bob.pipe.push()
    if way == "push" and keep == "theirs":
        bob.pipe.pull(keep="theirs")
    ann.pipe.pull()
    winner = bob if keep == "ours" else ann
    for task in tasks:
        assert ann.versions(task)[0] == bob.versions(task)[0] == before[winner, task.id]
        loser = before[ann if winner is bob else bob, task.id]
        kept = {*ann.versions(task), *bob.versions(task), *(old.write_id for old in ann.there.history(task))}
        assert loser in kept, "the other one's is lost"
    whole(ann.store, bob.store, ann.there)
    assert {item.action for item in bob.pipe.push()} == {"same"} == {item.action for item in ann.pipe.pull()}


def test_namespaces_and_named_backends(url, tmp_path):
    ann = Person(tmp_path / "ann", url, {"namespace": "a", "backends": {"lake": tmp_path / "lake-a"}}, namespace="team")
    bob = Person(
        tmp_path / "bob",
        url,
        {"namespace": "b", "backends": {"lake": f"sqlite:///{tmp_path}/lake.db"}},
        namespace="team",
    )
    carl = Person(tmp_path / "carl", url, namespace="team")
    tasks = [Frame(), Number(n=1), Lake()]
    ann.run(*tasks)
    assert len(ann.pipe.push().new) == 3 and not ann.through(namespace="").pull().new
    for data in (False, True):
        bob.pipe.pull(data=data)
        assert bob.load(Lake()).equals(ann.load(Lake())) and bob.load(Frame()).equals(ann.load(Frame()))
    assert bob.store.plan(tasks).complete
    assert bob.record(Lake()).outputs["data"].table and bob.record(Lake()).family == "b.Lake"
    assert list(bob.store.repository.named["lake"].list("b.Lake/"))
    assert actions(carl.pipe.pull())["Lake"] == "new"  # who has no such backend keeps it in the default one
    bob.run(Lake(), force=Lake())
    assert actions(bob.pipe.push()) == {"Frame": "same", "Number": "same", "Lake": "changed"}
    assert actions(ann.pipe.pull())["Lake"] == "changed" and actions(bob.pipe.push())["Lake"] == "same"
    whole(ann.store, bob.store, carl.store, ann.there)


class Lake(d6tstore.tasks.TaskPqPandas):
    backend = "lake"

    def run(self):
        self.save(pd.DataFrame({"x": [time.time_ns()]}))


# ----------------------------------------------------------------- refused, cut off, killed


DYING = """
import os
from d6tstore.sharing import exchanging, journal, publishing
numbers = iter(range(100))
def dying(real):
    def call(*given):
        if next(numbers) == {at}:
            os.kill(os.getpid(), 9)
        return real(*given)
    return call
if {at} < 10:
    exchanging.publish, publishing.create = dying(exchanging.publish), dying(publishing.create)
else:
    journal.write = lambda *given: os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(os.name == "nt", reason="this system has no SIGKILL")
@pytest.mark.parametrize("at", [0, 4, 10])
@pytest.mark.parametrize("way", ["push", "pull"])
def test_killed_on_the_way(ann, bob, way, at):
    tasks = [*(Number(n=n) for n in range(5)), Frame()]
    ann.run(*tasks)
    if way == "pull":
        ann.pipe.push()
    person = ann if way == "push" else bob
    process = Process(person.store.repository.default.root, person.url, prelude=DYING.format(at=at), **person.settings)
    process.ready().ask(way)
    if (way, at) == ("pull", 10):  # a pull writes no log
        process.answer()
        process.end()
    else:
        assert process.child.stdout.readline() == "", "it got through"
        process.kill()
    target = ann.there if way == "push" else bob.store
    whole(ann.store, ann.there, bob.store)
    # A frame that was a table there is made into bytes again: nobody knows their checksum before.
    family = "" if way == "push" else "Number/"
    arrived = {e.key: e.version for e in target.repository.default.list(family) if ".d6tstore" not in e.key}
    getattr(person.pipe, way)()
    after = {entry.key: entry.version for entry in target.repository.default.list() if ".d6tstore" not in entry.key}
    assert arrived.items() <= after.items(), "sent again"
    assert target.complete(tasks) and {item.action for item in person.pipe.push_preview()} == {"same"}
    assert journal.written_ids(ann.pipe.log()) == {task.id: ann.record(task).write_id for task in tasks}
    whole(ann.there, bob.store)


def test_a_server_that_ends_its_connections(database, tmp_path, monkeypatch):
    ann, bob = Person(tmp_path / "ann", database.url), Person(tmp_path / "bob", database.url)
    tasks = [*(Number(n=n) for n in range(10)), Frame()]
    ann.run(*tasks)
    create, numbers = publishing.create, itertools.count()

    def cutting(*given):
        if next(numbers) in (2, 7):
            with connect(database.admin) as cursor:
                cursor.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'ann'")
        return create(*given)

    monkeypatch.setattr(publishing, "create", cutting)
    try:
        ann.pipe.push()
    except (ExchangeFailed, BackendError) as exc:
        assert "another result" not in str(exc)
    whole(ann.there)
    ann.pipe.push()
    assert ann.there.complete(tasks)
    numbers = itertools.count()
    try:
        bob.pipe.pull()
    except (ExchangeFailed, BackendError):
        whole(bob.store)
        bob.pipe.pull()
    assert bob.store.complete(tasks) and {item.action for item in ann.pipe.push()} == {"same"}
    assert journal.written_ids(ann.pipe.log()) == {task.id: ann.record(task).write_id for task in tasks}


def test_who_may_only_read(database, tmp_path, monkeypatch):
    ann = Person(tmp_path / "ann", database.url)
    ann.run(Frame(), Number(n=1))
    ann.pipe.push()
    with connect(database.admin) as cursor:
        role = f"reader_{database.schema}"
        cursor.execute(f"CREATE ROLE {role} LOGIN")
        cursor.execute(f'GRANT USAGE ON SCHEMA "{database.schema}" TO {role}')
        cursor.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA "{database.schema}" TO {role}')
    bob = Person(tmp_path / "bob", database.url.replace("ann@", f"{role}@"))
    bob.run(Number(n=2))
    with pytest.raises(Denied, match="nothing was transferred"):
        bob.pipe.push()
    assert actions(bob.pipe.pull(data=False))["Frame"] == "new" and bob.load(Frame()).equals(ann.load(Frame()))
    assert bob.pipe.verify() == [] and len(bob.pipe.log()) == 1 and len(bob.pipe.pull().restored) == 1
    assert bob.pipe.push_preview()[Number(n=2).id].action == "new"
    assert [push.message for push in ann.pipe.log()] == [""] and not ann.there.complete(Number(n=2))


def test_a_damaged_table_is_named_and_mended(ann, bob, url):
    ann.run(Frame(), Frame(rows=5), Number(n=1))
    ann.pipe.push()
    key = ann.there.repository.read_one(Frame()).outputs["data"].key
    backend = ann.pipe.there.default
    relation = backend.uri(key)
    with backend._connections.transaction() as connection:
        connection.exec_driver_sql(f"UPDATE {relation} SET x = 7")
    with pytest.raises(ExchangeFailed, match=r"1 of 3 results failed") as raised:
        bob.pipe.pull()
    assert [item.id for item in raised.value.exchange.problems] == [Frame().id]
    assert bob.store.complete([Frame(rows=5), Number(n=1)]) and bob.record(Frame()) is None
    assert [problem.id for problem in bob.pipe.verify()] == [Frame().id]
    assert ann.pipe.verify(repair=True) == [] == bob.pipe.verify()
    assert len(bob.pipe.pull().new) == 1 and bob.load(Frame()).equals(ann.load(Frame()))
    if url.startswith("sqlite"):  # Postgres removes no table that a view of ours shows
        backend.delete(key)
        assert [item.id for item in ann.pipe.push(verify=True).restored] == [Frame().id]
    whole(ann.there)
