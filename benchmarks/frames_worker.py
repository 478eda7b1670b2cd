"""Measurements of frames in a fresh process: `frames_worker.py ACTION ARGUMENTS-AS-JSON` prints JSON."""

import gc
import importlib.util
import json
import os
import random
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

import d6tstore
from d6tstore_plugins.formats import encodings

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mixes

HELD = {}  # what the tasks save
LEAN = {"self_destruct": True, "split_blocks": True}
POLARS = importlib.util.find_spec("polars") is not None


class Frame(d6tstore.tasks.TaskPqPandas):
    """Saves a frame by the public way."""

    turn: int = 0

    def run(self):
        self.save(HELD["frame"])


class Stream(d6tstore.tasks.TaskPqArrow):
    """Saves batches that come one by one."""

    def run(self):
        self.save(HELD.pop("batches"))


def clock(call, *arguments):
    """Wall and CPU seconds of a call, all threads; and what it returned."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    result = call(*arguments)
    return (time.perf_counter() - wall, time.process_time() - cpu), result


def turns(calls, repeats):
    """Names and calls, in every turn in another order: what ran before leaves memory in a better or a worse state."""
    order, names = random.Random(0), list(calls)
    for turn in range(repeats):
        order.shuffle(names)
        for name in names:
            yield turn, name, calls[name]


def same_options(table, file):
    """The options with which our file was written."""
    rows = pq.read_metadata(file).row_group(0).num_rows
    options = encodings.choose(table.slice(0, rows), rows) | {"row_group_size": rows}
    sink = pa.BufferOutputStream()
    pq.write_table(table.slice(0, rows), sink, **options)
    written = [pq.read_metadata(source).row_group(0) for source in (file, pa.BufferReader(sink.getvalue()))]
    seen = [
        [(column.compression, sorted(column.encodings)) for column in map(group.column, range(group.num_columns))]
        for group in written
    ]
    if seen[0] != seen[1]:
        print(f"{file} is written with other options: {seen[0]}, not {seen[1]}", file=sys.stderr)
    return options


def speed(mix, rows, repeats, full, place):
    """Save a mix, and load it; `full`: beside all others, and parts of it too."""
    HELD["frame"] = mixes.make(mix, rows)
    with d6tstore.use(d6tstore.open(os.path.join(place, "store"))) as store:

        def ours(turn):
            task = Frame(turn=turn)
            store.run(task)
            return task.output().path

        options = same_options(pa.Table.from_pandas(HELD["frame"]), ours(-1))
        os.unlink(Frame(turn=-1).output().path)
        calls = {
            "d6tstore": ours,
            "pyarrow": lambda path: pq.write_table(pa.Table.from_pandas(HELD["frame"]), path, **options),
            # This is what d6tflow's TaskPqPandas calls.
            "d6tflow": lambda path: HELD["frame"].to_parquet(path, compression="gzip", engine="pyarrow"),
            "uncompressed": lambda path: pq.write_table(pa.Table.from_pandas(HELD["frame"]), path, compression="none"),
        }
        if full:
            calls["pandas"] = lambda path: HELD["frame"].to_parquet(path)
            calls["feather"] = lambda path: pyarrow.feather.write_feather(HELD["frame"], path)
        if full and POLARS:
            import polars as pl

            calls["polars"] = lambda path: pl.from_pandas(HELD["frame"]).write_parquet(path)
        samples, files = {name: [] for name in calls}, {}
        for turn, name, call in turns(calls, repeats):
            if name == "d6tflow" and turn:
                continue
            path = turn if name == "d6tstore" else os.path.join(place, f"{name}-{turn}")
            seconds, returned = clock(call, path)
            samples[name].append(seconds)
            if name in files:
                os.unlink(files[name])
            files[name] = str(returned or path)
        sizes = {name: os.path.getsize(path) for name, path in files.items()}
        del HELD["frame"]
        loaded = loads(Frame(turn=repeats - 1).output(), files, repeats, full)
    return {"save": samples, "bytes": sizes, "load": loaded}


def loads(output, files, repeats, full):
    """Load what was saved, into pandas unless the name says otherwise."""
    file = files["d6tstore"]
    calls = {
        "d6tstore": output.load,
        "pyarrow": lambda: pq.read_table(file).to_pandas(),
        "pyarrow, split blocks": lambda: pq.read_table(file).to_pandas(split_blocks=True),
        "pyarrow, self-destruct": lambda: pq.read_table(file).to_pandas(**LEAN),
        "pyarrow, no pre-buffer": lambda: pq.read_table(file, pre_buffer=False).to_pandas(**LEAN),
        "pyarrow, memory map": lambda: pq.read_table(file, memory_map=True).to_pandas(**LEAN),
        "d6tflow": lambda: pd.read_parquet(files["d6tflow"]),
    }
    if full:
        calls["pandas"] = lambda: pd.read_parquet(files["pandas"])
        calls["feather"] = lambda: pyarrow.feather.read_feather(files["feather"])
        three = ["f0", "i1", "low"]
        rows = pq.read_metadata(file).num_rows
        some, one = [("i0", ">=", rows // 3), ("i0", "<", rows // 3 + rows // 1000)], [("i1", "==", 7)]
        calls["3 columns"] = lambda: output.load(columns=three)
        calls["3 columns, pyarrow"] = lambda: pq.read_table(file, columns=three).to_pandas()
        calls["1 of 1,000 rows, together"] = lambda: output.load(where=some)
        calls["1 of 1,000 rows, together, pyarrow"] = lambda: pq.read_table(file, filters=some).to_pandas()
        calls["1 of 100 rows, scattered"] = lambda: output.load(where=one)
        calls["1 of 100 rows, scattered, pyarrow"] = lambda: pq.read_table(file, filters=one).to_pandas()
        calls["first 1,000 rows"] = lambda: output.load(limit=1000)
    if full and POLARS:
        import polars as pl

        calls["polars, to polars"] = lambda: pl.read_parquet(file)
    samples = {name: [] for name in calls}
    for _, name, call in turns(calls, repeats):
        samples[name].append(clock(call)[0])
    return samples


def peak():
    """The highest resident memory since `restart`, in bytes."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def restart():
    """Count the highest resident memory from here on, where the system lets us."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        print("/proc/self/clear_refs cannot be written: peaks count from the start", file=sys.stderr)


def prepare(rows, place):
    """A frame for `memory`, in a file that takes no memory to read beside the frame; and our file's options."""
    HELD["frame"] = frame = mixes.make("mixed", rows)
    pyarrow.feather.write_feather(frame, os.path.join(place, "source"), compression="uncompressed")
    with d6tstore.use(d6tstore.open(os.path.join(place, "store"))) as store:
        store.run(Frame(turn=-1))
        return same_options(pa.Table.from_pandas(frame), Frame(turn=-1).output().path)


def memory(what, options, place):
    """Peak memory of saving or loading once."""
    file = os.path.join(place, "written")
    with d6tstore.use(d6tstore.open(os.path.join(place, "store"))) as store:
        if what in ("save", "write"):
            HELD["frame"] = pyarrow.feather.read_feather(os.path.join(place, "source"))
        restart()
        before = peak()
        if what == "save":
            store.run(Frame(turn=0))
        elif what == "write":
            pq.write_table(pa.Table.from_pandas(HELD["frame"]), file, **options)
        elif what == "load":
            HELD["frame"] = Frame(turn=0).output().load()
        elif what == "read":
            HELD["frame"] = pq.read_table(file).to_pandas()
        elif what == "read, self-destruct":
            HELD["frame"] = pq.read_table(file).to_pandas(**LEAN)
    return {"peak": peak(), "before": before}


def stream(what, rows, place):
    """Save or load the mix of 10 columns in batches of 65,536 rows, never all at once."""
    size = 1 << 16

    def batches():
        rng = np.random.default_rng(1)
        for start in range(0, rows, size):
            count = min(size, rows - start)
            batch = block.slice(0, count)
            for name, values in (("f0", rng.standard_normal(count)), ("i0", np.arange(start, start + count))):
                batch = batch.set_column(block.schema.get_field_index(name), name, pa.array(values))
            yield batch

    def load():
        return sum(batch.num_rows for batch in Stream().output().load(as_="batches"))

    with d6tstore.use(d6tstore.open(os.path.join(place, "store"))) as store:
        if what == "save":
            block = pa.RecordBatch.from_pandas(mixes.make("mixed", size))
            HELD["batches"] = pa.RecordBatchReader.from_batches(block.schema, batches())
            (wall, cpu), _ = clock(lambda: store.run(Stream()))
        else:
            (wall, cpu), count = clock(load)
            assert count == rows, count
        size = Stream().output().path.stat().st_size
    return {"peak": peak(), "wall": wall, "cpu": cpu, "bytes": size}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
