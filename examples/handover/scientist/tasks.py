"""What the scientist builds on the engineer's results, without having the engineer's code."""

import numpy as np
import shared_tasks  # written by `d6tstore export`, in the engineer's project

import d6tstore


@d6tstore.requires(shared_tasks.Features)  # a class of what the engineer exported
class Model(d6tstore.tasks.TaskJson):
    """How much the price changes from one day to the next for each unit that it is above its mean."""

    def run(self):
        features = self.input().load()
        slope, level = np.polyfit(features.distance[:-1], features.change[1:], 1)
        self.save({"slope": round(float(slope), 4), "level": round(float(level), 4)}, metrics={"days": len(features)})


class Turnover(d6tstore.tasks.TaskJson):
    """What was traded in all, in money."""

    market: str

    def requires(self):
        return d6tstore.external("team-features", "Prices", market=self.market)  # by names only

    def run(self):
        prices = self.input().load()
        self.save(round(float((prices.price * prices.volume).sum()), 2))


def everything():
    return [cls(market=market) for market in ("north", "south") for cls in (Model, Turnover)]
