"""Compute what is missing or stale, and compare: python run.py"""

import os

from tasks import Forecast

import d6tstore

FORECASTS = d6tstore.grid(Forecast, window=[1, 7, 14])


def init():
    """The profile `default` of d6tstore.toml, unless the environment names another one."""
    return d6tstore.init(os.environ.get("D6TSTORE_PROFILE") or "default")


if __name__ == "__main__":
    init()
    print(d6tstore.run(FORECASTS))
    print()
    print(d6tstore.compare(FORECASTS).sort_values("error").to_string(index=False))
