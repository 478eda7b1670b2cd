"""Tests of the tasks, in a store that is forgotten afterwards."""

import pytest
from tasks import Forecast, GetData, Smooth, smoothed

import d6tstore


@pytest.fixture(autouse=True)
def store():
    with d6tstore.use(d6tstore.open("memory://")) as store:
        yield store


def test_smoothing():
    import pandas as pd

    assert smoothed(pd.Series([1.0, 3.0, 5.0]), 2).tolist() == [1.0, 2.0, 4.0]


def test_the_forecast_is_the_last_smooth_value(store):
    store.run(Forecast(window=1, days=2))
    sales = GetData().output().load()
    assert Forecast(window=1, days=2).output().load()["forecast"] == sales.sold.iloc[-3]


def test_another_window_leaves_the_data_as_it_is(store):
    store.run(Forecast(window=7))
    report = store.run(Forecast(window=14))
    assert [type(task) for task in report.ran] == [Smooth, Forecast] and report.reused == [GetData()]
