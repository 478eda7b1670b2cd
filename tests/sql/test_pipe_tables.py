"""Frames that go through a pipe into tables of a database.

What can go wrong: a table that others read is made again, though it holds just that frame; a table that is there is not
noticed after an interruption; one that came out otherwise stays.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from postgres import connect

import d6tstore
from d6tstore.errors import ExchangeFailed


class Prices(d6tstore.tasks.TaskPqPandas):
    files = ["prices.csv"]

    def run(self):
        self.save(pd.read_csv("prices.csv"))


@d6tstore.requires(Prices)
class Days(d6tstore.tasks.TaskPqPandas):
    def run(self):
        self.save(self.input().load()[["day"]])


@pytest.fixture
def pipe(store, database):
    Path("prices.csv").write_text("day,volume\n1,10\n2,20\n")
    return d6tstore.pipes.init("team", url=database.url)


def tables(database):
    """Tables of frames, each with the number by which Postgres knows it."""
    with connect(database.admin) as cursor:
        cursor.execute(
            "SELECT relname, oid FROM pg_class WHERE relkind = 'r' AND relnamespace = %s::regnamespace "
            "AND NOT starts_with(relname, 'd6tstore_')",
            [database.schema],
        )
        return dict(cursor.fetchall())


def test_a_table_whose_frame_came_out_the_same_is_not_made_again(pipe, database):
    d6tstore.run(Days())
    pipe.push()
    before = {name: oid for name, oid in tables(database).items() if name.startswith("days")}
    Path("prices.csv").write_text("day,volume\n1,10\n2,25\n")
    assert d6tstore.run(Days()).ran == [Prices(), Days()]
    pipe.push()  # the view `days` would be in the way of another table
    assert {name: oid for name, oid in tables(database).items() if name.startswith("days")} == before
    assert pipe.status().same == list(pipe.status())
    assert pipe.records("Days")[0].write_id == Days().output().record().write_id


def test_a_table_that_arrived_before_an_interruption_is_not_sent_again(pipe, database):
    d6tstore.run(Days())
    pipe.push()
    before = tables(database)
    with connect(database.admin) as cursor:
        cursor.execute(f"DELETE FROM {database.schema}.d6tstore_objects WHERE starts_with(key, '.d6tstore/records/')")
    pipe.push([Prices(), Days()])
    assert tables(database) == before
    assert len(pipe.verify()) == 0


def test_a_table_that_came_out_otherwise_does_not_stay(pipe, database, store):
    d6tstore.run(Prices())
    output = Prices().output().record().outputs["data"]
    (file,) = Path(store.repository.default.path(".d6tstore/records/Prices")).iterdir()
    file.write_text(file.read_text().replace(output.content, "0" * len(output.content)))
    with pytest.raises(ExchangeFailed, match="otherwise than its record says"):
        pipe.push()
    assert tables(database) == {}
