"""Objects and records that are not what they should be: truncated, altered, foreign, deleted, forged.

What can go wrong: half a file counts as a result; other bytes of the same length are loaded; a damaged
record stops the plan, or makes gc delete what it named; a record leads out of the folder, or makes us import
a module; a file of the user that lies in the folder is taken for garbage.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import msgspec
import pytest

import d6tstore
from d6tstore.errors import (
    D6tstoreError,
    Damaged,
    FormatError,
    InvalidKey,
    OutputMissing,
    PluginError,
    RecordError,
)


class Get(d6tstore.tasks.TaskJson):
    persist = ["a", "b"]

    def run(self):
        self.save({"a": [1, 2, 3], "b": "text"})


@d6tstore.requires(Get)
class Fit(d6tstore.tasks.TaskPickle):
    n: int = 1

    def run(self):
        self.save((self.n, self.input().load()["a"]), metrics={"n": self.n})


def frame():
    import pandas as pd

    return pd.DataFrame({"x": [1.0, 2.0], "y": ["a", None]})


class Frame(d6tstore.tasks.TaskPqPandas):
    def run(self):
        self.save(frame())


class Table(d6tstore.tasks.TaskCSVPandas):
    def run(self):
        self.save(frame())


class Big(d6tstore.tasks.TaskPickle):
    def run(self):
        self.save(b"0123456789" * 300_000)  # more than is read at once


@pytest.fixture
def full(store):
    """A store with results of Get and two Fits."""
    store.run([Fit(n=1), Fit(n=2)])
    return store


def object_of(task, name="data"):
    target = task.output()
    return (target[name] if isinstance(target, dict) else target).path


def record_of(store, task):
    found = store.repository.read_one(task)
    return Path(store.repository.default.root) / found.key


def rewrite(path, **changes):
    """Change fields of a record on the disk."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# ------------------------------------------------------------------- objects


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def extend(path):
    path.write_bytes(path.read_bytes() + b" ")


def empty(path):
    path.write_bytes(b"")


def foreign(path):
    path.write_bytes(b"PK\x03\x04 somebody else's file")


@pytest.mark.parametrize("harm", [truncate, extend, empty, foreign, os.unlink])
@pytest.mark.parametrize("task", [Fit(n=1), Frame(), Table(), Big()], ids=lambda t: t.family)
def test_another_size_is_noticed_always(store, task, harm):
    store.run(task)
    before = task.output().load()
    path = object_of(task)
    harm(path)
    error = OutputMissing if harm is os.unlink else Damaged
    with pytest.raises(error) as caught:
        task.output().load()
    assert repr(task) in str(caught.value)
    assert path.name in str(caught.value)
    assert "Run the task" in str(caught.value)
    assert not task.output().exists()
    node = store.plan(task)[task]
    assert (str(node.state), node.reason) == ("PENDING", "output missing")
    (problem,) = store.verify()
    assert problem.key.endswith(path.name)
    assert problem.problem == "missing" or "bytes, its record says" in problem.problem
    assert store.run(task).ran[-1] == task
    after = task.output().load(verify=True)
    assert after.equals(before) if hasattr(after, "equals") else after == before
    assert store.verify() == []


@pytest.mark.parametrize("task", [Fit(n=1), Frame(), Table(), Big()], ids=lambda t: t.family)
def test_other_bytes_of_the_same_size_are_found_by_checksum_and_force_heals(store, task):
    store.run(task)
    path = object_of(task)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged, match="other bytes than its record says") as caught:
        task.output().load(verify=True)
    assert repr(task) in str(caught.value) and path.name in str(caught.value)
    with pytest.raises(Damaged):
        task.output().verify()
    (problem,) = store.verify()
    assert (problem.id, problem.key) == (task.id, path.relative_to(path.parents[2]).as_posix())
    store.run(task, force=task)  # what the message says: the damaged object is not kept, though its content fits
    task.output().load(verify=True)
    assert store.verify() == []


@pytest.mark.parametrize("task", [Fit(n=1), Frame(), Table(), Get()], ids=lambda t: t.family)
def test_random_bytes_of_the_same_size_give_our_error_or_a_value(store, task):
    store.run(task)
    name = next(iter(task.formats()))
    target = task.output()[name] if isinstance(task.output(), dict) else task.output()
    good = target.path.read_bytes()
    chance = random.Random(7)
    for _ in range(200):
        data = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        target.path.write_bytes(data)
        try:
            target.load()
        except (FormatError, Damaged) as exc:
            assert "Run the task again" in str(exc) or "run the task again" in str(exc)
        if bytes(data) != good:
            with pytest.raises(Damaged):
                target.load(verify=True)


def test_an_upstream_object_that_is_gone_costs_nothing_until_it_is_loaded(full):
    object_of(Get(), "a").unlink()
    assert full.run([Fit(n=1), Fit(n=2)]).ran == []
    assert [str(n.state) for n in full.plan(Fit())] == ["EVICTED", "COMPLETE"]
    assert full.run(Fit(n=3)).ran == [Get(), Fit(n=3)]
    assert Fit(n=3).output().load() == (3, [1, 2, 3])


# ------------------------------------------------------------------- records


def survey(store, damaged, others):
    """Everything that looks at records, over a damaged one: nothing crashes, the others are as they were."""
    plan = store.preview([damaged, *others])
    node = plan[damaged]
    assert str(node.state) == "PENDING", node
    assert all(str(plan[task].state) == "COMPLETE" for task in others if task in plan.graph.tasks.values())
    assert damaged.id in str(store.why(damaged)) or damaged.family in str(store.why(damaged))
    store.compare([damaged, *others])
    store.gc()
    store.gc(older_than=0)
    store.verify()
    assert not store.complete(damaged)
    for task in others:
        task.output().load()
    return node


def healed(store, damaged, others):
    report = store.run([damaged, *others])
    assert report.ran == [damaged]
    assert damaged.output().load(verify=True) == (1, [1, 2, 3])
    assert store.verify() == []
    store.gc(older_than=0)
    assert damaged.output().load(verify=True) == (1, [1, 2, 3])


def shapes(good):
    """Records that are no records: cut short at many lengths, noise, JSON of other shapes."""
    chance = random.Random(3)
    yield from (good[:n] for n in (0, 1, 2, 10, len(good) // 3, len(good) // 2, len(good) - 2, len(good) - 1))
    yield from (chance.randbytes(n) for n in (1, 100, 5000))
    yield good + good
    yield b"\0" * len(good)
    yield b"\xef\xbb\xbf" + good
    yield from (b"null", b"[]", b"{}", b"3", b'"text"', b"\xff\xfe", b'{"version": 1}', b'{"version": "1"}')
    yield b'{"version": 1, "params": {"a": ' + b"[" * 100_000
    parsed = json.loads(good)
    for name, value in parsed.items():
        wrong = 3 if isinstance(value, str | dict | list) else {"x": []}
        yield json.dumps(parsed | {name: wrong}).encode()
    for name in ("hash", "write_id", "outputs", "params", "family", "code"):
        yield json.dumps({k: v for k, v in parsed.items() if k != name}).encode()
    yield json.dumps(parsed | {"outputs": {}}).encode()
    yield json.dumps(parsed | {"outputs": {"other": parsed["outputs"]["data"]}}).encode()
    yield json.dumps(parsed | {"family": "Other"}).encode()
    yield json.dumps(parsed | {"hash": "0" * 16}).encode()
    yield json.dumps(parsed | {"params": {"n": 77}}).encode()
    yield json.dumps(parsed | {"write_id": "../../../../x"}).encode()


def test_damaged_records(full, capsys):
    path = record_of(full, Fit(n=1))
    good = path.read_bytes()
    others = [Get(), Fit(n=2)]
    kept = object_of(Fit(n=1))
    content = kept.read_bytes()
    count = 0
    for data in shapes(good):
        path.write_bytes(data)
        node = survey(full, Fit(n=1), others)
        assert "damaged record" in node.reason or node.reason == "output missing", (data[:80], node.reason)
        if "damaged record" in node.reason:
            assert kept.read_bytes() == content, "gc took what an unreadable record may name"
            assert "Run the task" in node.reason or "forged" in node.reason, node.reason
            with pytest.raises(RecordError):
                Fit(n=1).output().load()
            assert [p.id for p in full.verify()] in ([Fit(n=1).id], [])
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(content)  # a readable record that names none frees it
        count += 1
    assert count > 45
    healed(full, Fit(n=1), others)


def test_a_flipped_bit_anywhere_in_a_record_never_crashes_nor_gives_a_wrong_value(full, capsys):
    path = record_of(full, Fit(n=1))
    good = path.read_bytes()
    chance = random.Random(11)
    for position in chance.sample(range(len(good)), 150):
        data = bytearray(good)
        data[position] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        full.preview([Fit(n=1), Fit(n=2)])
        full.why(Fit(n=1))
        full.compare([Fit(n=1), Fit(n=2)])
        full.verify()
        full.gc()
        try:
            assert Fit(n=1).output().load() == (1, [1, 2, 3])
        except D6tstoreError:
            pass
    report = full.run([Fit(n=1), Fit(n=2)], force=Fit(n=1))
    assert report.ran == [Fit(n=1)]
    assert Fit(n=1).output().load(verify=True) == (1, [1, 2, 3])


def test_a_record_of_the_future(full):
    path = record_of(full, Fit(n=1))
    rewrite(path, version=99, outputs="a layout that we do not know")
    node = survey(full, Fit(n=1), [Get(), Fit(n=2)])
    assert "version 99" in node.reason and "Upgrade d6tstore" in node.reason
    assert [p.id for p in full.verify()] == [Fit(n=1).id]
    healed(full, Fit(n=1), [Get(), Fit(n=2)])


def test_the_record_of_another_task_copied_over(full):
    shutil.copy(record_of(full, Fit(n=2)), record_of(full, Fit(n=1)))
    node = survey(full, Fit(n=1), [Get(), Fit(n=2)])
    assert f"it is that of {Fit(n=2).id}" in node.reason
    (problem,) = full.verify()
    assert problem.id == Fit(n=1).id and Fit(n=2).id in problem.problem
    healed(full, Fit(n=1), [Get(), Fit(n=2)])
    assert Fit(n=2).output().load(verify=True) == (2, [1, 2, 3])


def test_a_record_moved_to_another_place_still_protects_its_objects(full):
    kept = object_of(Fit(n=2))
    shutil.move(record_of(full, Fit(n=2)), record_of(full, Fit(n=1)))
    full.gc(older_than=0)
    assert kept.exists()


def test_invalidate_works_on_a_damaged_record(full):
    for forget in (Fit(n=1).invalidate, full.invalidate_all):
        record_of(full, Fit(n=1)).write_bytes(b"{")
        forget()
        assert full.plan(Fit(n=1))[Fit(n=1)].reason == "never run"
        full.run([Fit(n=1), Fit(n=2)])


def test_damaged_kept_versions_are_ignored_and_spared(store):
    store.run(Fit(n=1))
    for _ in range(2):
        store.run(Fit(n=1), force=Fit(n=1))
    kept = store.history(Fit(n=1))[1:]
    assert len(kept) == 2
    root = Path(store.repository.default.root)
    (root / kept[0].history_key).write_bytes(b"{")
    rewrite(root / kept[1].history_key, version=99)
    objects = [root / r.outputs["data"].key for r in kept]
    assert [r.write_id for r in store.history(Fit(n=1))] == [store.history(Fit(n=1))[0].write_id]
    store.gc(older_than=0)
    assert all(path.exists() for path in objects)
    assert (root / kept[1].history_key).exists()
    store.preview(Fit(n=1))
    store.why(Fit(n=1))
    store.compare([Fit(n=1)])
    store.run(Fit(n=1), force=True)
    assert Fit(n=1).output().load(verify=True) == (1, [1, 2, 3])
    Fit(n=1).invalidate()
    assert store.run(Fit(n=1)).ran == [Fit(n=1)]


@pytest.mark.parametrize(
    "path",
    [
        ".d6tstore/records/.DS_Store",
        ".d6tstore/records/Fit/.DS_Store",
        ".d6tstore/records/Fit/notes.json",
        ".d6tstore/history/x",
        ".d6tstore/history/Fit/x.json",
        "raw/prices.csv",
        "notes",
        "Fit/readme",
        "Fit/copy/of/something",
        "README.md",
    ],
)
def test_files_of_the_user_in_the_folder_are_left_alone(full, path):
    mine = Path(full.repository.default.root) / path
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    os.utime(mine, (0, 0))
    full.preview([Fit(n=1), Fit(n=9)])
    full.why(Fit(n=9))
    full.compare([Fit(n=1)])
    assert full.verify() == []
    full.gc(older_than=0)
    full.invalidate_all()
    full.gc(older_than=0)
    assert mine.read_text() == "mine"


# -------------------------------------------------------------------- forged

OUTSIDE = [
    "../../secret",
    "/etc/passwd",
    "a/../../../secret",
    "",
    "a//b",
    "a\0b",
    "..\\secret",
    "C:/secret",
    "./x",
]


@pytest.mark.parametrize("key", OUTSIDE)
def test_a_record_that_leads_out_of_the_folder_is_refused_and_never_read(full, key, monkeypatch):
    secret = Path(full.repository.default.root).parent / "secret"
    secret.write_bytes(object_of(Fit(n=1)).read_bytes())
    path = record_of(full, Fit(n=1))
    parsed = json.loads(path.read_text())
    parsed["outputs"]["data"]["key"] = key
    path.write_text(json.dumps(parsed))
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda file, *a, **k: opened.append(str(file)) or real(file, *a, **k))
    node = full.plan(Fit(n=1))[Fit(n=1)]
    assert str(node.state) == "PENDING"
    assert "damaged record" in node.reason and "forged" in node.reason
    for use in (Fit(n=1).output().load, Fit(n=1).output().exists, lambda: Fit(n=1).output().path):
        with pytest.raises(RecordError, match="forged"):
            use()
    (problem,) = full.verify()
    assert problem.id == Fit(n=1).id
    full.gc(older_than=0)
    assert secret.exists()
    healed(full, Fit(n=1), [Get(), Fit(n=2)])
    root = str(full.repository.default.root)
    assert all(file.startswith(root) for file in opened if "secret" in file or "passwd" in file)
    assert all(not file.endswith(("secret", "passwd")) for file in opened)


@pytest.mark.parametrize("name", ["os:system", "builtins:eval", "../x", "", "json2", "x" * 5000])
def test_a_record_cannot_make_us_import_a_format(full, name, monkeypatch):
    import importlib

    path = record_of(full, Fit(n=1))
    parsed = json.loads(path.read_text())
    parsed["outputs"]["data"]["format"] = name
    path.write_text(json.dumps(parsed))
    monkeypatch.setattr(importlib, "import_module", lambda *a: pytest.fail(f"imports {a}"))
    full.plan(Fit(n=1))
    with pytest.raises(PluginError, match="is not installed"):
        Fit(n=1).output().load()
    full.verify()
    full.gc(older_than=0)
    assert full.run(Fit(n=1), force=Fit(n=1)).ran == [Fit(n=1)]
    assert Fit(n=1).output().load() == (1, [1, 2, 3])


def test_every_key_is_checked_by_the_backend_too(any_store):
    backend = any_store.repository.default
    for key in OUTSIDE:
        for use in (
            backend.read,
            backend.delete,
            backend.exists,
            backend.open_read,
            lambda k: backend.write(k, b""),
        ):
            with pytest.raises(InvalidKey):
                use(key)


def test_a_record_stays_a_record_when_it_is_written_again(full):
    """The shapes above are judged by the decoder: what it accepts must come back as it was."""
    found = full.repository.read_one(Fit(n=1))
    from d6tstore import record

    assert record.decode(record.encode(found), "k") == found
    assert msgspec.json.decode(record.encode(found))["version"] == record.VERSION
