"""Two people who share results through a pipe: their tasks, their stores, records that somebody forged.

Run as a program, `pipe_people.py NAME STORE URL SETTINGS`, it is one of them in a process of its own: each line of its
input is a call, such as `push {"message": "x"}`; each line of its output is what came of it, as JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import d6tstore
from d6tstore import context, pipes
from d6tstore.errors import Conflict, D6tstoreError, ExchangeFailed
from d6tstore.sharing import journal
from d6tstore.sharing.pipe import Pipe

PATIENCE = 120  # seconds after which a process counts as hanging
_numbers = itertools.count(1)


class Number(d6tstore.tasks.TaskJson):
    """Another result at each run; who made it stands in it."""

    n: int = 0

    def run(self):
        self.save([self.n, os.getpid(), next(_numbers)])


class Frame(d6tstore.tasks.TaskPqPandas):
    rows: int = 10

    def run(self):
        import pandas as pd

        self.save(pd.DataFrame({"i": range(self.rows), "x": [float(next(_numbers))] * self.rows}))


class Model(d6tstore.tasks.TaskPickle):
    persist = {"model": "pickle", "report": "json"}

    def run(self):
        self.save({"model": {"mean": next(_numbers)}, "report": [1, 2]})


class Blob(d6tstore.tasks.TaskPickle):
    """Larger than what is read at once."""

    n: int = 0

    def run(self):
        self.save(bytes([self.n]) + os.urandom(3 << 20))


@d6tstore.requires(Number)
class Twice(d6tstore.tasks.TaskJson):
    def run(self):
        self.save(self.input().load() * 2)


class Person:
    """Somebody with a store, and a pipe to what others share.

    Args:
        place: of the store.
        url: of the other side.
        **settings: of the pipe.
    """

    def __init__(self, place, url, options=None, **settings):
        self.store = d6tstore.open(place, **(options or {}))
        self.url, self.settings = url, settings

    @property
    def pipe(self):
        return self.through()

    def through(self, **settings):
        """The pipe, with other settings."""
        pipes.init("team", self.url, **{**self.settings, **settings})
        return Pipe(context.pipes["team"], self.store.repository)

    @property
    def there(self):
        """The other side, as a store."""
        return d6tstore.Store(self.pipe.there)

    def run(self, *tasks, **options):
        return self.store.run(list(tasks), **options)

    def load(self, task, **options):
        with d6tstore.use(self.store):
            return task.output().load(**options)

    def record(self, task):
        """The current record of a task here; None if there is none."""
        return self.store.repository.read_one(task)

    def versions(self, task):
        return [found.write_id for found in self.store.history(task)]


def actions(done):
    """What was done with each family."""
    return {item.id.partition("-")[0]: item.action for item in done}


def forge(person, task, edit, history=False):
    """Edit the record of a task at the other side, as JSON; `edit` may give another one."""
    found = person.there.history(task)[0]
    backend = person.pipe.there.default
    told = json.loads(backend.read(found.key))
    told = edit(told) or told
    backend.write(found.key, json.dumps(told).encode())
    return told


def whole(*stores):
    """All objects are what their records say."""
    for store in stores:
        assert store.verify() == [], store.verify()


class Process:
    """A person in a process of its own."""

    def __init__(self, place, url, prelude="", **settings):
        arguments = [str(place), str(url), json.dumps(settings), prelude]
        path = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        self.child = subprocess.Popen(
            [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        )  # fmt: skip

    def ready(self):
        assert json.loads(self.child.stdout.readline()) == "ready"
        return self

    def ask(self, call, **options):
        self.child.stdin.write(f"{call} {json.dumps(options)}\n")
        self.child.stdin.flush()

    def answer(self):
        line = self.child.stdout.readline()
        assert line, f"the process ended with {self.child.wait()}"
        return json.loads(line)

    def end(self):
        self.child.stdin.close()
        assert self.child.wait(PATIENCE) == 0
        self.child.stdout.close()

    def kill(self):
        self.child.kill()
        self.child.wait()
        self.child.stdin.close()
        self.child.stdout.close()


def pull_while_computing(ann, bob, monkeypatch):
    """Bob pulls a result that a run of his computes at that moment: he waits for it, and then does not replace what it
    made. What nobody computes comes meanwhile."""
    import pytest

    ann.run(Number(n=1), Number(n=2))
    ann.pipe.push()
    inside, go, real = threading.Event(), threading.Event(), Number.run

    def slow(self):
        inside.set()
        assert go.wait(60)
        real(self)

    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(Number, "run", slow)
        running = pool.submit(bob.store.run, Number(n=1))
        assert inside.wait(60), running.result()
        pipe = bob.pipe
        pulling = pool.submit(pipe.pull)
        while bob.record(Number(n=2)) is None:  # its code is another one meanwhile
            assert not pulling.done()
        go.set()
        running.result()
        with pytest.raises(ExchangeFailed, match="changed by somebody else") as raised:
            pulling.result()
    assert [item.id for item in raised.value.exchange.problems] == [Number(n=1).id]
    assert len(bob.versions(Number(n=1))) == 1 and bob.record(Number(n=1)).origin is None
    assert bob.store.complete(Number(n=2))
    whole(bob.store)
    with pytest.raises(Conflict):
        bob.pipe.pull()


def race(ann, bob, tmp_path, same=5, own=5):
    """Both push at once, results of the same tasks, of which both know an earlier version of some, and their own.

    Both sides are whole, one wins each task, the other is told and has its own; then bob's go there, and ann takes them
    over: what was replaced is in the history, and the log has all in an order.
    """
    shared = [Number(n=n) for n in range(same)]
    ann.run(*shared[::2])
    ann.pipe.push(message="before")
    bob.pipe.pull()
    before = {task.id: ann.record(task).write_id for task in shared[::2]}
    mine = {}
    for start, person in ((100, ann), (200, bob)):
        person.run(*shared, *(Number(n=start + n) for n in range(own)), force=shared)
        mine[person] = {task.id: person.record(task).write_id for task in shared}
    processes = {person: Process(person.store.repository.default.root, person.url, **person.settings)
                 for person in (ann, bob)}  # fmt: skip
    for process in processes.values():
        process.ready()
    for process in processes.values():
        process.ask("push", message="at once")
    told = {person: process.answer() for person, process in processes.items()}
    for process in processes.values():
        process.end()
    whole(ann.store, bob.store, ann.there)
    there = {task.id: ann.there.repository.read_one(task).write_id for task in shared}
    for person, said in told.items():
        won = {id for id in there if there[id] == mine[person][id]}
        lost = there.keys() - won
        # A conflict, even of one that the other had pushed by then, stops before anything is transferred.
        assert lost <= (lost if said.get("conflict") else said.get("failed", {}).keys()), (lost, said)
        assert all("changed by somebody else" in why for why in said.get("failed", {}).values()), said
        assert {task.id: person.record(task).write_id for task in shared} == mine[person], "one's own work is lost"
    assert all(there[id] in (mine[ann][id], mine[bob][id]) for id in there)
    ann.pipe.push(keep="theirs", message="again")
    bob.pipe.push(keep="ours", message="mine")
    assert {task.id: ann.there.repository.read_one(task).write_id for task in shared} == mine[bob]
    ann.pipe.pull(keep="theirs")
    bob.pipe.pull()
    for task in shared:
        kept = [*ann.versions(task), *(old.write_id for old in ann.there.history(task))]
        assert mine[ann][task.id] in kept, "the other one's work is lost"
        assert before.get(task.id) in [None, *(old.write_id for old in ann.there.history(task))], "what both replaced"
    everything = [*shared, *(Number(n=start + n) for n in range(own) for start in (100, 200))]
    assert bob.store.plan(everything).complete
    whole(ann.store, bob.store, ann.there)
    log = ann.pipe.log()
    numbers = [push.number for push in log]
    assert numbers == sorted(numbers, reverse=True) and len(set(numbers)) == len(numbers)
    assert {push.time for push in log} and [p.time for p in log] == sorted((p.time for p in log), reverse=True)
    logged = journal.written_ids(log)
    assert all(logged[task.id] == ann.there.repository.read_one(task).write_id for task in everything)


def _told(call):
    try:
        done = call()
    except Conflict as exc:
        return {"conflict": exc.ids}
    except ExchangeFailed as exc:
        problems = {item.id: item.reason for item in exc.exchange.problems}
        return {"failed": problems, "done": [i.id for i in exc.exchange if i.action in ("new", "changed")]}
    except D6tstoreError as exc:
        return {"error": f"{type(exc).__name__}: {exc}"}
    return {"done": [item.id for item in done if item.action in ("new", "changed", "restored")]}


def main(place, url, settings, prelude):
    exec(prelude, {})  # noqa: S102 - of a test: makes it die, say
    person = Person(place, url, **json.loads(settings))
    pipe = person.pipe
    context.set_default(person.store)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        call, _, options = line.partition(" ")
        options = json.loads(options)
        if call == "run":
            chosen = [Number(n=n) for n in options["n"]]
            person.run(*chosen, force=chosen)
            said = {"ran": options["n"]}
        elif call == "load":
            threads, found = [], []
            for n in options["n"] * options.get("times", 1):
                threads.append(threading.Thread(target=lambda n=n: found.append(Number(n=n).output().load()[0])))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            said = {"loaded": sorted(found)}
        else:
            said = _told(lambda call=call, options=options: getattr(pipe, call)(**options))
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    sys.modules["pipe_people"] = sys.modules["__main__"]  # its tasks are those of the tests
    main(*sys.argv[1:])
