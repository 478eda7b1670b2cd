"""A frame that d6tstore saved is read without it: by psycopg2, pandas and polars, in a process of their own."""

import datetime as dt
import decimal
import json
import subprocess
import sys
import textwrap

import pyarrow as pa
import pytest
from postgres import Database

from d6tstore_plugins.sql.backend import PostgresBackend

D = decimal.Decimal
TABLE = pa.table(
    {
        "id": pa.array([2**62, -1, None]),
        "u": pa.array([2**64 - 1, 0, None], pa.uint64()),
        "price": [0.5, float("nan"), None],
        "net": pa.array([D("1.50"), D("-2.25"), None], pa.decimal128(10, 2)),
        "ok": [True, False, None],
        "Name of it": ["ünï 'x'", "", None],
        "category": pa.array(["b", "a", None]).dictionary_encode(),
        "day": [dt.date(2026, 3, 1), dt.date(1700, 1, 1), None],
        "at": [dt.datetime(2026, 3, 1, 12, 30, 0, 5), dt.datetime(1969, 12, 31, 23), None],
        "zoned": pa.array([dt.datetime(2026, 10, 25, 0, 30), dt.datetime(2026, 10, 25, 1, 30), None],
                          pa.timestamp("us", "Europe/Berlin")),
        "fine": pa.array([1_772_368_215_123_456_789, -1, None], pa.timestamp("ns")),
        "took": [dt.timedelta(days=1, seconds=1), dt.timedelta(microseconds=-1), None],
        "raw": [b"\0\xff", b"", None],
        "tags": [["a", None], [], None],
        "nested": [{"x": 1, "y": ["z"]}, {"x": None, "y": []}, None],
    }
)  # fmt: skip
WAYS = {
    "psycopg2": """
        import psycopg2
        with psycopg2.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
            cursor.execute("SELECT * FROM " + relation)
            names = [column.name for column in cursor.description]
            columns = dict(zip(names, zip(*cursor.fetchall())))
    """,
    "pandas": """
        import pandas, psycopg2, warnings
        warnings.simplefilter("ignore")  # pandas wants SQLAlchemy, and takes psycopg2
        query = "SELECT * FROM " + relation + " WHERE id IS NOT NULL"  # of which pandas would make floats
        with psycopg2.connect(url) as connection:
            connection.cursor().execute("SET TIME ZONE 'UTC'")
            frame = pandas.read_sql(query, connection, coerce_float=False)
        columns = {name: [*frame[name].astype(object), None] for name in frame}
    """,
    "polars by ADBC": """
        import polars
        names = ", ".join(f'"{name}"' for name in NAMES if name not in ("took", "nested"))  # which polars has not
        frame = polars.read_database_uri("SELECT " + names + " FROM " + relation, url, engine="adbc")
        columns = {name: frame[name].to_list() for name in frame.columns}
        for name in ("u", "net"):  # numeric comes as text
            columns[name] = [None if x is None else decimal.Decimal(x) for x in columns[name]]
    """,
}
READER = """
import datetime as dt, decimal, json, math, sys
url, relation, NAMES = json.loads(sys.stdin.read())

def plain(x):
    if x is None or type(x).__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(x, (memoryview, bytes)):
        return bytes(x).hex()
    if isinstance(x, dt.datetime):
        return str((x.astimezone(dt.timezone.utc) if x.tzinfo else x).isoformat())
    if isinstance(x, (dt.date, dt.time)):
        return x.isoformat()
    if isinstance(x, dt.timedelta):
        return x // dt.timedelta(microseconds=1)
    if isinstance(x, float) and math.isnan(x):
        return "NaN"
    if isinstance(x, (decimal.Decimal, float)) and x == int(x):
        return int(x)
    if isinstance(x, decimal.Decimal):
        return float(x)
    return x if not isinstance(x, list) else [plain(y) for y in x]

%s
assert not any(name.startswith("d6tstore") for name in sys.modules)
print(json.dumps({name: [plain(x) for x in values] for name, values in columns.items()}))
"""
SEEN = {
    "id": [2**62, -1, None],
    "u": [2**64 - 1, 0, None],
    "price": [0.5, "NaN", None],
    "net": [1.5, -2.25, None],
    "ok": [True, False, None],
    "Name of it": ["ünï 'x'", "", None],
    "category": ["b", "a", None],
    "day": ["2026-03-01", "1700-01-01", None],
    "at": ["2026-03-01T12:30:00.000005", "1969-12-31T23:00:00", None],
    "zoned": ["2026-10-25T00:30:00+00:00", "2026-10-25T01:30:00+00:00", None],
    "fine": ["2026-03-01T12:30:15.123456", "1969-12-31T23:59:59.999999", None],
    "fine ns": [789, 999, None],
    "took": [86_401_000_000, -1, None],
    "raw": ["00ff", "", None],
    "tags": [["a", None], [], None],
    "nested": [{"x": 1, "y": ["z"]}, {"x": None, "y": []}, None],
}


@pytest.fixture(scope="module")
def saved(postgres):
    """URL and relation of the table."""
    place = Database(postgres)
    backend = PostgresBackend.open(place.url)
    backend.write_table("Prices/data-1", TABLE.to_reader())
    yield place.url.partition("&schema=")[0], backend.uri("Prices/data-1")
    backend.close()


@pytest.mark.parametrize("way", WAYS)
def test_others_read_the_table(way, saved):
    code = READER % textwrap.dedent(WAYS[way])
    given = json.dumps([*saved, list(SEEN)])
    done = subprocess.run([sys.executable, "-I", "-c", code], input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    missing = SEEN.keys() - found.keys()
    assert missing == ({"took", "nested"} if "polars" in way else set())
    assert found == {name: values for name, values in SEEN.items() if name not in missing}
