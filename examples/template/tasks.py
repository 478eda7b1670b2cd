"""What is computed: raw file -> daily sales -> smoothed -> a forecast with its error."""

from pathlib import Path

import pandas as pd

import d6tstore

SALES = Path(__file__).with_name("raw") / "sales.csv"


class GetData(d6tstore.tasks.TaskPqPandas):
    files = [SALES]  # a raw file: when its content changes, this task is stale

    def run(self):
        self.save(pd.read_csv(SALES, parse_dates=["day"]))


@d6tstore.requires(GetData)
class Smooth(d6tstore.tasks.TaskPqPandas):
    window: int = 7  # days

    def run(self):
        sales = self.input().load()
        self.save(sales.assign(smooth=smoothed(sales.sold, self.window)))


@d6tstore.requires(Smooth)  # and inherits its parameters
class Forecast(d6tstore.tasks.TaskJson):
    days: int = 7  # of the end, which are forecast and compared

    def run(self):
        sales = self.input().load()
        known, actual = sales[: -self.days], sales.sold[-self.days :]
        forecast = float(known.smooth.iloc[-1])
        error = float((actual - forecast).abs().mean())
        self.save({"forecast": forecast, "actual": actual.tolist()}, metrics={"error": error})


def smoothed(values, window):
    return values.rolling(window, min_periods=1).mean()
