"""Threads that open and close one file of DuckDB at the same time: none gets a connection that is half made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from d6tstore_plugins.sql.duckdb import DuckdbBackend


@pytest.fixture
def backend(tmp_path):
    made = DuckdbBackend.open(f"duckdb:///{tmp_path}/x.duckdb")
    yield made
    made.close()


def test_many_threads_write_tables_and_read_them(backend):
    table = pa.table({"x": [1, 2, 3]})

    def use(number):
        for i in range(4):
            key = f"Prices/x/data-{number * 100 + i:016x}"
            backend.write_table(key, table.to_reader())
            assert backend.read_table(key).read_all().equals(table)
            assert len(backend.stat([key])) == 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    assert len(list(backend.list())) == 32
