"""Frames to measure with: each mix of columns is a function of the number of rows."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def texts(rng, values, rows):
    """Some of the values, at random."""
    return pa.array(values).take(pa.array(rng.integers(0, len(values), rows)))


def numbered(template, numbers, digits=0):
    """Texts that differ by a number."""
    ids = pc.utf8_lpad(pa.array(numbers).cast("string"), digits, "0")
    return pc.binary_join_element_wise(template, ids, "")


def words(rng, rows, least, most):
    """Sentences of words that are as unequally common as in a language (Zipf)."""
    vocabulary = ["".join(rng.choice(LETTERS, rng.integers(2, 10))) for _ in range(4000)]
    weights = 1 / np.arange(1, 4001)
    counts = rng.integers(least, most, 20_000)
    chosen = rng.choice(vocabulary, counts.sum(), p=weights / weights.sum())
    ends = np.cumsum(counts)
    halves = [" ".join(chosen[end - count : end]) for end, count in zip(ends, counts, strict=True)]
    return pc.binary_join_element_wise(texts(rng, halves, rows), texts(rng, halves, rows), " ")


def frame(**columns):
    """A pandas frame whose texts are pandas' own."""
    made = {k: v.to_pandas() if isinstance(v, pa.Array | pa.ChunkedArray) else v for k, v in columns.items()}
    return pd.DataFrame({k: v.astype("str") if v.dtype == object else v for k, v in made.items()})


def seconds(start, steps):
    return np.datetime64(start, "ns") + steps.astype("m8[s]")


def mixed(rng, n):
    """The frame of the issue: 4 floats, 3 integers, 1 datetime, 1 low- and 1 high-cardinality text."""
    return frame(
        f0=rng.standard_normal(n),
        f1=rng.random(n),
        f2=np.round(rng.lognormal(3, 1, n), 2),
        f3=np.where(rng.random(n) < 0.1, np.nan, rng.standard_normal(n)),
        i0=np.arange(n),
        i1=rng.integers(0, 100, n),
        i2=rng.integers(0, 10**9, n),
        t=seconds("2020-01-01", np.arange(n)),
        low=texts(rng, [f"label-{i:02d}" for i in range(20)], n),
        high=numbered("customer-", rng.integers(0, 10**9, n), 9),
    )


def floats(rng, n):
    """A matrix of features."""
    columns = {f"x{i}": rng.standard_normal(n) for i in range(6)}
    return frame(**columns, **{f"y{i}": rng.standard_normal(n).astype("f4") for i in range(4)})


def prices(rng, n):
    """A panel of prices per day and ticker."""
    close = np.round(np.exp(rng.normal(3, 1, n)), 2)
    return frame(
        day=(np.datetime64("2000-01-01", "ns") + (np.arange(n) // 1000).astype("m8[D]")),
        ticker=texts(rng, [f"T{i:04d} US" for i in range(1000)], n),
        open=np.round(close * rng.normal(1, 0.01, n), 2),
        high=np.round(close * 1.02, 2),
        low=np.round(close * 0.98, 2),
        close=close,
        volume=rng.integers(0, 10**7, n) * 100,
        change=rng.normal(0, 0.02, n),
    )


def sensors(rng, n):
    """Measurements of devices in the order of time."""
    return frame(
        time=np.datetime64("2024-01-01", "ns") + np.cumsum(rng.integers(1, 10**7, n)).astype("m8[ns]"),
        device=texts(rng, [f"device-{i:03d}" for i in range(200)], n),
        temperature=20 + np.cumsum(rng.standard_normal(n)) * 0.01,
        pressure=(1000 + np.cumsum(rng.standard_normal(n)) * 0.1).astype("f4"),
        humidity=np.where(rng.random(n) < 0.05, np.nan, rng.random(n)),
        voltage=np.round(rng.normal(3.3, 0.01, n), 3),
        counter=np.arange(n) * 7,
        alarm=rng.random(n) < 0.01,
    )


def events(rng, n):
    """The log of a web server."""
    return frame(
        id=numbered("", rng.integers(2**60, 2**62, n), 19),
        time=np.datetime64("2024-01-01", "us") + np.sort(rng.integers(0, 10**13, n)).astype("m8[us]"),
        user=rng.integers(0, 10**6, n),
        url=pc.binary_join_element_wise(
            texts(rng, [f"https://www.example.com/shop/section-{i}/item/" for i in range(50)], n),
            pa.array(rng.integers(0, 10**6, n)).cast("string"),
            "",
        ),
        method=texts(rng, ["GET", "GET", "GET", "POST", "PUT"], n),
        status=rng.choice([200, 200, 200, 301, 404, 500], n),
        bytes=rng.zipf(1.3, n).clip(0, 10**9),
        seconds=rng.exponential(0.05, n),
    )


def text(rng, n):
    """Documents with labels."""
    ids, scores = rng.integers(0, 10**6, n), np.round(rng.random(n), 3)
    parts = [
        '{"id": ',
        pa.array(ids).cast("string"),
        ', "score": ',
        pa.array(scores).cast("string"),
        ', "tags": ["a"]}',
    ]
    return frame(
        id=numbered("doc-", np.arange(n), 9),
        label=texts(rng, [f"class {i}" for i in range(10)], n),
        body=words(rng, n, 3, 10),
        meta=pc.binary_join_element_wise(*parts, ""),
    )


def sales(rng, n):
    """Transactions of 50,000 customers; most have no note."""
    note = numbered("note ", rng.integers(0, 10**6, n))
    return frame(
        customer=texts(rng, [f"customer {i:06d}" for i in range(50_000)], n),
        product=texts(rng, [f"sku-{i:05d}" for i in range(5_000)], n),
        when=np.datetime64("2023-01-01", "ns") + rng.integers(0, 365 * 86400, n).astype("m8[s]"),
        quantity=rng.geometric(0.4, n),
        price=np.round(rng.lognormal(2.5, 1, n), 2),
        discount=rng.choice([0.0, 0.0, 0.05, 0.1], n),
        note=pc.if_else(pa.array(rng.random(n) < 0.95), None, note),
        returned=rng.random(n) < 0.02,
    )


def integers(rng, n):
    """Keys and counts of a database."""
    return frame(
        key=np.arange(n) + 10**6,
        parent=np.sort(rng.integers(0, n // 20, n)),
        hash=rng.integers(-(2**63), 2**63 - 1, n),
        amount=rng.integers(0, 10**6, n),
        small=rng.integers(0, 100, n).astype("i2"),
        flags=rng.integers(0, 2**31 - 1, n).astype("i4"),
        optional=pd.array(pd.Series(rng.integers(0, 10**6, n)).mask(rng.random(n) < 0.5), dtype="Int64").to_numpy(
            float, na_value=np.nan
        ),
    )


def wide(rng, n):
    """200 columns, as of a survey or of features made by a program."""
    rows = n // 20
    columns = {}
    for i in range(50):
        columns[f"f{i}"] = rng.standard_normal(rows)
        columns[f"r{i}"] = np.round(rng.normal(50, 10, rows), 1)
        columns[f"i{i}"] = rng.integers(0, 10 ** (i % 8 + 1), rows)
        columns[f"b{i}"] = (rng.random(rows) < 0.3).astype("f8")
    return frame(**columns)


def labels(rng, n):
    """Nothing but low cardinality: there is little to compress."""
    return frame(
        kind=texts(rng, [f"label-{i:02d}" for i in range(20)], n),
        place=pd.Series(pd.Categorical.from_codes(rng.integers(0, 50, n), [f"place {i}" for i in range(50)])),
        day=np.datetime64("2020-01-01", "ns") + rng.integers(0, 1000, n).astype("m8[D]"),
        grade=rng.integers(0, 5, n),
        half=rng.choice([0.0, 0.5, 1.0], n),
        constant=np.full(n, 7),
        yes=rng.random(n) < 0.5,
        rare=rng.random(n) < 0.01,
    )


MIXES = {f.__name__: f for f in (mixed, floats, prices, sensors, events, text, sales, integers, wide, labels)}


def make(name, rows):
    return MIXES[name](np.random.default_rng(0), rows)
