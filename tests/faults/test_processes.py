"""Several processes on one folder: other code, the same code, a reader, a garbage collector.

What can go wrong: a reader meets an object that was just replaced; two outputs of two generations are loaded
together; work is done twice; a process waits for a claim whose holder died; gc removes what a running task
just wrote, or what a run published between gc's look and its deletion.
"""

from __future__ import annotations

import json
import sys

import pytest

import d6tstore

pytest.importorskip("fcntl", reason="claims between processes need fcntl; this system has none")

FLOW = """
    import os, sys
    import d6tstore

    GEN = int(os.environ.get("GEN", "1"))
    LOG = os.environ.get("LOG", os.devnull)

    def note(text):
        fd = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, (text + "\\n").encode())
        os.close(fd)

    class Get(d6tstore.tasks.TaskJson):
        def run(self):
            self.save({"gen": GEN, "filling": "x" * 2000})

    @d6tstore.requires(Get)
    class Pair(d6tstore.tasks.TaskJson):
        persist = ["a", "b"]
        def run(self):
            gen = self.input().load()["gen"]
            self.save({"a": gen})
            self.save({"b": gen}, metrics={"gen": gen})

    @d6tstore.requires(Pair)
    class Fit(d6tstore.tasks.TaskPickle):
        n: int
        def run(self):
            note(repr(self))
            both = self.input().load()
            self.save((both["a"], both["b"], GEN, self.n))

    class Held(d6tstore.tasks.TaskJson):
        def run(self):
            note("Held")
            print("inside", flush=True)
            sys.stdin.readline()
            self.save("held")
"""

WRITER = """
    import sys, flow, d6tstore
    store = d6tstore.open(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    rounds, lost = int(sys.argv[2]), 0
    for i in range(rounds):
        with d6tstore.use(store):
            try:
                store.run([flow.Fit(n=n) for n in range(3)], force=True if i % 3 == 2 else None)
            except d6tstore.errors.RunFailed as exc:
                # gc(older_than=0) may take an input which the other code has superseded twice meanwhile:
                # that is what the age is for. It must be told as it is, and the next run must do.
                if not (sys.argv[3:] and isinstance(exc.__cause__, d6tstore.errors.OutputMissing)):
                    raise
                lost += 1
    assert lost < rounds
"""

READER = """
    import sys, threading, flow, d6tstore
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
    seen, reads = set(), 0
    with d6tstore.use(d6tstore.open(sys.argv[1])) as store:
        print("ready", flush=True)
        while not (stop.is_set() and reads):
            pair = flow.Pair().output().load()
            assert pair["a"] == pair["b"], f"a mixture: {pair}"
            one = flow.Pair().output()["a"].record()
            assert set(one.outputs) == {"a", "b"}
            fit = flow.Fit(n=1).output().load(verify=True)
            assert fit[0] == fit[1] and fit[3] == 1, f"a mixture: {fit}"
            flow.Get().output().load()
            for found in store.history(flow.Pair()):
                assert set(found.outputs) == {"a", "b"}
            store.plan(flow.Fit(n=0))
            seen.add(pair["a"])
            reads += 1
    print(reads, sorted(seen))
"""

COLLECTOR = """
    import sys, threading, d6tstore
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
    store, rounds, removed = d6tstore.open(sys.argv[1]), 0, 0
    print("ready", flush=True)
    while not (stop.is_set() and rounds):
        removed += len(store.gc(older_than=0).keys)
        rounds += 1
    print(rounds, removed)
"""


def text(program):
    import textwrap

    return textwrap.dedent(program)


def ready(process, line="ready"):
    got = process.stdout.readline()
    assert line in got, (got, process.stderr.read() if not got else "")


@pytest.fixture
def root(project, tmp_path, monkeypatch):
    (project / "flow.py").write_text(text(FLOW))
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    yield tmp_path / "store"
    sys.modules.pop("flow", None)


def environment(monkeypatch, gen):
    monkeypatch.setenv("GEN", str(gen))


@pytest.mark.parametrize("collecting", [False, True], ids=["alone", "with-gc"])
def test_two_generations_at_once_with_a_reader(children, root, monkeypatch, collecting):
    first = children.start(text(WRITER), root, 1)
    ready(first)
    children.finish(first, last="go\n")

    reader = children.start(text(READER), root)
    ready(reader)
    others = [reader]
    if collecting:
        others.append(children.start(text(COLLECTOR), root))
        ready(others[-1])
    writers = []
    for gen in (1, 2):
        environment(monkeypatch, gen)
        writers.append(children.start(text(WRITER), root, 12, *["gc"] * collecting))
        ready(writers[-1])
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        children.finish(writer)
    outputs = [children.finish(other, last="stop\n") for other in others]
    reads, seen = outputs[0].split(" ", 1)
    assert int(reads) >= 5
    assert set(json.loads(seen)) <= {1, 2}

    environment(monkeypatch, 2)
    last = children.start(text(WRITER), root, 1)
    ready(last)
    children.finish(last, last="go\n")
    store = d6tstore.open(root)
    assert store.verify() == []
    import flow

    with d6tstore.use(store):
        assert [flow.Fit(n=n).output().load() for n in range(3)] == [(2, 2, 2, n) for n in range(3)]


RUNNER = """
    import logging, sys, flow, d6tstore
    logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
    sys.stdout.reconfigure(line_buffering=True)
    report = d6tstore.open(sys.argv[1]).run([flow.Held()] + [flow.Fit(n=n) for n in range(30)])
    print("ran", len(report.ran))
"""


def waits(process):
    for line in process.stdout:
        if "is being computed" in line:
            assert "waiting" in line and "pid=" in line
            return
    raise AssertionError("it never waited\n" + process.stderr.read())


def inside(process):
    for line in process.stdout:
        if "inside" in line:
            return
    raise AssertionError("it never began\n" + process.stderr.read())


def counted(path):
    lines = path.read_text().splitlines()
    return {line: lines.count(line) for line in lines}


def test_the_same_code_at_once_does_no_work_twice(children, root, tmp_path):
    first = children.start(text(RUNNER), root)
    inside(first)
    second = children.start(text(RUNNER), root)
    waits(second)
    first.stdin.write("go\n")
    first.stdin.flush()
    out = [children.finish(first), children.finish(second)]
    ran = [int(o.split()[-1]) for o in out]
    assert sum(ran) == 1 + 2 + 30
    count = counted(tmp_path / "log")
    assert len(count) == 31
    assert set(count.values()) == {1}


def test_the_claim_of_a_killed_process_blocks_nobody(children, root, tmp_path):
    first = children.start(text(RUNNER), root)
    inside(first)
    second = children.start(text(RUNNER), root)
    waits(second)
    first.kill()
    assert "ran 33" in children.finish(second, last="go\n")
    assert counted(tmp_path / "log")["Held"] == 2
    store = d6tstore.open(root)
    store.gc(older_than=0)
    left = {p.relative_to(root).parts[1] for p in root.glob(".d6tstore/*/*")}
    assert left == {"records"}


WIDE = """
    import sys, d6tstore
    class Leaf(d6tstore.tasks.TaskPickle):
        n: int
        persist = ["small", "large"]
        def run(self):
            self.save({"small": self.n})
            self.save({"large": b"x" * (self.n % 2 * 5_000_000 if self.n < 8 else 1000)})
    @d6tstore.requires(Leaf)
    class Sum(d6tstore.tasks.TaskPickle):
        def run(self):
            both = self.input().load()
            self.save((both["small"], len(both["large"])))
    store = d6tstore.open(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    tasks = [Sum(n=n) for n in range(100)]
    with d6tstore.use(store):
        report = store.run(tasks, workers=2 if sys.argv[2] == "threads" else None)
        assert len(report.ran) == 200
        again = store.run(tasks, force=True)
        assert len(again.ran) == 200
        assert [t.output().load(verify=True)[0] for t in tasks] == list(range(100))
        assert store.verify() == []
        assert store.run(tasks).ran == []
"""


@pytest.mark.parametrize("how", ["serial", "threads"])
def test_gc_in_a_loop_takes_nothing_from_a_running_process(children, tmp_path, how):
    root = tmp_path / "store"
    collector = children.start(text(COLLECTOR), root)
    ready(collector)
    runner = children.start(text(WIDE), root, how)
    ready(runner)
    children.finish(runner, last="go\n")
    rounds, _ = map(int, children.finish(collector, last="stop\n").split())
    assert rounds >= 3
    assert d6tstore.open(root).verify() == []
