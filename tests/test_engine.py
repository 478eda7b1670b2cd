"""Running: failures, reports, threads, processes, saving, loading, by hand."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import d6tstore
from d6tstore import context
from d6tstore.errors import (
    D6tstoreError,
    FormatError,
    GraphError,
    NeverRun,
    NotInitialised,
    RunFailed,
    SaveError,
    UndeclaredLoad,
    UsageError,
)


class Number(d6tstore.tasks.TaskJson):
    n: int = 1

    def run(self):
        if self.n < 0:
            raise ValueError(f"negative {self.n}")
        self.save(self.n)


class Double(d6tstore.tasks.TaskJson):
    n: int = 1

    def requires(self):
        return Number(n=self.n)

    def run(self):
        self.save(2 * self.input().load(), metrics={"n": np.int64(self.n)})


class Total(d6tstore.tasks.TaskJson):
    numbers: list[int]

    def requires(self):
        return {"doubles": [Double(n=n) for n in self.numbers], "one": Number()}

    def run(self):
        loaded = self.input().load()
        self.save(sum(loaded["doubles"]) + loaded["one"])


@pytest.mark.parametrize("workers", [None, 4])
def test_a_failure_leaves_the_rest_running(any_store, workers):
    tasks = [Double(n=n) for n in (-2, 1, -1, 2)] + [Total(numbers=[1, -1])]
    with pytest.raises(RunFailed) as caught:
        any_store.run(tasks, workers=workers)
    report, cause = caught.value.report, caught.value.__cause__
    assert {t.n for t in report.failed} == {-1, -2} and report.failed[0].family == "Number"
    assert report.blocked == [Double(n=-2), Double(n=-1), Total(numbers=[1, -1])]
    assert {t for t in report.ran if t.family == "Double"} == {Double(n=1), Double(n=2)}
    assert isinstance(cause, ValueError) and "Number(n=-" in cause.__notes__[0]
    names = []
    trace = cause.__traceback__
    while trace:
        names.append(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    assert __file__ in names  # the user's own frame
    assert "Number(n=-2): ValueError: negative -2" in str(caught.value) and "run again" in str(caught.value)
    assert "failed" in str(report) and "blocked" in str(report) and report[Double(n=1)].action == "ran"
    assert any_store.run(tasks[1]).reused == [Number(), Double()]  # the next run resumes


def test_threads_run_side_by_side(store):
    barrier = threading.Barrier(3, timeout=30)

    class Meets(d6tstore.tasks.TaskJson):
        n: int

        def run(self):
            barrier.wait()
            self.save(self.n)

    assert len(store.run([Meets(n=n) for n in range(3)], workers=3).ran) == 3
    for wrong in (0, -1, 1.5, True, "2"):
        with pytest.raises(UsageError, match="workers"):
            store.run(Number(), workers=wrong)


def test_any_executor(store):
    with ThreadPoolExecutor(2) as pool:
        assert len(store.run(Total(numbers=[1, 2, 3]), executor=pool).ran) == 7
        pool.submit(int).result()  # not shut down
    assert Total(numbers=[1, 2, 3]).output().load() == 13


def test_everything_crosses_to_another_process(store):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        report = store.run(Total(numbers=[1, 2]), executor=pool)
        assert len(report.ran) == 5
        with pytest.raises(RunFailed, match="negative -1"):
            store.run(Double(n=-1), executor=pool)
    assert Total(numbers=[1, 2]).output().load() == 7
    record = store.history(Total(numbers=[1, 2]))[0]
    assert pickle.loads(pickle.dumps(record)) == record
    again = pickle.loads(pickle.dumps(store))
    assert again.complete(Total(numbers=[1, 2]))
    local = type("Local", (Number,), {"__qualname__": "f.<locals>.Local"})
    assert pickle.loads(pickle.dumps(local(n=3))).n == 3


def test_errors_pickle(store):
    with pytest.raises(RunFailed) as caught:
        store.run(Number(n=-1))
    error = pickle.loads(pickle.dumps(caught.value.report.failed))
    assert error == [Number(n=-1)]
    held = pickle.loads(pickle.dumps(d6tstore.errors.Held("x", info={"who": "me"})))
    assert held.info == {"who": "me"} and str(held) == "x"


class Two(d6tstore.tasks.TaskPickle):
    persist = {"frame": "parquet", "note": "json", "model": "pickle"}
    mode: str = "one call"

    def run(self):
        frame = pd.DataFrame({"x": [1, 2]})
        if self.mode == "one call":
            self.save({"frame": frame, "note": {"a": 1}, "model": {1, 2}})
        elif self.mode == "several calls":
            self.save({"frame": frame})
            self.save({"note": {"a": 1}, "model": {1, 2}})
        elif self.mode == "twice":
            self.save({"frame": frame, "note": 1, "model": 1})
            self.save({"note": {"a": 1}, "model": {1, 2}})
        elif self.mode == "too few":
            self.save({"frame": frame})
        elif self.mode == "undeclared":
            self.save({"frame": frame, "nte": 1})
        elif self.mode == "no dict":
            self.save(frame)
        elif self.mode == "unfit":
            self.save({"frame": frame, "note": {1: 1}, "model": 1})


@pytest.mark.parametrize("mode", ["one call", "several calls", "twice"])
def test_several_outputs(any_store, mode):
    any_store.run(Two(mode=mode))
    loaded = Two(mode=mode).output().load()
    assert list(loaded) == ["frame", "note", "model"]
    pd.testing.assert_frame_equal(loaded["frame"], pd.DataFrame({"x": [1, 2]}))
    assert loaded["note"] == {"a": 1} and loaded["model"] == {1, 2}
    assert any_store.verify() == [] and any_store.gc(older_than=0).keys == []


@pytest.mark.parametrize(
    ("mode", "error", "says"),
    [
        ("too few", SaveError, "saved frame; missing: note, model"),
        ("undeclared", SaveError, "saves 'nte', but declares only frame, note, model"),
        ("no dict", SaveError, "save a dict"),
        ("unfit", FormatError, "output 'note'.*key 1 is no text"),
        ("nothing", SaveError, "saved nothing"),
    ],
)
def test_wrong_saves_leave_nothing(any_store, mode, error, says):
    with pytest.raises(RunFailed) as caught:
        any_store.run(Two(mode=mode))
    assert isinstance(caught.value.__cause__, error)
    with pytest.raises(error, match=says):
        raise caught.value.__cause__
    assert not Two(mode=mode).output().exists()
    assert any_store.gc(older_than=0).keys == []


def test_one_output_is_saved_whatever_it_is(store):
    class Named(d6tstore.tasks.TaskJson):
        persist = ["only"]

        def run(self):
            self.save({"only": 1, "other": 2})

    store.run(Named())
    assert Named().output().load() == {"only": 1, "other": 2}
    assert Named().output().path.name.startswith("only-")


def test_the_previous_result_survives_a_failed_attempt(store):
    fail = []

    class Sometimes(d6tstore.tasks.TaskJson):
        persist = ["a", "b"]

        def run(self):
            self.save({"a": len(fail)})
            if fail:
                raise RuntimeError("no")
            self.save({"b": 1})

    store.run(Sometimes())
    fail.append(1)
    with pytest.raises(RunFailed):
        store.run(Sometimes(), force=True)
    assert Sometimes().output().load() == {"a": 0, "b": 1}
    assert store.gc(older_than=0).keys == []


def test_equal_content_keeps_the_object(store, monkeypatch):
    store.run(Number())
    before = Number().output().path
    monkeypatch.setattr(Number, "version", 2)
    assert store.run(Number()).ran == [Number()]
    assert Number().output().path == before
    assert len(store.history(Number())) == 2
    store.run(Number(), force=True)  # anew: the way to heal an object that somebody altered
    assert Number().output().path != before


def test_metrics(store):
    class Logs(d6tstore.tasks.TaskJson):
        value: str = "ok"

        def run(self):
            self.log(a=1, b=np.float64(0.5))
            self.save(1, metrics={"c": "text"})
            if self.value != "ok":
                self.log(bad=[1])

    store.run(Logs())
    assert store.history(Logs())[0].metrics == {"a": 1, "b": 0.5, "c": "text"}
    with pytest.raises(RunFailed, match="metric 'bad' is a list"):
        store.run(Logs(value="x"))
    with pytest.raises(UsageError, match="belongs into run"):
        Logs().log(a=1)


def test_undeclared_loads_are_refused(store):
    class Sneaky(d6tstore.tasks.TaskJson):
        how: str

        def run(self):
            if self.how == "load":
                self.save(Number().output().load())
            elif self.how == "run":
                d6tstore.run(Number(n=2))
            elif self.how == "save other":
                Number(n=3).save(1)
            elif self.how == "invalidate":
                Number().invalidate()
            elif self.how == "own":
                self.save(self.output().load())

    store.run(Number())
    for how, says in [
        ("load", "without declaring it.*Add Number to requires"),
        ("run", "inside its own run"),
        ("save other", "its own results only"),
        ("invalidate", "must not invalidate"),
        ("own", "without declaring"),
    ]:
        with pytest.raises(RunFailed, match=says):
            store.run(Sneaky(how=how))
    assert context.attempt.get() is None
    assert Number().output().load() == 1


def test_inputs_are_frozen_when_the_attempt_begins(store):
    class Reads(d6tstore.tasks.TaskJson):
        def requires(self):
            return Number()

        def run(self):
            before = self.input().load()
            thread = threading.Thread(target=lambda: (store.invalidate(Number()), Number_as_two(store)))
            thread.start()
            thread.join()
            assert self.requires().output().load() == before  # declared, so this way works too
            self.save([before, self.input().load()])

    def Number_as_two(store):
        with d6tstore.use(store):
            Number().save(2)

    store.run(Number())
    store.run(Reads())
    assert Reads().output().load() == [1, 1]
    assert Number().output().load() == 2
    assert store.plan(Reads())[Reads()].reason == "input Number changed"


def test_by_hand(store):
    Number().run()
    assert Number().complete()
    Double().run()
    assert Double().output().load() == 2
    with pytest.raises(NeverRun, match="which has no result yet"):
        Double(n=5).run()
    two = Two()
    two.save({"frame": pd.DataFrame({"x": [1]})})
    assert not two.output()["frame"].exists()
    two.output()["note"].save("n")
    two.save({"model": 1}, metrics={"m": 1})
    assert two.output().exists() and two.output()["note"].load() == "n"
    assert store.history(two)[0].metrics == {"m": 1}
    with pytest.raises(SaveError):
        Two(mode="too few").run()
    with pytest.raises(SaveError):
        two.save(3)
    Number(n=7).output().save(8)
    assert Number(n=7).output().load() == 8
    with pytest.raises(FormatError):
        Number(n=7).save({1, 2})
    assert Number(n=7).output().load() == 8


def test_before_init_and_before_run(tmp_path):
    for call in (Number().complete, Number().run, Number().output, lambda: d6tstore.run(Number())):
        with pytest.raises(NotInitialised, match=r"d6tstore.init\(\)"):
            call()
    d6tstore.init(tmp_path / "s")
    target = Number().output()
    assert not target.exists()
    for call in (target.load, lambda: target.path, lambda: target.uri, target.record):
        with pytest.raises(NeverRun, match=r"Run it first"):
            call()
    with pytest.raises(UsageError, match="write './prod'"):
        d6tstore.init("prod")
    with pytest.raises(UsageError, match="unexpected keyword"):
        d6tstore.init(tmp_path / "s", durabel=True)
    with pytest.raises(D6tstoreError, match="not installed"):
        d6tstore.init("nosuch://place")


def test_the_current_store_is_per_thread(tmp_path):
    d6tstore.init(tmp_path / "default")
    other = d6tstore.open(tmp_path / "other")
    with d6tstore.use(other):
        d6tstore.run(Number())
        seen = []
        thread = threading.Thread(target=lambda: seen.append(context.current()))
        thread.start()
        thread.join()
        assert context.current() is other and seen[0] is not other
    assert not Number().complete() and other.complete(Number())


def test_input_and_output_mirror_the_shape(store):
    class Several(d6tstore.tasks.TaskAggregator):
        def requires(self):
            return [Number(n=1), Number(n=2)]

    class Reads(d6tstore.tasks.TaskJson):
        def requires(self):
            return {"all": Several(), "pair": (Number(n=3), [Double(n=4)])}

        def run(self):
            self.save(self.input().load())

    report = store.run(Reads())
    assert Reads().output().load() == {"all": [1, 2], "pair": [3, [8]]}
    assert Several().output().load() == [1, 2] and Several() not in report.ran
    assert Several().complete()
    Several().invalidate()
    assert not Several().complete() and not Number(n=2).complete()
    assert [t.n for t in store.run(Several()).ran] == [1, 2]
    Number(n=1).output().path.unlink()
    assert not Several().complete() and store.run(Several()).ran == [Number(n=1)]


def test_a_task_without_run_and_a_task_without_requirements(store):
    class Empty(d6tstore.tasks.TaskJson):
        pass

    with pytest.raises(RunFailed, match=r"has no run\(\). Define run"):
        store.run(Empty())
    with pytest.raises(GraphError, match="requires nothing"):
        Empty().input()


def test_grid_and_compare(store):
    tasks = d6tstore.grid(Double, n=[1, 2, 3])
    store.run(tasks[:2])
    frame = store.compare(tasks)
    assert list(frame.columns) == ["task", "n", "n_metric", "state", "seconds", "rows", "bytes"]
    assert list(frame.state) == ["COMPLETE", "COMPLETE", "PENDING"] and frame.n_metric[1] == 2
    assert len(store.compare([])) == 0
    assert len(d6tstore.grid(Total, numbers=[[1], [2]])) == 2


def test_a_damaged_record_is_pending_and_named(store):
    store.run(Double())
    (record,) = Path(store.repository.default.root, ".d6tstore/records/Double").iterdir()
    for damage, says in [
        (b"{", "damaged"),
        (b'{"version": 99}', "has version 99"),
        (b"", "damaged"),
        (b"[]", "damaged"),
    ]:
        record.write_bytes(damage)
        node = store.plan(Double())[Double()]
        assert node.will_run and says in node.reason
        assert store.run(Double()).ran == [Double()] and Double().output().load() == 2


def test_an_unknown_backend_or_format_is_named(store):
    class Wrong(d6tstore.tasks.TaskJson):
        format = "jsn"

        def run(self):
            self.save(1)

    with pytest.raises(RunFailed, match="did you mean 'json'"):
        store.run(Wrong())


def test_a_format_class_of_the_user(store):
    class Upper(d6tstore.Format):
        suffix = ".txt"

        def dump(self, value, file):
            file.write(value.upper().encode())

        def load(self, file):
            return file.read().decode()

    class Text(d6tstore.tasks.TaskJson):
        persist = {"data": Upper}

        def run(self):
            self.save("abc")

    store.run(Text())
    assert Text().output().load() == "ABC" and Text().output().path.suffix == ".txt"


def test_pickles_of_untrusted_origin_are_refused(store, tmp_path):
    from msgspec.structs import replace

    class Model(d6tstore.tasks.TaskPickle):
        def run(self):
            self.save({1})

    store.run(Model())
    record = store.history(Model())[0]
    store.repository.default.publish(replace(record, origin="team"))
    with pytest.raises(d6tstore.errors.Denied, match="not trusted"):
        Model().output().load()
    with d6tstore.use(d6tstore.open(tmp_path / "store", trusted=["team"])):
        assert Model().output().load() == {1}


def test_graph_errors_come_before_anything_runs(store):
    class Bad(d6tstore.tasks.TaskJson):
        def requires(self):
            return [Number(), 3]

    with pytest.raises(GraphError):
        store.run(Bad())
    assert not Number().output().exists()


class Hidden(d6tstore.tasks.TaskJson):
    how: str

    def run(self):
        other = Number().output()
        if self.how == "path":
            self.save(other.path.read_text())
        elif self.how == "exists":
            self.save(other.exists())
        elif self.how == "run by hand":
            Number(n=5).run()
        elif self.how == "version":
            self.save(other.load(version="x"))


@pytest.mark.parametrize("how", ["path", "exists", "run by hand", "version"])
def test_further_hidden_inputs(store, how):
    store.run(Number())
    with pytest.raises(RunFailed) as caught:
        store.run(Hidden(how=how))
    assert isinstance(caught.value.__cause__, UndeclaredLoad)


class Unportable(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


class Raises(d6tstore.tasks.TaskJson):
    n: int = 1

    def run(self):
        raise Unportable(self.n, 2)


class Cached(d6tstore.tasks.TaskCache):
    def run(self):
        self.save(1)


def test_what_a_process_pool_cannot_do_is_said(store):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        with pytest.raises(RunFailed, match="Unportable: 1 and 2. It does not pickle") as caught:
            store.run([Raises(), Number(n=3)], executor=pool)
        assert caught.value.report.ran == [Number(n=3)]
        with pytest.raises(RunFailed, match="memory of another process"):
            store.run(Cached(), executor=pool)


def test_the_end_of_the_interpreter_is_a_failure_of_the_task(store):
    class Exits(d6tstore.tasks.TaskJson):
        def run(self):
            raise SystemExit(3)

    with pytest.raises(RunFailed, match="SystemExit"):
        store.run([Exits(), Number()])
    assert Number().complete()


def test_a_failed_save_keeps_what_was_saved_before(store):
    two = Two(mode="x")
    two.save({"frame": pd.DataFrame({"x": [1]})})
    with pytest.raises(FormatError):
        two.save({"model": 1, "note": {1}})
    two.save({"model": 1, "note": 1})
    assert two.output()["note"].load() == 1
    assert store.gc(older_than=0).keys == []


def test_metrics_that_json_has_no_word_for(store):
    class Diverges(d6tstore.tasks.TaskJson):
        rows: int = 7
        task: str = "mine"

        def run(self):
            self.save(1, metrics={"loss": float("nan"), "worst": -np.inf, "seconds": 3})

    store.run(Diverges())
    row = store.compare(Diverges()).iloc[0]
    assert np.isnan(row.loss) and row.worst == -np.inf and row.seconds_metric == 3
    assert (row.rows_parameter, row.task_parameter, row.task) == (7, "mine", "Diverges")

    class Odd(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(1, metrics={"text": "\ud800"})

    with pytest.raises(RunFailed, match="no valid Unicode"):
        store.run(Odd())


def test_aggregators_by_hand(store):
    class All(d6tstore.tasks.TaskAggregator):
        def requires(self):
            return [Number(n=1), Number(n=2)]

    All().run()
    assert All().complete()
    with pytest.raises(UsageError, match="only stands for other tasks"):
        All().save(3)


def test_one_folder_under_two_names_is_one_backend(tmp_path):
    store = d6tstore.open(tmp_path / "s", backends={"same": tmp_path / "s"})
    with d6tstore.use(store):
        store.run(Number())
        Number().output().path.unlink()
        assert len(store.verify()) == 1
    with pytest.raises(UsageError, match="must be a list"):
        d6tstore.open(tmp_path / "s", trusted="team")


class ByPath(d6tstore.tasks.TaskJson):
    source: Path = Path("raw.txt")

    def run(self):
        self.save(self.source.read_text())


@d6tstore.requires(ByPath)
class ReadsPath(d6tstore.tasks.TaskJson):
    def run(self):
        self.save(self.input().load())


def test_a_worker_that_stands_elsewhere_means_the_same_project(project, tmp_path, monkeypatch):
    store = d6tstore.open(tmp_path / "s")
    (project / "raw.txt").write_text("1")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pyproject.toml").touch()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, d6tstore.use(store):
        monkeypatch.chdir(tmp_path / "other")
        pool.submit(int).result()  # the worker starts here
        monkeypatch.chdir(project)
        assert store.run(ReadsPath(), executor=pool).ran == [ByPath(), ReadsPath()]
        assert ReadsPath().complete() and ReadsPath().output().load() == "1"


def test_a_partial_save_ends_with_invalidate(store):
    two = Two(mode="by hand")
    two.save({"frame": pd.DataFrame({"x": [1]})})
    two.invalidate()
    two.save({"note": 1, "model": 2})
    assert not two.output().exists()
    two.invalidate()
    assert store.gc(older_than=0).keys == []


@pytest.mark.parametrize(
    "body",
    [{"format": "parqet"}, {"format": None}, {"persist": {"a": None}}, {"persist": 5}, {"persist": [[]]}],
)
def test_a_bad_format_is_told_before_the_work(store, body):
    done = []
    Bad = type("Bad", (d6tstore.tasks.TaskJson,), {**body, "run": lambda self: done.append(1)})
    with pytest.raises((RunFailed, D6tstoreError)):
        store.run(Bad())
    assert not done


@pytest.mark.parametrize(
    "call",
    [
        lambda s: d6tstore.open(s),
        lambda s: d6tstore.open(""),
        lambda s: d6tstore.open(5),
        lambda s: d6tstore.open("memory://", backends={"a": None}),
        lambda s: d6tstore.open("memory://", root=None),
        lambda s: d6tstore.open("memory://", trusted=5),
        lambda s: d6tstore.open("memory://", namespace=5),
        lambda s: s.run(None),
        lambda s: s.complete(None),
        lambda s: s.gc(older_than=float("nan")),
        lambda s: s.gc(older_than="x"),
        lambda s: d6tstore.grid("x", a=[1]),
        lambda s: d6tstore.requires(Number)(int),
        lambda s: s.why(None),
    ],
)
def test_bad_calls_are_errors_of_ours(store, call, project):
    with pytest.raises(D6tstoreError):
        call(store)
    assert [p.name for p in project.iterdir()] == ["pyproject.toml"]


def test_complete_means_what_load_returns(store, monkeypatch):
    for version in (1, 2):
        monkeypatch.setattr(Number, "version", version)
        store.run(Number())
    monkeypatch.setattr(Number, "version", 1)
    assert store.plan(Number()).pending == [] and not Number().complete()
    store.run(Number())
    assert Number().complete()
