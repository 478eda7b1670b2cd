"""Stories B: the same tasks on other storage. Further backends join `PLACES` with their issues."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pandas as pd
import pytest

import d6tstore
from d6tstore import context

PLACES = ["default", "folder", "path", "file url", "memory", "postgres", "embedded", "sqlite", "duckdb", "s3"]


class Frame(d6tstore.tasks.TaskPqPandas):
    n: int = 3

    def run(self):
        self.save(pd.DataFrame({"x": range(self.n), "y": ["a"] * self.n}, index=pd.RangeIndex(1, self.n + 1)))


@d6tstore.requires(Frame)
class Text(d6tstore.tasks.TaskCSVPandas):
    def run(self):
        self.save(self.input().load().assign(z=0.1))


@d6tstore.requires(Text)
class Model(d6tstore.tasks.TaskPickle):
    persist = {"model": "pickle", "facts": "json"}

    def run(self):
        df = self.input().load()
        self.save({"model": {"sum": df.z.sum()}, "facts": list(df.columns)}, metrics={"rows": len(df)})


def _bucket(request, monkeypatch):
    """A bucket whose keys stand where boto3 looks for them."""
    from s3servers import moto

    server, stack = moto(), contextlib.ExitStack()
    bucket = stack.enter_context(server.bucket())
    request.addfinalizer(stack.close)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.keys.id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.keys.secret)
    return f"s3://{bucket}/results?endpoint={server.url}"


@pytest.mark.parametrize("place", PLACES)
def test_1_the_same_tasks_give_equal_values_everywhere(place, tmp_path, request, monkeypatch):
    url = {
        "s3": _bucket(request, monkeypatch) if place == "s3" else "",
        "default": None,
        "folder": str(tmp_path / "a dir"),
        "path": tmp_path / "b",
        "file url": f"file://{tmp_path}/c%20d",
        "memory": "memory://",
        "postgres": request.getfixturevalue("database").url if place == "postgres" else "",
        "sqlite": f"sqlite:///{tmp_path}/x.db",
        "duckdb": f"duckdb:///{tmp_path}/x.duckdb",
        "embedded": f"postgres+embedded://{request.getfixturevalue('roomy')}/story" if place == "embedded" else "",
    }[place]
    d6tstore.init() if url is None else d6tstore.init(url)
    report = d6tstore.run(Model(n=4))
    assert [t.family for t in report.ran] == ["Frame", "Text", "Model"]
    expected = pd.DataFrame({"x": range(4), "y": ["a"] * 4}, index=pd.RangeIndex(1, 5))
    pd.testing.assert_frame_equal(Frame(n=4).output().load(), expected)
    pd.testing.assert_frame_equal(Text(n=4).output().load(), expected.assign(z=0.1))
    assert Model(n=4).output().load() == {"model": {"sum": pytest.approx(0.4)}, "facts": ["x", "y", "z"]}
    assert d6tstore.run(Model(n=4)).ran == []
    if place in ("postgres", "embedded", "sqlite", "duckdb"):
        assert Frame(n=4).output().record().outputs["data"].table
        context.current().close()
    if place == "default":
        assert Frame(n=4).output().path.is_relative_to(Path("data").absolute())
    if place == "file url":
        assert (tmp_path / "c d" / "Frame").is_dir()


def test_1_people_and_other_tools_read_the_files(store):
    d6tstore.run(Model())
    assert list(pd.read_parquet(Frame().output().path).x) == [0, 1, 2]
    assert list(pd.read_csv(Text().output().path).y) == ["a"] * 3
    assert "Frame/n=3-" in Frame().output().path.as_posix() and Frame().output().uri.startswith("file:///")


def test_2_one_task_on_a_named_backend(tmp_path):
    class Pinned(d6tstore.tasks.TaskJson):
        backend = "lake"

        def requires(self):
            return Frame()

        def run(self):
            self.save(len(self.input().load()))

    d6tstore.init(tmp_path / "main", backends={"lake": tmp_path / "lake"})
    d6tstore.run(Pinned())
    assert Pinned().output().path.is_relative_to(tmp_path / "lake") and Pinned().output().load() == 3
    assert Frame().output().path.is_relative_to(tmp_path / "main")
    assert d6tstore.run(Pinned()).ran == []


def test_4_a_table_that_a_person_finds(database, tmp_path):
    from postgres import connect

    class Panel(d6tstore.tasks.TaskSQLPandas):
        year: int

        def run(self):
            days = pd.to_datetime([f"{self.year}-01-01 12:00", f"{self.year}-06-30 00:00"], utc=True).as_unit("us")
            rows = {"day": days, "name": ["a", None], "value": [1.5, 2.5], "count": [1, 2], "ok": [True, False]}
            self.save(pd.DataFrame(rows))

    d6tstore.init(tmp_path)
    d6tstore.db.init(database.url.partition("&schema")[0], database.schema)
    d6tstore.run([Panel(year=2025), Panel(year=2026)])
    with connect(database.admin) as cursor:
        cursor.execute(f'SET search_path = "{database.schema}"')
        cursor.execute("SELECT sum(value) FROM panel WHERE p_year = 2026 AND ok AND day < '2026-03-01'")
        assert cursor.fetchone() == (1.5,)
        cursor.execute("SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
                       "WHERE attrelid = (SELECT relation FROM results LIMIT 1)::regclass AND attnum > 0")  # fmt: skip
        assert dict(cursor.fetchall()) == {
            "day": "timestamp with time zone", "name": "text", "value": "double precision", "count": "bigint",
            "ok": "boolean",
        }  # fmt: skip
    assert Panel(year=2026).output().load().value.tolist() == [1.5, 2.5]
