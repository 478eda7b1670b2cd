"""Stories A: work on a model. Each as it is written in stories.md, through the public API."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pandas as pd
import pytest

import d6tstore

FLOW = """
import d6tstore
import pandas as pd

def scale(df):
    return df.assign(x=df.x / df.x.max())

class GetData(d6tstore.tasks.TaskPqPandas):
    files = ["raw.csv"]
    def run(self):
        self.save(pd.read_csv("raw.csv"))

@d6tstore.requires(GetData)
class Preprocess(d6tstore.tasks.TaskPqPandas):
    do_preprocess: bool = d6tstore.Parameter(default=True)
    def run(self):
        df = self.input().load()
        self.save(scale(df) if self.do_preprocess else df)

@d6tstore.requires(Preprocess)
class Train(d6tstore.tasks.TaskPickle):
    model: str = d6tstore.Parameter(default="ols")
    def run(self):
        df = self.input().load()
        fitted = df.x.mean() if self.model == "ols" else df.x.median()
        self.save({"model": self.model, "fitted": float(fitted)}, metrics={"score": float(fitted)})
"""


@pytest.fixture
def f(flow, project):
    (project / "raw.csv").write_text("id,x\n1,1\n2,2\n3,6\n")
    return flow(FLOW)


def families(tasks):
    return [task.family for task in tasks]


def test_1_chain_load_and_save(any_store, f):
    d6tstore.run(f.Train(model="svm"))
    assert f.Train(model="svm").output().load()["model"] == "svm"
    assert list(f.Train().input().load().columns) == ["id", "x"]


def test_2_parameters_of_the_last_task_only(any_store, f):
    d6tstore.run(f.Train())
    assert families(d6tstore.run(f.Train(model="svm")).ran) == ["Train"]
    assert families(d6tstore.run(f.Train(do_preprocess=False)).ran) == ["Preprocess", "Train"]


def test_3_preview_shows_the_tree(any_store, f, capsys):
    d6tstore.run(f.Train())
    plan = d6tstore.preview(f.Train(model="svm"))
    shown = capsys.readouterr().out
    assert shown.splitlines() == [
        "Train(model='svm', do_preprocess=True): PENDING (never run)",
        "└─ Preprocess(do_preprocess=True): COMPLETE",
        "   └─ GetData(): COMPLETE",
        "1 PENDING, 2 COMPLETE",
    ] or set(shown.splitlines()[:3]) == set(str(plan).splitlines()[:3])
    assert families(plan.pending) == ["Train"]


def test_4_reset(any_store, f):
    d6tstore.run(f.Train())
    f.GetData().invalidate()
    assert families(d6tstore.run(f.Train()).ran) == ["GetData"]
    d6tstore.invalidate_downstream(f.Preprocess(), f.Train())
    assert families(d6tstore.run(f.Train()).ran) == ["Preprocess", "Train"]
    d6tstore.invalidate_upstream(f.Train())
    assert len(d6tstore.run(f.Train()).ran) == 3
    assert families(d6tstore.run(f.Train(), force=f.Preprocess()).ran) == ["Preprocess", "Train"]
    d6tstore.run(f.Train(model="svm"))
    assert d6tstore.invalidate_orphans(f.Train()) == [f.Train(model="svm").id]
    assert d6tstore.run(f.Train()).ran == []
    d6tstore.invalidate_all()
    assert len(d6tstore.preview(f.Train()).pending) == 3


def test_5_edit_code(any_store, f, flow):
    d6tstore.run(f.Train())
    f = flow(FLOW.replace("df.x / df.x.max()", "df.x / df.x.sum()"))
    plan = d6tstore.preview(f.Train())
    assert "code of scale" in plan[f.Preprocess()].reason
    assert families(d6tstore.run(f.Train()).ran) == ["Preprocess", "Train"]
    f = flow(FLOW.replace("def scale(df):", 'def scale(df):\n    """Between 0 and 1."""  # a comment'))
    report = d6tstore.run(f.Train())  # the old code again, with a comment
    assert report.ran == [] and families(report.restored) == ["Preprocess", "Train"]
    f = flow(FLOW.replace("df.x / df.x.max()", "df.x * 1 / df.x.max()"))
    d6tstore.accept(f.Preprocess())
    assert d6tstore.run(f.Train()).ran == []


def test_6_change_a_raw_file(any_store, f, project):
    d6tstore.run(f.Train())
    (project / "raw.csv").write_text("id,x\n1,1\n2,2\n3,8\n")
    report = d6tstore.run(f.Train())
    assert families(report.ran) == ["GetData", "Preprocess", "Train"]
    assert report.reasons()[f.GetData()] == "file raw.csv changed"


def test_7_compare(any_store, f):
    tasks = d6tstore.grid(f.Train, model=["ols", "svm"], do_preprocess=[True, False])
    d6tstore.run(tasks)
    table = d6tstore.compare(tasks)
    assert len(table) == 4 and {"model", "do_preprocess", "score", "seconds", "bytes"} <= set(table.columns)
    assert table.score.notna().all()
    one, other = (task.output().load() for task in tasks[:2])
    assert one != other


def test_8_save_what_data_scientists_have(any_store, project):
    import matplotlib.figure
    import numpy as np
    import polars as pl
    import pyarrow as pa
    from sklearn.linear_model import LinearRegression

    df = pd.DataFrame({"a": [1, None], "b": ["x", "y"]})
    pl_df, table = pl.DataFrame({"a": [1, None], "b": ["x", "y"]}), pa.table({"a": [1, None], "b": ["x", "y"]})
    figure = matplotlib.figure.Figure()
    figure.subplots().plot([1, 3, 2])
    folder = project / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "weights.txt").write_text("1 2 3")
    model = LinearRegression().fit([[1], [2]], [2, 4])
    frames = ("parquet", "csv", "csv-gz", "excel", "feather")
    values = {
        **dict.fromkeys(frames, df),
        **dict.fromkeys([f"{name}-polars" for name in frames], pl_df),
        **dict.fromkeys([f"{name}-arrow" for name in frames], table),
        "json": {"a": [1]},
        "text": "ünï\n",
        "bytes": b"\0\xff",
        "html": "<p>hello",
        "numpy": np.eye(2),
        "npz": {"x": np.arange(3), "y": np.zeros((2, 2))},
        "pickle": {1, 2},
        "joblib": model,
        "png": figure,
        "svg": figure,
        "file": folder / "sub" / "weights.txt",
        "folder": folder,
    }

    class Kinds(d6tstore.Task):
        persist = {name: name for name in values}

        def run(self):
            self.save(values)

    d6tstore.run(Kinds())
    loaded = Kinds().output().load()
    for name in frames:
        pd.testing.assert_frame_equal(loaded[name], df)
        assert loaded[f"{name}-polars"].equals(pl_df) and loaded[f"{name}-arrow"].equals(table)
    for name in ("json", "text", "bytes", "html", "pickle"):
        assert loaded[name] == values[name]
    np.testing.assert_array_equal(loaded["numpy"], np.eye(2))
    assert loaded["npz"].keys() == {"x", "y"} and loaded["npz"]["x"].tolist() == [0, 1, 2]
    assert loaded["joblib"].predict([[3]]).round(6).tolist() == [6]
    assert loaded["png"].startswith(b"\x89PNG") and "<svg" in loaded["svg"]
    assert loaded["file"].read_text() == (loaded["folder"] / "sub" / "weights.txt").read_text() == "1 2 3"


def test_8_every_class_names_its_kind_of_result():
    from d6tstore import registry

    for name in d6tstore.tasks.__all__:
        cls = getattr(d6tstore.tasks, name)
        if isinstance(cls, type) and cls is not d6tstore.tasks.TaskAggregator and cls.format not in ("torch", "keras"):
            assert registry.format_of(cls.format), name


def test_9_load_a_part(any_store):
    import polars as pl

    class Large(d6tstore.tasks.TaskPqPandas):
        def run(self):
            days = pd.date_range("2024-01-01", periods=1000)
            self.save(pd.DataFrame({"day": days, "n": range(1000), "city": ["Oslo", "Rome"] * 500}))

    d6tstore.run(Large())
    target = Large().output()
    whole = target.load()
    pd.testing.assert_frame_equal(target.load(columns=["city", "n"]), whole[["city", "n"]])
    found = target.load(where=[("city", "==", "Rome"), ("day", "<", "2024-01-11")], limit=3)
    assert found.n.tolist() == [1, 3, 5]
    pd.testing.assert_frame_equal(target.load(limit=10), whole.head(10))
    assert type(target.load(as_="polars", limit=1)) is pl.DataFrame
    assert target.load(as_="arrow", columns=["n"]).num_rows == 1000
    assert sum(batch.num_rows for batch in target.load(as_="batches", where=[("n", ">=", 990)])) == 10
    with pytest.raises(d6tstore.errors.SelectionError, match="no column 'town'"):
        target.load(columns=["town"])


def test_10_a_failure_resumes(any_store, f, flow):
    broken = flow(FLOW.replace("df.x.median()", "df.nothing.median()"))
    with pytest.raises(d6tstore.errors.RunFailed, match=r"Train\(model='svm'.*AttributeError") as caught:
        d6tstore.run([broken.Train(), broken.Train(model="svm")])
    assert len(caught.value.report.ran) == 3
    f = flow(FLOW)
    assert f.Train(model="svm") in d6tstore.run([f.Train(model="svm")]).ran


def test_as_a_script_and_from_another_module(project):
    """The same results are complete as `python flow.py` and as `import flow`."""
    (project / "raw.csv").write_text("id,x\n1,1\n")
    script = textwrap.dedent(
        """
        if __name__ == "__main__":
            import json
            d6tstore.init()
            report = d6tstore.run(Train())
            print(json.dumps(len(report.ran)))
        """
    )
    (project / "flow.py").write_text(FLOW + script)
    other = "import flow, d6tstore, json; d6tstore.init(); print(json.dumps(len(d6tstore.run(flow.Train()).ran)))"
    counts = [
        json.loads(subprocess.run([sys.executable, *args], capture_output=True, check=True, text=True).stdout)
        for args in (["flow.py"], ["flow.py"], ["-c", other])
    ]
    assert counts == [3, 0, 0]


def test_5_switch_a_git_branch_and_return(project):
    """The earlier results are there, nothing re-runs; the record tells the commit."""

    def git(*args):
        name = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", *name, *args]
        return subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout.strip()

    (project / "raw.csv").write_text("id,x\n1,1\n2,4\n")
    end = """
if __name__ == "__main__":
    import json
    store = d6tstore.init()
    report = d6tstore.run(Train())
    fitted = Train().output().load()["fitted"]
    print(json.dumps([len(report.ran), len(report.restored), fitted, store.history(Train())[0].git]))
"""

    def run():
        done = subprocess.run([sys.executable, "flow.py"], cwd=project, capture_output=True, check=True, text=True)
        return json.loads(done.stdout)

    git("init", "-q", "-b", "main")
    (project / "flow.py").write_text(FLOW + end)
    (project / ".gitignore").write_text("data\n__pycache__\n")
    git("add", "-A")
    git("commit", "-qm", "one")
    assert run() == [3, 0, 0.625, git("rev-parse", "HEAD")]
    git("checkout", "-qb", "other")
    (project / "flow.py").write_text(FLOW.replace("df.x.max()", "df.x.sum()") + end)
    git("commit", "-qam", "two")
    assert run() == [2, 0, 0.5, git("rev-parse", "HEAD")]
    git("checkout", "-q", "main")
    assert run()[:3] == [0, 2, 0.625]
    git("checkout", "-q", "other")
    assert run()[:3] == [0, 2, 0.5]
