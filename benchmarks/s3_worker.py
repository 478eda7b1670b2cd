"""Measurements of S3 in a fresh process: `s3_worker.py ACTION ARGUMENTS-AS-JSON` prints JSON."""

import asyncio
import io
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import obstore
import pyarrow.fs
import s3fs
from boto3.s3.transfer import TransferConfig, TransferManager
from contenders import DEPTH
from contenders.d6tstore_tasks import Node
from frames_worker import clock, turns
from obstore.store import S3Store

import d6tstore
from d6tstore_plugins.cloud.s3 import S3Backend

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from s3proxy import Proxy

BUCKET, REGION, THREADS = "bench", "us-east-1", 32
KEYS = {name: os.environ[name.upper()] for name in ("aws_access_key_id", "aws_secret_access_key")}


class Ours:
    """d6tstore, at the seam that it stores through."""

    def __init__(self, url):
        self.backend = S3Backend.open(f"s3://{BUCKET}/ours?endpoint={url}&region={REGION}")

    def up(self, key, file):
        copy = self.backend.staging()  # which the backend takes over
        copy.unlink()
        os.link(file, copy)
        self.backend.write(key, copy)

    def down(self, key):
        with self.backend.open_read(key) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            return file.read(size)

    def up_many(self, items):
        self.backend.write_many(items)

    def down_many(self, keys):
        return self.backend.read_many(keys)


class Obstore:
    def __init__(self, url, prefix="obstore"):
        self.store = S3Store(
            BUCKET, prefix=prefix, endpoint=url, region=REGION, client_options={"allow_http": True},
            virtual_hosted_style_request=False, access_key_id=KEYS["aws_access_key_id"],
            secret_access_key=KEYS["aws_secret_access_key"],
        )  # fmt: skip

    def up(self, key, file):
        obstore.put(self.store, key, file)

    def down(self, key):
        return bytes(obstore.get(self.store, key).bytes())

    def up_many(self, items):
        async def one(item):
            await obstore.put_async(self.store, *item)

        asyncio.run(gathered(map(one, items.items())))

    def down_many(self, keys):
        async def one(key):
            return key, bytes(await (await obstore.get_async(self.store, key)).bytes_async())

        return dict(asyncio.run(gathered(map(one, keys))))


async def gathered(some):
    """Coroutines, so many at once: what obstore returns runs from the start, each on a connection of its own."""
    limit = asyncio.Semaphore(THREADS)

    async def one(each):
        async with limit:
            return await each

    return await asyncio.gather(*map(one, some))


class Boto3:
    """boto3's TransferManager for one; for many, threads, which are faster."""

    def __init__(self, url):
        config = boto3.session.Config(max_pool_connections=THREADS, s3={"addressing_style": "path"})
        self.client = boto3.client("s3", endpoint_url=url, region_name=REGION, config=config, **KEYS)

    def up(self, key, file):
        self.client.upload_file(str(file), BUCKET, f"boto3/{key}")

    def down(self, key):
        held = io.BytesIO()
        self.client.download_fileobj(BUCKET, f"boto3/{key}", held)
        return held.getvalue()

    def up_many(self, items):
        def one(item):
            self.client.put_object(Bucket=BUCKET, Key=f"boto3/{item[0]}", Body=item[1])

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(one, items.items()))

    def down_many(self, keys):
        def one(key):
            return key, self.client.get_object(Bucket=BUCKET, Key=f"boto3/{key}")["Body"].read()

        with ThreadPoolExecutor(THREADS) as pool:
            return dict(pool.map(one, keys))


class TransferManagers(Boto3):
    """Many by the TransferManager too."""

    def up_many(self, items):
        with TransferManager(self.client, TransferConfig(max_concurrency=THREADS)) as manager:
            done = [manager.upload(io.BytesIO(data), BUCKET, f"boto3/{key}") for key, data in items.items()]
            [future.result() for future in done]

    def down_many(self, keys):
        held = {key: io.BytesIO() for key in keys}
        with TransferManager(self.client, TransferConfig(max_concurrency=THREADS)) as manager:
            done = [manager.download(BUCKET, f"boto3/{key}", file) for key, file in held.items()]
            [future.result() for future in done]
        return {key: file.getvalue() for key, file in held.items()}


class S3fs:
    def __init__(self, url):
        options = {"endpoint_url": url, "region_name": REGION}
        keys = {"key": KEYS["aws_access_key_id"], "secret": KEYS["aws_secret_access_key"]}
        self.fs = s3fs.S3FileSystem(**keys, client_kwargs=options, use_listings_cache=False)

    def up(self, key, file):
        self.fs.put_file(str(file), f"{BUCKET}/s3fs/{key}")

    def down(self, key):
        return self.fs.cat_file(f"{BUCKET}/s3fs/{key}")

    def up_many(self, items):
        self.fs.pipe({f"{BUCKET}/s3fs/{key}": data for key, data in items.items()})

    def down_many(self, keys):
        found = self.fs.cat([f"{BUCKET}/s3fs/{key}" for key in keys])
        return {path.rpartition("/s3fs/")[2]: data for path, data in found.items()}


class Pyarrow:
    def __init__(self, url):
        scheme, _, host = url.partition("://")
        self.fs = pyarrow.fs.S3FileSystem(
            access_key=KEYS["aws_access_key_id"], secret_key=KEYS["aws_secret_access_key"], region=REGION,
            scheme=scheme, endpoint_override=host, background_writes=True,
        )  # fmt: skip

    def up(self, key, file):
        with self.fs.open_output_stream(f"{BUCKET}/pyarrow/{key}") as sink, file.open("rb") as source:
            while chunk := source.read(8 << 20):
                sink.write(chunk)

    def down(self, key):
        with self.fs.open_input_file(f"{BUCKET}/pyarrow/{key}") as source:
            return source.read()

    def up_many(self, items):
        def one(item):
            with self.fs.open_output_stream(f"{BUCKET}/pyarrow/{item[0]}") as sink:
                sink.write(item[1])

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(one, items.items()))

    def down_many(self, keys):
        with ThreadPoolExecutor(THREADS) as pool:
            return dict(pool.map(lambda key: (key, self.down(key)), keys))


PEERS = {
    "d6tstore": Ours, "obstore": Obstore, "boto3": Boto3, "TransferManager": TransferManagers, "s3fs": S3fs,
    "pyarrow": Pyarrow,
}  # fmt: skip


def large(url, size, repeats, place):
    """One object up from a file, and down into memory. Seconds of (wall, CPU of all threads) by contender."""
    file = Path(place, "object")
    file.write_bytes(os.urandom(1 << 20) * (size >> 20))
    peers = {name: cls(url) for name, cls in PEERS.items() if name != "TransferManager"}
    found = {what: {name: [] for name in peers} for what in ("up", "down")}
    for turn, name, peer in turns(peers, repeats + 1):
        took, _ = clock(peer.up, "large", file)
        fetched, data = clock(peer.down, "large")
        assert len(data) == file.stat().st_size
        if turn:  # the first opens connections
            found["up"][name].append(took)
            found["down"][name].append(fetched)
    return found


def small(url, number, size, repeats, place):
    """Many objects up and down at once."""
    items = {f"small/{i:04}": os.urandom(size) for i in range(number)}
    peers = {name: cls(url) for name, cls in PEERS.items()}
    found = {what: {name: [] for name in peers} for what in ("up", "down")}
    for turn, name, peer in turns(peers, repeats + 1):
        took, _ = clock(peer.up_many, items)
        fetched, data = clock(peer.down_many, list(items))
        assert data == {key: data[key] for key in items}, name
        if turn:
            found["up"][name].append(took)
            found["down"][name].append(fetched)
    return found


def lattice(tasks):
    width = tasks // DEPTH
    return [Node(layer=DEPTH - 1, index=index, width=width) for index in range(width)]


def copied(url, tasks, place):
    """Complete tasks, which were computed elsewhere, on S3."""
    made = d6tstore.open(Path(place, "made"))
    made.run(lattice(tasks))
    source, target = made.repository.default, Ours(url).backend
    keys = [entry.key for entry in source.list()]
    for start in range(0, len(keys), 2_000):
        target.write_many(source.read_many(keys[start : start + 2_000]))


def plan(url, tasks, repeats, place):
    """Plans of a process that knows nothing, without an index and with one, and again; and GETs of the same records."""
    copied(url, tasks, place)
    found = {"seconds": {}, "requests": {}}
    proxy = Proxy(url)
    store = d6tstore.open(f"s3://{BUCKET}/ours?endpoint={proxy.url}&region={REGION}")

    def planned(name, store):
        begun = len(proxy.requests)
        (took, _), made = clock(lambda: store.plan(lattice(tasks)))
        assert len(made) == tasks and not made.pending, made
        found["seconds"].setdefault(name, []).append(took)
        found["requests"][name] = len(proxy.requests) - begun

    planned("no index", store)
    for _ in range(repeats):
        fresh = d6tstore.open(f"s3://{BUCKET}/ours?endpoint={proxy.url}&region={REGION}")
        planned("cold", fresh)
        planned("warm", fresh)
    proxy.close()
    # Without the proxy, which is slower than the server: records by ourselves, and the same GETs by the fastest client.
    keys = [entry.key for entry in Ours(url).backend.list(".d6tstore/records/")]
    fastest = Obstore(url, "ours")
    for _ in range(repeats):
        ours = Ours(url).backend
        for key in [entry.key for entry in ours._client.list(".d6tstore/index")]:
            ours.delete(key)
        for name, call in (("records", ours.read_many), ("GETs", fastest.down_many)):
            (took, _), data = clock(call, keys)
            assert len(data) == tasks
            found["seconds"].setdefault(name, []).append(took)
    return found


if __name__ == "__main__":
    action = {"large": large, "small": small, "plan": plan}[sys.argv[1]]
    print(json.dumps(action(**json.loads(sys.argv[2]))))
