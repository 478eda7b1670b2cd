"""Stories E: come from d6tflow. The folder was written by a real d6tflow, see `tests/d6tflow_project/make.py`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

import d6tstore

MADE = Path(__file__).parents[1] / "d6tflow_project" / "data"
FLOW = """
    import d6tstore

    class GetData(d6tstore.tasks.TaskPqPandas):
        def run(self):
            raise RuntimeError("it is there")

    @d6tstore.requires(GetData)
    class Preprocess(d6tstore.tasks.TaskCSVPandas):
        do_preprocess: bool = True

        def run(self):
            frame = self.input().load()
            self.save(frame.assign(x=frame.x * 2) if self.do_preprocess else frame)

    @d6tstore.requires(Preprocess)
    class Train(d6tstore.tasks.TaskPickle):
        model: str = "ols"

        def run(self):
            self.save({"model": self.model, "mean": float(self.input().load().x.mean())})
"""


@pytest.fixture(params=["folder", "sqlite", "duckdb", "postgres"])
def store(request, project):
    if request.param == "postgres":
        url = request.getfixturevalue("database").url
    else:
        url = {"folder": "./data", "sqlite": "sqlite:///x.db", "duckdb": "duckdb:///x.duckdb"}[request.param]
    with d6tstore.use(d6tstore.open(url)) as store:
        yield store
    store.close()


def test_e1_what_was_complete_there_is_complete_here(store, flow, project):
    shutil.copytree(MADE, project / "old")
    module = flow(FLOW)
    tasks = d6tstore.grid(module.Train, model=["ols", "svm"])
    assert [task.complete() for task in tasks] == [False, False]

    adopted = store.adopt("old", tasks)

    assert str(adopted) == "4 adopted" and all(task.complete() for task in tasks)
    assert store.run(tasks).ran == []  # GetData would raise
    assert tasks[1].output().load() == {"model": "svm", "mean": 4.0}
    there = pd.read_parquet(next((project / "old" / "GetData").iterdir()))
    pd.testing.assert_frame_equal(module.GetData().output().load(), there)
    # From here on it is a project as any other: an edit makes stale what depends on it, and what is new is computed.
    module = flow(FLOW.replace("frame.x * 2", "frame.x * 3"))
    report = store.run(module.Train(model="svm"))
    assert [task.family for task in report.ran] == ["Preprocess", "Train"]
    assert module.Train(model="svm").output().load()["mean"] == 6.0
    assert store.run(module.Train(model="new")).ran == [module.Train(model="new")]
