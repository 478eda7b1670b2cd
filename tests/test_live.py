"""How a run looks while it goes, what it is expected to take, and what that was worth."""

import io
import os
import re
import subprocess
import sys
import textwrap

import pytest

import d6tstore
from d6tstore import live
from d6tstore.errors import RunFailed
from d6tstore.forecast import Forecast, duration, forecast, size
from d6tstore.live import Lines, Tally
from d6tstore.progress import Transfer


class Get(d6tstore.tasks.TaskJson):
    n: int = 0

    def run(self):
        if self.n < 0:
            raise ValueError("n is negative")
        self.save([self.n])


class Both(d6tstore.tasks.TaskJson):
    def requires(self):
        return [Get(), Get(n=1)]

    def run(self):
        self.save(self.input().load())


def lines(store, tasks, **options):
    """What a run says on stderr, where that is no terminal."""
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        store.run(tasks, progress=True, **options)
    return [re.sub(r" in \S+ s$", "", line) for line in stream.getvalue().splitlines()]


def test_a_line_per_task_where_there_is_no_terminal(store):
    assert lines(store, Both()) == ["[1/3] ran Get(n=0)", "[2/3] ran Get(n=1)", "[3/3] ran Both()"]
    assert lines(store, Both()) == []
    assert lines(store, Both(), force=Both, workers=2) == ["[3/3] ran Both()"]


def test_what_failed_has_a_line(store):
    with pytest.raises(RunFailed):
        assert lines(store, [Get(n=-1), Get()])
    stream = io.StringIO()
    plan = store.plan([Get(n=-1)])
    watcher = Lines(stream)
    watcher.begin(plan, list)
    with pytest.raises(RunFailed) as raised:
        store.run(Get(n=-1))
    watcher.settled(raised.value.report[Get(n=-1)])
    assert stream.getvalue() == "[1/1] failed Get(n=-1): ValueError\n"


def test_nothing_in_a_library_call(store, capfd):
    store.run(Both())
    assert capfd.readouterr() == ("", "")
    assert live.watcher(False) is None and live.watcher(None) is None and isinstance(live.watcher(True), Lines)


def test_what_the_tally_says(store):
    store.run([Get(), Get(n=1)])
    plan = store.plan([Both()], force=Get(n=1))
    tally = Tally(plan, list)
    assert str(tally) == f"0 of 3 tasks, about {duration(tally.left)} left"
    report = store.run(Both(), force=Get(n=1))
    for outcome in report:
        tally.add(outcome)
    assert re.fullmatch(r"3 of 3 tasks, 1 reused, \d+ B", str(tally)) and tally.left is None
    assert report.saved == report[Get()].record.seconds > 0


def test_seconds_that_reuse_saved_are_told(store):
    report = store.run(Get())
    slow = report[Get()]._replace(action="reused")
    from msgspec.structs import replace

    report._outcomes[Get().id] = slow._replace(record=replace(slow.record, seconds=95.0))
    assert str(report).endswith(", 2 min saved")


def test_a_forecast(store):
    assert str(store.plan(Both()).forecast) == "3 tasks to run; no earlier run tells how long"
    store.run(Get())
    told = store.plan(Both()).forecast
    assert told.tasks == 2 and told.guessed == ["Both"] and told.bytes > 0
    assert "a guess for Both, of which nothing is known" in str(told)
    store.run(Both())
    assert str(store.plan(Both()).forecast) == "nothing to run"
    assert store.plan(Both(), force=True).forecast.guessed == []
    assert store.plan(Both(), force=Both).forecast.seconds == store.history(Both())[0].seconds
    assert forecast(store.repository, []) == Forecast(0, guessed=[])


@pytest.mark.parametrize(("value", "told"), [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (5e15, "5000.0 TB")])
def test_sizes(value, told):
    assert size(value) == told


SCRIPT = """
import threading, time
import d6tstore

class Slow(d6tstore.tasks.TaskJson):
    n: int = 0

    def run(self):
        threading.Event().wait(0.7)
        print("printed", self.n)
        self.save(0)

store = d6tstore.open("./data")
store.run([Slow(n=n) for n in range(3)], workers=2)
print("ended")
"""


def in_terminal(script, **options):
    """What a script writes to a terminal, all codes included; its stdout may go elsewhere."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, script], stdin=theirs, stderr=theirs, close_fds=True,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}, **{"stdout": theirs, **options},
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # the other side has closed
            break
        seen += chunk
    os.close(ours)
    assert process.wait() == 0, seen
    return seen.decode()


def text_of(seen):
    """Without the codes."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)


def test_a_bar_in_a_terminal(project):
    (project / "script.py").write_text(textwrap.dedent(SCRIPT))
    seen = in_terminal("script.py")
    text = text_of(seen)
    assert "of 3 tasks" in text and "▶ Slow(n=0)" in text and "▶ Slow(n=1)" in text
    assert [f"printed {n}" in text for n in range(3)] == [True] * 3
    assert text.rstrip().endswith("ended") and seen.count("\x1b[?25h") == seen.count("\x1b[?25l")


def test_transfers_are_shown(store):
    shown = []

    class Seen(Lines):
        def moved(self, transfer):
            shown.append(transfer)

    watched = store._watched(Seen())
    meter = watched.repository.progress.meter("up", "key", 10)
    assert meter is not None and isinstance(Transfer("up", "k", 1, 2, 1.0).left, float)


def test_both_who_listen_hear_of_transfers(tmp_path):
    heard, also = [], []
    store = d6tstore.open(tmp_path / "s", progress=heard.append)
    progress = store.repository.progress.also(also.append)
    meter = progress.meter("up", "key", 10, 2)
    meter._begun -= 10
    meter(10, 2)
    assert heard == also and heard[0].objects == 2 and heard[0].left == 0.0


def test_records_of_a_family_are_read_once(store, monkeypatch):
    from d6tstore.repository import Repository

    store.run([Get(n=n) for n in range(3)])
    read, asked = Repository.family_records, []
    monkeypatch.setattr(Repository, "family_records", lambda self, task: asked.append(task) or read(self, task))
    plan = store.plan([Get(n=n) for n in range(10, 60)])
    assert plan.forecast.tasks == 50 and len(asked) == 1
    assert Tally(plan, list).left is not None and len(asked) == 2


def test_a_display_that_breaks_costs_no_result(project, caplog):
    class Broken(Lines):
        def settled(self, outcome):
            raise BrokenPipeError

    store = d6tstore.open("./data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "watcher", lambda progress, elsewhere=False: Broken())
        assert len(store.run([Both()]).ran) == 3
    assert caplog.text.count("what shows the run failed") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_behind_stderr(project):
    (project / "script.py").write_text(textwrap.dedent(SCRIPT).replace("workers=2", "progress=True"))
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "script.py"], stdout=subprocess.PIPE, stderr=full, text=True)
    assert done.returncode in (0, 120) and done.stdout.endswith("ended\n")  # 120: Python could not flush at its end


def test_what_is_left_counts_down_and_knows_of_all(store, monkeypatch):
    from msgspec.structs import replace

    store.run(Get())
    record = store.history(Get())[0]
    store.repository.default.publish(replace(record, seconds=100.0))
    plan = store.plan([Get(), Both()], force=Get())
    running = []
    tally = Tally(plan, lambda: running)
    assert tally.left == pytest.approx(300.0)  # two of which nothing is known count as the others do
    clock = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])
    running.append(Get())
    assert tally.left == pytest.approx(300.0)
    clock[0] = 40.0
    assert tally.left == pytest.approx(260.0)
    clock[0] = 400.0
    assert tally.left == pytest.approx(200.0)


def test_transfers_are_lines_of_their_own(store):
    tally = Tally(store.plan(Get()), list)
    tally.moved(Transfer("up", "A/data.pkl", 50_000_000, 100_000_000, 5.0))
    assert tally.lines() == [("cyan", "↑ A/data.pkl 50.0 MB of 100.0 MB, 10.0 MB/s")]
    tally.moved(Transfer("up", "A/data.pkl", 100, 100, 5.0))
    assert tally.lines() == []


LOGGING = """
import logging, sys, threading
import d6tstore

logging.basicConfig(level=logging.WARNING)

class Slow(d6tstore.tasks.TaskJson):
    n: int = 0

    def run(self):
        threading.Event().wait(0.4)
        logging.getLogger("mine").warning("epoch %s", self.n)
        print("printed", self.n)
        self.save(0)

d6tstore.open("./data").run([Slow(n=n) for n in range(3)])
logging.getLogger("mine").warning("after")
"""


def test_what_tasks_log_stands_above_the_bar(project):
    (project / "script.py").write_text(LOGGING)
    lines = [line.strip() for line in text_of(in_terminal("script.py")).replace("\r", "\n").splitlines()]
    for n in range(3):
        assert f"WARNING:mine:epoch {n}" in lines and f"printed {n}" in lines
    assert "WARNING:mine:after" in lines


def test_what_tasks_print_goes_where_stdout_goes(project):
    (project / "script.py").write_text(LOGGING)
    with open("out.txt", "w") as file:
        seen = text_of(in_terminal("script.py", stdout=file))
    assert (project / "out.txt").read_text() == "printed 0\nprinted 1\nprinted 2\n" and "printed" not in seen
