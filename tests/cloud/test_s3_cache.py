"""What comes from S3 is checked on its way, and fetched once."""

import os
from pathlib import Path

import pandas as pd
import pytest

import d6tstore
from d6tstore.errors import Damaged
from d6tstore.repository import Repository
from d6tstore.store import Store

ROWS = 400_000


class Small(d6tstore.tasks.TaskJson):
    def run(self):
        self.save({"a": 1})


class Large(d6tstore.tasks.TaskPqPandas):
    def run(self):
        self.save(pd.DataFrame({"i": range(ROWS), "x": [hash(str(i)) / 7 for i in range(ROWS)]}))


class Blob(d6tstore.tasks.TaskPickle):
    def run(self):
        self.save(os.urandom(3 << 20))


class Folder(d6tstore.tasks.TaskFile):
    def run(self):
        Path("made.bin").write_bytes(os.urandom(2 << 20))
        self.save(Path("made.bin"))


@pytest.fixture
def store(place):
    backend = place.open()
    store = Store(Repository(backend))
    with d6tstore.use(store):
        yield store
    backend.close()


def elsewhere(monkeypatch, tmp_path):
    """We are another machine, which has no copies."""
    monkeypatch.setenv("D6TSTORE_CACHE", str(tmp_path / "elsewhere"))


def gets(place, key):
    return [path for method, path in place.proxy.requests if method == "GET" and f"%BC{key}" in path]


@pytest.mark.parametrize("cls", [Small, Large, Blob])
def test_a_result_is_fetched_once(place, store, cls, monkeypatch, tmp_path):
    store.run(cls())
    first = cls().output().load()
    assert not gets(place, f"/{cls.__name__}/"), "whoever saved it has a copy"
    elsewhere(monkeypatch, tmp_path)
    assert same(cls().output().load(), first)
    fetched = len(gets(place, f"/{cls.__name__}/"))
    assert fetched
    assert same(cls().output().load(), first) and len(gets(place, f"/{cls.__name__}/")) == fetched


def same(one, other):
    return one.equals(other) if isinstance(one, pd.DataFrame) else one == other


def test_a_part_reads_only_its_ranges(place, store, monkeypatch, tmp_path):
    store.run(Large())
    size = Large().output().record().outputs["data"].bytes
    elsewhere(monkeypatch, tmp_path)
    begun = place.proxy.sent
    assert Large().output().load(columns=["i"], limit=5).i.tolist() == [0, 1, 2, 3, 4]
    assert place.proxy.sent - begun < size / 2
    assert not (tmp_path / "elsewhere").exists(), "a part is no copy"
    Large().output().load()
    begun = place.proxy.sent
    Large().output().load(columns=["x"])
    assert place.proxy.sent - begun < 10_000, "the whole is there: only the record is asked for"


def test_batches_stream(place, store, monkeypatch, tmp_path):
    store.run(Large())
    elsewhere(monkeypatch, tmp_path)
    assert sum(batch.num_rows for batch in Large().output().load(as_="batches")) == ROWS


@pytest.mark.parametrize("cls", [Small, Large, Blob])
def test_bytes_that_change_on_the_way_down_are_refused(place, store, cls, monkeypatch, tmp_path):
    store.run(cls())
    elsewhere(monkeypatch, tmp_path)
    with (
        place.proxy.when("GET", path=f"(?<!records)/{cls.__name__}/", flip_response=3),
        pytest.raises(Damaged, match="other bytes"),
    ):
        cls().output().load()
    assert not [path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()]
    cls().output().load()


def test_verify_looks_at_what_is_stored(place, store):
    store.run(Small())
    key = Small().output().record().outputs["data"].key
    store.repository.default.write(key, b'{"a":2}')
    assert Small().output().load() == {"a": 1}, "a copy is as good as its checksum"
    with pytest.raises(Damaged):
        Small().output().load(verify=True)
    assert [problem.problem for problem in store.verify()] == ["has other bytes than its record says"]


def test_without_copies_it_is_checked_all_the_same(place, monkeypatch, tmp_path):
    backend = place.open()
    store = d6tstore.store.Store(Repository(backend, cache=0))
    with d6tstore.use(store):
        store.run([Blob(), Large()])
        with place.proxy.when("GET", path="(?<!records)/(Blob|Large)/", flip_response=3):
            for cls in (Blob, Large):
                with pytest.raises(Damaged):
                    cls().output().load()
        assert len(Blob().output().load()) == 3 << 20 and len(Large().output().load()) == ROWS
    assert not (tmp_path / "cache").exists()
    backend.close()


def test_a_copy_that_was_cut_is_fetched_anew(place, store, tmp_path):
    store.run(Blob())
    (copy,) = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    os.truncate(copy, 100)
    assert len(Blob().output().load()) == 3 << 20


def test_a_full_disk_here_costs_no_result(place, store, monkeypatch, tmp_path):
    store.run(Blob())
    elsewhere(monkeypatch, tmp_path)
    (tmp_path / "elsewhere").write_text("no folder")
    assert len(Blob().output().load()) == 3 << 20


def test_what_is_a_path_comes_too(place, store, monkeypatch, tmp_path):
    store.run(Folder())
    elsewhere(monkeypatch, tmp_path)
    assert Folder().output().load()
