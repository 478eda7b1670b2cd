"""SQLite and DuckDB: the published suite, frames that come back equal, and what goes wrong with files."""

import contextlib
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa
import test_frames
from frames.strategies import frames as pandas_frames
from hypothesis import given, settings

import d6tstore
from d6tstore import context, registry
from d6tstore.errors import BackendError, Damaged, Denied, FormatError, SelectionError, UsageError
from d6tstore.testing import TableBackendTests, forbidden
from d6tstore_plugins.sql.duckdb import DuckdbBackend
from d6tstore_plugins.sql.sqlite import SqliteBackend

KINDS = ["sqlite", "duckdb"]


class _Suite(TableBackendTests):
    @pytest.fixture
    def backend(self, tmp_path):
        backend = self.cls.open(f"{self.cls.scheme}:///{tmp_path}/folder/results.db")
        yield backend
        backend.close()

    def denying(self, backend):
        return forbidden(backend._file.parent)


class TestSqlite(_Suite):
    cls = SqliteBackend


class TestDuckdb(_Suite):
    cls = DuckdbBackend
    rounds, kills = 10, 6  # it takes 15 ms to open a file


# --------------------------------------------------------------------- frames


@pytest.fixture(scope="module", params=KINDS)
def store(request, tmp_path_factory):
    file = tmp_path_factory.mktemp("files") / "results.db"
    with contextlib.ExitStack() as held:
        if request.param == "duckdb":  # so that it is opened once
            held.enter_context(registry.open_backend(f"duckdb:///{file}")._connections.engine.connect())
        yield d6tstore.open(f"{request.param}:///{file}")


@pytest.fixture
def stored(store):
    with d6tstore.use(store):
        yield


@pytest.mark.parametrize(
    ("format", "name"), [(f, n) for f, cases in test_frames.CASES.items() for n in cases], ids=lambda each: ascii(each)
)
def test_known_frames_come_back_equal(format, name, stored):
    output = test_frames.kept(format, test_frames.CASES[format][name])
    assert output.table == (not output.note)


def test_any_frame_comes_back_equal(stored):
    @settings(test_frames.ANY, max_examples=30)
    @given(pandas_frames())
    def check(frame):
        with contextlib.suppress(FormatError):  # of a frame that no format takes
            output = test_frames.kept("parquet", frame)
            assert output.table or output.note

    check()


def test_floats_keep_what_sqlite_has_no_numbers_for(tmp_path):
    backend = SqliteBackend.open(f"sqlite:///{tmp_path}/x.db")
    values = [1.0, -0.0, 0.0, float("nan"), None, float("inf"), float("-inf"), 2.5]
    backend.write_table("t/x", pa.table({"f": values}).to_reader())
    found = backend.read_table("t/x").read_all()["f"].to_pylist()
    assert list(map(repr, found)) == list(map(repr, values))
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as db:
        relation = backend.uri("t/x")
        assert db.execute(f"SELECT count(*) FROM {relation} WHERE f < 1.5").fetchone() == (4,)
        assert db.execute(f"SELECT f FROM {relation} WHERE typeof(f) = 'text'").fetchall() == [("NaN",)]


# --------------------------------------------------------------------- people


class Prices(d6tstore.tasks.TaskPqPandas):
    country: str = "de"

    def run(self):
        self.save(pd.DataFrame({"day": pd.to_datetime(["2026-01-01", "2026-01-02"]), "price": [1.5, 2.0]}))


@pytest.fixture(params=KINDS)
def url(request, tmp_path):
    return f"{request.param}:///{tmp_path}/results.db"


LISTED = "SELECT family, parameters, output, rows, relation FROM d6tstore_results"


def listed(url):
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        return connection.exec_driver_sql(LISTED).all()


def test_a_person_finds_tables_in_the_file(url):
    with d6tstore.use(d6tstore.open(url)):
        d6tstore.run([Prices(), Prices(country="f'r")])
    found = {row.parameters: row for row in listed(url)}
    assert set(found) == {'{"country":"de"}', """{"country":"f'r"}"""}
    row = found['{"country":"de"}']
    assert (row.family, row.output, row.rows) == ("Prices", "data", 2)
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        assert connection.exec_driver_sql(f'SELECT sum(price) FROM "{row.relation}"').scalar() == 3.5


EVIL = [
    "drop table {a}", "delete from {a}", "select 1; drop table {a}", "update {a} set price = 0",
    "select nothing from {a}", "select * from locked",
    "with g as (delete from {a} returning *) select * from g", "with g as (update {a} set price = 0) select 1",
    "with g as (delete from d6tstore_objects returning *) select count(*) from g", "select readonly from {a}",
    "attach 'FOLDER/new.db' as x", "pragma user_version = 7", "copy {a} to 'FOLDER/out.csv'", "commit",
]  # fmt: skip


def test_free_reading(url, tmp_path):
    with d6tstore.use(d6tstore.open(url)):
        d6tstore.run([Prices(), Prices(country="fr")])
        query = "select sum(a.price) as total from {a} a join {b} b using (day) where a.price > :least"
        found = d6tstore.sql(query, params={"least": 1.7}, a=Prices(), b=Prices(country="fr"))
        assert found["total"].tolist() == [2.0]
        for evil in EVIL:
            with pytest.raises(SelectionError):
                d6tstore.sql(evil.replace("FOLDER", str(tmp_path)), a=Prices())
        assert Prices().output().load()["price"].sum() == 3.5
    assert not list(tmp_path.glob("new*")) + list(tmp_path.glob("out*"))


def test_values_of_a_query(tmp_path, url):
    class Times(d6tstore.tasks.TaskPqPandas):
        def run(self):
            naive = pd.to_datetime(["2026-01-01", "2026-01-02"])
            self.save(pd.DataFrame({"i": [1, 2], "f": [0.5, 1.5], "n": naive, "z": naive.tz_localize("UTC")}))

    with d6tstore.use(d6tstore.open(url)):
        d6tstore.run(Times())
        noon = pd.Timestamp("2026-01-02")
        for name, value in [
            ("i", np.int64(2)), ("f", np.float32(1.5)), ("n", noon), ("n", noon.to_datetime64()),
            ("n", noon.to_pydatetime()),
            ("z", noon.tz_localize("UTC")), ("z", noon.tz_localize("UTC").tz_convert("Europe/Berlin").to_pydatetime()),
        ]:  # fmt: skip
            found = d6tstore.sql(f"select i from {{t}} where {name} = :value", params={"value": value}, t=Times())
            assert found["i"].tolist() == [2], (name, value)


def test_a_query_of_floats_with_nan(tmp_path):
    class Floats(d6tstore.tasks.TaskPqArrow):
        def run(self):
            self.save(pa.table({"f": [1.0, float("nan"), None], "s": ["a", "b", None]}))

    with d6tstore.use(d6tstore.open(f"sqlite:///{tmp_path}/x.db")):
        d6tstore.run(Floats())
        found = d6tstore.sql("select f, s from {t}", t=Floats(), as_="arrow")
        assert str(found["f"].to_pylist()) == "[1.0, nan, None]" and found["s"].to_pylist() == ["a", "b", None]
        assert d6tstore.sql("select case when s = 'a' then 1 else s end as x from {t}", t=Floats())["x"][0] == "1"
        assert d6tstore.sql("select f from {t} where f > 1e9", t=Floats()).columns.tolist() == ["f"]


class Sqlite(Prices):
    """Of a name that SQLite keeps for itself."""


def test_a_family_called_sqlite(url):
    with d6tstore.use(d6tstore.open(url)):
        d6tstore.run(Sqlite())
        assert Sqlite().output().record().outputs["data"].table


def test_what_somebody_changed_is_damaged(tmp_path):
    with d6tstore.use(d6tstore.open(f"sqlite:///{tmp_path}/x.db")):
        d6tstore.run(Prices())
        with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as db:
            db.execute(f"UPDATE {Prices().output().uri} SET day = 'yesterday'")
            db.commit()
        with pytest.raises(Damaged, match="what was not saved there"):
            Prices().output().load()
        assert len(d6tstore.verify()) == 1


def test_tables_are_asked_for_after_init(url):
    class Table(d6tstore.tasks.TaskSQLPandas):
        def run(self):
            self.save(pd.DataFrame({"x": [1, 2]}))

    d6tstore.init("memory://")
    d6tstore.db.init(url)
    d6tstore.run(Table())
    assert [row.relation.startswith("table_data") for row in listed(url)] == [True]
    assert Table().output().load()["x"].tolist() == [1, 2]


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("://", "names no file"),
        (":///", "names no file"),
        (":///:memory:", "memory://"),
        ("://host/x.db", "more than a file"),
        (":///x.db?schema=y", "more than a file"),
        ("+other:///x.db", "more than a file|no backend|not installed"),
    ],
)
def test_urls_that_name_no_file(kind, rest, said):
    with pytest.raises(UsageError, match=said):
        d6tstore.open(kind + rest)


def test_a_path_is_taken_from_here_and_home_is_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert d6tstore.open("sqlite:///sub/x.db").repository.default.url == f"sqlite:///{tmp_path}/sub/x.db"
    d6tstore.open("sqlite:///~/y.db")
    assert (tmp_path / "sub/x.db").exists()
    assert (tmp_path / "home/y.db").exists()


def test_a_file_that_is_something_else_is_left_alone(url, tmp_path):
    (tmp_path / "results.db").write_bytes(b"something else" * 1000)
    with pytest.raises(BackendError, match="not a|valid"):
        d6tstore.open(url)
    assert (tmp_path / "results.db").read_bytes() == b"something else" * 1000


def test_tables_of_others_in_the_file_stay(url):
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE results AS SELECT 1 AS theirs")
    with d6tstore.use(d6tstore.open(url)):
        d6tstore.run(Prices())
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        assert connection.exec_driver_sql("SELECT theirs FROM results").scalar() == 1


def test_a_file_of_a_newer_version_is_refused(url):
    d6tstore.open(url)
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql("UPDATE d6tstore_layout SET version = 99")
    with pytest.raises(BackendError, match="newer d6tstore"):
        d6tstore.open(url)


def test_a_file_of_the_other_kind(tmp_path):
    d6tstore.open(f"sqlite:///{tmp_path}/x.db")
    with pytest.raises(BackendError, match="of SQLite"):
        d6tstore.open(f"duckdb:///{tmp_path}/x.db")


def test_a_folder_that_is_a_file(url, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BackendError):
        d6tstore.open(url.replace("results.db", "file/results.db"))


def test_denied_is_said(url, tmp_path):
    d6tstore.open(url)
    with forbidden(tmp_path), pytest.raises(Denied):
        d6tstore.open(url)


def test_a_table_that_somebody_dropped(url):
    with d6tstore.use(d6tstore.open(url)):
        d6tstore.run(Prices())
        with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
            connection.exec_driver_sql(f'DROP TABLE "{listed(url)[0].relation}"')
        with pytest.raises(Exception, match="gone|missing") as caught:
            Prices().output().load()
        assert not isinstance(caught.value, sa.exc.SQLAlchemyError)


# ------------------------------------------------------------------ at one time


def _run_some(url, numbers):
    with d6tstore.use(d6tstore.open(url)):
        d6tstore.run([Prices(country=str(number)) for number in numbers])


def test_processes_take_turns(url):
    d6tstore.open(url)
    with get_context("spawn").Pool(2) as pool:
        pool.starmap(_run_some, [(url, range(10)), (url, range(5, 15))])
    assert len(listed(url)) == 15


def test_a_stream_may_be_read_while_one_is_saved(url):
    backend = registry.open_backend(url)
    schema = pa.schema({"n": pa.int64()})
    many = pa.table({"n": range(300_000)})
    backend.write_table("t/a", many.to_reader(1000))
    read = backend.read_table("t/a")
    backend.write_table("t/b", pa.RecordBatchReader.from_batches(schema, (batch for batch in read)))
    assert backend.read_table("t/b").read_all().equals(many)


def test_who_makes_a_stream_may_save_or_wait_for_others_who_do(url):
    backend = registry.open_backend(url)

    def batches():
        backend.write("t/inner", b"x")
        thread = threading.Thread(target=backend.write, args=["t/other", b"y"])
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
        yield pa.record_batch({"n": [1]})

    backend.write_table("t/x", pa.RecordBatchReader.from_batches(pa.schema({"n": pa.int64()}), batches()))
    assert backend.read_many(["t/inner", "t/other"]) == {"t/inner": b"x", "t/other": b"y"}
    assert backend.read_table("t/x").read_all().num_rows == 1


def test_a_large_stream_goes_to_a_temporary_file_first(url, monkeypatch):
    monkeypatch.setattr("d6tstore_plugins.sql.files._HELD", 1000)
    backend = registry.open_backend(url)
    table = pa.table({"n": range(50_000), "c": pa.array(["a", "b"] * 25_000).dictionary_encode()})
    backend.write_table("t/x", table.to_reader(1000))
    found = backend.read_table("t/x").read_all()
    assert found["n"].equals(table["n"]) and found["c"].to_pylist() == table["c"].to_pylist()


def test_opening_waits_for_nobody(tmp_path):
    url = f"sqlite:///{tmp_path}/x.db"
    backend = registry.open_backend(url)
    with backend._connections.transaction():
        again = pickle.loads(pickle.dumps(registry.open_backend(url)))
        assert list(again.list()) == []


def test_threads_save_at_once(url):
    backend = registry.open_backend(url)
    failed = []

    def save(number):
        try:
            for i in range(5):
                backend.write_table(f"t/{number}-{i}", pa.table({"n": range(1000)}).to_reader())
        except Exception as exc:  # noqa: BLE001
            failed.append(exc)

    threads = [threading.Thread(target=save, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(list(backend.list("t/"))) == 20


def _forked(work):
    """What a forked child gives, or its error."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            told = str(work())
        except BaseException as exc:  # noqa: BLE001
            told = f"{type(exc).__name__}: {exc}"
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        found = told.read()
    os.waitpid(pid, 0)
    return found


def test_forked_children_go_on(url):
    backend = registry.open_backend(url)
    backend.write("t/x", b"x")
    assert _forked(lambda: backend.write("t/child", backend.read("t/x"))) == "None"
    assert backend.read("t/child") == b"x"


def test_a_child_that_is_forked_while_its_parent_writes_says_so(url):
    backend = registry.open_backend(url)
    with backend._connections.transaction():
        assert "BackendError" in _forked(lambda: backend.write("t/x", b"x"))
        assert "by spawn" in _forked(lambda: backend.read("t/x"))
    assert _forked(lambda: backend.write("t/x", b"x")) == "None"


def test_a_child_that_is_forked_while_its_parent_reads(url):
    backend = registry.open_backend(url)
    backend.write_table("t/x", pa.table({"n": range(300_000)}).to_reader(1000))
    reader = backend.read_table("t/x")
    reader.read_next_batch()
    told = _forked(lambda: backend.write("t/child", b"x"))
    assert told == "None" if "sqlite" in url else "by spawn" in told
    reader.read_all()


def test_full_disk_leaves_the_previous_result(tmp_path):
    script = f"""
import resource, signal, pyarrow as pa
from d6tstore.errors import BackendError
from d6tstore_plugins.sql.sqlite import SqliteBackend
backend = SqliteBackend.open("sqlite:///{tmp_path}/x.db")
backend.write_table("t/x", pa.table({{"n": [1]}}).to_reader())
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    backend.write_table("t/x", pa.table({{"n": range(10**6)}}).to_reader())
except BackendError as exc:
    print("refused:", exc)
print(backend.read_table("t/x").read_all()["n"].to_pylist())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert "refused:" in done.stdout, done
    assert done.stdout.endswith("[1]\n")


def test_what_is_gone_takes_its_table_along(url):
    with d6tstore.use(d6tstore.open(url)):
        d6tstore.run(Prices())
        backend = context.current().repository.default
        for entry in list(backend.list()):
            backend.delete(entry.key)
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        names = sa.inspect(connection).get_table_names()
    assert [name for name in names if not name.startswith("d6tstore_")] == []
