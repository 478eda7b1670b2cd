"""Pipes to a place that lies: records, objects and logs that are damaged or forged, edits here, notes that are gone.

Each is named, costs no other result, and changes nothing here silently.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from pipe_people import Blob, Frame, Model, Number, Person, actions, forge, whole

import d6tstore
from d6tstore import context, record
from d6tstore.cli import cli
from d6tstore.errors import Conflict, Damaged, Denied, ExchangeFailed, UsageError
from d6tstore.sharing import synced

OTHERS = [Number(n=8), Number(n=9)]


def path_of(store, task, name="data"):
    found = store.repository.read_one(task)
    return Path(store.repository.default.root, found.outputs[name].key)


def overwrite(path, data):
    path.chmod(0o644)
    path.write_bytes(data)


# ---------------------------------------------------------------------- edits here


@pytest.mark.parametrize("edit", ["shorter", "other"])
def test_an_edit_of_a_pulled_file_is_never_overwritten(ann, bob, edit):
    ann.run(Number(n=1), *OTHERS)
    ann.pipe.push()
    bob.pipe.pull()
    path = path_of(bob.store, Number(n=1))
    edited = b"[1, 2]" if edit == "shorter" else b"9" * path.stat().st_size
    overwrite(path, edited)
    for pull in (bob.pipe.pull, lambda: bob.pipe.pull(Number(n=1)), lambda: bob.pipe.pull(keep="theirs")):
        try:
            pull()
        except ExchangeFailed as exc:
            assert edit == "shorter"
            assert [item.id for item in exc.exchange.problems] == [Number(n=1).id]
            assert re.search("was changed here: it has 6 bytes, .*Move it away and pull again", str(exc))
        assert path.read_bytes() == edited
    assert [problem.id for problem in bob.store.verify()] == [Number(n=1).id]
    ann.run(Number(n=1), force=Number(n=1))  # theirs goes on: it comes beside the edited one
    ann.pipe.push()
    assert actions(bob.pipe.pull(Number(n=1))) == {"Number": "changed"}
    assert path.read_bytes() == edited and bob.load(Number(n=1)) == ann.load(Number(n=1))
    whole(bob.store)


def test_an_edited_file_does_not_go_to_others(ann, bob):
    ann.run(Number(n=1), Blob(n=1), Frame(), *OTHERS)
    for task in (Number(n=1), Blob(n=1), Frame()):
        path = path_of(ann.store, task)
        overwrite(path, b"-" * path.stat().st_size)
    with pytest.raises(ExchangeFailed, match="is not what its record says") as raised:
        ann.pipe.push()
    assert {item.id for item in raised.value.exchange.problems} == {Number(n=1).id, Blob(n=1).id, Frame().id}
    whole(ann.there)
    assert ann.there.complete(OTHERS) and not ann.there.complete(Number(n=1))
    overwrite(path_of(ann.store, Blob(n=1)), b"shorter")
    with pytest.raises(ExchangeFailed, match=r"has 7 bytes, its record says"):
        ann.pipe.push(Blob(n=1))


def test_of_two_outputs_the_edited_one_stays(ann, bob):
    ann.run(Model())
    ann.pipe.push()
    bob.pipe.pull(data=False)
    with d6tstore.use(bob.store):
        Model().output()["report"].load()
        path = path_of(bob.store, Model(), "report")
        overwrite(path, b"[7]")
        bob.through(trusted=True)
        with pytest.raises(Damaged):
            Model().output().load()
    assert path.read_bytes() == b"[7]"


# ------------------------------------------------------------------------ objects


def test_a_damaged_object_is_named_and_mended(ann, bob):
    tasks = [Number(n=1), Blob(n=1), Frame(), Model(), *OTHERS]
    ann.run(*tasks)
    ann.pipe.push()
    bad = {Number(n=1): "data", Blob(n=1): "data", Frame(): "data", Model(): "report"}
    for number, (task, name) in enumerate(bad.items()):
        path = path_of(ann.there, task, name)
        overwrite(path, [b"-" * path.stat().st_size, b"cut"][number % 2])
    path_of(ann.there, OTHERS[0]).unlink()
    with pytest.raises(ExchangeFailed) as raised:
        bob.pipe.pull()
    assert {item.id for item in raised.value.exchange.problems} == {task.id for task in bad}
    assert bob.store.complete(OTHERS[1]) and not any(bob.store.complete(task) for task in bad)
    whole_ids = {problem.id for problem in bob.pipe.verify()}
    assert whole_ids == {problem.id for problem in bob.pipe.verify(repair=True)} == {t.id for t in [*bad, OTHERS[0]]}
    assert ann.pipe.verify(repair=True) == [] == ann.pipe.verify()
    bob.pipe.pull()
    assert bob.store.complete(tasks)
    whole(bob.store, ann.there)


def test_an_object_far_larger_than_its_record_says(ann, bob, monkeypatch):
    ann.run(Number(n=1), *OTHERS)
    ann.pipe.push()
    bob.pipe.pull(data=False)
    path = path_of(ann.there, Number(n=1))
    path.chmod(0o644)
    os.truncate(path, 1 << 40)  # of holes
    with pytest.raises(Damaged, match=r"has 1,099,511,627,776 bytes, its record says .*Others are not affected"):
        bob.load(Number(n=1))
    with pytest.raises(ExchangeFailed, match=r"has 1099511627776 bytes"):
        bob.pipe.pull()
    assert [problem.id for problem in bob.pipe.verify()] == [Number(n=1).id]
    assert bob.load(OTHERS[0])[0] == 8 and bob.store.complete(OTHERS)
    assert ann.pipe.verify(repair=True) == [] and bob.load(Number(n=1))[0] == 1


# ------------------------------------------------------------------------ records


def other_key(told):
    told["outputs"]["data"]["key"] = OTHERS[0].record().outputs["data"].key


def output(**changes):
    return lambda told: told["outputs"]["data"].update(changes)


LIES = {
    "no json": None,
    "empty": b"",
    "a list": b"[]",
    "newer": lambda told: told.update(version=99),
    "another family": lambda told: told.update(family="Frame"),
    "other parameters": lambda told: told.update(params={"n": 77}),
    "no parameters": lambda told: told.update(params={}),
    "deep parameters": lambda told: told.update(params=json.loads("[" * 900 + "]" * 900) and {"n": 5}),
    "out of the root": output(key="../../../etc/passwd"),
    "absolute": output(key="/etc/passwd"),
    "dots inside": output(key="Number/../Number/n=1-0123456789abcdef/data-0123456789abcdef.json"),
    "backslash": output(key="Number\\..\\x"),
    "of another task": lambda told: told["outputs"]["data"].update(
        key=re.sub("-[0-9a-f]{16}/", "-0123456789abcdef/", told["outputs"]["data"]["key"])
    ),
    "of another family": lambda told: told["outputs"]["data"].update(
        key=told["outputs"]["data"]["key"].replace("Number/", "Frame/")
    ),
    "a record as object": lambda told: told["outputs"]["data"].update(key=f".d6tstore/records/x/{told['hash']}.json"),
    "other bytes": output(bytes=1),
    "negative bytes": output(bytes=-1),
    "very many bytes": output(bytes=1 << 62),
    "other checksum": output(checksum="0" * 32),
    "no checksum": output(checksum=""),
    "a table": output(table=True),
    "a frame": output(format="parquet"),
    "a table of no schema": output(table=True, format="parquet"),
    "a bad schema": output(table=True, format="parquet", schema="AAAA"),
    "an unknown format": output(format="nonsense\x1b[2J"),
    "a write id that leaves": lambda told: told.update(write_id="../../x"),
    "a long write id": lambda told: told.update(write_id="a" * 5000),
    "no write id": lambda told: told.update(write_id=""),
}  # fmt: skip
HARMLESS = {"a frame", "an unknown format"}  # of bytes that are what the record says: it is the loading that fails


@pytest.mark.parametrize("data", [True, False])
@pytest.mark.parametrize("lie", LIES)
def test_records_that_lie(ann, bob, lie, data):
    """A pull with objects, and one of records whose objects are loaded later: what is wrong is named, in the end."""
    task = Number(n=1)
    ann.run(task, *OTHERS)
    ann.pipe.push()
    key, backend = ann.record(task).key, ann.pipe.there.default
    told = LIES[lie]
    if callable(told):
        forge(ann, task, told)
    else:
        backend.write(key, b"{" if told is None else told)
    failed = []
    try:
        bob.pipe.pull(data=data)
    except ExchangeFailed as exc:
        failed = [item.id for item in exc.exchange.problems]
        assert all(char.isprintable() for char in str(exc)), exc
    assert failed in ([task.id], [])
    assert bob.store.repository.read_one(OTHERS[0]) and bob.load(OTHERS[1])[0] == 9
    if failed:
        assert bob.record(task) is None
    else:
        with pytest.raises(d6tstore.errors.D6tstoreError) as raised:
            bob.load(task)
        assert str(raised.value)
    assert not (bob.store.repository.default.root / Path("../x")).exists()
    bob.pipe.pull_preview()
    bob.pipe.status()
    if lie not in HARMLESS:
        assert task.id in {problem.id for problem in bob.pipe.verify()}
    assert {problem.id for problem in bob.pipe.verify()} <= {task.id}


def test_a_damaged_record_is_mended_by_who_has_the_result(ann, bob):
    ann.run(Number(n=1), *OTHERS)
    ann.pipe.push()
    for broken in (b"{", b"", json.dumps({"version": 1}).encode()):
        ann.pipe.there.default.write(ann.record(Number(n=1)).key, broken)
        assert [problem.id for problem in bob.pipe.verify(repair=True)] == [Number(n=1).id]
        with pytest.raises(ExchangeFailed, match="is damaged"):
            ann.pipe.push()
        assert ann.pipe.verify(repair=True) == [] == ann.pipe.verify()
        assert actions(ann.pipe.push()) == {"Number": "same"}
    forge(ann, Number(n=1), lambda told: told.update(version=99))
    assert len(ann.pipe.verify(repair=True)) == 1, "that of a newer d6tstore stays"


def test_records_of_a_name_for_terminals(ann, bob):
    name = "Evil\x1b[2J\u202e"
    ann.run(Number(n=1))
    ann.pipe.push()

    def renamed(told):
        told["family"], told["hash"] = name, record.task_hash(name, told["params"])
        return told

    told = forge(ann, Number(n=1), renamed)
    ann.pipe.there.default.write(f"{record.RECORDS}{name}/{told['hash']}.json", json.dumps(told).encode())
    with pytest.raises(ExchangeFailed):
        bob.pipe.pull()  # that of Number is another one's
    assert not any("Evil" in item.id for item in bob.pipe.status())


def test_texts_of_others_reach_no_terminal(ann, bob, monkeypatch):
    ann.run(Number(n=1))
    ann.pipe.push(message="hello\x1b[31m\nred\u202e")
    bob.run(Number(n=1))
    forge(ann, Number(n=1), lambda told: told.update(author="eve\x1b]0;x\x07", host="h\r\n", time="\x1b[1mnow"))
    entry = next(iter(ann.pipe.there.default.list(".d6tstore/log/")))
    told = json.loads(ann.pipe.there.default.read(entry.key))
    told.update(who="eve\x1b[2J", host="\u202e", time="\x9b31m")
    ann.pipe.there.default.write(entry.key, json.dumps(told).encode())
    with pytest.raises(Conflict) as raised:
        bob.pipe.pull()
    printed = [str(raised.value), str(bob.pipe.log()[0]), str(bob.pipe.pull_preview()), repr(bob.pipe.status())]
    printed += [item.reason for item in bob.pipe.pull_preview()]
    context.set_default(bob.store)
    monkeypatch.setattr(context, "pipes", {"team": bob.pipe.remote})
    for command in (["status"], ["log"], ["pull", "--dry-run"], ["pull"], ["verify"]):
        printed.append(
            CliRunner().invoke(cli, ["--store", str(bob.store.repository.default.root), "pipe", *command]).output
        )
    assert all(char.isprintable() or char == "\n" for text in printed for char in text), printed


def test_ancestors_and_write_ids_that_are_forged(ann, bob):
    """Who may write may replace a result; it is never lost, and what was changed here is not taken for old."""
    ann.run(Number(n=1))
    ann.pipe.push()
    bob.run(Number(n=1))
    mine = bob.versions(Number(n=1))[0]
    forge(ann, Number(n=1), lambda told: told.update(ancestors=[mine, "../../x", "", "a" * 10_000]))
    assert actions(bob.pipe.pull()) == {"Number": "changed"}
    assert mine in bob.versions(Number(n=1)) and bob.load(Number(n=1), version=mine)[0] == 1
    whole(bob.store)
    forge(ann, Number(n=1), lambda told: told.update(ancestors=["x" * 16] * 100_000))
    bob.pipe.status()
    bob.run(Number(n=1), force=True)
    bob.pipe.push()
    assert len(bob.there.history(Number(n=1))[0].ancestors) <= record.ANCESTORS


def test_another_object_under_the_same_write_id(ann, bob):
    """A record that changed in place between the pull of records and the load is not what was pulled."""
    ann.run(Number(n=1))
    ann.pipe.push()
    bob.pipe.pull(data=False)
    path = path_of(ann.there, Number(n=1))
    overwrite(path, b"-" * path.stat().st_size)
    from d6tstore import content

    forged = content.of_bytes(path.read_bytes())
    forge(ann, Number(n=1), output(checksum=forged))
    with pytest.raises(Damaged, match="is not what was pulled"):
        bob.load(Number(n=1))


def test_pickles_are_refused_however_they_came(ann, bob, people, tmp_path):
    ann.run(Model())
    ann.pipe.push()
    forge(ann, Model(), lambda told: told.update(origin=None))
    bob.pipe.pull()
    assert bob.record(Model()).origin == "team"
    copied, second = people("copied"), Person(tmp_path / "carl", tmp_path / "second")
    assert not bob.store.copy_to(copied.store).problems
    assert copied.record(Model()).origin == "team"
    second.store = copied.store
    second.pipe.push()
    assert not second.pipe.pull().new
    carl = Person(tmp_path / "carl", tmp_path / "second")
    carl.pipe.pull(data=False)
    for person in (bob, copied, carl):
        person.pipe  # noqa: B018 - the pipe of the name is that one's
        with d6tstore.use(person.store):
            with pytest.raises(Denied, match="d6tstore pipe trust team"):
                Model().output()["model"].load()
            assert Model().output()["report"].load() == [1, 2]
    carl.through(trusted=True)
    with d6tstore.use(carl.store):
        assert Model().output()["model"].load()


# ----------------------------------------------------------------- the log and the notes


@pytest.mark.parametrize("message", [None, 5, b"x", "\ud800"])
def test_messages_that_are_none(ann, message):
    ann.run(Number(n=1))
    with pytest.raises(UsageError, match="must be text"):
        ann.pipe.push(message=message)
    assert not list(ann.pipe.there.default.list())


def test_a_log_that_is_damaged(ann, bob):
    ann.run(Number(n=1))
    ann.pipe.push(message="first")
    log, backend = ".d6tstore/log/", ann.pipe.there.default
    backend.write(f"{log}99999999-0123456789abcdef.json", b"{")
    backend.write(f"{log}00000002-0123456789abcdef.json", b'{"pushed": {"Number-x": "../../x"}, "time": "never"}')
    backend.write(f"{log}x.json", b"{}")
    backend.write(f"{log}00000003-x.json", b"{}")
    ann.run(Number(n=2))
    ann.pipe.push(message="second")
    assert [(push.number, push.message) for push in bob.pipe.log()] == [(100_000_000, "second"), (2, ""), (1, "first")]
    assert len(bob.pipe.pull(at=100_000_000).new) == 2 and bob.pipe.log(1)[0].message == "second"


@pytest.mark.parametrize("versions", [33, 100])
@pytest.mark.parametrize("side", ["here", "there"])
def test_many_versions_between_two_exchanges(ann, bob, versions, side):
    ann.run(Number(n=1))
    ann.pipe.push()
    bob.pipe.pull()
    for _ in range(versions):
        ann.run(Number(n=1), force=Number(n=1))
        if side == "there":
            ann.pipe.push()
    ann.pipe.push()
    assert actions(bob.pipe.pull_preview()) == {"Number": "changed"}
    bob.pipe.pull()
    assert bob.load(Number(n=1)) == ann.load(Number(n=1))
    assert actions(ann.pipe.push()) == actions(bob.pipe.push()) == {"Number": "same"}


@pytest.mark.parametrize("harm", ["gone", "damaged", "of another place", "of many"])
def test_notes_that_are_lost(ann, bob, harm):
    ann.run(Number(n=1), Number(n=2))
    ann.pipe.push()
    bob.pipe.pull()
    backend, key = bob.store.repository.default, f"{record.ROOT}pipes/team.json"
    assert synced.read(backend, "team", bob.pipe.remote.access.url).keys() == {Number(n=1).id, Number(n=2).id}
    if harm == "gone":
        backend.delete(key)
    else:
        told = {"damaged": b"\xff{", "of another place": b'{"url": "x", "points": {}}', "of many": b'{"url": 5}'}
        backend.write(key, told[harm])
    assert actions(bob.pipe.push()) == {"Number": "same"} and len(bob.pipe.log()) == 1
    assert len(synced.read(backend, "team", bob.pipe.remote.access.url)) == 2
    ann.run(Number(n=1), force=Number(n=1))
    ann.pipe.push()
    assert len(bob.pipe.pull().changed) == 1


# ------------------------------------------------------------------- names and places


@pytest.mark.parametrize("name", ["a/b", "..", "a b", "", "x" * 65, "é", "-x", "a.b", "a\nb"])
def test_names_in_files(project, name):
    (project / "d6tstore.toml").write_text(f"[pipes.{json.dumps(name)}]\nurl = 'shared'\n")
    with pytest.raises(UsageError, match="d6tstore.toml"):
        d6tstore.pipes.get_pipe()


@pytest.mark.parametrize("url", ["shared", "absolute"])
def test_a_project_that_moved(project, tmp_path, monkeypatch, ann, url):
    place = tmp_path / "shared" if url == "absolute" else project / "shared"
    (project / "d6tstore.toml").write_text(
        f"[pipes.team]\nurl = {json.dumps(str(place) if url == 'absolute' else url)}\n"
    )
    context.pipes.pop("team", None)
    store = d6tstore.init(project / "data")
    store.run([Number(n=1), Number(n=2)])
    store.pipe().push()
    store.invalidate_upstream(Number(n=2))
    moved = tmp_path / "elsewhere"
    project.rename(moved)
    project.mkdir()
    monkeypatch.chdir(moved)
    store = d6tstore.init(moved / "data")
    assert {item.id: item.action for item in store.pipe().push()}[Number(n=1).id] == "same"
    assert store.pipe().pull(Number(n=2))[Number(n=2).id].action == "new"
    store.run(Number(n=1), force=True)
    assert store.pipe().push()[Number(n=1).id].action == "changed"
    whole(store, d6tstore.Store(store.pipe().there))
    assert not list(project.iterdir())
