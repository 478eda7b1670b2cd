"""A server that goes away, refuses or takes too long; processes that die, fork or work at once; other versions.

Each gives a right result, or an error of ours that says what to do, and costs no result that was there before.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from postgres import connect
from sqlalchemy import event

import d6tstore
from d6tstore.errors import BackendError, Denied, Held, SelectionError, UsageError
from d6tstore_plugins.sql.backend import PostgresBackend

SPAWN = multiprocessing.get_context("spawn")
INFO = {"who": "ann", "host": "here", "pid": "1"}


@pytest.fixture
def backend(database):
    backend = PostgresBackend.open(database.url)
    yield backend
    backend.close()


def cut(database):
    """End all connections of tests to this database, as a restart of the server does."""
    with connect(database.admin) as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'ann'")


def table(rows=3):
    return pa.table({"x": range(rows)})


def put(backend, key, data):
    backend.write_table(key, data.to_reader() if isinstance(data, pa.Table) else data)


# ------------------------------------------------------------------- a server that goes away


def test_it_connects_again(backend, database):
    backend.write("a", b"1")
    put(backend, "t", table())
    with backend.claim("c", INFO):
        cut(database)
        assert backend.read("a") == b"1"
    cut(database)
    assert backend.read_table("t").read_all() == table()
    cut(database)
    with backend.claim("c", INFO):
        pass


def test_cut_off_in_the_middle_of_a_table(backend, database):
    put(backend, "t", table())

    def batches():
        yield from table(100_000).to_batches()
        cut(database)
        yield from table(100_000).to_batches()

    with pytest.raises(BackendError):
        put(backend, "t", pa.RecordBatchReader.from_batches(table().schema, batches()))
    assert backend.read_table("t").read_all() == table()
    with connect(database.admin) as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = %s AND tablename LIKE 't%%'", [database.schema]
        )
        assert cursor.fetchone() == (1,)


def test_cut_off_while_reading(backend, database):
    put(backend, "t", pa.table({"x": ["long text " * 20] * 500_000}))
    reader = backend.read_table("t")
    reader.read_next_batch()
    cut(database)
    with pytest.raises((BackendError, pa.ArrowException, OSError)):
        reader.read_all()
    assert backend.read_table("t", limit=2).read_all().num_rows == 2


def test_readers_that_are_dropped_give_their_connection_back(backend, database):
    put(backend, "t", table(200_000))
    for _ in range(30):
        backend.read_table("t")
        backend.read_table("t").read_next_batch()
    with connect(database.admin) as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'ann' AND state <> 'idle'")
        assert cursor.fetchone()[0] <= 1


def test_a_statement_that_takes_too_long(database):
    slow = PostgresBackend.open(database.url + "&options=-c%20statement_timeout%3D150")
    try:
        with pytest.raises(BackendError, match="statement timeout.*statement_timeout"):
            slow.query("select pg_sleep(20)", {}, {}).read_all()
        slow.write("a", b"1")
        assert slow.read("a") == b"1"
    finally:
        slow.close()


def limit_files(process, size):
    """Let files of a process grow to a number of bytes, as its own user: root may not have the right to."""
    owner = Path(f"/proc/{process}").stat()
    command = ["prlimit", f"--pid={process}", f"--fsize={size}:"]
    if owner.st_uid == os.getuid():
        subprocess.run(command, check=True)
    else:
        subprocess.run(command, user=owner.st_uid, group=owner.st_gid, extra_groups=[], check=True)


@pytest.mark.skipif(not shutil.which("prlimit"), reason="prlimit (util-linux) makes the disk full")
def test_no_room_for_a_table(backend, database):
    put(backend, "t", table())
    with connect(database.admin) as cursor:
        cursor.execute("SELECT pg_read_file('postmaster.pid')")
        postmaster = int(cursor.fetchone()[0].split()[0])
    limit_files(postmaster, 20 << 20)  # not below 16 MB: its own log of changes has such files
    try:
        fresh = PostgresBackend.open(database.url)  # new connections are new processes, which have the limit
        with pytest.raises(BackendError, match="could not (extend|write).*previous result is whole"):
            put(fresh, "t", table(2_000_000))
        fresh.close()
    finally:
        limit_files(postmaster, "unlimited")
    assert backend.read_table("t").read_all() == table()
    with connect(database.admin) as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = %s AND tablename LIKE 't%%'", [database.schema]
        )
        assert cursor.fetchone() == (1,)


# ------------------------------------------------------------------------------ refusals


def test_denied_is_said_of_schema_table_and_database(backend, database):
    put(backend, "t", table())
    with connect(database.admin) as cursor:
        cursor.execute(f'SELECT relation FROM "{database.schema}".d6tstore_objects')
        relation = cursor.fetchone()[0]
        cursor.execute(f'REVOKE ALL ON "{database.schema}"."{relation}" FROM ann')
        with pytest.raises(Denied, match="permission denied for table.*Ask for the rights"):
            backend.read_table("t")
        cursor.execute("REVOKE CREATE ON DATABASE postgres FROM ann")
        try:
            with pytest.raises(Denied, match="permission denied for database"):
                PostgresBackend.open(database.url.replace(database.schema, "forbidden"))
        finally:
            cursor.execute("GRANT CREATE ON DATABASE postgres TO ann")


@pytest.mark.parametrize("schema", ['a"b', "a b", "Größe", "%s", ":x", "'; DROP SCHEMA public; --", "a.b", "x" * 63])
def test_names_of_schemas(database, schema):
    name = f"{schema[:45]}{database.schema}"
    backend = PostgresBackend.open(database.url.partition("&schema")[0], schema=name)
    store = d6tstore.Store(d6tstore.store.Repository(backend))
    try:

        class Odd(d6tstore.tasks.TaskPqPandas):
            def run(self):
                self.save(pd.DataFrame({"x": [1]}))

        store.run(Odd())
        assert (
            store.verify() == []
            and backend.query("select x from {t}", {"t": next(e.key for e in backend.list("Odd"))}, {})
            .read_all()
            .num_rows
            == 1
        )
    finally:
        backend.close()


def test_another_encoding_is_refused(database):
    with connect(database.admin) as cursor:
        name = f"ascii_{database.schema}"
        cursor.execute(
            f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C' OWNER ann"
        )
        with pytest.raises(BackendError, match="encoding SQL_ASCII. Use one with UTF8"):
            PostgresBackend.open(database.url.replace("/postgres?", f"/{name}?"))


def test_tables_of_a_newer_version_are_refused(backend, database):
    with connect(database.admin) as cursor:
        cursor.execute(f'UPDATE "{database.schema}".d6tstore_layout SET version = 99')
    with pytest.raises(BackendError, match="layout 99.*pip install --upgrade d6tstore"):
        PostgresBackend.open(database.url)


def test_several_that_begin_at_once(database):
    def begin(_):
        PostgresBackend.open(database.url).close()

    with __import__("concurrent.futures").futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(begin, range(6)))


# --------------------------------------------------------------------------------- claims


def hold(url, told, go):
    with PostgresBackend.open(url).claim("k", {**INFO, "pid": str(os.getpid())}):
        told.set()
        go.wait(60)


def test_a_claim_of_another_process_and_of_one_that_died(backend, database):
    told, go = SPAWN.Event(), SPAWN.Event()
    child = SPAWN.Process(target=hold, args=(database.url, told, go))
    child.start()
    assert told.wait(60)
    with pytest.raises(Held) as caught, backend.claim("k", INFO):
        pass
    assert caught.value.info["pid"] == str(child.pid)
    with backend.claim("other", INFO):
        pass
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    for _ in range(200):  # until the server notices
        try:
            with backend.claim("k", INFO):
                break
        except Held:
            threading.Event().wait(0.05)
    else:
        pytest.fail("the claim of a dead process stays")


def test_a_claim_of_another_thread(backend):
    with backend.claim("k", {**INFO, "who": "first"}):
        with pytest.raises(Held) as caught, backend.claim("k", INFO):
            pass
        assert caught.value.info["who"] == "first"
    with backend.claim("k", INFO):
        pass


# ------------------------------------------------------------------- processes and pickles


def read_all(backend):
    backend.write(f"of/{os.getpid()}", b"x")
    return backend.read("a"), backend.read_table("t").read_all().num_rows


@pytest.mark.parametrize("kind", ["spawn", "fork"])
def test_other_processes(backend, kind):
    backend.write("a", b"1")
    put(backend, "t", table())
    backend.read_table("t").read_all()
    with backend.claim("mine", INFO):
        with multiprocessing.get_context(kind).Pool(2) as pool:
            assert pool.map(read_all, [backend] * 4) == [(b"1", 3)] * 4
        assert read_all(backend) == (b"1", 3)  # what a child did to its copies leaves ours alone
    assert read_all(pickle.loads(pickle.dumps(backend))) == (b"1", 3)


def in_child(backend, queue):
    queue.put(read_all(backend))


def test_a_fork_in_the_middle(backend):
    backend.write("a", b"1")
    put(backend, "t", table(200_000))
    reader = backend.read_table("t")
    first = reader.read_next_batch()
    pid = os.fork()
    if pid == 0:
        fine = read_all(backend) == (b"1", 200_000)
        os._exit(0 if fine else 9)
    assert os.waitpid(pid, 0)[1] == 0
    assert first.num_rows + reader.read_all().num_rows == 200_000


# --------------------------------------------------------------------------------- large


def test_a_large_object_is_stored_in_pieces(backend, database):
    data = os.urandom(1 << 20) * 40
    path = backend.staging()
    path.write_bytes(data)
    backend.write("big", path)
    assert backend.read("big") == data
    with backend.open_read("big") as file:
        assert file.read(5) == data[:5] and file.seek(-3, 2) == len(data) - 3 and file.read() == data[-3:]
    backend.write("big", b"small")
    assert backend.read("big") == b"small"
    with connect(database.admin) as cursor:
        cursor.execute(f'SELECT count(*) FROM "{database.schema}".d6tstore_chunks')
        assert cursor.fetchone() == (0,)


class Small(d6tstore.tasks.TaskJson):
    n: int

    def run(self):
        self.save(self.n)


def test_a_plan_asks_a_constant_number_of_queries(backend):
    store = d6tstore.Store(d6tstore.store.Repository(backend))
    asked = []
    event.listen(backend._connections._engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    counts = []
    for number in (10, 300):
        tasks = [Small(n=n) for n in range(number)]
        store.run(tasks)
        asked.clear()
        assert len(store.preview(tasks)) == number
        counts.append(len(asked))
    assert counts[0] == counts[1] <= 6, asked


# ------------------------------------------------------------------------ settings of a role

SETTINGS = [
    "intervalstyle=sql_standard", "client_encoding=LATIN1", "extra_float_digits=0", "array_nulls=off",
    "default_transaction_isolation=serializable", "standard_conforming_strings=off", "bytea_output=escape",
    "DateStyle=German", "timezone=Asia/Kolkata", "synchronize_seqscans=on", "max_parallel_workers_per_gather=8",
]  # fmt: skip


@pytest.mark.parametrize("driver", ["adbc", "psycopg2"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_a_role_change_nothing(database, setting, driver):
    data = pa.table({
        "t": pa.array([-1, 0, 1_772_368_215_123_456], pa.timestamp("us")), "d": pa.array([-1, 0, 1], pa.duration("us")),
        "f": [0.1 + 0.2, -0.0, 1e300], "s": ["é€", "\\", "'"], "l": [[1, None], [], None], "b": [b"\\", b"\xff", b""],
    })  # fmt: skip
    with connect(database.admin) as cursor:  # a name that not every encoding has
        cursor.execute(f'CREATE SCHEMA "{database.schema}" AUTHORIZATION ann')
        cursor.execute(f'CREATE TABLE "{database.schema}"."价格" (x int)')
    backend = PostgresBackend.open(f"{database.url}&options=-c%20{setting.replace('=', '%3D')}", driver=driver)
    try:
        put(backend, "é/t", data)
        backend.write("é", b"1")
        assert backend.read_table("é/t").read_all().cast(data.schema).equals(data) and backend.read("é") == b"1"
        for column in ("t", "d"):
            moment = data[column][0].as_py()
            found = backend.read_table("é/t", [column], [(column, "==", moment)]).read_all()
            assert found.num_rows == 1
            assert backend.read_table("é/t", [column], [(column, ">", moment)]).read_all().num_rows == 2
        assert backend.read_table("é/t", ["f"], [("s", "==", "é€")]).read_all()["f"].to_pylist() == [0.1 + 0.2]
    finally:
        backend.close()


# ------------------------------------------------------------------------------ what a review found


class Named(d6tstore.tasks.TaskPqPandas):
    name: str

    def run(self):
        self.save(pd.DataFrame({"x": [1]}))


def test_a_parameter_with_nul_spoils_nothing(backend, database):
    store = d6tstore.Store(d6tstore.store.Repository(backend))
    store.run([Named(name="nul\0"), Named(name="plain")])
    with connect(database.admin) as cursor:
        cursor.execute(f'SELECT count(*) FROM "{database.schema}".results')
        assert cursor.fetchone() == (2,)
        cursor.execute(f'SELECT p_name FROM "{database.schema}".named ORDER BY 1')
        assert cursor.fetchall() == [("nul\ufffd",), ("plain",)]


def test_a_schema_with_a_table_of_that_name(database):
    with connect(database.admin) as cursor:
        cursor.execute(f'CREATE SCHEMA "{database.schema}" AUTHORIZATION ann')
        cursor.execute(f'CREATE TABLE "{database.schema}".results (a int)')
        PostgresBackend.open(database.url).close()
        cursor.execute(f'SELECT count(*) FROM "{database.schema}".d6tstore_results')


def test_two_writers_of_a_key_leave_no_debris(backend, database):
    from concurrent.futures import ThreadPoolExecutor

    large = os.urandom(1 << 20) * 17
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: backend.write("big", large), range(3)))
        list(pool.map(lambda i: put(backend, "t", table(10)), range(6)))
    backend.delete("big")
    backend.delete("t")
    with connect(database.admin) as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", [database.schema])
        names = ["d6tstore_chunks", "d6tstore_claims", "d6tstore_layout", "d6tstore_objects"]
        assert [name for (name,) in cursor.fetchall()] == names
        cursor.execute(f'SELECT count(*) FROM "{database.schema}".d6tstore_chunks')
        assert cursor.fetchone() == (0,)


def test_a_claim_that_fails_holds_nothing(backend, database):
    with connect(database.admin) as cursor:
        cursor.execute(f'REVOKE INSERT ON "{database.schema}".d6tstore_claims FROM ann')
        with pytest.raises(Denied), backend.claim("k", INFO):
            pass
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert cursor.fetchone() == (0,)
        cursor.execute(f'GRANT INSERT ON "{database.schema}".d6tstore_claims TO ann')
    with backend.claim("k", INFO):
        pass


def test_what_is_being_read_is_not_waited_for_long(backend):
    put(backend, "t", table(500_000))
    reader = backend.read_table("t")
    reader.read_next_batch()
    with pytest.raises(BackendError, match="Somebody else holds a lock on it; run again"):
        backend.delete("t")
    del reader
    backend.delete("t")
    assert not backend.exists("t")


def test_one_statement_only(database):
    backend = PostgresBackend.open(database.url, driver="psycopg2")
    try:
        put(backend, "t", table())
        with pytest.raises(SelectionError, match="one statement"):
            backend.query("select 1; commit; drop table {t} cascade; select 2", {"t": "t"}, {})
        assert backend.query("select 1 as a;", {"t": "t"}, {}).read_all().to_pylist() == [{"a": 1}]
    finally:
        backend.close()


def test_a_table_in_the_place_of_bytes_leaves_no_pieces(backend, database):
    backend.write("a", os.urandom(1 << 20) * 17)
    put(backend, "a", table())
    backend.write("a", b"1")
    with connect(database.admin) as cursor:
        cursor.execute(f'SELECT count(*) FROM "{database.schema}".d6tstore_chunks')
        assert cursor.fetchone() == (0,)
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = %s", [database.schema])
        assert cursor.fetchone() == (4,)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"durable": True}, "unexpected keyword argument 'durable'.*Options of its backend.*schema, driver"),
        ({"schema": 3}, "the name of a schema is text"),
        ({"schema": "x" * 64}, "at most 63 bytes"),
        ({"driver": "asyncpg"}, "driver='asyncpg' is unknown"),
    ],
)
@pytest.mark.parametrize("scheme", ["postgresql", "postgres+embedded"])
def test_options_that_are_wrong(database, tmp_path, scheme, options, says):
    place = database.url.partition("&schema")[0] if scheme == "postgresql" else f"{scheme}://{tmp_path}/server"
    with pytest.raises(UsageError, match=says):
        d6tstore.open(place, **options)


def test_a_home_that_is_nobodys():
    with pytest.raises(UsageError, match="there is no such home folder here"):
        d6tstore.open("postgres+embedded://~nosuchuser/x")
