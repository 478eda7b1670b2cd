"""States and reasons: exactly what must re-run does, and says why."""

from __future__ import annotations

import pytest

import d6tstore
from d6tstore import State
from d6tstore.errors import ExternalAbsent, GraphError, NeverRun, RunFailed, UsageError

FLOW = """
    import d6tstore

    def scale(x):
        return [2 * v for v in x]

    class Get(d6tstore.tasks.TaskJson):
        n: int = 3
        def run(self):
            self.save(list(range(self.n)))

    @d6tstore.requires(Get)
    class Clean(d6tstore.tasks.TaskJson):
        factor: int = 1
        def run(self):
            self.save([v * self.factor for v in scale(self.input().load())])

    @d6tstore.requires(Clean)
    class Train(d6tstore.tasks.TaskJson):
        model: str = "ols"
        def run(self):
            self.save({"model": self.model, "sum": sum(self.input().load())}, metrics={"score": 0.5})
"""


def ran(report):
    return [task.family for task in report.ran]


def test_first_run_then_nothing(any_store, flow):
    f = flow(FLOW)
    plan = any_store.plan(f.Train())
    assert [(n.state, n.reason) for n in plan] == [(State.PENDING, "never run")] * 3
    assert not plan.complete and not f.Train().complete()
    assert ran(any_store.run(f.Train())) == ["Get", "Clean", "Train"]
    report = any_store.run(f.Train())
    assert report.ran == [] and [t.family for t in report.reused] == ["Get", "Clean", "Train"]
    assert f.Train().complete() and f.Train().output().load() == {"model": "ols", "sum": 6}
    assert all(n.state is State.COMPLETE and not n.reason for n in any_store.plan(f.Train()))


def test_a_parameter_runs_only_what_depends_on_it(store, flow):
    f = flow(FLOW)
    store.run(f.Train())
    assert ran(store.run(f.Train(model="svm"))) == ["Train"]
    assert ran(store.run(f.Train(factor=3))) == ["Clean", "Train"]
    assert store.run(f.Train()).ran == []


def test_a_changed_helper_is_named(store, flow):
    store.run(flow(FLOW).Train())
    f = flow(FLOW.replace("2 * v", "3 * v"))
    plan = store.plan(f.Train())
    assert [n.state for n in plan] == [State.COMPLETE, State.PENDING, State.PENDING]
    assert "code of scale" in plan[f.Clean()].reason and plan[f.Train()].reason == "upstream will run"
    assert ran(store.run(f.Train())) == ["Clean", "Train"]
    assert f.Train().output().load()["sum"] == 9


def test_comments_docstrings_and_formatting_are_nothing(store, flow):
    store.run(flow(FLOW).Train())
    same = FLOW.replace("def scale(x):", 'def scale(\n        x,\n    ):\n        "Doc."\n        # comment')
    assert same != FLOW and store.run(flow(same).Train()).ran == []


def test_early_cut_off(store, flow):
    store.run(flow(FLOW).Train())
    f = flow(FLOW.replace("list(range(self.n))", "[*range(self.n)]"))
    plan = store.plan(f.Train())
    assert [n.reason for n in plan][1:] == ["upstream will run"] * 2
    report = store.run(f.Train())
    assert ran(report) == ["Get"] and [t.family for t in report.reused] == ["Clean", "Train"]
    assert report[f.Clean()].reason == "cut off: its inputs came out the same"


def test_force_suspends_the_cut_off(store, flow):
    f = flow(FLOW)
    store.run([f.Train(), f.Train(n=5)])
    report = store.run([f.Train(), f.Train(n=5)], force=f.Get())
    assert ran(report) == ["Get", "Clean", "Train"] and set(report.reasons().values()) == {"forced"}
    assert ran(store.run(f.Train(), force=f.Clean)) == ["Clean", "Train"]
    assert len(store.run(f.Train(), force=True).ran) == 3
    for wrong in (f.Get(n=77), "Get", d6tstore.tasks.TaskJson, 3):
        with pytest.raises(GraphError, match="none of the tasks here"):
            store.run(f.Train(), force=wrong)
    store.invalidate(f.Get())
    assert store.run(f.Train(), force=f.Train()).ran == [f.Get(), f.Train()]


def test_going_back_to_old_code_restores(store, flow):
    f = flow(FLOW)
    store.run(f.Train())
    new = flow(FLOW.replace("2 * v", "3 * v"))
    store.run(new.Train())
    f = flow(FLOW)
    assert store.plan(f.Train()).pending == []
    report = store.run(f.Train())
    assert report.ran == [] and [t.family for t in report.restored] == ["Clean", "Train"]
    assert f.Train().output().load()["sum"] == 6
    assert store.run(f.Train()).restored == []
    new = flow(FLOW.replace("2 * v", "3 * v"))
    assert store.run(new.Train()).ran == [] and new.Train().output().load()["sum"] == 9


def test_keep_versions_bounds_the_history(tmp_path, flow):
    with d6tstore.use(d6tstore.open(tmp_path / "s", keep_versions=1)) as store:
        for factor in (2, 3, 4):
            f = flow(FLOW.replace("2 * v", f"{factor} * v"))
            store.run(f.Train())
        assert len(store.history(f.Clean())) == 2
        assert store.run(flow(FLOW.replace("2 * v", "3 * v")).Train()).ran == []
        assert ran(store.run(flow(FLOW).Train())) == ["Clean", "Train"]
    with d6tstore.use(d6tstore.open(tmp_path / "t", keep_versions=0)) as store:
        store.run(flow(FLOW).Train())
        store.run(flow(FLOW.replace("2 * v", "3 * v")).Train())
        assert len(store.history(flow(FLOW).Clean())) == 1


def test_invalidate_and_force_compute_anew(store, flow):
    f = flow(FLOW)
    store.run(f.Train())
    old = store.history(f.Clean())[0]
    f.Clean().invalidate()
    assert store.plan(f.Train())[f.Clean()].reason == "never run"
    assert ran(store.run(f.Train())) == ["Clean"]  # to the same content: Train is cut off
    target = f.Clean().output()
    assert target.load(version=old.write_id) == target.load()
    store.gc(older_than=0)
    with pytest.raises(NeverRun, match="no version"):
        target.load(version=old.write_id)
    assert target.load() == [0, 2, 4]


def test_reset_downstream_upstream_all_orphans(store, flow):
    f = flow(FLOW)
    tasks = [f.Train(), f.Train(model="svm"), f.Train(n=5)]
    store.run(tasks)
    assert set(store.invalidate_downstream(f.Clean(), tasks)) == {f.Clean(), *tasks[:2]}
    assert ran(store.run(tasks)) == ["Clean", "Train", "Train"] or len(store.run(tasks).ran) == 0
    assert set(store.invalidate_upstream(f.Train())) == {f.Get(), f.Clean(), f.Train()}
    store.run(tasks)
    assert set(store.invalidate_orphans(f.Train(n=5))) == {
        t.id for t in (f.Get(), f.Clean(), f.Train(), f.Train(model="svm"))
    }
    assert store.plan(f.Train(n=5)).complete
    store.run(tasks)
    assert len(store.invalidate_all()) == 7 and not f.Get().complete()
    with pytest.raises(GraphError):
        store.invalidate_downstream(f.Train(), f.Clean())


def test_accept(store, flow):
    store.run(flow(FLOW).Train())
    f = flow(FLOW.replace("2 * v", "v * 2"))
    assert ran(store.run(f.Train(model="svm"))) == ["Clean", "Train"]
    f = flow(FLOW.replace("2 * v", "v + v"))
    assert store.accept(f.Clean()) == [f.Clean()] and store.accept(f.Clean()) == []
    assert store.run(f.Train()).ran == []
    (by,) = store.history(f.Clean())[0].accepted
    assert by.who and by.time and by.code
    assert "accepted by" in str(store.why(f.Clean()))
    with pytest.raises(NeverRun):
        store.accept(f.Clean(n=99))


def test_accept_does_not_hide_a_changed_input(store, flow):
    store.run(flow(FLOW).Train())
    f = flow(FLOW.replace("2 * v", "v + v").replace("range(self.n)", "range(self.n + 1)"))
    store.accept([f.Clean(), f.Train()])
    assert ran(store.run(f.Train())) == ["Get", "Clean", "Train"]


def test_version_replaces_the_code(store, flow):
    with_version = FLOW.replace("factor: int = 1", "factor: int = 1\n        version = 1")
    store.run(flow(with_version).Train())
    edited = with_version.replace("2 * v", "3 * v")
    assert store.run(flow(edited).Train()).ran == []
    f = flow(edited.replace("version = 1", "version = 2"))
    assert store.plan(f.Train())[f.Clean()].reason == "code changed: version 1 is now version 2"
    assert ran(store.run(f.Train())) == ["Clean", "Train"]


@pytest.mark.parametrize(
    ("check", "code_edit", "input_edit"),
    [("exists", [], ["Get"]), ("content", [], ["Get", "Clean", "Train"]), ("code", ["Clean", "Train"], None)],
)
def test_check_levels(tmp_path, flow, check, code_edit, input_edit):
    with d6tstore.use(d6tstore.open(tmp_path / "s", check=check)) as store:
        store.run(flow(FLOW).Train())
        f = flow(FLOW.replace("2 * v", "3 * v"))
        assert ran(store.run(f.Train())) == code_edit
        if input_edit is not None:
            f = flow(FLOW.replace("range(self.n)", "range(1, self.n)"))
            store.invalidate(f.Get())
            assert ran(store.run(f.Train())) == input_edit


def test_check_of_one_task(store, flow):
    source = FLOW.replace("factor: int = 1", 'factor: int = 1\n        check = "exists"')
    store.run(flow(source).Train())
    f = flow(source.replace("range(self.n)", "range(1, self.n)").replace("2 * v", "3 * v"))
    assert ran(store.run(f.Train())) == ["Get"]
    store.run(flow(FLOW).Train())
    wrong = flow(FLOW.replace("factor: int = 1", 'factor: int = 1\n        check = "sometimes"'))
    with pytest.raises(UsageError, match="check = 'sometimes' must be one of exists, content, code"):
        store.plan(wrong.Train())
    with pytest.raises(UsageError, match="check"):
        d6tstore.open(tmp_path_of(store) / "x", check="never")


def tmp_path_of(store):
    from pathlib import Path

    return Path(store.repository.default.root).parent


def test_eviction(store, flow):
    f = flow(FLOW)
    store.run(f.Train())
    f.Clean().output().path.unlink()
    f.Get().output().path.unlink()
    plan = store.plan(f.Train())
    assert [n.state for n in plan] == [State.EVICTED, State.EVICTED, State.COMPLETE]
    assert store.run(f.Train()).ran == [] and f.Train().complete()
    # Only what loads it brings it back, and what that needs.
    plan = store.plan(f.Train(model="svm"))
    assert [(n.state, n.reason) for n in plan][:2] == [(State.PENDING, "output missing")] * 2
    report = store.run(f.Train(model="svm"))
    assert ran(report) == ["Get", "Clean", "Train"]
    assert store.run(f.Train()).ran == []
    f.Get().output().path.unlink()
    assert store.plan(f.Get())[f.Get()].reason == "output missing" and not f.Get().complete()
    assert ran(store.run(f.Get())) == ["Get"]


def test_evicted_input_of_a_task_that_was_only_maybe_to_run(store, flow):
    """Clean re-runs to other content, so Train must run: its other input, evicted, comes back first."""
    two = (
        FLOW
        + """
    @d6tstore.requires({"clean": Clean, "raw": Get})
    class Both(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(self.input().load())
    """
    )
    f = flow(two)
    store.run(f.Both())
    f.Get().output().path.unlink()
    f = flow(two.replace("v * self.factor", "v * self.factor + 1"))
    report = store.run(f.Both())
    assert ran(report) == ["Get", "Clean", "Both"]
    assert f.Both().output().load() == {"clean": [1, 3, 5], "raw": [0, 1, 2]}


def test_two_readers_wait_for_the_same_evicted_input(store, flow):
    two = (
        FLOW
        + """
    class Left(Clean):
        side: str = "left"
    class Right(Clean):
        side: str = "right"
    class Top(d6tstore.tasks.TaskJson):
        def requires(self):
            return {"l": Left(), "r": Right()}
        def run(self):
            self.save(self.input().load())
    """
    )
    f = flow(two)
    store.run(f.Top())
    f.Get().output().path.unlink()
    f = flow(two.replace("2 * v", "5 * v"))
    report = store.run(f.Top(), workers=2)
    assert ran(report) == ["Get", "Left", "Right", "Top"]
    assert f.Top().output().load()["l"] == [0, 5, 10]


def test_raw_files(store, flow, project):
    source = """
    import d6tstore
    from pathlib import Path

    class Load(d6tstore.tasks.TaskJson):
        files = ["raw.csv"]
        def run(self):
            self.save(Path("raw.csv").read_text().strip())

    class ByPath(d6tstore.tasks.TaskJson):
        path: Path
        def run(self):
            self.save(sorted(p.name for p in self.path.iterdir()) if self.path.is_dir() else self.path.read_text())
    """
    f = flow(source)
    raw = project / "raw.csv"
    with pytest.raises(RunFailed, match=r"raw input file .*raw.csv is not there"):
        store.run(f.Load())
    raw.write_text("1")
    (project / "folder").mkdir()
    (project / "folder" / "a").write_text("x")
    tasks = [f.Load(), f.ByPath(path="raw.csv"), f.ByPath(path="folder")]
    store.run(tasks)
    raw.touch()
    assert store.run(tasks).ran == []
    raw.write_text("2")
    (project / "folder" / "b").write_text("y")
    report = store.run(tasks)
    assert report.ran == tasks
    assert report.reasons()[tasks[0]] == "file raw.csv changed"
    assert tasks[2].output().load() == ["a", "b"]
    raw.unlink()
    assert store.plan(tasks)[tasks[0]].reason == "file raw.csv removed"
    raw.write_text("1")
    assert f.Load() in store.run(tasks).restored


def test_external(store, flow):
    source = (
        FLOW
        + """
    class Theirs(Get):
        external = True

    @d6tstore.requires(Theirs)
    class Mine(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(sum(self.input().load()))

    class Other(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(1)
    """
    )
    f = flow(source)
    assert store.plan(f.Mine())[f.Theirs()].state is State.EXTERNAL
    with pytest.raises(RunFailed) as caught:
        store.run([f.Mine(), f.Other()])
    assert isinstance(caught.value.__cause__, ExternalAbsent) and "pull" in str(caught.value)
    assert caught.value.report.blocked == [f.Mine()] and caught.value.report.ran == [f.Other()]
    store.run(f.Get())
    assert ran(store.run(f.Mine())) == ["Mine"] and f.Mine().output().load() == 3
    f = flow(source.replace("range(self.n)", "range(self.n + 1)"))
    assert store.run(f.Mine()).ran == []  # their code is not ours to judge
    store.run(f.Get())
    assert store.plan(f.Mine())[f.Mine()].reason == "input Get changed"
    assert ran(store.run(f.Mine())) == ["Mine"] and f.Mine().output().load() == 6
    f.Theirs().output().path.unlink()
    assert store.run(f.Mine()).ran == []  # evicted
    with pytest.raises(RunFailed, match="external"):
        store.run(f.Mine(), force=f.Mine())
    with pytest.raises(GraphError, match="two task classes of the family 'Get'"):
        store.run([f.Mine(), f.Clean()])


def test_memory_only_tasks(store, flow):
    source = FLOW.replace("class Clean(d6tstore.tasks.TaskJson)", "class Clean(d6tstore.tasks.TaskCache)")
    f = flow(source)
    store.run(f.Train())
    assert store.run(f.Train()).ran == []
    with d6tstore.use(d6tstore.open(store.repository.default.root)) as later:  # another process, as it were
        plan = later.plan(f.Train())
        assert [n.state for n in plan] == [State.COMPLETE, State.EVICTED, State.COMPLETE]
        assert later.run(f.Train()).ran == []
        assert ran(later.run(f.Train(model="svm"))) == ["Clean", "Train"]
        f = flow(source.replace("2 * v", "3 * v"))
        assert ran(later.run(f.Train())) == ["Clean", "Train"]


def test_another_module_made_it(store, flow):
    flow(FLOW, "theirs")
    import theirs

    store.run(theirs.Train())
    f = flow(FLOW, "mine")
    plan = store.plan(f.Train())
    assert "made by module theirs, this is mine" in plan[f.Get()].reason
    store.accept([f.Get(), f.Clean(), f.Train()])
    assert store.run(f.Train()).ran == []


def test_namespace_and_named_backends(tmp_path, flow):
    f = flow(FLOW.replace("factor: int = 1", 'factor: int = 1\n        backend = "lake"'))
    with d6tstore.use(d6tstore.open(tmp_path / "s", namespace="a", backends={"lake": tmp_path / "lake"})) as a:
        a.run(f.Train())
        assert (tmp_path / "lake" / "a.Clean").is_dir() and (tmp_path / "s" / "a.Train").is_dir()
        assert not (tmp_path / "s" / "a.Clean").exists()
        with d6tstore.use(d6tstore.open(tmp_path / "s", namespace="b", backends={"lake": tmp_path / "lake"})) as b:
            assert not f.Train().complete()
            assert b.invalidate_all() == [] and b.gc(older_than=0).keys == []
        assert f.Train().complete()
    with d6tstore.use(d6tstore.open(tmp_path / "s")) as store:
        with pytest.raises(UsageError, match="backend 'lake' is not one of memory"):
            store.run(f.Train())
    for name in ("../x", "", "a.b", "x" * 80):
        if name:
            with pytest.raises(UsageError, match="namespace"):
                d6tstore.open(tmp_path / "s", namespace=name)


def test_why_says_everything(store, flow):
    f = flow(FLOW)
    store.run(f.Train())
    assert "has model='ols'" in str(store.why(f.Train(model="svm")))
    assert "no task of the family" in str(store.why(flow(FLOW.replace("Train", "Fit")).Fit()))
    f = flow(FLOW.replace("2 * v", "3 * v").replace("range(self.n)", "range(9)"))
    text = str(store.why(f.Clean()))
    assert "code of scale" in text and "input Get" in text
    why = store.why(f.Get())
    assert why.state == "PENDING" and why.reason.startswith("code of Get.run")


def test_history_is_in_the_order_of_replacement(store, flow):
    """A version that was restored and replaced again is the newest kept one."""

    def version(n):
        return flow(FLOW.replace("factor: int = 1", f"factor: int = 1\n        version = {n}")).Clean()

    for n in (1, 2, 3, 1, 4):
        store.run(version(n))
    assert store.run(version(1)).ran == []


def test_what_was_forced_away_is_not_restored(store, flow):
    counter = """
    import d6tstore
    from pathlib import Path
    class Count(d6tstore.tasks.TaskJson):
        def run(self):
            n = len(Path("n").read_text()) if Path("n").exists() else 0
            Path("n").write_text("x" * (n + 1))
            self.save(n + 1)
    """
    f = flow(counter)
    store.run(f.Count())
    store.run(f.Count(), force=True)
    store.run(flow(counter.replace("n + 1)", "n + 1 )").replace("self.save(n", "self.save(0 + n")).Count())
    f = flow(counter)
    f_report = store.run(f.Count())
    assert f_report.restored == [f.Count()] and f.Count().output().load() == 2
    f.Count().output().path.unlink()
    assert store.run(f.Count()).ran == [f.Count()]


def test_accepted_code_is_accepted_when_it_comes_back(store, flow):
    store.run(flow(FLOW).Train())
    store.accept(flow(FLOW.replace("2 * v", "v * 2")).Clean())
    assert store.run(flow(FLOW).Train()).ran == []


def test_external_is_never_run_nor_written(store, flow):
    source = (
        FLOW
        + """
    class Theirs(Get):
        external = True
    """
    )
    f = flow(source)
    store.run(f.Get())
    before = store.history(f.Get())
    assert store.run(f.Theirs(), force=True).ran == []
    for call in (f.Theirs().run, lambda: f.Theirs().save(3)):
        with pytest.raises(UsageError, match="is external"):
            call()
    assert store.accept(f.Theirs()) == [] and store.history(f.Get()) == before


def test_a_version_speaks_for_its_own_run_only(store, flow):
    source = """
    import d6tstore
    class Base(d6tstore.tasks.TaskJson):
        version = 1
        def run(self):
            self.save(1)
    class Child(Base):
        def run(self):
            self.save(2)
    class Plain(Base):
        pass
    """
    f = flow(source)
    store.run([f.Child(), f.Plain()])
    f = flow(source.replace("self.save(2)", "self.save(3)").replace("self.save(1)", "self.save(0)"))
    assert store.run([f.Child(), f.Plain()]).ran == [f.Child()]


def test_a_recomputed_input_with_other_content_makes_no_mixture(store, flow):
    source = """
    import d6tstore
    from pathlib import Path
    class A(d6tstore.tasks.TaskJson):
        def run(self):
            n = Path("n").stat().st_size if Path("n").exists() else 0
            Path("n").write_text("x" * (n + 1))
            self.save(n + 1)
    @d6tstore.requires(A)
    class B(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(["B", self.input().load()])
    class D(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(2)
    @d6tstore.requires(A, D)
    class C(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(["C", self.input().load()])
    @d6tstore.requires(B, C)
    class E(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(self.input().load())
    """
    f = flow(source)
    store.run(f.E())
    f.A().output().path.unlink()
    f = flow(source.replace("self.save(2)", "self.save(3)"))
    report = store.run(f.E())
    assert f.E().output().load() == [["B", 2], ["C", [2, 3]]]
    assert [t.family for t in report.ran] == ["A", "B", "D", "C", "E"]
    assert store.plan(f.E()).complete


def test_force_by_the_class_of_an_aggregator(store, flow):
    f = flow(
        FLOW
        + """
    class Both(d6tstore.tasks.TaskAggregator):
        def requires(self):
            return [Get(n=1), Get(n=2)]
    """
    )
    store.run(f.Both())
    assert store.run(f.Both(), force=f.Both).ran == [f.Get(n=1), f.Get(n=2)]
    assert store.accept(f.Both()) == []


def test_history_does_not_believe_clocks(store, flow, monkeypatch):
    """What was replaced last is kept, though the clock of an earlier writer was years ahead."""
    from d6tstore import record

    def version(n):
        return flow(FLOW.replace("factor: int = 1", f"factor: int = 1\n        version = {n}")).Clean()

    with monkeypatch.context() as ahead:
        ahead.setattr(record, "now", lambda: "2099-01-01T00:00:00.000000+00:00")
        for n in (1, 2, 3):
            store.run(version(n))
    store.run(version(4))
    assert store.run(version(3)).ran == []
