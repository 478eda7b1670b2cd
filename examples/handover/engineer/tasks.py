"""What the engineer computes. `python tasks.py` brings all of it up to date."""

from pathlib import Path

import pandas as pd

import d6tstore

RAW = Path(__file__).with_name("raw")
MARKETS = ["north", "south"]


class Prices(d6tstore.tasks.TaskPqPandas):
    """Price and volume of each day, as the exchange sends them."""

    market: str

    def raw_files(self):
        return [RAW / f"{self.market}.csv"]

    def run(self):
        self.save(pd.read_csv(RAW / f"{self.market}.csv", parse_dates=["day"]))


@d6tstore.requires(Prices)  # and inherits its parameter
class Features(d6tstore.tasks.TaskPqPandas):
    """For each day: the price, its change since the day before, and how far it is from its mean of `window` days."""

    window: int = 3

    def run(self):
        prices = self.input().load().set_index("day").price
        distance = prices - prices.rolling(self.window).mean()
        frame = pd.DataFrame({"price": prices, "change": prices.diff(), "distance": distance})
        self.save(frame.dropna().reset_index())


def everything():
    return [Features(market=market) for market in MARKETS]


if __name__ == "__main__":
    d6tstore.init()  # results go to ./data
    print(d6tstore.run(everything()))
