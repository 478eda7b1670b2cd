"""Threads and Ctrl-C.

What can go wrong: a failing task takes others with it; work is done twice by threads that share a store or a
folder; an interrupt throws away what was just published, or leaves the run hanging; a reader
joins outputs of two runs.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import d6tstore
from d6tstore.errors import RunFailed

ran = []  # what ran in this process, in the order in which it did; each test empties it
lock = threading.Lock()
GEN = 1


@pytest.fixture(autouse=True)
def nothing_ran():
    ran.clear()


def note(task):
    with lock:
        ran.append(repr(task))


class Leaf(d6tstore.tasks.TaskJson):
    n: int

    def run(self):
        note(self)
        if self.n % 7 == 3:
            raise ValueError(f"leaf {self.n}")
        self.save(self.n)


@d6tstore.requires(Leaf)
class Double(d6tstore.tasks.TaskJson):
    persist = ["value", "source"]

    def run(self):
        note(self)
        n = self.input().load()
        self.save({"value": 2 * n})
        self.save({"source": n})


class Pair(d6tstore.tasks.TaskJson):
    persist = ["a", "b"]
    version = 1

    def run(self):
        self.save({"a": GEN, "b": GEN})


class Coded(d6tstore.tasks.TaskJson):
    def run(self):
        self.save({"gen": GEN})


class Plain(d6tstore.tasks.TaskJson):
    n: int

    def run(self):
        note(self)
        self.save([self.n])


def test_workers_on_a_wide_graph_with_failing_tasks(store):
    tasks = [Double(n=n) for n in range(60)]
    with pytest.raises(RunFailed) as caught:
        store.run(tasks, workers=4)
    report = caught.value.report
    bad = {n for n in range(60) if n % 7 == 3}
    assert {t.n for t in report.failed} == {t.n for t in report.blocked} == bad
    assert {t.family for t in report.blocked} == {"Double"}
    assert isinstance(caught.value.__cause__, ValueError)
    for n in set(range(60)) - bad:
        assert Double(n=n).output().load(verify=True) == {"value": 2 * n, "source": n}
    assert len(ran) == len(set(ran)) == 60 + 60 - len(bad)
    assert store.verify() == []
    assert store.gc(older_than=0).keys == []


@pytest.mark.parametrize("shared", [True, False], ids=["one-store", "two-stores"])
def test_two_threads_run_the_same_tasks_at_once(tmp_path, shared):
    stores = [d6tstore.open(tmp_path / "store") for _ in range(2)]
    stores = stores[:1] * 2 if shared else stores
    start = threading.Barrier(2)

    def work(store):
        start.wait(30)
        with d6tstore.use(store):
            return store.run([Plain(n=n) for n in range(50)], workers=2)

    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(work, stores))
    assert sorted(ran) == sorted(repr(Plain(n=n)) for n in range(50))
    assert sum(len(r.ran) for r in reports) == 50
    assert all(len(r) == 50 for r in reports)
    assert stores[0].verify() == []


def test_a_load_of_several_outputs_never_joins_two_runs(any_store, monkeypatch):
    global GEN
    GEN = 1
    any_store.run(Pair())
    kind = type(any_store.repository.default)
    real, switched = kind.read, []

    def read(self, key):
        global GEN
        data = real(self, key)
        if key.startswith("Pair/") and "/a-" in key and not switched:
            switched.append(key)  # the next generation is out just after the first output was read
            GEN = 2
            any_store.run(Pair(), force=True)
        return data

    monkeypatch.setattr(kind, "read", read)
    first = Pair().output().load()
    assert switched
    assert first["a"] == first["b"]
    assert Pair().output().load() == {"a": 2, "b": 2}


def test_a_load_whose_objects_go_meanwhile_starts_over(any_store, monkeypatch):
    global GEN
    GEN = 1
    any_store.run(Pair())
    kind = type(any_store.repository.default)
    real, switched = kind.read, []

    def read(self, key):
        global GEN
        if key.startswith("Pair/") and "/b-" in key and not switched:
            switched.append(key)
            GEN = 2
            any_store.run(Pair(), force=True)
            self.delete(key)
        return real(self, key)

    monkeypatch.setattr(kind, "read", read)
    assert Pair().output().load() == {"a": 2, "b": 2}


# ------------------------------------------------------------------ Ctrl-C


def interrupted_at(monkeypatch, store, method, when):
    """Raise KeyboardInterrupt once, 'before' or 'after' the backend's `method`, as `when(key)` says."""
    kind = type(store.repository.default)
    real, done = getattr(kind, method), []

    def patched(self, key, *args):
        moment = None if done else when(key)
        if moment:
            done.append(key)
        if moment == "before":
            raise KeyboardInterrupt
        result = real(self, key, *args)
        if moment == "after":
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(kind, method, patched)
    return done


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("where", ["Pair/", ".d6tstore/records/", ".d6tstore/history/"])
def test_interrupt_around_each_write(any_store, monkeypatch, where, moment):
    global GEN
    GEN = 1
    any_store.run(Pair())
    GEN = 2
    done = interrupted_at(monkeypatch, any_store, "write", lambda key: moment if key.startswith(where) else None)
    with pytest.raises(KeyboardInterrupt):
        any_store.run(Pair(), force=True)
    assert done
    published = where == ".d6tstore/records/" and moment == "after"
    assert Pair().output().load(verify=True) == dict.fromkeys("ab", 2 if published else 1)
    assert any_store.verify() == []
    any_store.gc(older_than=0)
    assert Pair().output().load() == dict.fromkeys("ab", 2 if published else 1)
    named = {o.key for r in any_store.history(Pair()) for o in r.outputs.values()}
    objects = {e.key for e in any_store.repository.default.list() if not e.key.startswith(".d6tstore/")}
    assert objects == named


def test_interrupt_while_old_versions_are_trimmed_keeps_the_new_result(any_store, monkeypatch):
    global GEN
    for GEN in (1, 2, 3):  # noqa: PLW0603
        any_store.run(Coded())
    GEN = 4
    interrupted_at(
        monkeypatch,
        any_store,
        "delete",
        lambda key: "before" if key.startswith(".d6tstore/history/") else None,
    )
    with pytest.raises(KeyboardInterrupt):
        any_store.run(Coded())
    assert Coded().output().load(verify=True) == {"gen": 4}
    assert any_store.verify() == []


PROGRAM = """
import os, signal, sys, threading, d6tstore
signal.signal(signal.SIGINT, signal.default_int_handler)  # the shell may have told us to ignore it
inside = threading.Semaphore(0)

class Done(d6tstore.tasks.TaskJson):
    n: int
    def run(self):
        self.save(self.n)

@d6tstore.requires(Done)
class Long(d6tstore.tasks.TaskPickle):
    persist = ["part", "rest"]
    def run(self):
        self.save({"part": self.n})
        os.write(1, b"inside\\n")
        sys.stdin.readline() if sys.argv[2] == "serial" else go.wait(60)
        self.save({"rest": self.n})

class After(d6tstore.tasks.TaskJson):
    n: int
    def requires(self):
        return Long(n=self.n)
    def run(self):
        self.save("too late")

go = threading.Event()
store = d6tstore.open(sys.argv[1])
workers = None if sys.argv[2] == "serial" else 2
if workers:
    threading.Thread(target=lambda: (sys.stdin.readline(), go.set()), daemon=True).start()
store.run([Done(n=n) for n in range(2)])
with d6tstore.use(store):
    try:
        store.run([After(n=n) for n in range(2)], workers=workers)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        store.gc(older_than=0)
        assert store.verify() == []
        left = {e.key.split("/")[0] for e in store.repository.default.list()}
        print(sorted(left), [Long(n=n).complete() for n in range(2)])
        assert store.repository.default.clean(float("inf")) == []
"""


@pytest.mark.parametrize("how", ["serial", "threads"])
def test_ctrl_c(children, tmp_path, how):
    import signal

    process = children.start(PROGRAM, tmp_path / "store", how)
    for _ in range(1 if how == "serial" else 2):
        assert process.stdout.readline() == "inside\n", process.stderr.read()
    process.send_signal(signal.SIGINT)
    # Threads cannot be broken off: what runs comes to its end and stays, what waits never begins.
    out = children.finish(process, last=None if how == "serial" else "go\n").splitlines()
    assert out[0] == "interrupted"
    if how == "serial":
        assert out[1] == "['.d6tstore', 'Done'] [False, False]"
    else:
        assert out[1] == "['.d6tstore', 'Done', 'Long'] [True, True]"
