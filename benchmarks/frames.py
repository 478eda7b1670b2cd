"""Measure frames in parquet beside pyarrow and peers in one run: `scripts/bench frames [--quick] [--check] [--cpu]`.

Every mix of columns is a fresh process in which repeats alternate between the contenders, and medians are compared;
every peak of memory is a process of its own. See README.md for what is measured and why.
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

HERE = os.path.dirname(os.path.abspath(__file__))
LOADS = ("pyarrow", "pyarrow, split blocks", "pyarrow, self-destruct", "pyarrow, no pre-buffer", "pyarrow, memory map")
PARTS = ("1 of 1,000 rows, together", "1 of 100 rows, scattered")
NO_GAIN = ("labels",)  # gzip is less than half of what d6tflow takes: nothing that pyarrow encodes is 5x faster


class Bench:
    """Measurements, and what they say about the targets."""

    script = "frames_worker.py"

    def __init__(self, place, clock):
        self.place = place
        self.clock = ("wall", "cpu").index(clock)
        self.lines = []
        self.missed = 0

    def worker(self, action, **arguments):
        """What a fresh process measures."""
        print(
            action,
            *(f"{key}={value}" for key, value in arguments.items() if key in ("mix", "what", "rows")),
            file=sys.stderr,
        )
        place = tempfile.mkdtemp(dir=self.place) if "place" not in arguments else arguments["place"]
        command = [sys.executable, "-W", "ignore", os.path.join(HERE, self.script)]
        done = subprocess.run(
            [*command, action, json.dumps(arguments | {"place": place})], capture_output=True, text=True, cwd=self.place
        )
        if done.returncode:
            sys.exit(f"{action} {arguments} failed:\n{done.stderr[-3000:]}")
        print(done.stderr, end="", file=sys.stderr)
        if "place" not in arguments:
            shutil.rmtree(place)
        return json.loads(done.stdout.splitlines()[-1])

    def seconds(self, samples):
        """The median, by the chosen clock."""
        return statistics.median(sample[self.clock] for sample in samples)

    def line(self, what, measured, ratio="", target="", ok=None):
        self.lines.append((what, measured, ratio, target, {True: "pass", False: "FAIL", None: ""}[ok]))
        self.missed += ok is False

    def ratio(self, what, measured, ratio, most=None, least=None):
        """A line with a ratio that is to be at most, or at least, something."""
        if most is not None:
            self.line(what, measured, f"{ratio:.2f}x", f"<= {most:g}x", ratio <= most)
        elif least is not None:
            self.line(what, measured, f"{ratio:.1f}x", f">= {least:g}x", ratio >= least)
        else:
            self.line(what, measured, f"{ratio:.2f}x")

    def show(self):
        rows = [("", "measured", "ratio", "target", ""), *self.lines]
        widths = [max(3, *(len(row[i]) for row in rows)) for i in range(5)]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:4]), "-" * widths[4]]
        for row in (rows[0], rule, *rows[1:]):
            cells = (row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in (1, 2, 3)), row[4].ljust(widths[4]))
            print(f"| {' | '.join(cells)} |")


def large(bench, rows, repeats):
    """The frame of 10 mixed columns beside everybody, and parts of it."""
    found = bench.worker("speed", mix="mixed", rows=rows, repeats=repeats, full=True)
    size = f"{rows / 1e6:g} million rows x 10"
    save = {name: bench.seconds(samples) for name, samples in found["save"].items()}
    load = {name: bench.seconds(samples) for name, samples in found["load"].items()}

    def written(name):
        return f"{save[name]:.2f} s, {found['bytes'][name] / 1e6:.0f} MB"

    bench.line(f"save {size}: d6tstore", written("d6tstore"))
    bench.ratio(
        "- d6tstore / pyarrow with the same options", written("pyarrow"), save["d6tstore"] / save["pyarrow"], 1.25
    )
    for name in ("pandas", "polars", "feather", "uncompressed"):
        if name in save:
            bench.ratio(f"- {name} / d6tstore", written(name), save[name] / save["d6tstore"])
    gzip(bench, "- d6tflow (gzip)", found, save)
    best = min(LOADS, key=load.get)
    bench.line(f"load {size}: d6tstore", f"{load['d6tstore']:.2f} s")
    for name in LOADS:
        most = 1.15 if name == best else None
        bench.ratio(f"- d6tstore / {name}", f"{load[name]:.2f} s", load["d6tstore"] / load[name], most)
    for name in ("pandas", "polars, to polars", "feather", "d6tflow"):
        if name in load:
            bench.ratio(f"- {name} / d6tstore", f"{load[name]:.2f} s", load[name] / load["d6tstore"])
    bench.ratio("load 3 of 10 columns / all", f"{load['3 columns']:.3f} s", load["3 columns"] / load["d6tstore"], 0.25)
    for name in ("3 columns", *PARTS):
        theirs = load[f"{name}, pyarrow"]
        bench.ratio(f"load {name}: d6tstore / pyarrow", f"{load[name]:.3f} s", load[name] / theirs)
    bench.ratio(
        "load first 1,000 rows / all", f"{load['first 1,000 rows']:.3f} s", load["first 1,000 rows"] / load["d6tstore"]
    )


def gzip(bench, title, found, save):
    """Lines for time and size beside d6tflow."""
    for what, ours, theirs in (("time", save["d6tstore"], save["d6tflow"]), ("size", *sizes(found))):
        text = f"{theirs:.2f} s" if what == "time" else f"{theirs / 1e6:.1f} MB"
        if what == "size":
            bench.ratio(f"{title}: size, d6tstore / d6tflow", text, round(ours / theirs, 2), most=1)
        elif title.rpartition(" ")[2] in NO_GAIN:
            floor = f"encoder alone {theirs / save['uncompressed']:.1f}x"
            bench.line(f"{title}: time, d6tflow / d6tstore", text, f"{theirs / ours:.1f}x", floor)
        else:
            bench.ratio(f"{title}: time, d6tflow / d6tstore", text, theirs / ours, least=5)


def sizes(found):
    return found["bytes"]["d6tstore"], found["bytes"]["d6tflow"]


def every_mix(bench, names, rows, repeats):
    """Other mixes of columns, beside pyarrow and d6tflow."""
    for name in names:
        found = bench.worker("speed", mix=name, rows=rows, repeats=repeats, full=False)
        save = {name: bench.seconds(samples) for name, samples in found["save"].items()}
        load = {name: bench.seconds(samples) for name, samples in found["load"].items()}
        title = f"mix {name}"
        measured = f"{save['d6tstore']:.2f} s, {found['bytes']['d6tstore'] / 1e6:.1f} MB"
        bench.ratio(f"{title}: save, d6tstore / pyarrow, same options", measured, save["d6tstore"] / save["pyarrow"])
        gzip(bench, title, found, save)
        best = min(load[name] for name in LOADS)
        bench.ratio(f"{title}: load, d6tstore / best pyarrow", f"{load['d6tstore']:.2f} s", load["d6tstore"] / best)


def memory(bench, rows, place):
    """Peaks of single actions on a frame of 10 columns, over those of pyarrow's own calls."""
    options = bench.worker("prepare", rows=rows, place=place)
    found = {}
    for action in ("save", "write", "load", "read", "read, self-destruct"):
        found[action] = bench.worker("memory", what=action, options=options, place=place)
    for ours, theirs, most in (("save", "write", 1.1), ("load", "read", 1.1), ("load", "read, self-destruct", None)):
        mega = {
            name: (found[name]["peak"] / 1e6, (found[name]["peak"] - found[name]["before"]) / 1e6) for name in found
        }
        text = " / ".join(f"{mega[name][0]:.0f} (+{mega[name][1]:.0f})" for name in (ours, theirs))
        bench.ratio(f"peak memory, {ours} / pyarrow {theirs}", f"{text} MB", mega[ours][0] / mega[theirs][0], most)


def streams(bench, rows, place):
    """More rows than one wants in memory, in batches."""
    for action in ("save", "load"):
        found = bench.worker("stream", what=action, rows=rows, place=place)
        mega = found["peak"] / 1e6
        took = found[("wall", "cpu")[bench.clock]]
        what = f"{action} {rows / 1e6:g} million rows x 10 in batches, {took:.0f} s, {found['bytes'] / 1e6:.0f} MB"
        bench.line(what, f"{mega:.0f} MB", "", "<= 500 MB", mega <= 500)


def main():
    sys.path.insert(0, HERE)
    import mixes

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the rows, fewer repeats")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--cpu", action="store_true", help="CPU time, for a machine that others keep busy")
    parser.add_argument(
        "--only", nargs="*", metavar="PART", help="of: large, mixes, memory, streams, or names of mixes"
    )
    parser.add_argument("--folder", help="where to write; default: a temporary folder")
    options = parser.parse_args()
    parts = options.only or ["large", "mixes", "memory", "streams"]
    names = [name for name in mixes.MIXES if name != "mixed" and ("mixes" in parts or name in parts)]
    if unknown := set(parts) - {"large", "mixes", "memory", "streams"} - set(names):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    million = 1_000_000
    place = tempfile.mkdtemp(prefix="d6tstore-bench-", dir=options.folder)
    try:
        bench = Bench(place, "cpu" if options.cpu else "wall")
        if "large" in parts:
            large(bench, million if options.quick else 5 * million, 5 if options.quick else 7)
        every_mix(bench, names, million // 5 if options.quick else million, 3 if options.quick else 5)
        if "memory" in parts:
            memory(bench, million if options.quick else 5 * million, place)
        if "streams" in parts:
            streams(bench, (10 if options.quick else 50) * million, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(
        f"\n{datetime.date.today()}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, in {os.path.dirname(place)}; {'CPU' if options.cpu else 'wall'} time\n"
    )
    bench.show()
    print(f"\n{bench.missed} targets missed" if bench.missed else "\nall targets met")
    return 1 if options.check and bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
