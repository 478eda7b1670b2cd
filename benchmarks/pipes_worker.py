"""Measurements of pipes in a fresh process: `pipes_worker.py ACTION ARGUMENTS-AS-JSON` prints JSON."""

import json
import random
import sys
from pathlib import Path

from frames_worker import clock
from msgspec.structs import replace

import d6tstore
from d6tstore import record

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from s3proxy import Proxy


class Small(d6tstore.tasks.TaskBytes):
    index: int
    size: int

    def run(self):
        self.save(random.Random(self.index).randbytes(self.size))


class Large(Small):
    pass


def made(place, number, size, large=0, large_size=0):
    """A store with so many results, by its own run."""
    store = d6tstore.open(Path(place, "data"))
    store.run(
        [Small(index=i, size=size) for i in range(number)] + [Large(index=-i, size=large_size) for i in range(large)]
    )
    return store


def make(store, number, size, large, large_size, place):
    made(store, number, size, large, large_size)


def pipe(url, proxy=None):
    """To a bucket of the server, or the same by way of a proxy."""
    return d6tstore.pipes.init(
        "team", url=url if proxy is None else f"{url.partition('?')[0]}?endpoint={proxy.url}&region=us-east-1"
    )


def calls(url, warm, store, place):
    """Push, push again and pull by calls in one process, in which another pipe was used before. Seconds (wall, CPU)."""
    other = made(Path(place, "other"), 2, 10)
    with d6tstore.use(other):
        pipe(warm).push()
    found = {}
    with d6tstore.use(d6tstore.open(Path(store, "data"))):
        team = pipe(url)
        found["push"], pushed = clock(team.push)
        found["again"], same = clock(team.push)
        assert len(pushed.new) == len(same.same) == len(pushed), (pushed, same)
    with d6tstore.use(d6tstore.open(Path(place, "fresh"))):
        team = pipe(url)
        found["pull"], pulled = clock(team.pull)
        assert len(pulled.new) == len(pushed), pulled
    return found


def requests(url, number, place):
    """The requests of a push that has nothing to do: the first by a client, and the second."""
    proxy, found = Proxy(url.partition("endpoint=")[2].partition("&")[0]), {}
    with d6tstore.use(made(place, number, 10)):
        team = pipe(url, proxy)
        team.push()
        for name in ("new", "again"):
            begun = len(proxy.requests)
            team = pipe(url, proxy) if name == "new" else team
            assert len(team.push().same) == number
            found[name] = [f"{method} {path.partition('?')[0]}" for method, path in proxy.requests[begun:]]
    return found


def restored(url, place):
    """An object that vanished from the other side: is it there again after a push that verifies?"""
    with d6tstore.use(made(place, 3, 10)):
        team = pipe(url)
        team.push()
        there = team.there.default
        key = next(entry.key for entry in there.list("Small"))
        there.delete(key)
        again = team.push(verify=True)
        return len(again.restored) == 1 and there.exists(key)


def status(url, number, repeats, place):
    """Status of so many results that both sides have, `pushed` there or `pulled` from there, before and after a push or
    pull that had nothing to do noted it."""
    found, store = {}, made(place, 1, 10)
    with d6tstore.use(store):
        team = pipe(url)
        here, there = store.repository.default, team.there.default
        ((key, data),) = here.records("Small")
        first = record.decode(data, key)
        here.delete(key)
        for case in ("pushed", "pulled"):
            for start in range(0, number, 5_000):
                records = [numbered(first, i) for i in range(start, min(start + 5_000, number))]
                if case == "pushed":
                    there.write_many({r.key: record.encode(r) for r in records})
                else:
                    records = [replace(r, origin="team") for r in records]
                here.write_many({r.key: record.encode(r) for r in records})
            cold, told = clock(team.status)
            assert len(told.same) == number, told
            noted, _ = clock(team.push)
            found[case] = [cold, noted]
            for _ in range(repeats):
                took, told = clock(team.status)
                assert len(told.same) == number, told
                found[case].append(took)
    return found


def numbered(first, index):
    """A record like one of a run, of a task that never ran."""
    params = first.params | {"index": index}
    hash = record.task_hash(first.family, params)
    write_id = random.Random(index).randbytes(8).hex()
    outputs = {
        name: replace(output, key=f"{first.family}/{hash}/data-{write_id}.bin")
        for name, output in first.outputs.items()
    }
    return replace(first, params=params, hash=hash, write_id=write_id, outputs=outputs)


if __name__ == "__main__":
    action = {"make": make, "calls": calls, "requests": requests, "restored": restored, "status": status}[sys.argv[1]]
    print(json.dumps(action(**json.loads(sys.argv[2]))))
