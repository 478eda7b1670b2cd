"""Measurements of databases in a fresh process: `sql_worker.py ACTION ARGUMENTS-AS-JSON` prints JSON."""

import io
import json
import sys

import adbc_driver_postgresql.dbapi as adbc
import mixes
import numpy as np
import pandas as pd
import psycopg2
import pyarrow as pa
import pyarrow.csv
import sqlalchemy as sa
from contenders import DEPTH
from contenders.d6tstore_tasks import Node
from contenders.d6tstore_warm import Warm
from frames_worker import HELD, LEAN, Frame, Stream, clock, peak, restart, turns

import d6tstore

SLOW = 10  # to_sql and read_sql get one row in so many
THREE = ["f0", "i1", "low"]


class Other(d6tstore.tasks.TaskPqPandas):
    """Of another family."""

    def run(self):
        self.save(HELD["frame"])


class Peers:
    """How others write a frame to a table of their own, and read it back."""

    def __init__(self, uri):
        self.adbc, self.psycopg2 = adbc.connect(uri), psycopg2.connect(uri)
        self.engine = sa.create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(uri))

    def run(self, *statements):
        """Statements that are not measured; CHECKPOINT stands in no transaction."""
        self.psycopg2.autocommit = True
        with self.psycopg2.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        self.psycopg2.autocommit = False

    def rows(self, statement, *values):
        with self.psycopg2, self.psycopg2.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall()

    def ingest(self, frame, table="peer_adbc"):
        with self.adbc.cursor() as cursor:
            cursor.adbc_ingest(table, pa.Table.from_pandas(frame, preserve_index=False), mode="create")
        self.adbc.commit()

    def fetch(self, query="SELECT * FROM peer_adbc", **options):
        with self.adbc.cursor() as cursor:
            cursor.execute(query)
            found = cursor.fetch_arrow_table().to_pandas(**options)
        self.adbc.commit()
        return found

    def copy_in(self, frame):
        """COPY of text that pyarrow writes, into a table of the types that ADBC chose."""
        table = pa.Table.from_pandas(frame, preserve_index=False)
        text = io.BytesIO()
        pyarrow.csv.write_csv(table, text, pyarrow.csv.WriteOptions(include_header=False))
        text.seek(0)
        with self.psycopg2, self.psycopg2.cursor() as cursor:
            cursor.execute("CREATE TABLE peer_copy (LIKE peer_types)")
            cursor.copy_expert("COPY peer_copy FROM STDIN (FORMAT csv)", text)

    def copy_out(self, schema):
        text = io.BytesIO()
        with self.psycopg2, self.psycopg2.cursor() as cursor:
            cursor.copy_expert("COPY peer_copy TO STDOUT (FORMAT csv)", text)
        text.seek(0)
        names = pyarrow.csv.ReadOptions(column_names=schema.names)
        types = pyarrow.csv.ConvertOptions(column_types=schema)
        return pyarrow.csv.read_csv(text, names, convert_options=types).to_pandas()


def speed(uri, rows, repeats, place):
    """Save the mix of 10 columns and load it, beside all others; and parts of it."""
    HELD["frame"] = mixes.make("mixed", rows)
    peers = Peers(uri)
    with d6tstore.use(d6tstore.open(f"{uri}&schema=speed")) as store:
        saved = saves(store, peers, repeats)
        sizes = {"ADBC": size(peers, "public.peer_adbc"), "d6tstore": size(peers, relation(peers, "speed"))}
        output = Frame(turn=repeats).output()
        pd.testing.assert_frame_equal(output.load(), HELD["frame"])
        schema = pa.Schema.from_pandas(HELD.pop("frame"), preserve_index=False)
        return {"save": saved, "load": loads(output, peers, schema, rows, repeats), "bytes": sizes}


def saves(store, peers, repeats):
    """Save the frame. All begin alike: without what was saved before, and with nothing left for the server to write."""
    frame = HELD["frame"]
    few = frame.head(len(frame) // SLOW)
    peers.ingest(few.head(0), "peer_types")
    calls = {
        "d6tstore": lambda turn: store.run(Frame(turn=turn)),
        "ADBC": lambda turn: peers.ingest(frame),
        "COPY text": lambda turn: peers.copy_in(frame),
        "to_sql": lambda turn: few.to_sql("peer_pandas", peers.engine, index=False),
    }
    samples = {name: [] for name in calls}
    tables = {"ADBC": "peer_adbc", "COPY text": "peer_copy", "to_sql": "peer_pandas"}
    for turn, name, call in turns(calls, repeats + 1):
        if name == "d6tstore":
            Frame(turn=turn - 1).invalidate()
            store.gc(older_than=0)
        else:
            peers.run(f"DROP TABLE IF EXISTS {tables[name]}")
        peers.run("CHECKPOINT")
        took = clock(call, turn)[0][0]
        if turn:  # the first one opens connections and imports
            samples[name].append(took * (SLOW if name == "to_sql" else 1))
    return samples


def loads(output, peers, schema, rows, repeats):
    """Load what was saved, into pandas."""
    first, last = rows // 3, rows // 3 + rows // 1000
    some = [("i0", ">=", first), ("i0", "<", last)]
    calls = {
        "d6tstore": output.load,
        "ADBC": peers.fetch,
        "ADBC, self-destruct": lambda: peers.fetch(**LEAN),
        "COPY text": lambda: peers.copy_out(schema),
        "read_sql": lambda: pd.read_sql("SELECT * FROM peer_pandas", peers.engine),
        "3 of 10 columns": lambda: output.load(columns=THREE),
        "3 of 10 columns, ADBC": lambda: peers.fetch(f"SELECT {', '.join(THREE)} FROM peer_adbc"),
        "1 of 1,000 rows": lambda: output.load(where=some),
        "1 of 1,000 rows, ADBC": lambda: peers.fetch(f"SELECT * FROM peer_adbc WHERE i0 >= {first} AND i0 < {last}"),
        "first 1,000 rows": lambda: output.load(limit=1000),
        "first 1,000 rows, ADBC": lambda: peers.fetch("SELECT * FROM peer_adbc LIMIT 1000"),
    }
    samples = {name: [] for name in calls}
    peers.run("VACUUM")  # first readers write too: they note which rows are there
    for turn, name, call in turns(calls, repeats + 1):
        (took, _), found = clock(call)
        if turn:
            samples[name].append(took * (SLOW if name == "read_sql" else 1))
        elif name.startswith("1 of"):
            assert len(found) == rows // 1000
    return samples


def relation(peers, schema):
    """The newest table that people find in the listing of a schema."""
    return peers.rows(f"SELECT format('%I.%I', '{schema}', relation) FROM {schema}.results ORDER BY time DESC")[0][0]


def size(peers, table):
    return peers.rows("SELECT pg_total_relation_size(%s)", table)[0][0]


def stream(uri, what, rows, place):
    """Save or load the mix of 10 columns in batches of 65,536 rows, never all at once."""
    block = pa.RecordBatch.from_pandas(mixes.make("mixed", 1 << 16))
    floats, ids = (block.schema.get_field_index(name) for name in ("f0", "i0"))

    def batches():
        rng = np.random.default_rng(1)
        for start in range(0, rows, len(block)):
            batch = block.slice(0, rows - start)
            batch = batch.set_column(floats, "f0", pa.array(rng.standard_normal(len(batch))))
            yield batch.set_column(ids, "i0", pa.array(np.arange(start, start + len(batch))))

    def load():
        return sum(len(batch) for batch in Stream().output().load(as_="batches"))

    with d6tstore.use(d6tstore.open(f"{uri}&schema=stream")) as store:
        restart()
        if what == "save":
            HELD["batches"] = pa.RecordBatchReader.from_batches(block.schema, batches())
            (took, _), _ = clock(lambda: store.run(Stream()))
        else:
            (took, _), count = clock(load)
            assert count == rows, count
        highest = peak()
    peers = Peers(uri)
    return {"peak": highest, "seconds": took, "bytes": size(peers, relation(peers, "stream"))}


def lattice(tasks):
    """The last layer of small tasks that need those below."""
    return [Node(layer=DEPTH - 1, index=i, width=tasks // DEPTH) for i in range(tasks // DEPTH)]


def fill(uri, tasks, place):
    """Complete many small tasks."""
    report = d6tstore.open(uri).run(lattice(tasks), workers=4)
    assert len(report.ran) == tasks


def plan(uri, tasks, place):
    """The plan of many complete tasks, graph included, and how many statements it sends."""
    sent = []
    store = d6tstore.open(uri)
    store.plan(Warm())
    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *found: sent.append(found[2]))
    (took, _), made = clock(lambda: store.plan(lattice(tasks)))
    assert len(made) == tasks and not made.pending, made
    return {"seconds": took, "queries": len(sent)}


def small(uri, rows, sets, repeats, place):
    """Save a frame of few rows: when its family has no view yet, and with many parameter sets in it."""
    HELD["frame"] = frame = mixes.make("mixed", rows)
    peers = Peers(uri)
    many = d6tstore.open(f"{uri}&schema=many")
    many.run([Frame(turn=-i) for i in range(1, sets + 1)])
    calls = {
        "ADBC": lambda turn: peers.ingest(frame, "peer_small"),
        "to_sql": lambda turn: frame.to_sql("peer_small", peers.engine, index=False),
        "none": lambda turn: none.run(Frame(turn=turn)),
        "many": lambda turn: many.run(Frame(turn=turn)),
    }
    samples = {name: [] for name in calls}
    for turn, name, call in turns(calls, repeats + 1):
        if name == "none":
            none = d6tstore.open(f"{uri}&schema=none{turn}")
            none.run(Other())  # opens connections
        peers.run("DROP TABLE IF EXISTS peer_small")
        took = clock(call, turn)[0][0]
        if turn:
            samples[name].append(took)
        if name == "none":
            none.close()
    assert len(peers.rows("SELECT DISTINCT p_turn FROM many.frame")) == min(sets, 100)
    return samples


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
