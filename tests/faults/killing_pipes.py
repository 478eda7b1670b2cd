"""Kills real processes at every step of a push, a pull, a load from a pipe, and looks at what is left on both sides.

Run as a program, `killing_pipes.py SCENARIO FOLDER STRIDE`: as `killing.py`, for two folders. After each death both are
judged, the same is done again, and then they agree, the log too.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import killing
from killing import Fit, everything, generation, plain, tasks

import d6tstore
from d6tstore import context, pipes
from d6tstore.sharing import journal, synced

killing.STEPS += ("link",)


class Scenario:
    """What both sides have before, what the child does to one of them, and which generations may be found there."""

    before, after = 1, 2
    side = "there"  # what it changes
    absent = False  # may a result be missing there?

    def prepare(self, here, there):
        run(here, 1)
        push(message="before")

    def begin(self, here, there):
        """Just before the child, in each try."""

    def act(self, here, there):
        push(message="killed")

    def settled(self, here, there):
        """What must hold at the end, beside that both agree."""


class PushFirst(Scenario):
    before, absent = 2, True

    def prepare(self, here, there):
        run(here, 2)


class PushNewer(Scenario):
    def prepare(self, here, there):
        super().prepare(here, there)
        run(here, 2)


class PushOurs(Scenario):
    """A conflict that ours wins: theirs goes to the history."""

    def prepare(self, here, there):
        run(here, 2)
        run(there, 1)

    def act(self, here, there):
        push(message="killed", keep="ours")

    def settled(self, here, there):
        with d6tstore.use(there):
            for task, wanted in everything():
                kept = [old.write_id for old in there.history(task)[1:]]
                assert any(
                    wanted(1) == (value if not isinstance(value, dict) or "data" not in value else value["data"])
                    for value in [plain(task.output().load(version=id)) for id in kept]
                ), f"the replaced result of {task!r} is not in the history: {kept}"


class PushRemoval(Scenario):
    before = after = 1
    absent = True

    def prepare(self, here, there):
        super().prepare(here, there)
        here.invalidate_upstream(Fit(model=1))

    def act(self, here, there):
        push(prune=True)


class PullFirst(Scenario):
    before, side, absent = 2, "here", True

    def prepare(self, here, there):
        run(there, 2)

    def act(self, here, there):
        pull()


class PullNewer(PullFirst):
    before, absent = 1, False

    def prepare(self, here, there):
        run(there, 1)
        pull()
        run(there, 2)


class PullTheirs(PullNewer):
    def prepare(self, here, there):
        run(here, 1)
        run(there, 2)

    def act(self, here, there):
        pull(keep="theirs")


class LoadLater(PullFirst):
    """Records are here; objects come while they are loaded."""

    absent = False

    def prepare(self, here, there):
        run(there, 2)
        pull(data=False)

    def act(self, here, there):
        with d6tstore.use(here):
            for task, wanted in everything():
                assert plain(task.output().load()) == wanted(2)


SCENARIOS = {cls.__name__.lower(): cls for cls in Scenario.__subclasses__() + PullFirst.__subclasses__()}
SCENARIOS["pulltheirs"] = PullTheirs


def pipe():
    return pipes.get_pipe("team")


def push(**options):
    return pipe().push(**options)


def pull(**options):
    return pipe().pull(**options)


def run(store, gen):
    generation(gen)
    with d6tstore.use(store):
        store.run(tasks())


def opened(folder):
    """Both stores, and the pipe between them; the one that is here is current."""
    here, there = d6tstore.open(folder / "here"), d6tstore.open(folder / "there")
    context.pipes.clear()
    pipes.init("team", folder / "there", trusted=True)
    context.set_default(here)
    return here, there


def fresh(base, work):
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(base, work)
    here, there = opened(work)
    url = pipe().remote.access.url
    points = synced.read(here.repository.default, "team", f"{base}/there")
    synced.update(here.repository.default, "team", url, points)  # those of the folder that was copied
    return here, there


def judge(scenario, here, there, where):
    """Both sides are whole; what is there is old or new."""
    for name, store in (("here", here), ("there", there)):
        assert store.verify() == [], f"{where}: {name}: {store.verify()}"
    changed = {"here": here, "there": there}[scenario.side]
    with d6tstore.use(changed):
        for task, wanted in everything():
            found = changed.repository.read_one(task)
            if found is None:
                assert scenario.absent, f"{where}: {task!r} is lost"
            else:
                value = plain(task.output().load(verify=True))
                assert value in (wanted(scenario.before), wanted(scenario.after)), f"{where}: {task!r} is {value!r}"


def objects(store):
    return {e.key: e.version for e in store.repository.default.list() if not e.key.startswith(".d6tstore/")}


def finish(scenario, here, there, where):
    """Done again, both agree; what had arrived was not sent again; the log tells what is there."""
    changed = {"here": here, "there": there}[scenario.side]
    arrived = objects(changed)
    scenario.act(here, there)
    again = {key: v for key, v in objects(changed).items() if key in arrived and arrived[key] != v}
    assert not again, f"{where}: sent again: {sorted(again)}"
    shown = pipe().push_preview()
    assert {item.action for item in shown} == {"same"}, f"{where}: {list(shown)}"
    assert {item.action for item in pipe().pull_preview()} == {"same"}, where
    if not isinstance(scenario, PullFirst):
        told = journal.written_ids(pipe().log())
        is_there = {}
        for family in {task.family for task, _ in everything()}:
            is_there |= {found.id: found.write_id for found in pipe().records(family)}
        assert is_there.items() <= told.items(), f"{where}: the log is wrong: {told} {is_there}"
    for store in (here, there):
        if not isinstance(scenario, PushRemoval):
            with d6tstore.use(store):
                for task, wanted in everything():
                    assert plain(task.output().load(verify=True)) == wanted(scenario.after), f"{where}: {task!r}"
    scenario.settled(here, there)
    for store in (here, there):
        store.gc(older_than=0)
        assert store.verify() == [], f"{where}: {store.verify()}"
        left = set(objects(store)) - named(store)
        assert not left, f"{where}: debris {left}"
        assert not list(Path(store.repository.default.root).glob(".d6tstore/tmp/*")), where


def named(store):
    from d6tstore import record

    backend, found = store.repository.default, set()
    for prefix in (record.RECORDS, f"{record.ROOT}history/"):
        for entry in backend.list(prefix):
            kept = record.decode(backend.read(entry.key), entry.key)
            found |= {output.key for output in kept.outputs.values()}
    return found


def each_step(scenario, base, work, stride):
    """Die at step 1, 1 + stride, ... until the work is done; returns at how many one may."""
    for at in range(1, 2000, stride):
        here, there = fresh(base, work)

        def action(here=here, there=there, at=at):
            killing.deadly(at)
            scenario.act(here, there)

        end = killing.wait(*killing.child(action))
        if end != "killed":
            assert end == 0, f"step {at}: the child failed"
            return at - 1
        here, there = opened(work)
        judge(scenario, here, there, f"step {at}")
        finish(scenario, here, there, f"step {at}")
    raise AssertionError("the child never came to its end")


def main(name, folder, stride):
    base, work = Path(folder) / "base", Path(folder) / "work"
    scenario = SCENARIOS[name]()
    scenario.prepare(*opened(base))
    print(each_step(scenario, base, work, int(stride)))


if __name__ == "__main__":
    main(*sys.argv[1:])
