"""Pipes between folders: who is killed, full, read-only, at work at the same time, wrong about the clock, or lies."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pipe_people import Blob, Frame, Number, Process, Twice, actions, pull_while_computing, race, whole

from d6tstore import record
from d6tstore.errors import Conflict, OutputMissing
from d6tstore.sharing import publishing

KILLING = Path(__file__).parent / "killing_pipes.py"

# Scenario and the fewest steps that it has: were the hook ineffective, there would be none.
SCENARIOS = {
    "pushfirst": 90, "pushnewer": 90, "pushours": 90, "pushremoval": 60, "pullfirst": 80, "pullnewer": 80,
    "pulltheirs": 80, "loadlater": 50,
}  # fmt: skip


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_steps_of_an_exchange(children, tmp_path, scenario):
    steps = children.finish(children.start_file(KILLING, scenario, tmp_path, 4))
    assert int(steps) >= SCENARIOS[scenario]


@pytest.mark.parametrize("round", range(3))
def test_two_push_at_once(ann, bob, tmp_path, round):
    race(ann, bob, tmp_path)


# ------------------------------------------------------------- refused, full, read-only


def objects(store):
    return {entry.key: entry.version for entry in store.repository.default.list()}


FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
"""


@pytest.mark.parametrize("way", ["push", "pull"])
def test_no_room_for_a_large_one(ann, bob, way):
    """RLIMIT_FSIZE: the operating system itself breaks off a write."""
    pytest.importorskip("resource", reason="this system has no resource limits")
    ann.run(Blob(n=1), Number(n=1), Number(n=2))
    if way == "pull":
        ann.pipe.push()
    person = ann if way == "push" else bob
    process = Process(person.store.repository.default.root, person.url, prelude=FULL).ready()
    process.ask(way)
    said = process.answer()
    process.end()
    assert set(said["failed"]) == {Blob(n=1).id} and len(said["done"]) == 2, said
    assert "File too large" in said["failed"][Blob(n=1).id]
    whole(ann.store, bob.store, ann.there)
    target = ann.there if way == "push" else bob.store
    assert target.complete([Number(n=1), Number(n=2)]) and not target.complete(Blob(n=1))
    assert not list(Path(target.repository.default.root).glob(".d6tstore/tmp/*"))
    done = getattr(person.pipe, way)()
    assert [item.id for item in done.new] == [Blob(n=1).id] and len(done.same) == 2
    assert target.complete(Blob(n=1))


DISK = """
import sys
sys.path.insert(0, {tests!r})
from pipe_people import *
from d6tstore.errors import BackendError, ExchangeFailed
ann = Person({here!r}, {there!r})
for attempt in range(2):
    try:
        ann.pipe.push()
    except (ExchangeFailed, BackendError) as exc:
        assert "No space left" in str(exc), exc
    else:
        raise SystemExit("it fits")
    whole(ann.store, ann.there)
print(sum(ann.there.complete(Blob(n=n)) for n in range(6)))
"""


def test_a_disk_that_is_full(ann, tmp_path):
    """A tmpfs that holds some of the results: those are whole, the others are not there."""
    ann.run(*[Blob(n=n) for n in range(6)])
    place = tmp_path / "disk"
    place.mkdir()
    program = tmp_path / "full.py"
    tests = str(Path(__file__).parent.parent)
    program.write_text(DISK.format(tests=tests, here=str(tmp_path / "ann"), there=f"{place}/shared"))
    namespace = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    script = f'mount -t tmpfs -o size=14m tmpfs "{place}" && exec "{sys.executable}" "{program}"'
    if not shutil.which("unshare") or subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount; test_no_room_for_a_large_one covers the rest")
    done = subprocess.run([*namespace, "sh", "-c", script], capture_output=True, text=True, timeout=100, check=False)
    if "mount:" in done.stderr:
        pytest.skip("this machine lets nobody mount; test_no_room_for_a_large_one covers the rest")
    assert done.returncode == 0, done.stdout + done.stderr
    assert 1 <= int(done.stdout) <= 4


READ_ONLY = """
import os, sys
sys.path.insert(0, {tests!r})
from pipe_people import *
from d6tstore.errors import Denied
import d6tstore.commands.export, d6tstore.sharing.pipe, d6tstore.engine, d6tstore.display, pickle, json, tempfile
import d6tstore.explain, email.parser
with tempfile.TemporaryDirectory() as warm:  # loads all modules: nobody may not read them later
    first = Person(warm + "/a", warm + "/b"); first.run(Number()); first.pipe.push()
    second = Person(warm + "/c", warm + "/b"); second.pipe.pull(); second.load(Number())
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
bob = Person({here!r}, {there!r})
if {mode!r} == "there":
    bob.run(Number(n=7), Number(n=0))
    for push in (bob.pipe.push, lambda: bob.pipe.push(keep="ours"), lambda: bob.pipe.push(Number(n=7))):
        try:
            push()
        except (Denied, d6tstore.errors.Conflict) as exc:
            assert isinstance(exc, d6tstore.errors.Conflict) or "nothing was transferred" in str(exc), exc
        else:
            raise SystemExit("it went through")
    assert len(bob.pipe.pull(keep="theirs").items) == 5
    assert bob.store.complete([Number(n=n) for n in range(4)]) and bob.pipe.verify() == [] and len(bob.pipe.log()) == 1
    assert bob.pipe.push_preview()[Number(n=7).id].action == "new"
else:
    done = bob.pipe.push(message="of one who may not write here")  # all of it, although nothing can be noted here
    assert len(done.new) == 4, done
    assert {{item.action for item in bob.pipe.push()}} == {{"same"}} and len(bob.pipe.log()) == 1
    try:
        bob.pipe.pull(data=False)
    except Denied as exc:
        raise SystemExit(f"there was nothing to pull: {{exc}}")
print("as it should be")
"""


@pytest.mark.parametrize("mode", ["there", "here"])
def test_a_side_that_is_read_only(people, children, ann, tmp_path, mode):
    """Root ignores permissions: there the child becomes the user `nobody`."""
    if not hasattr(os, "setuid"):
        pytest.skip("this system has no permission bits")
    ann.run(*[Number(n=n) for n in range(4)])
    if mode == "there":
        ann.pipe.push()
    protected = tmp_path / ("shared" if mode == "there" else "ann")
    own = tmp_path / ("bob" if mode == "there" else "shared")
    own.mkdir()
    own.chmod(0o777)
    path = tmp_path
    while os.geteuid() == 0 and path != path.parent:  # pytest's folders are ours alone
        if path.stat().st_uid == 0 and path.stat().st_mode & 0o7777 == 0o700:
            path.chmod(0o711)
        path = path.parent
    for path in [*sorted(protected.rglob("*"), reverse=True), protected]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in protected.rglob("*")}
    here = tmp_path / ("bob" if mode == "there" else "ann")
    tests = str(Path(__file__).parent.parent)
    program = READ_ONLY.format(tests=tests, here=str(here), there=str(tmp_path / "shared"), mode=mode)
    assert "as it should be" in children.run(program)
    assert before == {path: path.stat().st_mtime_ns for path in protected.rglob("*")}


# -------------------------------------------------------------------- at the same time


def test_two_pulls_at_once(ann, bob):
    tasks = [*(Number(n=n) for n in range(20)), Blob(n=1), Frame()]
    ann.run(*tasks)
    ann.pipe.push()
    processes = [Process(bob.store.repository.default.root, bob.url).ready() for _ in range(2)]
    for process in processes:
        process.ask("pull")
    told = [process.answer() for process in processes]
    for process in processes:
        process.end()
    done = [*told[0]["done"], *told[1]["done"]]
    assert set(done) == {task.id for task in tasks}
    for said in told:
        assert all("changed by somebody else" in why for why in said.get("failed", {}).values()), said
    whole(bob.store)
    assert bob.store.complete(tasks) and {item.action for item in bob.pipe.pull()} == {"same"}


def test_a_pull_while_the_same_is_computed(ann, bob, monkeypatch):
    pull_while_computing(ann, bob, monkeypatch)


@pytest.mark.parametrize("way", ["push", "pull"])
def test_gc_between_objects_and_records(ann, bob, monkeypatch, way):
    """What it takes is sent again."""
    tasks = [Number(n=n) for n in range(4)]
    ann.run(*tasks)
    if way == "pull":
        ann.pipe.push()
    target, collected, create = (ann.there if way == "push" else bob.store), [], publishing.create

    def racing(*given):
        if len(collected) < 3:
            collected.append(target.gc(older_than=-60).keys)
        return create(*given)

    monkeypatch.setattr(publishing, "create", racing)
    done = ann.pipe.push() if way == "push" else bob.pipe.pull()
    assert len(done.new) == 4 and any(collected)
    whole(target)
    assert target.complete(tasks) and ann.pipe.verify() == []


@pytest.mark.parametrize("older_than", [0, -60])
def test_gc_at_the_other_side_during_a_push(ann, older_than):
    """Also one that spares nothing."""
    tasks = [Number(n=n) for n in range(60)]
    ann.run(*tasks)
    stop, collected = threading.Event(), []
    there = ann.there

    def collect():
        while not stop.is_set():
            collected.append(len(there.gc(older_than=older_than).keys))

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        for _ in range(3):
            ann.run(*tasks, force=True)
            ann.pipe.push()
    finally:
        stop.set()
        thread.join()
    whole(ann.store, ann.there)
    assert ann.there.complete(tasks) and ann.pipe.verify() == []


# ----------------------------------------------------------------- what is loaded later


def test_loaded_from_threads_and_processes_at_once(ann, bob):
    tasks = [Number(n=n) for n in range(8)]
    ann.run(*tasks, Frame(rows=1000))
    ann.pipe.push()
    bob.pipe.pull(data=False)
    processes = [Process(bob.store.repository.default.root, bob.url).ready() for _ in range(2)]
    for process in processes:
        process.ask("load", n=list(range(8)), times=4)
    for process in processes:
        assert process.answer()["loaded"] == sorted(list(range(8)) * 4)
        process.end()
    whole(bob.store)
    assert {item.action for item in bob.pipe.pull_preview()} == {"same", "restored"}
    part = bob.load(Frame(rows=1000), columns=["i"], where=[("i", ">", 997)], limit=1)
    assert part.i.tolist() == [998] and list(part) == ["i"]
    assert bob.load(Frame(rows=1000), as_="arrow").num_rows == 1000


def test_loaded_after_the_other_side_went_away_or_on(ann, bob, tmp_path):
    ann.run(Number(n=1), Number(n=2), Number(n=3), Frame())
    ann.pipe.push()
    bob.pipe.pull(data=False)
    (tmp_path / "shared").rename(tmp_path / "away")
    for task in (Number(n=1), Frame()):
        with pytest.raises(OutputMissing, match=r"is gone from .*(pull|Pull)"):
            bob.load(task)
    (tmp_path / "away").rename(tmp_path / "shared")
    assert bob.load(Number(n=1))[0] == 1
    for _ in range(4):  # more versions than are kept
        ann.run(Number(n=2), force=Number(n=2))
        ann.pipe.push()
    with pytest.raises(OutputMissing, match=r"was replaced in the pipe 'team' since it was pulled. Pull it again"):
        bob.load(Number(n=2))
    assert bob.pipe.pull()[Number(n=2).id].action == "changed" and bob.load(Number(n=2))[0] == 2


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_an_input_that_comes_in_a_worker_process(ann, bob, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("this system does not fork")
    ann.run(Number(n=1), Number(n=2))
    ann.pipe.push()
    bob.pipe.pull(data=False)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        report = bob.run(Twice(n=1), Twice(n=2), executor=pool)
    assert len(report.ran) == 2 and {type(task) for task in report.ran} == {Twice}
    assert bob.load(Twice(n=1))[:2] == ann.load(Number(n=1))[:2]


# ------------------------------------------------------------------------------- clocks


@pytest.mark.parametrize("hours", [-30, 30])
def test_a_clock_that_is_wrong_decides_nothing(ann, bob, monkeypatch, hours):
    real = record.now

    def shifted():
        return (datetime.fromisoformat(real()) + timedelta(hours=hours)).isoformat(timespec="microseconds")

    def as_bob(call):
        with monkeypatch.context() as patch:
            patch.setattr(record, "now", shifted)
            return call()

    task = Number(n=1)
    ann.run(task)
    ann.pipe.push(message="1")
    as_bob(bob.pipe.pull)
    as_bob(lambda: bob.run(task, force=task))
    as_bob(lambda: bob.pipe.push(message="2"))
    assert actions(ann.pipe.pull()) == {"Number": "changed"} and ann.load(task) == bob.load(task)
    ann.run(task, force=task)
    ann.pipe.push(message="3")
    assert [push.message for push in ann.pipe.log()] == ["3", "2", "1"]
    assert actions(as_bob(bob.pipe.pull)) == {"Number": "changed"} and ann.load(task) == bob.load(task)
    as_bob(lambda: bob.run(task, force=task))
    ann.run(task, force=task)
    as_bob(lambda: bob.pipe.push(message="4"))
    with pytest.raises(Conflict):
        ann.pipe.pull()
    times = [push.time for push in ann.pipe.log()]
    assert times == sorted(times, reverse=True)


# ------------------------------------------------------------------- other Pythons, other ways to bring code

CODE = """
import d6tstore

HALF = 0.5

def scaled(values):
    return [value * HALF for value in values]

class Raw(d6tstore.tasks.TaskJson):
    n: int = 3
    def run(self):
        self.save(list(range(self.n)))

@d6tstore.requires(Raw)
class Scaled(d6tstore.tasks.TaskJson):
    persist = ["values", "sum"]
    def run(self):
        values = scaled(self.input().load())
        self.save({"values": values, "sum": sum(values)})
"""
ENGINEER = """
d6tstore.init(sys.argv[1])
d6tstore.run(Scaled())
print(d6tstore.pipes.init("team", sys.argv[2]).push(message="from " + sys.version.split()[0]))
"""
SCIENTIST = """
d6tstore.init(sys.argv[1])
print(d6tstore.pipes.init("team", sys.argv[2]).pull())
assert Scaled().complete(), d6tstore.why(Scaled())
assert d6tstore.run(Scaled()).ran == [] and Scaled().output()["sum"].load() == 1.5
assert [item.action for item in d6tstore.pipes.get_pipe("team").push()] == ["same"] * 2
print("complete")
"""
PYTHONS = [sys.executable, *(str(Path(__file__).parents[2] / f".venv-3.{minor}/bin/python") for minor in (12, 13))]


@pytest.mark.parametrize("scientist", PYTHONS, ids=lambda python: Path(python).parents[1].name)
@pytest.mark.parametrize("how", ["script", "installed"])
def test_an_engineer_and_a_scientist(tmp_path, how, scientist):
    """The engineer's tasks stand in a script, or in a package; the scientist has them installed, on another Python."""
    if not Path(scientist).exists():
        pytest.skip(f"{scientist} is not there: scripts/env --python 3.13 --venv .venv-3.13 makes it")
    engineers, scientists, site = (tmp_path / name for name in ("engineers", "scientists", "site"))
    for folder in (engineers, scientists, site):
        folder.mkdir()
        (folder / "pyproject.toml").touch()
    (site / "shared_features.py").write_text(CODE)
    head = "import sys\n" + (CODE if how == "script" else "import d6tstore\nfrom shared_features import *\n")
    (engineers / "main.py").write_text(head + ENGINEER)
    (scientists / "main.py").write_text("import sys, d6tstore\nfrom shared_features import *\n" + SCIENTIST)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(Path(__file__).parents[2])])}
    for folder, python in ((engineers, sys.executable), (scientists, scientist)):
        command = [python, "main.py", str(folder / "data"), str(tmp_path / "shared")]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("complete\n")
