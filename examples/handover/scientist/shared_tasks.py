"""Tasks that somebody else runs: load their results, or build on them. Written by d6tstore export."""

import d6tstore


class Prices(d6tstore.tasks.TaskPqPandas):
    """Price and volume of each day, as the exchange sends them."""

    external = True
    pipe = "team-features"

    market: str


class Features(d6tstore.tasks.TaskPqPandas):
    """For each day: the price, its change since the day before, and how far it is from its mean of `window` days."""

    external = True
    pipe = "team-features"

    window: int = 3
    market: str
