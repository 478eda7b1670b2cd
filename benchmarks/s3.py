"""Measure S3 beside its clients in one run: `scripts/bench s3 [--quick] [--check]`.

A real server (SeaweedFS) runs meanwhile, on this machine, so it takes most of the time: CPU seconds are those of the
client alone. A proxy adds latency to each request in a process of its own. See README.md for what is measured.
"""

import argparse
import contextlib
import datetime
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import frames

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.append(str(TESTS))
PARTS = ("large", "small", "latency", "plan")
MOST = 1.25


class Bench(frames.Bench):
    """Measurements on a server."""

    script = "s3_worker.py"


@contextlib.contextmanager
def delayed(url, seconds):
    """The server behind a proxy that takes so long for each request."""
    command = [sys.executable, str(TESTS / "s3proxy.py"), url, str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


def beside(bench, what, samples, checked=("wall", "CPU")):
    """One line for us and one for each peer; the best of those is what we are held to, for each clock."""
    for index, clock in enumerate(("wall", "CPU")):
        took = {name: statistics.median(sample[index] for sample in found) for name, found in samples.items()}
        ours = took.pop("d6tstore")
        bench.line(f"{what}, {clock}: d6tstore", f"{ours:.2f} s")
        best = min(took, key=took.get)
        for name, seconds in sorted(took.items(), key=lambda pair: pair[1]):
            most = MOST if name == best and clock in checked else None
            bench.ratio(f"- d6tstore / {name}", f"{seconds:.2f} s", ours / seconds, most)


def plan(bench, url, tasks, repeats):
    found = bench.worker("plan", url=url, tasks=tasks, repeats=repeats)
    seconds = {name: statistics.median(took) for name, took in found["seconds"].items()}
    for name, said in (("no index", "without an index"), ("cold", "in a new process"), ("warm", "again")):
        number, target = found["requests"][name], "" if name == "no index" else "<= 40 requests"
        what = f"plan over {tasks:,} complete tasks, {said}"
        bench.line(what, f"{seconds[name]:.2f} s, {number:,} requests", "", target, number <= 40 if target else None)
    bench.line(f"{tasks:,} records without an index: d6tstore", f"{seconds['records']:.2f} s")
    ratio = seconds["records"] / seconds["GETs"]
    bench.ratio("- d6tstore / the same GETs by obstore", f"{seconds['GETs']:.2f} s", ratio, MOST)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the bytes and tasks, fewer repeats")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--only", nargs="*", metavar="PART", choices=PARTS, help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds that the proxy adds to a request; 0.02")
    options = parser.parse_args()
    parts, quick = options.only or PARTS, options.quick
    import s3servers

    server, place = s3servers.SeaweedFS(), Path(tempfile.mkdtemp(prefix="d6tstore-bench-"))
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[variable]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": server.keys.id, "AWS_SECRET_ACCESS_KEY": server.keys.secret,
        "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    try:
        server.boto().create_bucket(Bucket="bench")
        bench = Bench(place, "wall")
        megabytes, repeats = 40 if quick else 200, 3 if quick else 7
        if "large" in parts:
            found = bench.worker("large", url=server.url, size=megabytes << 20, repeats=repeats)
            for what in ("up", "down"):
                beside(bench, f"{megabytes} MB {what}", found[what])
        number = 200 if quick else 1_000
        if "small" in parts:
            found = bench.worker("small", url=server.url, number=number, size=10_000, repeats=repeats)
            for what in ("up", "down"):
                beside(bench, f"{number:,} x 10 kB {what}", found[what])
        if "latency" in parts:
            with delayed(server.url, options.latency) as url:
                found = bench.worker("small", url=url, number=number, size=10_000, repeats=3)
            for what in ("up", "down"):
                beside(bench, f"{number:,} x 10 kB {what}, {options.latency * 1e3:g} ms latency", found[what])
        if "plan" in parts:
            plan(bench, server.url, 2_000 if quick else 10_000, 3)
    finally:
        server.close()
        shutil.rmtree(place, ignore_errors=True)
    print(
        f"\n{datetime.date.today()}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}\n"
    )
    bench.show()
    print(f"\n{bench.missed} targets missed" if bench.missed else "\nall targets met")
    return 1 if options.check and bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
