"""Look at results, after run.py: python visualize.py"""

from run import FORECASTS

import d6tstore

WIDTH = 40  # characters of the longest bar


def bars(values):
    """A bar for each named value."""
    longest = max(values.values())
    lines = (f"{name:>12}  {'#' * round(WIDTH * value / longest)} {value:.1f}" for name, value in values.items())
    return "\n".join(lines)


if __name__ == "__main__":
    d6tstore.init()
    sales = FORECASTS[0].requires().requires().output().load()
    weekly = sales.set_index("day").sold.resample("W").sum()
    print("Sold per week")
    print(bars({f"{day:%Y-%m-%d}": sold for day, sold in weekly.items()}))
    print("\nForecast of a day, by window")
    print(bars({f"{task.window} days": task.output().load()["forecast"] for task in FORECASTS}))
