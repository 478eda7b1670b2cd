"""`compare`: a frame that sorts, marks the best, names it, writes itself and plots."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys

import pandas as pd
import pytest
from command_line import invoke

import d6tstore
from d6tstore.comparison import table as comparison
from d6tstore.errors import UsageError


class Fit(d6tstore.tasks.TaskJson):
    model: str = "ols"
    alpha: float = 1.0

    def run(self):
        self.log(rmse=1 / self.alpha, r2=self.alpha / 10 + (self.model == "svm"), note=f"of {self.model}")
        self.save(self.alpha)


class Odd(d6tstore.tasks.TaskJson):
    value: object = None

    def run(self):
        special = self.value in ("nan", "inf", "-inf")  # which are no parameters
        self.save(0, metrics={"score": float(self.value) if special else self.value})


@pytest.fixture
def fits(any_store):
    tasks = d6tstore.grid(Fit, model=["ols", "svm"], alpha=[1.0, 2.0, 4.0])
    d6tstore.run(tasks[:-1])
    return tasks


def scored(*values):
    tasks = [Odd(value=value) for value in values]
    d6tstore.run(tasks)
    return tasks


def test_it_is_a_frame_in_the_order_of_the_tasks(fits):
    table = d6tstore.compare(fits)
    assert isinstance(table, pd.DataFrame) and type(table[["model"]]) is type(table.head(2)) is pd.DataFrame
    assert table.columns.tolist() == [
        "task",
        "model",
        "alpha",
        "rmse",
        "r2",
        "note",
        "state",
        "seconds",
        "rows",
        "bytes",
    ]
    assert table.tasks == fits and table.alpha.tolist() == [1.0, 2.0, 4.0] * 2
    assert (table.parameter_names, table.metric_names) == (["model", "alpha"], ["rmse", "r2", "note"])
    assert len(table.merge(table, on=["model", "alpha"])) == 6


def test_it_pickles(fits):
    table = d6tstore.compare(fits, sort="r2")
    again = pickle.loads(pickle.dumps(table))
    assert type(again) is d6tstore.Comparison and str(again) == str(table) and again.tasks == table.tasks


@pytest.mark.parametrize(
    ("sort", "best", "order"),
    [
        ("r2", None, [4, 3, 2, 1, 0, 5]),
        ("r2", "min", [0, 1, 2, 3, 4, 5]),
        ("rmse", None, [2, 1, 4, 0, 3, 5]),  # equal ones stay as they are, what never ran is last
        ("rmse", "max", [0, 3, 1, 4, 2, 5]),
        ("rmse", {"rmse": "max", "r2": "min"}, [0, 3, 1, 4, 2, 5]),
        ("alpha", None, [0, 3, 1, 4, 2, 5]),
        ("alpha", "max", [2, 5, 1, 4, 0, 3]),
        ("note", None, [3, 4, 0, 1, 2, 5]),
        ("state", None, [0, 1, 2, 3, 4, 5]),
        ("bytes", None, [0, 1, 2, 3, 4, 5]),
    ],
)  # fmt: skip
def test_sorted(fits, sort, best, order):
    table = d6tstore.compare(fits, sort=sort, best=best)
    assert table.tasks == [fits[i] for i in order]
    assert table.alpha.tolist() == [fits[i].alpha for i in order] and table.index.tolist() == list(range(6))


class Sometimes(d6tstore.tasks.TaskJson):
    n: int = 0

    def run(self):
        self.save(0, metrics={"a": float("nan")} if self.n else {"b": 1.0})


def test_what_was_not_logged_is_no_nan(store, tmp_path):
    tasks = [Sometimes(n=0), Sometimes(n=1), Odd(value=2)]
    d6tstore.run(tasks)
    table = d6tstore.compare(tasks)
    assert [(row["n"], row["a"], row["b"]) for row in table.as_json()] == [
        (0, None, 1.0), (1, "nan", None), (None, None, None),
    ]  # fmt: skip
    assert str(table).count("nan") == table.markdown().count("nan") == table._repr_html_().count("nan") == 1


def test_missing_values_leave_others_as_they_are(store):
    tasks = [Odd(value=None), Odd(value=2**53 + 1), Sometimes()]
    table = d6tstore.compare(tasks)
    assert [row["value"] for row in table.as_json()] == [None, 2**53 + 1, None]
    assert str(2**53 + 1) in table.to_csv() and "nan" not in str(table)


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of pandas 3.1, which still has it
def test_it_follows_what_is_done_to_it_in_place(fits):
    table = d6tstore.compare(fits)
    best = table.best("r2")
    table.sort_values("r2", inplace=True, ascending=False, na_position="last")
    assert table.best("r2") == best == table.tasks[0]
    table.drop(index=table.index[0], inplace=True)
    assert table.best("r2") != best and len(table.tasks) == 5
    del table["rmse"]
    assert "rmse" not in str(table) and "r2" in table._repr_html_()


def test_infinities_are_ranked_and_nan_is_last(store):
    tasks = scored("nan", 1.0, "inf", "-inf")
    assert d6tstore.compare(tasks, sort="score").score.tolist()[:3] == [float("inf"), 1.0, float("-inf")]
    assert d6tstore.compare(tasks, sort="score", best="min").score.tolist()[:3] == [float("-inf"), 1.0, float("inf")]
    assert d6tstore.compare(tasks).best("score") == tasks[2]


@pytest.mark.parametrize(
    "name", "rmse val_loss trainLoss RMSE log-loss mean_absolute_error nRMSE mae bic mse_2".split()
)
def test_errors_are_better_when_lower(name):
    assert comparison._lower(name)


@pytest.mark.parametrize("name", "r2 accuracy glossy neg_log_loss neg_mean_squared_error roc_auc terror emaem".split())
def test_all_else_is_better_when_higher(name):
    assert not comparison._lower(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sort": "r3"}, "sort='r3': there is no such column. There are 'task', 'model'"),
        ({"best": "min"}, "of which metric"),
        ({"sort": "r2", "best": "low"}, "'low' of 'r2' is neither 'min' nor 'max'"),
        ({"best": {"r3": "min"}}, "there is no metric 'r3'"),
    ],
)
def test_wrong_options(fits, options, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        d6tstore.compare(fits, **options)


def test_what_has_no_order(store):
    with pytest.raises(UsageError, match="no order among each other"):
        d6tstore.compare(scored(1.0, "high"), sort="score")


def test_best_is_a_task(fits):
    table = d6tstore.compare(fits, sort="alpha")
    assert table.best("r2") == Fit(model="svm", alpha=2.0) and table.best("r2").output().load() == 2.0
    assert table.best("rmse") == Fit(alpha=4.0)
    assert d6tstore.compare(fits, best={"r2": "min"}).best("r2") == fits[0]
    with pytest.raises(UsageError, match="no such metric. There are 'rmse', 'r2', 'note'"):
        table.best("alpha")
    with pytest.raises(UsageError, match="no task has a number"):
        table.best("note")
    with pytest.raises(UsageError, match="There are none"):
        d6tstore.compare(fits[-1]).best("r2")


def test_text_marks_the_best(fits):
    lines = str(d6tstore.compare(fits, sort="r2")).splitlines()
    assert lines[0].split() == "task model alpha rmse r2 note state seconds rows bytes".split()
    assert [line.count("*") for line in lines] == [0, 1, 0, 1, 0, 0, 0, 1]  # r2, rmse, and what it means
    assert "1.2 *" in lines[1] and "0.25 *" in lines[3] and "nan" not in lines[6]
    assert "*" not in str(d6tstore.compare(fits[:1])) and str(d6tstore.compare([]))  # nothing to choose from


def test_missing_rows_are_counted(store):
    tasks = d6tstore.grid(Fit, alpha=list(range(1, 101)))
    assert str(d6tstore.compare(tasks)).splitlines()[-1] == "... 100 rows in all"
    assert d6tstore.compare(tasks).markdown().count("\n") == 101


def test_text_from_outside_is_shown_plainly(store):
    table = d6tstore.compare(scored("a|b\n<img src=x>\x1b[31m*"))
    assert "\x1b" not in str(table) and len(str(table).splitlines()) == 2
    assert r"a\|b \<img src=x\> \[31m\*" in table.markdown() and len(table.markdown().splitlines()) == 3
    assert "<img" not in table._repr_html_() and "&lt;img" in table._repr_html_()


def test_html_is_bold_and_needs_nothing_from_elsewhere(fits):
    shown = d6tstore.compare(fits)._repr_html_()
    assert "<b>1.2</b>" in shown and "<b>0.25</b>" in shown and shown.count("<b>") == 2
    assert not re.search(r"https?:|src=|@import|url\(", shown)


@pytest.mark.parametrize("name", ["x.csv", "x.html", "x.md"])
def test_files(fits, tmp_path, name):
    table = d6tstore.compare(fits, sort="r2")
    file = tmp_path / name
    file.write_text("old")
    assert table.to_file(str(file)) == file
    text = file.read_text()
    if name == "x.csv":
        again = pd.read_csv(file)
        assert again[["model", "alpha", "r2"]].equals(
            pd.DataFrame(table[["model", "alpha", "r2"]]).astype(again.dtypes[["model", "alpha", "r2"]])
        )
    elif name == "x.html":
        assert text.startswith("<!doctype html>") and "<b>1.2</b>" in text and 'charset="utf-8"' in text
    else:
        assert text.count("**") == 4 and text.splitlines()[2].startswith("| Fit | svm | 2 |")
    other = tmp_path / "other"
    other.touch()
    assert file.stat().st_mode == other.stat().st_mode  # readable for those for whom files are


def test_a_file_is_written_whole_or_not_at_all(fits, tmp_path):
    table = d6tstore.compare(fits)
    (tmp_path / "x.md").mkdir()
    for path, message in (
        ("x.md", "cannot be written"),
        ("none/x.csv", "cannot be written"),
        ("x.pdf", "neither .csv"),
    ):
        with pytest.raises(UsageError, match=message):
            table.to_file(tmp_path / path)
    assert not list(tmp_path.rglob(".d6tstore-*"))


def lines(figure):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in figure.axes[0].lines}


def test_a_plot_has_a_line_for_each_combination_of_the_others(fits):
    table = d6tstore.compare(fits, sort="r2")
    figure = table.plot_metric("r2", against="alpha")
    assert lines(figure) == {"model=svm": ([1, 2], [1.1, 1.2]), "model=ols": ([1, 2, 4], [0.1, 0.2, 0.4])}
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("alpha", "r2")
    assert figure._repr_png_().startswith(b"\x89PNG")
    named = table.plot_metric("r2", against="model")
    assert lines(named)["alpha=2"] == ([0, 1], [1.2, 0.2])
    assert [tick.get_text() for tick in named.axes[0].get_xticklabels()] == ["svm", "ols"]
    assert list(lines(d6tstore.compare(fits[:3]).plot_metric("r2", against="alpha")).values()) == [
        ([1, 2, 4], [0.1, 0.2, 0.4])
    ]


@pytest.mark.parametrize(
    ("metric", "against", "message"),
    [("r3", "alpha", "no metric 'r3'"), ("r2", "r2", "no parameter 'r2'"), ("note", "alpha", "no numbers to plot")],
)
def test_what_cannot_be_plotted(fits, metric, against, message):
    with pytest.raises(UsageError, match=message):
        d6tstore.compare(fits).plot_metric(metric, against=against)


# ------------------------------------------------------------------ the command

FLOW = """
    import d6tstore

    class Fit(d6tstore.tasks.TaskJson):
        model: str = "ols"
        alpha: float = 1.0
        def run(self):
            self.save(0, metrics={"rmse": 1 / self.alpha, "bad": float("nan")})
"""


@pytest.fixture
def call(flow, project):
    flow(FLOW)
    invoke("run", "flow:Fit", "flow:Fit", "--alpha", "2")
    return invoke


def test_the_command(call):
    shown = call("compare", "flow:Fit", "--alpha", "1", "--alpha", "2", "--alpha=4", "--sort", "rmse").stdout
    assert [line.split()[2] for line in shown.splitlines()[1:4]] == ["2", "1", "4"] and "0.5 *" in shown
    told = json.loads(call("compare", "flow:Fit", "flow:Fit", "--alpha", "4", "--json").stdout)
    assert [(row["alpha"], row["rmse"], row["bad"], row["state"]) for row in told] == [
        (1.0, 1.0, "nan", "COMPLETE"), (4.0, None, None, "PENDING"),
    ]  # fmt: skip
    both = ["--model", "ols", "--model", "a,b", "--alpha", "1", "--alpha", "2"]  # a grid; a comma belongs to the value
    assert len(json.loads(call("compare", "flow:Fit", *both, "--json").stdout)) == 4


def test_the_command_writes_files(call, project):
    assert call("compare", "flow:Fit", "--to", "x.md").stdout == "1 rows in x.md\n"
    assert (project / "x.md").read_text().startswith("| task | model |")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "which tasks?"),
        (("flow:Fit", "--sort", "r3"), "there is no such column"),
        (("flow:Fit", "--to", "x.pdf"), "neither .csv"),
        (("flow:Fit", "--alpha", "x"), "must be float"),
    ],
)
def test_the_command_of_the_wrong_thing(call, words, message):
    assert message in call("compare", *words, code=2).stderr


def test_a_run_still_takes_each_option_once(call):
    assert "given twice" in call("run", "flow:Fit", "--alpha", "1", "--alpha", "2", code=2).stderr


@pytest.mark.parametrize(
    "words", [("compare", "flow:Fit", "--sort", "rmse"), ("diff", "flow:Fit", "flow:Fit", "--alpha", "2")]
)
def test_in_a_pipe_and_in_a_terminal(call, words):
    pty = pytest.importorskip("pty")
    command = [sys.executable, "-m", "d6tstore.cli", *words]
    piped = subprocess.run(command, capture_output=True, text=True)
    assert (piped.returncode, piped.stderr) == (0, "") and "rmse" in piped.stdout
    ours, theirs = pty.openpty()
    done = subprocess.run(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert done.returncode == 0 and shown.replace("\r\n", "\n") == piped.stdout
