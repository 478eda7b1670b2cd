"""Measure pipes beside dvc, aws s3 sync and rclone in one run: `scripts/bench pipes [--quick] [--check]`.

A real server (SeaweedFS) runs meanwhile, on this machine, so it takes much of the time: CPU seconds are those of the
client alone. See README.md for what is measured.
"""

import argparse
import contextlib
import datetime
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import frames

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
PARTS = ("sync", "requests", "vanished", "status")
BIN = Path(sys.executable).parent
LIMITS = {"push": 1.2, "pull": 1.2, "again": 0.5}  # of what the fastest peer takes
SAID = {"push": "first push", "pull": "fresh pull", "again": "nothing to push"}


class Bench(frames.Bench):
    """Measurements on a server."""

    script = "pipes_worker.py"


def timed(*commands, cwd):
    """Wall and CPU seconds of processes, one after the other."""
    wall = cpu = 0.0
    for command in commands:
        begun = time.perf_counter()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen([str(word) for word in command], cwd=cwd, stdout=said, stderr=said)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            wall += time.perf_counter() - begun
            if process.returncode:
                said.seek(0)
                sys.exit(f"{command} failed:\n{said.read().decode()[-3000:]}")
        cpu += usage.ru_utime + usage.ru_stime
    return wall, cpu


class Ours:
    """`d6tstore pipe`, as processes."""

    def __init__(self, room, files, store, url):
        self.sides = {"here": store, "fresh": room / "fresh"}
        for side in self.sides.values():
            side.mkdir(exist_ok=True)
            (side / "d6tstore.toml").write_text(f'[pipes.team]\nurl = "{url}"\n')

    def push(self):
        return timed([BIN / "d6tstore", "pipe", "push", "team"], cwd=self.sides["here"])

    again = push

    def pull(self):
        return timed([BIN / "d6tstore", "pipe", "pull", "team"], cwd=self.sides["fresh"])

    def arrived(self):
        return sum(path.suffix == ".bin" for path in (self.sides["fresh"] / "data").rglob("*"))


class Peer:
    """Files of a folder in a bucket."""

    def __init__(self, room, files, store, url):
        self.bucket, _, self.endpoint = url.partition("?")
        self.endpoint = self.endpoint.partition("endpoint=")[2].partition("&")[0]
        self.here, self.fresh = room / "here", room / "fresh"
        self.fresh.mkdir()
        shutil.copytree(files, self.here / "files")
        self.prepare()

    def prepare(self):
        pass

    def arrived(self):
        return sum(path.is_file() for path in (self.fresh / "files").rglob("*"))


class Dvc(Peer):
    def prepare(self):
        for side in (self.here, self.fresh):
            self.run(side, "init", "--no-scm", "-q")
            self.run(side, "config", "core.site_cache_dir", str(side / "site"))
            self.run(side, "remote", "add", "-q", "-d", "team", self.bucket)
            self.run(side, "remote", "modify", "team", "endpointurl", self.endpoint)

    def run(self, side, *words):
        subprocess.run([BIN / "dvc", *words], cwd=side, check=True, capture_output=True)

    def push(self):
        return timed([BIN / "dvc", "add", "files"], [BIN / "dvc", "push"], cwd=self.here)

    def again(self):
        return timed([BIN / "dvc", "push"], cwd=self.here)

    def pull(self):
        shutil.copy(self.here / "files.dvc", self.fresh)
        return timed([BIN / "dvc", "pull"], cwd=self.fresh)


class Aws(Peer):
    def sync(self, *words):
        command = [BIN / "aws", "s3", "sync", "--only-show-errors", "--endpoint-url", self.endpoint, *words]
        return timed(command, cwd=self.here)

    def push(self):
        return self.sync("files", f"{self.bucket}/files")

    again = push

    def pull(self):
        return self.sync(f"{self.bucket}/files", self.fresh / "files")


class Rclone(Peer):
    options = ()

    def sync(self, source, target):
        remote = f":s3,provider=SeaweedFS,env_auth,endpoint='{self.endpoint}':{self.bucket.removeprefix('s3://')}/files"
        words = [remote if word == "there" else word for word in (source, target)]
        return timed([BIN / "rclone", "--config", "", "sync", *self.options, *words], cwd=self.here)

    def push(self):
        return self.sync("files", "there")

    again = push

    def pull(self):
        return self.sync("there", self.fresh / "files")


class RcloneFast(Rclone):
    options = ("--fast-list", "--transfers", "16", "--checksum")


PEERS = {
    "d6tstore": Ours, "dvc (with add)": Dvc, "aws s3 sync": Aws, "rclone": Rclone,
    "rclone --fast-list --checksum --transfers 16": RcloneFast,
}  # fmt: skip


class Buckets:
    """Buckets of the server, one at a time."""

    def __init__(self, server):
        self.server, self.count = server, 0

    def __call__(self):
        """The URL of a new one; that before goes."""
        with contextlib.closing(self.server.boto()) as client:
            self.empty(client)
            self.count += 1
            client.create_bucket(Bucket=f"bench-{self.count}")
        return self.url(self.count)

    def url(self, number):
        return f"s3://bench-{number}?endpoint={self.server.url}&region=us-east-1"

    def empty(self, client):
        if not self.count:
            return
        name = f"bench-{self.count}"
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            if keys := [{"Key": entry["Key"]} for entry in page.get("Contents", [])]:
                client.delete_objects(Bucket=name, Delete={"Objects": keys, "Quiet": True})
        client.delete_bucket(Bucket=name)


def sync(bench, buckets, small, large, repeats):
    """Everybody's first push, push again and fresh pull, taking turns; then the same by calls."""
    place = Path(bench.place)
    store, files = place / "store", place / "files"
    store.mkdir()
    sizes = {"number": small, "size": 10_000, "large": large, "large_size": 40_000_000}
    bench.worker("make", store=str(store), **sizes)
    for path in (store / "data").glob("[A-Z]*/*/*.bin"):
        at = files / path.parts[-3] / f"{path.parts[-2]}.bin"
        at.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, at)
    found = {what: {name: [] for name in (*PEERS, "calls")} for what in LIMITS}
    order, names = random.Random(0), [*PEERS, "calls"]
    for turn in range(repeats):
        order.shuffle(names)
        for name in names:
            room = Path(tempfile.mkdtemp(dir=place))
            url = buckets()
            if name == "calls":
                took = bench.worker("calls", url=url, warm=url.replace("?", "/warm?"), store=str(store))
            else:
                contender = PEERS[name](room, files, store, url)
                took = {what: getattr(contender, what)() for what in ("push", "again", "pull")}
                assert contender.arrived() == small + large, name
            print(turn, name, took, file=sys.stderr)
            for what, sample in took.items():
                found[what][name].append(sample)
            shutil.rmtree(room)
    for what, samples in found.items():
        beside(bench, f"{SAID[what]}, {small:,} x 10 kB and {large} x 40 MB", samples, LIMITS[what])


def beside(bench, what, samples, most):
    """One line for us, one for each peer, and one for calls; we are held to the fastest peer."""
    took = {name: [statistics.median(each) for each in zip(*found, strict=True)] for name, found in samples.items()}
    (ours, ours_cpu), (calls, calls_cpu) = took.pop("d6tstore"), took.pop("calls")
    bench.line(f"{what}: d6tstore", f"{ours:.2f} s (CPU {ours_cpu:.2f})")
    best = min(took, key=took.get)
    for name, (wall, cpu) in sorted(took.items(), key=lambda pair: pair[1]):
        bench.ratio(
            f"- d6tstore / {name}", f"{wall:.2f} s (CPU {cpu:.2f})", ours / wall, most if name == best else None
        )
    bench.line(
        "- d6tstore, called in a process that runs",
        f"{calls:.3f} s (CPU {calls_cpu:.2f})",
        f"{calls / took[best][0]:.2f}x",
    )


def requests(bench, buckets):
    counts = {}
    for number in (10, 1_000):
        found = bench.worker("requests", url=buckets(), number=number)
        counts[number] = len(found["new"])
        said = f"{len(found['new'])} requests, {len(found['again'])} again"
        ok = None if number == 10 else counts[number] <= counts[10] + 1
        bench.line(
            f"nothing to push, {number:,} results of one family", said, "", "" if ok is None else "<= 1 more", ok
        )


def vanished(bench, buckets):
    """An object is gone from the other side: who notices?"""
    ok = bench.worker("restored", url=buckets())
    bench.line("an object vanished: push(verify=True)", "restores it" if ok else "does not notice", "", "restored", ok)
    place = Path(bench.place)
    files, room, url = place / "few", Path(tempfile.mkdtemp(dir=place)), buckets()
    files.mkdir()
    for i in range(3):
        (files / f"{i}.bin").write_bytes(os.urandom(10))
    peer = Dvc(room, files, None, url)
    peer.push()
    with contextlib.closing(buckets.server.boto()) as client:
        keys = [e["Key"] for e in client.list_objects_v2(Bucket=f"bench-{buckets.count}")["Contents"]]
        gone = next(key for key in keys if not key.endswith(".dir"))
        client.delete_object(Bucket=f"bench-{buckets.count}", Key=gone)
        peer.again()
        left = {e["Key"] for e in client.list_objects_v2(Bucket=f"bench-{buckets.count}")["Contents"]}
    bench.line("- dvc push", "restores it" if gone in left else "does not notice, exit code 0")


def status(bench, buckets, number, where):
    """Status of many records, warm."""
    place = Path(tempfile.mkdtemp(dir=bench.place))
    for name, url in (("folder", str(place / "there")), ("S3", buckets())):
        if name not in where:
            continue
        found = bench.worker("status", url=url, number=number, repeats=3)
        for case, samples in found.items():
            first, warm = samples[0], [statistics.median(each) for each in zip(*samples[2:], strict=True)]
            what = f"status, {number:,} results {case}, {name}"
            bench.line(what, f"{warm[0]:.2f} s (CPU {warm[1]:.2f}), first {first[0]:.2f} s", "", "<= 5 s", warm[0] <= 5)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the files and results, fewer repeats")
    parser.add_argument("--repeats", type=int, help="of the first part")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--only", nargs="*", metavar="PART", choices=PARTS, help=f"of: {', '.join(PARTS)}")
    options = parser.parse_args()
    parts, quick = options.only or PARTS, options.quick
    import s3servers

    # In memory: on ext4 to create files soon after many were deleted, as each turn does, costs several times as much.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    server, place = s3servers.SeaweedFS(), Path(tempfile.mkdtemp(prefix="d6tstore-bench-", dir=memory))
    nothing = place / "nothing"  # dvc refuses /dev/null
    nothing.touch()
    for variable in [name for name in os.environ if name.startswith(("AWS_", "D6TSTORE_"))]:
        del os.environ[variable]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": server.keys.id, "AWS_SECRET_ACCESS_KEY": server.keys.secret,
        "AWS_CONFIG_FILE": str(nothing), "AWS_SHARED_CREDENTIALS_FILE": str(nothing),
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1", "DVC_NO_ANALYTICS": "1",
        "XDG_CONFIG_HOME": str(place / "config"), "XDG_CACHE_HOME": str(place / "cache"),
    }  # fmt: skip
    buckets = Buckets(server)
    try:
        bench = Bench(place, "wall")
        if "sync" in parts:
            sync(bench, buckets, 200 if quick else 1_000, 1 if quick else 5, options.repeats or (3 if quick else 5))
        if "requests" in parts:
            requests(bench, buckets)
        if "vanished" in parts:
            vanished(bench, buckets)
        if "status" in parts:
            status(bench, buckets, 10_000 if quick else 100_000, ("folder", "S3"))
    finally:
        server.close()
        shutil.rmtree(place, ignore_errors=True)
    print(
        f"\n{datetime.date.today()}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, in {place.parent}\n"
    )
    bench.show()
    print(f"\n{bench.missed} targets missed" if bench.missed else "\nall targets met")
    return 1 if options.check and bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
