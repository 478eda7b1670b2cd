"""What people find in the database: tables with comments, views, a listing, answers to queries; and `db.init`.

What can go wrong: a view that is stale, or takes the place of somebody's; a view in the way costs a result; SQL in a
name or a parameter runs; the database is chosen for what belongs elsewhere.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
import warnings

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from click.testing import CliRunner
from postgres import connect

import d6tstore
from d6tstore import context
from d6tstore.cli import cli
from d6tstore.errors import BackendError, FormatError, NeverRun, RunFailed, SelectionError, UsageError

HERE = " AND relnamespace = current_schema()::regnamespace"
EVIL = "'; DROP TABLE d6tstore_objects; --"


class Prices(d6tstore.tasks.TaskPqPandas):
    days: int = 3
    place: str = "x"

    def run(self):
        self.save(pd.DataFrame({"id": range(self.days), "price": [0.5] * self.days}))


@d6tstore.requires(Prices)
class Report(d6tstore.tasks.TaskPqPandas):
    persist = ["totals", "rows"]

    def run(self):
        frame = self.input().load()
        self.save({"totals": frame[["price"]].sum().to_frame("total"), "rows": frame})


@pytest.fixture
def store(database):
    store = d6tstore.init(database.url)
    yield store
    store.close()


@pytest.fixture
def ask(database):
    """What a person with psql finds."""

    def ask(query):
        with connect(database.admin) as cursor:
            cursor.execute(f'SET search_path = "{database.schema}"')
            cursor.execute(query)
            return cursor.fetchall() if cursor.description else None

    return ask


# ------------------------------------------------------------------------- views


def test_one_view_per_family_joins_its_parameter_sets(store, ask):
    store.run([Prices(), Prices(days=1, place=EVIL), Prices(days=2)])
    rows = ask("SELECT p_days, p_place, id, price FROM prices ORDER BY p_days, id")
    assert rows == [(1, EVIL, 0, 0.5), (2, "x", 0, 0.5), (2, "x", 1, 0.5)] + [(3, "x", i, 0.5) for i in range(3)]


def test_the_listing_tells_all(store, ask):
    store.run(Report())
    listed = ask("SELECT family, output, parameters, relation, rows, author FROM results ORDER BY family, output DESC")
    assert [(r[0], r[1], r[2]["days"], r[4]) for r in listed] == [
        ("Prices", "data", 3, 3), ("Report", "totals", 3, 1), ("Report", "rows", 3, 3),
    ]  # fmt: skip
    for row in listed:
        assert len(ask(f"SELECT * FROM {row[3]}")) == row[4]
    uri = Prices().output().uri
    assert uri.endswith(f'"{listed[0][3]}"') and len(ask(f"SELECT * FROM {uri}")) == 3


def test_several_outputs_have_a_view_each(store, ask):
    store.run(Report())
    assert ask("SELECT total FROM report_totals") == [(1.5,)] and len(ask("SELECT id FROM report_rows")) == 3


def test_a_table_says_what_it_is(store, ask):
    store.run(Prices(place=EVIL))
    (said,) = ask("SELECT obj_description(relation::regclass) FROM results")[0]
    assert said.startswith("d6tstore: 'data' of Prices with ") and EVIL in said and "Prices.run" in said


def test_the_view_follows(store, ask):
    class Changing(d6tstore.tasks.TaskPqPandas):
        n: int
        version = 1

        def run(self):
            self.save(pd.DataFrame({"x": [self.n * 10 + type(self).version]}))

    store.run([Changing(n=1), Changing(n=2)])
    ask("CREATE VIEW mine AS SELECT sum(x) AS total FROM changing")  # it stays, for the columns do
    Changing.version = 2
    store.run([Changing(n=1), Changing(n=2)])
    assert ask("SELECT * FROM mine") == [(34,)]
    Changing(n=1).invalidate()
    assert ask("SELECT x FROM changing") == [(22,)]
    store.gc(older_than=0)
    assert ask("SELECT x FROM changing") == [(22,)] and ask(
        "SELECT count(*) FROM d6tstore_objects WHERE relation <> ''"
    ) == [(2,)]


def test_the_last_result_takes_the_view_with_it(store, ask):
    store.run([Report(), Prices(days=1)])
    store.invalidate_all()
    store.gc(older_than=0)
    assert ask(f"SELECT relname FROM pg_class WHERE relkind IN ('r', 'v'){HERE} "
               "AND relname NOT LIKE 'd6tstore%'") == [("results",)]  # fmt: skip


def test_columns_that_differ(store, ask):
    class Mixed(d6tstore.tasks.TaskPqPandas):
        kind: str

        def run(self):
            frames = {
                "int": {"x": [1], "both": ["a"]}, "text": {"x": ["1"], "both": ["b"], "more": [1.5]},
                "named": {"p_kind": [1], "both": ["c"]},
            }  # fmt: skip
            self.save(pd.DataFrame(frames[self.kind]))

    store.run([Mixed(kind=kind) for kind in ("int", "text", "named")])
    rows = (
        ask('SELECT both, more, p_kind FROM mixed ORDER BY "both"') if False else ask("SELECT * FROM mixed ORDER BY 2")
    )
    assert len(rows) == 3
    names = [n for (n,) in ask("SELECT attname FROM pg_attribute WHERE attrelid = 'mixed'::regclass AND attnum > 0")]
    assert "x" not in names and {"both", "more", "p_kind"} < set(names) and len(names) == 4
    (said,) = ask("SELECT obj_description('mixed'::regclass)")[0]
    assert said.endswith("left out, for their types differ: x")


@pytest.mark.parametrize("made", ["TABLE prices (x int)", "VIEW prices AS SELECT 1 AS one"])
def test_what_others_made_is_left_alone(store, ask, made):
    ask(f"CREATE {made}")
    store.run(Prices())
    assert len(ask("SELECT * FROM prices")) == made.startswith("VIEW")
    names = ask(f"SELECT relname FROM pg_class WHERE relkind = 'v' AND relname LIKE 'prices~%'{HERE}")
    assert len(names) == 1 and len(ask(f'SELECT * FROM "{names[0][0]}"')) == 3


def test_families_that_differ_in_case(store, ask):
    for name, value in (("Thing", 1), ("THING", 2)):
        task = type(
            name, (d6tstore.tasks.TaskPqPandas,), {"run": lambda self, v=value: self.save(pd.DataFrame({"x": [v]}))}
        )
        store.run(task())
    found = ask(f"SELECT relname FROM pg_class WHERE relkind = 'v' AND relname LIKE 'thing%'{HERE}")
    assert sorted(ask(f'SELECT x FROM "{name}"')[0][0] for (name,) in found) == [1, 2]


def test_a_view_that_is_in_use_costs_no_result(store, ask, database):
    store.run(Prices())
    ask("CREATE VIEW others AS SELECT id FROM prices")

    class Again(Prices):
        family = "Prices"
        extra: int = 1

    with connect(database.admin) as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f'LOCK TABLE "{database.schema}".prices IN ACCESS SHARE MODE')
        with pytest.warns(UserWarning, match="The results are whole"):
            store.run(Prices(days=7))
        cursor.execute("ROLLBACK")
    assert len(Prices(days=7).output().load()) == 7
    store.run(Prices(days=8))
    assert sorted({n for (n,) in ask("SELECT p_days FROM prices")}) == [3, 7, 8]


def test_a_table_that_somebodys_view_needs_stays(store, ask):
    store.run(Prices())
    (relation,) = ask("SELECT relation FROM results")[0]
    ask(f"CREATE VIEW direct AS SELECT * FROM {relation}")
    Prices().invalidate()
    with pytest.raises(BackendError, match="depends on it. Drop or change that"):
        store.repository.default.delete(ask("SELECT key FROM d6tstore_objects WHERE relation <> ''")[0][0])
    assert len(ask("SELECT * FROM direct")) == 3


def test_gc_goes_on_where_somebodys_view_needs_a_table(store, ask):
    store.run([Prices(days=n) for n in (1, 2, 3)])
    relations = dict(ask("SELECT (parameters->>'days')::int, relation FROM results"))
    ask(f"CREATE VIEW direct AS SELECT * FROM {relations[2]}")
    store.invalidate_all()
    found = store.gc(dry_run=False, older_than=0)
    assert len(found.problems) == 1 and "direct depends on it" in found.problems[0].problem
    assert "1 could not go" in str(found)
    left = {name for (name,) in ask("SELECT relation FROM d6tstore_objects WHERE relation <> ''")}
    assert left == {relations[2]}
    ask("DROP VIEW direct")
    assert store.gc(dry_run=False, older_than=0).problems == []
    assert ask("SELECT relation FROM d6tstore_objects WHERE relation <> ''") == []


def test_show_prints_the_name_in_sql(store, ask, monkeypatch, tmp_path):
    (tmp_path / "shown.py").write_text(
        "import d6tstore, pandas\n\n"
        "class Prices(d6tstore.tasks.TaskPqPandas):\n    days: int = 3\n"
        "    def run(self):\n        self.save(pandas.DataFrame({'x': [1] * self.days}))\n"
    )
    monkeypatch.chdir(tmp_path)
    url = store.repository.default.url
    run = CliRunner().invoke(cli, ["--store", url, "run", "shown:Prices"])
    assert run.exit_code == 0, run.output
    shown = CliRunner().invoke(cli, ["--store", url, "show", "shown:Prices"]).output
    name = shown.split()[-3]
    assert ask(f"SELECT count(*) FROM {name}") == [(3,)], shown


def test_many_parameter_sets(store, ask):
    store.run([Prices(days=n) for n in range(1, 121)], workers=2)
    assert ask("SELECT count(DISTINCT p_days) FROM prices") == [(100,)] and ask("SELECT count(*) FROM results") == [
        (120,)
    ]


# --------------------------------------------------------------------------- sql


def test_a_query_over_results(store):
    store.run([Prices(), Report()])
    found = d6tstore.sql(
        "select p.id, r.total from {prices} p cross join {totals} r where p.id > :least order by 1",
        prices=Prices(), totals=Report().output()["totals"], params={"least": 0},
    )  # fmt: skip
    assert found.to_dict("list") == {"id": [1, 2], "total": [1.5, 1.5]}
    assert isinstance(d6tstore.sql("select * from {p}", p=Prices(), as_="polars"), pl.DataFrame)
    table = d6tstore.sql(
        "select count(*) filter (where false) n, 'a{{b}}%'::text t, 1::numeric x from {p}", p=Prices(), as_="arrow"
    )
    assert table.to_pylist() == [{"n": 0, "t": "a{b}%", "x": 1.0}]


def test_values_of_a_query_are_quoted(store):
    store.run(Prices())
    for value in (EVIL, "%s", ":x", 5, 1.5, None, datetime.date(2026, 1, 2), decimal.Decimal("1.5"), True):
        d6tstore.sql("select cast(:value as text) as v from {p}", p=Prices(), params={"value": value})
    assert Prices().complete()
    odd = d6tstore.sql("select gen_random_uuid() u, '[1]'::jsonb j from {p} limit 1", p=Prices())
    assert uuid.UUID(odd.u[0]) and odd.j[0] == "[1]"


def test_a_query_changes_nothing(store):
    store.run(Prices())
    with pytest.raises(BackendError, match="read-only"):
        d6tstore.sql("with gone as (delete from {p} returning 1) select * from gone", p=Prices())
    assert len(Prices().output().load()) == 3


@pytest.mark.parametrize(
    "query, given, says",
    [
        ("select * from {other}", {"p": Prices()}, r"names \{other\}, which is not given"),
        ("select * from {}", {"p": Prices()}, "braces that name no table"),
        ("select * from {p.__class__}", {"p": Prices()}, "braces that name no table|does not exist|syntax"),
        ("select 1", {}, "at least one result"),
        ("select :x from {p}", {"p": Prices()}, "names :x, which is not given"),
        ("select * from {p}", {"p": 3}, "is no task with one output"),
        ("select * from {p}", {"p": Report()}, "is no task with one output"),
        ("select nonsense from {p}", {"p": Prices()}, "nonsense"),
    ],
)
def test_queries_that_are_wrong(store, query, given, says):
    store.run(Prices())
    with pytest.raises((SelectionError, BackendError), match=says):
        d6tstore.sql(query, **given)


def test_a_query_over_what_is_no_table(tmp_path, store):
    with pytest.raises(NeverRun):
        store.sql("select * from {p}", p=Prices(days=99))
    files = d6tstore.open(tmp_path / "files")
    files.run(Prices())
    with pytest.raises(SelectionError, match="is no table of a database, but parquet in LocalBackend"):
        files.sql("select * from {p}", p=Prices())


# ------------------------------------------------------------------------ db.init


class Panel(d6tstore.tasks.TaskSQLPandas):
    def run(self):
        self.save(pd.DataFrame({"x": [1, 2]}))


@pytest.mark.parametrize("first", ["init", "db"])
def test_tables_go_to_the_database_and_all_else_stays(database, tmp_path, ask, first):
    calls = {
        "init": lambda: d6tstore.init(tmp_path),
        "db": lambda: d6tstore.db.init(database.url.partition("&schema")[0], database.schema),
    }
    for name in sorted(calls, key=lambda name: name != first):
        calls[name]()
    d6tstore.run([Panel(), Prices()])
    assert ask("SELECT family FROM results") == [("Panel",)] and ask("SELECT x FROM panel") == [(1,), (2,)]
    assert Panel().output().load().x.tolist() == [1, 2] and Prices().output().path.is_file()
    d6tstore.init(tmp_path / "other")
    assert Panel().complete() and not Prices().complete()


def test_a_backend_that_init_was_given_goes_before(database, tmp_path):
    chosen = d6tstore.db.init(database.url)
    own = d6tstore.init(tmp_path, backends={"db": "memory://"})
    assert own.repository.named["db"].url == "memory://"
    assert d6tstore.init(tmp_path).repository.named["db"] is chosen
    again = d6tstore.db.init(database.url, "another")
    assert context.current().repository.named["db"] is again


def test_without_a_database(tmp_path):
    d6tstore.init(tmp_path)
    with pytest.raises(UsageError, match=r"choose that with d6tstore.db.init\(url\)"):
        d6tstore.run(Panel())
    with pytest.raises(UsageError, match="holds no tables. Give a database"):
        d6tstore.db.init("memory://")


def test_what_is_no_table_is_refused_by_tasks_of_tables_only(store):
    context.named["db"] = store.repository.default
    d6tstore.init("memory://")

    class Wide(d6tstore.tasks.TaskSQLArrow):
        kind: str

        def run(self):
            frames = {"wide": pa.table({f"c{i}": [1] for i in range(2_000)}), "nul": pa.table({"x": ["a\0b"]})}
            self.save(frames[self.kind])

    class Bytes(Wide):
        format = "parquet-arrow"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind, says in (("wide", "2,000 columns"), ("nul", "NUL")):
            with pytest.raises(RunFailed) as caught:
                d6tstore.run(Wide(kind=kind))
            assert isinstance(caught.value.__cause__, FormatError) and says in str(caught.value.__cause__)
            d6tstore.run(Bytes(kind=kind))
            assert (
                Bytes(kind=kind).output().load().num_rows == 1
                and says in Bytes(kind=kind).output().record().outputs["data"].note
            )
