"""Kills real processes at every step of what they do to a store, and looks at what is left.

Run as a program, `killing.py SCENARIO FOLDER light|heavy|random`: for n = 1, 2, ... a forked child does the
scenario and kills itself with SIGKILL just before its n-th call to the operating system (a write is cut in
half first), until it gets through. After each death the folder is judged, the work repeated, gc run.
`heavy` adds frames; `random` kills from outside at random times instead.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import sys
from pathlib import Path

import d6tstore

STEPS = ("open", "write", "pwrite", "replace", "unlink", "mkdir", "makedirs", "rmdir", "ftruncate", "fsync")
MODELS = (0, 1)
GEN = 1  # the code of the flow reads it: another number is other code
HEAVY = False


class Get(d6tstore.tasks.TaskJson):
    def run(self):
        self.save({"gen": GEN, "rows": [GEN] * 50})


@d6tstore.requires(Get)
class Split(d6tstore.tasks.TaskJson):
    persist = {"left": "json", "right": "pickle"}

    def run(self):
        gen = self.input().load()["gen"]
        self.save({"left": [gen, "left"]})
        self.save({"right": (gen, "right")}, metrics={"gen": gen})


@d6tstore.requires(Split)
class Fit(d6tstore.tasks.TaskPickle):
    model: int = 0

    def run(self):
        both = self.input().load()
        self.save({"model": self.model, "of": [both["left"][0], both["right"][0]]})


@d6tstore.requires(Fit)
class Frame(d6tstore.tasks.TaskPqPandas):
    def run(self):
        import pandas as pd

        self.save(pd.DataFrame({"model": [self.model], "gen": self.input().load()["of"][:1]}))


def tasks():
    """What the scenarios run."""
    return [Frame(model=m) if HEAVY else Fit(model=m) for m in MODELS]


def everything():
    """All tasks, with what each must hold after generation `gen`."""
    yield Get(), lambda gen: {"gen": gen, "rows": [gen] * 50}
    yield Split(), lambda gen: {"left": [gen, "left"], "right": (gen, "right")}
    for m in MODELS:
        yield Fit(model=m), lambda gen, m=m: {"model": m, "of": [gen, gen]}
        if HEAVY:
            yield Frame(model=m), lambda gen, m=m: [m, gen]


def generation(gen):
    """Make the code of the flow that of a generation."""
    global GEN
    GEN = gen


def plain(value):
    """A value that `==` compares."""
    return value.iloc[0].tolist() if hasattr(value, "iloc") else value


# ------------------------------------------------------------------ scenarios


class Scenario:
    """What is there before (`prepare`), what the child does (`act`), and what may be found after."""

    allowed: tuple[int, ...] = (1, 2)
    final = 2
    absent = False  # may a task be without a record after the death?
    workers: int | None = None

    def prepare(self, store):
        generation(1)
        store.run(tasks())

    def begin(self):
        generation(2)

    def act(self, store):
        store.run(tasks(), workers=self.workers)

    def again(self, store):
        store.run(tasks())


class First(Scenario):
    """A run in an empty folder."""

    allowed = (2,)
    absent = True

    def prepare(self, store):
        pass


class Replace(Scenario):
    """Other code: all results are replaced."""


class Threads(Scenario):
    """The same with threads."""

    workers = 4


class Force(Scenario):
    """The same values computed anew: the objects are others."""

    allowed = (1,)
    final = 1

    def begin(self):
        generation(1)

    def act(self, store):
        store.run(tasks(), force=True)


class Durable(Replace):
    """With fsync."""


class Restore(Scenario):
    """Going back to earlier code: kept versions become current again."""

    final = 1

    def prepare(self, store):
        for gen in (1, 2):
            generation(gen)
            store.run(tasks())

    def begin(self):
        generation(1)

    def act(self, store):
        assert store.run(tasks()).ran == []


class Invalidate(Scenario):
    """Results are forgotten one after the other."""

    allowed = (1,)
    final = 1
    absent = True

    def begin(self):
        generation(1)

    def act(self, store):
        store.invalidate_upstream(tasks())


class InvalidateAll(Invalidate):
    """Results are forgotten at once, kept versions too."""

    allowed = (1, 2)

    def prepare(self, store):
        for gen in (2, 1):
            generation(gen)
            store.run(tasks())

    def act(self, store):
        store.invalidate_all()


class Accept(Scenario):
    """An edit is said to change nothing: the old values stand."""

    allowed = (1,)
    final = 1

    def act(self, store):
        store.accept([task for task, _ in everything()])

    again = act


class Collect(Scenario):
    """Garbage is collected: superseded versions, dismissed ones, debris."""

    allowed = (5,)
    final = 5

    def prepare(self, store):
        for gen in (1, 2, 3):
            generation(gen)
            store.run(tasks())
        store.invalidate_all()
        for gen in (4, 3, 2, 5):
            generation(gen)
            store.run(tasks())
        objects = sorted(Path(store.repository.default.root).glob("*/*/*-*.json"))
        shutil.copy(objects[0], objects[0].with_name("copy-0123456789abcdef.json"))

    def begin(self):
        generation(5)

    def act(self, store):
        assert store.gc(older_than=0).keys

    def again(self, store):
        store.gc(older_than=0)


SCENARIOS = {
    cls.__name__.lower(): cls
    for cls in (
        First, Replace, Threads, Force, Durable, Restore, Invalidate, InvalidateAll, Accept, Collect
    )
}  # fmt: skip


# --------------------------------------------------------------------- dying


def deadly(at):
    """From here on, die at the `at`-th call to the operating system; returns the counter."""
    count = [0]

    def patched(name, real):
        def call(*args, **kwargs):
            count[0] += 1
            if count[0] == at:
                if name in ("write", "pwrite") and len(args[1]) > 1:
                    real(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in STEPS:
        setattr(os, name, patched(name, getattr(os, name)))
    return count


def child(action):
    """Do something in a forked process; returns its id and a pipe that closes with it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    code = 3
    try:
        os.close(reading)
        action()
        code = 0
    finally:
        os._exit(code)


def wait(pid, reading):
    """How the child ended: `killed`, or its exit code."""
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return "killed"
    return os.WEXITSTATUS(status)


# ------------------------------------------------------------------- judging


def judge(store, scenario, where):
    """Every task is complete with a whole result, or pending; nothing is partial, nothing crashes."""
    plan = store.plan(tasks())
    for task, expected in everything():
        node = plan[task]
        assert str(node.state) in ("COMPLETE", "PENDING"), f"{where}: {node}"
        if node.record is None and node.restore is None:
            assert scenario.absent, f"{where}: {task!r} lost its result"
            assert node.reason == "never run", f"{where}: {node}"
        else:
            wanted = [expected(gen) for gen in scenario.allowed]
            if node.state == "COMPLETE" and not node.reason:
                wanted = [expected(scenario.final)]
            if node.record is not None:
                value = plain(task.output().load(verify=True))
                assert value in wanted, f"{where}: {task!r} is {value!r}, not one of {wanted!r}"
    assert store.verify() == [], f"{where}: {store.verify()}"


def files(root):
    return {p.relative_to(root).as_posix() for p in Path(root).rglob("*") if not p.is_dir()}


def clean(store, where):
    """After gc there are records, what they name, and nothing else."""
    store.gc(older_than=0)
    root = store.repository.default.root
    found = files(root)
    records = {f for f in found if f.startswith((".d6tstore/records/", ".d6tstore/history/"))}
    named = set()
    for key in records:
        text = json.loads((Path(root) / key).read_text())
        named |= {output["key"] for output in text["outputs"].values()}
    debris = found - records - named
    assert not debris, f"{where}: debris {sorted(debris)}"
    assert not named - found, f"{where}: lost {sorted(named - found)}"
    assert store.verify() == [], f"{where}: {store.verify()}"


def finish(store, scenario, where):
    """A rerun in the same folder gives right values, and leaves no debris."""
    scenario.begin()
    scenario.again(store)
    if scenario.absent or not isinstance(scenario, Accept):
        store.run(tasks())
    plan = store.plan(tasks())
    assert plan.complete, f"{where}: {plan.pending} after the rerun"
    for task, expected in everything():
        assert plain(task.output().load(verify=True)) == expected(scenario.final), f"{where}: {task!r}"
    clean(store, where)


def fresh(base, work, durable):
    shutil.rmtree(work, ignore_errors=True)
    if base.exists():
        shutil.copytree(base, work)
    return d6tstore.open(work, durable=durable)


def each_step(scenario, base, work, durable):
    """Die at step 1, 2, ... until the work is done; returns how many deaths there were."""
    for at in range(1, 2000):
        store = fresh(base, work, durable)
        scenario.begin()

        def action(store=store, at=at):
            deadly(at)
            with d6tstore.use(store):
                scenario.act(store)

        end = wait(*child(action))
        if end != "killed":
            assert end == 0, f"step {at}: the child failed"
            return at - 1
        with d6tstore.use(d6tstore.open(work)) as store:
            judge(store, scenario, f"step {at}")
            finish(store, scenario, f"step {at}")
    raise AssertionError("the child never came to its end")


def random_times(scenario, base, work, times):
    """Die at random moments, killed from outside."""
    chance, killed = random.Random(20), 0
    for i in range(times):
        store = fresh(base, work, False)
        scenario.begin()

        def action(store=store):
            with d6tstore.use(store):
                while True:
                    scenario.act(store)
                    generation(GEN + 1)

        pid, reading = child(action)
        select.select([reading], [], [], chance.uniform(0.0, 0.06))
        os.kill(pid, signal.SIGKILL)
        killed += wait(pid, reading) == "killed"
        with d6tstore.use(d6tstore.open(work)) as store:
            for task, expected in everything():
                found = store.repository.read_one(task)
                assert found is not None
                value = plain(task.output().load(verify=True))
                assert value in [expected(gen) for gen in range(1, 200)], f"time {i}: {task!r} is {value!r}"
            assert store.verify() == []
            finish(store, scenario, f"time {i}")
    return killed


def main(name, folder, mode):
    global HEAVY
    HEAVY = mode == "heavy"
    if HEAVY:
        import pandas.core.api  # noqa: F401  once here, not in each child
        import pyarrow.parquet  # noqa: F401
    base, work = Path(folder) / "base", Path(folder) / "work"
    scenario = SCENARIOS[name]()
    with d6tstore.use(d6tstore.open(base)) as store:
        scenario.prepare(store)
    if mode == "random":
        print(random_times(scenario, base, work, 15))
    else:
        print(each_step(scenario, base, work, name == "durable"))


if __name__ == "__main__":
    main(*sys.argv[1:])
