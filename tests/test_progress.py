"""Whoever listens hears of transfers that take long, and can break none."""

import logging
import pickle

import pytest

import d6tstore
from d6tstore import progress
from d6tstore.errors import UsageError
from d6tstore.progress import Progress, Transfer


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes when it is told."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_what_takes_less_than_a_second_is_not_told(clock):
    heard = []
    add = Progress(heard.append).meter("down", "a/x", 100)
    for _ in range(9):
        clock[0] += 0.1
        add(10)
    assert heard == []
    clock[0] += 0.3
    add(10)
    assert heard == [Transfer("down", "a/x", 100, 100, pytest.approx(1.2))]
    assert heard[0].rate == pytest.approx(100 / 1.2)


def test_it_is_told_ten_times_a_second_at_most_and_at_the_end(clock):
    heard = []
    add = Progress(heard.append).meter("up", "a/x", 1_000)
    clock[0] += 2
    for _ in range(1_000):
        clock[0] += 0.001
        add(1)
    assert 10 <= len(heard) <= 12 and heard[-1].done == 1_000
    assert [each.done for each in heard] == sorted({each.done for each in heard})


def test_who_fails_to_listen_costs_nothing(clock, caplog):
    add = Progress(lambda transfer: 1 / 0).meter("up", "a/x", 10)
    clock[0] += 2
    with caplog.at_level(logging.ERROR, "d6tstore"):
        add(10)
    assert "what listens to transfers failed" in caplog.text and "ZeroDivisionError" in caplog.text


def test_nobody_listens():
    assert Progress().meter("up", "a/x", 10) is None
    assert Transfer("up", "a/x", 0, 10, 0.0).rate == 0.0


def test_a_callback_stays_in_its_process():
    store = d6tstore.open("memory://", progress=lambda transfer: None)
    assert store.repository.progress.meter("up", "x", 1)
    assert pickle.loads(pickle.dumps(store.repository.progress)).meter("up", "x", 1) is None


def test_what_cannot_listen():
    with pytest.raises(UsageError, match="progress = 'yes' must be a function of one argument"):
        d6tstore.open("memory://", progress="yes")


def test_a_table_of_a_database_is_told_too(tmp_path, monkeypatch):
    import pandas as pd

    class Table(d6tstore.tasks.TaskSQLPandas):
        backend = None

        def run(self):
            self.save(pd.DataFrame({"x": range(200_000)}))

    heard = []
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    d6tstore.open(f"sqlite:///{tmp_path}/a.db", progress=heard.append).run(Table())
    assert len(heard) > 1 and heard[-1].done == heard[-1].total == 1_600_000 and heard[-1].key.startswith("Table/")
