"""Compute what is missing or stale, and compare: python run.py"""

from tasks import Forecast

import d6tstore

FORECASTS = d6tstore.grid(Forecast, window=[1, 7, 14])


if __name__ == "__main__":
    d6tstore.init()  # the profile `default` of d6tstore.toml, unless D6TSTORE_PROFILE names another one
    print(d6tstore.run(FORECASTS))
    print()
    print(d6tstore.compare(FORECASTS, sort="error"))
