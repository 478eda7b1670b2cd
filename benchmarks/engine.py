"""Measure the engine beside loops and peers in one run: `scripts/bench [--quick] [--check] [--only NAME]`.

Every measurement is a fresh process, repeats alternate between the contenders, and medians are compared.
Imports do not count; making the tasks and the graph does. See README.md for what is measured and why.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
OURS, LOOP = "d6tstore_", "loop"
PEERS = {  # contender: what it is; whether it persists
    "joblib_flat": ("joblib.Memory, flat", True),
    "joblib_nested": ("joblib.Memory, nested", True),
    "hamilton_": ("Hamilton with cache", True),
    "kedro_": ("Kedro, only missing outputs", True),
    "luigi_": ("luigi", True),
    "d6tflow_": ("d6tflow (one input per task)", True),
    "dask_": ("dask.delayed, no persistence", False),
}
HEAVY = ("pandas", "pyarrow", "sqlalchemy", "fsspec")


class Bench:
    """Measurements in fresh folders, and what they say about the targets."""

    def __init__(self, place, clock):
        self.place = place
        self.clock = clock
        self.samples = {}
        self.lines = []
        self.failed = 0
        self._folders = 0

    def folder(self):
        self._folders += 1
        return os.path.join(self.place, str(self._folders))

    def measure(self, contender, action, n, folder):
        """Seconds per task of one action in a fresh process, noted under (contender, action, n)."""
        command = [
            sys.executable,
            "-W",
            "ignore",
            os.path.join(HERE, "worker.py"),
            contender,
            action,
            str(n),
            folder,
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.place)
        if done.returncode:
            sys.exit(f"{contender} {action} {n} failed:\n{done.stderr[-2000:]}")
        found = json.loads(done.stdout.splitlines()[-1])
        self.samples.setdefault((contender, action, n), []).append(found[self.clock] / n)
        return found

    def us(self, contender, action, n):
        """Median microseconds per task, None if it was not measured."""
        found = self.samples.get((contender, action, n))
        return statistics.median(found) * 1e6 if found else None

    def line(self, what, measured, target="", ok=None):
        self.lines.append((what, measured, target, {True: "pass", False: "FAIL", None: ""}[ok]))
        self.failed += ok is False

    def ratio(self, what, ours, theirs, most=None, least=None):
        """A line for a ratio: `ours / theirs` at most, or `theirs / ours` at least."""
        if ours and theirs and most is not None:
            self.line(what, f"{ours / theirs:.2f}x", f"<= {most:g}x", ours / theirs <= most)
        elif ours and theirs and least is not None:
            self.line(what, f"{theirs / ours:.1f}x", f">= {least:g}x", theirs / ours >= least)

    def show(self):
        rows = [("", "measured", "target", ""), *self.lines]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        for row in rows:
            cells = (row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in (1, 2)), row[3])
            print("  ".join(cells).rstrip())


def lattice(bench, sizes, peer_sizes, peers, repeats):
    """First run and nothing to do, of everybody, alternating."""
    jobs = [(name, n) for n in sizes for name in (LOOP, OURS)] + [(name, n) for n in peer_sizes for name in peers]
    for turn in range(max(repeats.values())):
        for name, n in jobs:
            if turn >= repeats[n] or (name in peers and turn >= 3):
                continue
            folder = bench.folder()
            bench.measure(name, "first", n, folder)
            if name != "dask_":
                bench.measure(name, "again", n, folder)
            if name == LOOP:
                bench.measure(name, "bytes_only", n, bench.folder())


def targets(bench, sizes, peer_sizes, peers):
    """What the medians say."""
    small, large = sizes[0], sizes[-1]
    us = bench.us
    for action, title in (("first", "first run"), ("again", "nothing to do")):
        for n in sizes:
            bench.line(f"{title}, N={n:,}: loop", f"{us(LOOP, action, n):.1f} us")
            if action == "first":
                bench.line(f"{title}, N={n:,}: loop that encodes nothing", f"{us(LOOP, 'bytes_only', n):.1f} us")
            bench.line(f"{title}, N={n:,}: d6tstore", f"{us(OURS, action, n):.1f} us")
            bench.ratio(f"{title}, N={n:,}: d6tstore / loop", us(OURS, action, n), us(LOOP, action, n), most=4)
        bench.ratio(f"{title}: N={large:,} / N={small}", us(OURS, action, large), us(OURS, action, small), most=1.25)
        for name in peers:
            for n in peer_sizes:
                if not (theirs := us(name, action, n)):
                    continue
                label = f"{title}, N={n:,}: {PEERS[name][0]}"
                ours = us(OURS, action, n)
                least = {
                    ("first", "d6tflow_"): 12 if n == 1000 else 1,
                    ("again", "d6tflow_"): 6,
                    ("again", "kedro_"): 3,
                }.get((action, name), 1 if action == "first" and PEERS[name][1] else None)
                target, ok = (f">= {least}x", theirs / ours >= least) if least else ("", None)
                bench.line(label, f"{theirs:.0f} us = {theirs / ours:.1f}x", target, ok)


def memory(bench, n):
    folder = bench.folder()
    bench.measure(OURS, "first", n, folder)
    for title, place in (("nothing run yet", bench.folder()), ("all complete", folder)):
        found = bench.measure(OURS, "plan", n, place)["bytes"] / 1e6
        bench.line(f"graph and plan of {n:,} tasks, {title}", f"{found:.0f} MB", "<= 100 MB", found <= 100)


def diamonds(bench, layers):
    for _ in range(3):
        bench.measure(OURS, "diamonds", layers, bench.folder())
    found = bench.us(OURS, "diamonds", layers) * layers / 1e3
    bench.line(f"plan {layers} layers of diamonds", f"{found:.1f} ms", "<= 20 ms", found <= 20)


def start(command):
    """Milliseconds that a command takes."""
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return (time.perf_counter() - begin) * 1e3


def imports(bench, repeats):
    """What the interpreter alone costs, and what we add."""
    python = [sys.executable, "-c"]
    helped = [os.path.join(os.path.dirname(sys.executable), "d6tstore"), "--help"]
    found = {"pass": [], "import": [], "help": []}
    for _ in range(repeats):
        found["pass"].append(start([*python, "pass"]))
        found["import"].append(start([*python, "import d6tstore"]))
        if os.path.exists(helped[0]):
            found["help"].append(start(helped))
    extra = statistics.median(found["import"]) - statistics.median(found["pass"])
    bench.line("import d6tstore, over an empty interpreter", f"{extra:.0f} ms", "<= 100 ms", extra <= 100)
    code = f"import d6tstore, sys; print(*(m for m in {HEAVY} if m in sys.modules))"
    loaded = subprocess.run([*python, code], check=True, capture_output=True, text=True).stdout.strip()
    bench.line("import d6tstore brings in", loaded or "none of the four", f"no {', '.join(HEAVY)}", not loaded)
    if found["help"]:
        took = statistics.median(found["help"])
        bench.line("d6tstore --help", f"{took:.0f} ms", "<= 250 ms", took <= 250)
    for _ in range(3):
        bench.measure(OURS, "one", 1, bench.folder())
    bench.line("open a store and run one task, cold", f"{bench.us(OURS, 'one', 1) / 1e3:.0f} ms")


def installed(peers):
    """Those that can be imported here, and a word on the others."""
    found = []
    for name in peers:
        code = f"import sys; sys.path.insert(0, {HERE!r}); import contenders.{name}"
        if subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True).returncode == 0:
            found.append(name)
        else:
            print(f"{PEERS[name][0]} is not installed here: left out (scripts/bench installs all)")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, peers at N=1,000 only")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--cpu", action="store_true", help="CPU time, for a machine that others keep busy")
    parser.add_argument("--only", nargs="*", metavar="PEER", help=f"these peers only: {', '.join(PEERS)}")
    parser.add_argument("--folder", help="where to write; default: memory (/dev/shm), else a temporary folder")
    options = parser.parse_args()
    if options.only and (unknown := set(options.only) - set(PEERS)):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")
    sizes = (100, 1000, 10_000)
    repeats = {100: 5, 1000: 3, 10_000: 2} if options.quick else {100: 11, 1000: 7, 10_000: 3}
    peer_sizes = (1000,) if options.quick else (100, 1000)
    shared = options.folder or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    place = tempfile.mkdtemp(prefix="d6tstore-bench-", dir=shared)
    try:
        bench = Bench(place, "cpu" if options.cpu else "seconds")
        peers = installed(PEERS if options.only is None else options.only)
        imports(bench, 7 if options.quick else 15)
        lattice(bench, sizes, peer_sizes, peers, repeats)
        targets(bench, sizes, peer_sizes, peers)
        memory(bench, 10_000)
        diamonds(bench, 20)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(
        f"\n{datetime.date.today()}, Python {platform.python_version()}, {platform.machine()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, in {os.path.dirname(place)}; "
        f"{'CPU' if options.cpu else 'wall'} time per task\n"
    )
    bench.show()
    print(f"\n{bench.failed} targets missed" if bench.failed else "\nall targets met")
    return 1 if options.check and bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
