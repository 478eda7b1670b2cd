"""Results of d6tflow taken over: ids, values of every kind, states, bad folders; and what a real d6tflow wrote."""

from __future__ import annotations

import datetime
import json
import pickle
import shutil
from pathlib import Path

import pandas as pd
import pytest

import d6tstore
from d6tstore import d6tflow_data
from d6tstore.errors import Denied, UsageError

MADE = Path(__file__).with_name("d6tflow_project")  # see make.py there
FLOW = """
    import datetime
    import enum
    from typing import Any
    import d6tstore

    class Colour(enum.Enum):
        RED = 1

    class GetData(d6tstore.tasks.TaskPqPandas):
        def run(self):
            raise RuntimeError("GetData ran")

    @d6tstore.requires(GetData)
    class Preprocess(d6tstore.tasks.TaskCSVPandas):
        do_preprocess: bool = True
        def run(self):
            raise RuntimeError("Preprocess ran")

    @d6tstore.requires(Preprocess)
    class Train(d6tstore.tasks.TaskPickle):
        model: str = "ols"
        def run(self):
            self.save({"model": self.model, "mean": float(self.input().load().x.mean())})

    @d6tstore.requires(GetData)
    class Both(d6tstore.tasks.TaskPqPandas):
        persist = ["left", "right"]

    @d6tstore.requires({"data": GetData, "model": Train})
    class Report(d6tstore.tasks.TaskJson):
        ...

    class Gz(d6tstore.tasks.TaskCSVGZPandas): ...
    class Excel(d6tstore.tasks.TaskExcelPandas): ...

    class Typed(d6tstore.tasks.TaskJson):
        date: datetime.date = datetime.date(2024, 2, 29)
        hour: datetime.datetime = datetime.datetime(2024, 2, 29, 13)
        second: datetime.datetime = datetime.datetime(2024, 2, 29, 13, 1, 2)
        span: datetime.timedelta = datetime.timedelta(days=9, hours=1, seconds=61)
        rate: float = 1
        small: float = 1e-05
        listed: list = [1, "zwei", [3.5]]
        pair: tuple[int, int] = (1, 2)
        table: dict = {"b": 1, "a": {"c": True}}
        colour: Colour = Colour.RED
        nothing: Any = None
        optional: str | None = None
        loose: int = 3
        loose_list: list = ["a", 1]
        chosen: str = d6tstore.ChoiceParameter(["u", "v"], default="v")
        flag: bool = False
        workers: int = d6tstore.Parameter(default=2, significant=False)

    class Long(d6tstore.tasks.TaskJson):
        a1: str = "first/of ?many"
        a2: str = "s" * 80
        a3: str = "é ü"
        a4: int = 4
"""


@pytest.fixture
def theirs(project):
    """The data folder of a d6tflow project, as d6tflow wrote it."""
    shutil.copytree(MADE / "data", project / "old")
    return project / "old"


@pytest.fixture
def module(flow):
    return flow(FLOW)


def every(module):
    return [
        module.Report(), module.Report(model="svm"), module.Report(do_preprocess=False), module.Both(), module.Gz(),
        module.Excel(), module.Typed(), module.Long(),
    ]  # fmt: skip


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_hashes_are_those_of_luigi():
    for id, params in json.loads((MADE / "ids.json").read_text()).items():
        assert d6tflow_data.task_hash(params) == id.rpartition("_")[2]


def test_what_was_complete_there_is_complete_here(any_store, theirs, module):
    before, tasks = snapshot(theirs), every(module)
    would = any_store.adopt(theirs, tasks, dry_run=True)
    assert str(would) == "would do: 14 adopted" and not any(each.task.complete() for each in would)
    done = any_store.adopt(theirs, tasks)
    assert str(done) == "14 adopted" and [str(e.task) for e in done] == [str(e.task) for e in would]
    assert all(task.complete() for task in done.adopted) and any_store.run(tasks).ran == []
    assert snapshot(theirs) == before and any_store.verify() == []
    assert str(any_store.adopt(theirs, tasks)) == "14 has a result here"
    assert not any_store.gc(older_than=0).keys


def test_values_come_as_d6tflow_would_load_them(any_store, theirs, module):
    any_store.adopt(theirs, every(module))
    frame = module.GetData().output().load()
    pd.testing.assert_frame_equal(frame, pd.read_parquet(next(theirs.glob("GetData/*"))))
    assert list(frame.index) == [10, 20, 30] and str(frame.day.dtype).startswith("datetime64")
    read = pd.read_csv(next(theirs.glob("Preprocess/Preprocess_False_*.csv")))
    pd.testing.assert_frame_equal(module.Preprocess(do_preprocess=False).output().load(), read)
    assert module.Train(model="svm").output().load() == {"model": "svm", "mean": 4.0}
    assert module.Train(do_preprocess=False).output().load() == {"model": "ols", "mean": 2.0}
    assert module.Report(model="svm").output().load() == {"rows": 3, "models": ["svm"]}
    assert list(module.Both().output()["right"].load().columns) == ["y"]
    assert module.Gz().output().load().n.tolist() == [1, 2] == module.Excel().output().load().n.tolist()
    assert module.Typed().output().load() == {"typed": True} and module.Long().output().load() == ["long"]


def test_the_record_tells_that_it_was_adopted(store, theirs, module):
    store.adopt(theirs, module.Train())
    (record,) = store.history(module.Train())
    file = next(theirs.glob("Train/Train_True_ols_*.pkl"))
    made = datetime.datetime.fromtimestamp(file.stat().st_mtime, datetime.UTC).isoformat(timespec="microseconds")
    assert (record.time, record.seconds, record.host, record.git, record.versions) == (made, 0.0, "", None, {})
    assert [note.code for note in record.accepted] == ["d6tflow Train_True_ols_23ea6043b6"]
    assert "code accepted by" in str(store.why(module.Train()))
    assert list(record.inputs) == [module.Preprocess().id] and record.module == "flow"
    (data,) = store.repository.default.list("Train/")
    assert store.repository.default.read(data.key) == file.read_bytes()


def test_an_edit_afterwards_makes_it_stale_as_ever(store, theirs, flow, module):
    store.adopt(theirs, module.Train())
    module = flow(FLOW.replace('"mean": float', '"mean": 1 + float'))
    assert store.why(module.Train()).reason == "code of Train.run changed"
    store.run(module.Train())
    assert module.Train().output().load()["mean"] == 5.0


def test_what_is_not_found_is_left_and_listed(store, theirs, flow, module):
    done = store.adopt(theirs, [module.Train(model="forest"), module.Long(a4=5)])
    assert [(e.task.family, e.action, e.reason) for e in done] == [
        ("GetData", "adopted", ""), ("Preprocess", "adopted", ""),
        ("Train", "not found", ""), ("Long", "not found", ""),
    ]  # fmt: skip
    assert str(done) == "2 adopted, 2 not found" and done.problems == []


def test_without_its_inputs_a_result_is_none_as_in_d6tflow(store, theirs, module):
    next(theirs.glob("Preprocess/Preprocess_True_*")).unlink()
    done = {e.task.family: e for e in store.adopt(theirs, module.Train())}
    assert done["Train"].action == "not found"
    assert done["Train"].reason == "its input Preprocess(do_preprocess=True) is not there"


def test_one_output_of_two_is_none(store, theirs, module):
    next(theirs.glob("Both/*-right.parquet")).unlink()
    assert str(list(store.adopt(theirs, module.Both()))[1]) == "not found Both() (only left, not right)"
    assert store.history(module.Both()) == []


@pytest.mark.parametrize(
    "family, cut, said",
    [
        ("GetData", 100, "GetData__99914b932b-data.parquet is damaged: ArrowInvalid"),
        ("Gz", 9, "Gz__99914b932b-data.csv.gz is damaged: EOFError"),
        ("Excel", 50, "Excel__99914b932b-data.xlsx is damaged: BadZipFile"),
        ("Typed", 5, "-data.json is damaged: JSONDecodeError"),
    ],
)
def test_a_damaged_file_is_left(store, theirs, module, family, cut, said):
    (file,) = theirs.glob(f"{family}/*")
    file.write_bytes(file.read_bytes()[:cut])
    (failed,) = store.adopt(theirs, getattr(module, family)()).problems
    assert said in failed.reason and store.history(failed.task) == []
    assert not list(store.repository.default.list(f"{family}/"))


def test_a_pickle_that_was_cut_off_is_left_and_none_is_loaded(store, theirs, module):
    (file,) = theirs.glob("Train/Train_True_ols_*.pkl")
    file.write_bytes(file.read_bytes()[:-1])
    (failed,) = store.adopt(theirs, module.Train()).problems
    assert "damaged: EOFError: the pickle is cut off" in failed.reason
    file.write_bytes(b"cdoes_not_exist\nanything\n.")
    assert store.adopt(theirs, module.Train()).adopted == [module.Train()]


def test_a_class_of_another_kind_is_told(store, theirs, flow, module):
    module = flow(FLOW.replace("class Train(d6tstore.tasks.TaskPickle)", "class Train(d6tstore.tasks.TaskPqPandas)"))
    (failed,) = store.adopt(theirs, module.Train()).problems
    assert "does not hold what the class stores here (ParquetFormat)" in failed.reason


@pytest.mark.parametrize("kind", ["Polars", "Arrow"])
def test_frames_of_other_libraries(store, theirs, flow, kind):
    module = flow(FLOW.replace("class Preprocess(d6tstore.tasks.TaskCSVPandas)",
                               f"class Preprocess(d6tstore.tasks.TaskPq{kind})"))  # fmt: skip
    store.adopt(theirs, module.Preprocess())
    assert module.Preprocess().output().load()["x"].to_pylist() == [2, 4, 6] if kind == "Arrow" else True
    assert module.Preprocess().output().load(as_="pandas").x.tolist() == [2, 4, 6]


def test_ids_as_luigi_cuts_them(store, theirs, module):
    """d6tflow asks luigi for longer ids than luigi makes by itself: the hash is what counts."""
    (file,) = theirs.glob("Long/*")
    file.rename(file.with_name(f"Long_first_of__many_{'s' * 16}______{file.name[-20:]}"))
    assert store.adopt(theirs, module.Long()).adopted == [module.Long()]


def test_an_external_task_is_adopted_too(store, theirs, flow, module):
    module = flow(FLOW.replace("class GetData(d6tstore.tasks.TaskPqPandas):",
                               "class GetData(d6tstore.tasks.TaskPqPandas):\n        external = True"))  # fmt: skip
    assert store.adopt(theirs, module.Train()).adopted[0] == module.GetData()
    assert module.GetData().complete() and store.run(module.Train()).ran == []


def test_where_somebody_computed_it_meanwhile_that_stays(store, theirs, module, monkeypatch):
    """What is published between the look and the claim is newer than what d6tflow left."""
    from d6tstore.repository import Repository

    real = Repository.claimed

    def claimed(self, task, action):
        monkeypatch.undo()
        task.save({"typed": "newer"})
        return real(self, task, action)

    monkeypatch.setattr(Repository, "claimed", claimed)
    assert str(store.adopt(theirs, module.Typed())) == "1 has a result here"
    assert module.Typed().output().load() == {"typed": "newer"}


def test_families_of_which_one_begins_as_the_other(store, project, flow):
    for family, value in (("Get", 1), ("Get_Data", 2)):
        (project / "old" / "Get").mkdir(parents=True, exist_ok=True)
        (project / "old" / "Get" / f"{family}__99914b932b-data.json").write_text(json.dumps({"data": value}))
    module = flow("""
        import d6tstore
        class Get(d6tstore.tasks.TaskJson): ...
        class Get_Data(d6tstore.tasks.TaskJson): ...
    """)
    store.adopt("old", [module.Get(), module.Get_Data()])
    assert (module.Get().output().load(), module.Get_Data().output().load()) == (1, 2)
    module.Get().invalidate()
    (project / "old" / "Get" / "Get__99914b932b-data.json").unlink()
    assert store.adopt("old", module.Get()).adopted == []  # not that of Get_Data


def test_into_the_folder_that_d6tflow_used(theirs, module, project):
    """Both use ./data: neither sees the files of the other."""
    theirs.rename(project / "data")
    before, store = snapshot(project / "data"), d6tstore.init()
    store.adopt("data", every(module))
    after = snapshot(project / "data")
    assert {name: after[name] for name in before} == before and len(after) > len(before)
    store.invalidate_all()
    store.gc(older_than=0)
    assert {name: data for name, data in snapshot(project / "data").items() if ".d6tstore" not in name} == before


def test_a_folder_that_is_none(store, module, project):
    for given in ("nowhere", project / "flow.py"):
        with pytest.raises(UsageError, match="Give the data folder of a d6tflow project"):
            store.adopt(given, module.Train())
    (project / "empty").mkdir()
    assert str(store.adopt("empty", module.GetData())) == "1 not found"


def test_what_is_adopted_is_trusted_as_ones_own(store, theirs, module):
    """It was made here: nothing says that it came from a pipe."""
    store.adopt(theirs, module.Train())
    (record,) = store.history(module.Train())
    assert record.origin is None and pickle.loads(next(theirs.glob("Train/Train_True_ols*.pkl")).read_bytes())
    try:
        module.Train().output().load()
    except Denied:
        pytest.fail("one's own pickle was refused")
