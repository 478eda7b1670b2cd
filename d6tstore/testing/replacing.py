"""What a backend that holds tables promises when a writer fails, meets another, or is killed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

from d6tstore.backend import Backend, TableBackend
from d6tstore.errors import BackendError
from d6tstore.testing.crashes import Child, CrashTests, processes
from d6tstore.testing.samples import mixed, numbered, same


class ReplacingTests(CrashTests):
    """Needs the fixture `backend`."""

    @pytest.fixture
    def tables(self, backend: Backend) -> TableBackend:
        """The backend, as one that holds tables."""
        assert isinstance(backend, TableBackend)
        return backend

    def test_reader_that_fails_changes_nothing(self, tables: TableBackend) -> None:
        table = mixed(2_000)

        def broken() -> Iterator[pa.RecordBatch]:
            yield from table.to_batches(500)
            raise ZeroDivisionError

        for old in (None, mixed(3)):
            if old is not None:
                write(tables, "t/x", old)
            before = list(tables.list())
            with pytest.raises((ZeroDivisionError, BackendError)):
                tables.write_table("t/x", pa.RecordBatchReader.from_batches(table.schema, broken()))
            assert list(tables.list()) == before
            if old is not None:
                same(read(tables, "t/x"), old)
        write(tables, "t/x", table)
        same(read(tables, "t/x"), table)

    def test_tables_are_replaced_as_a_whole(self, tables: TableBackend) -> None:
        if not self.shared:
            pytest.skip("shared = False: other processes do not see it")
        write(tables, "t/x", numbered(0))
        with ProcessPoolExecutor(2, processes()) as pool:
            writers = [pool.submit(_replace_often, tables, range(i, self.rounds, 2)) for i in range(2)]
            reads = 0
            while not reads or not all(writer.done() for writer in writers):
                found = read(tables, "t/x")
                same(found, numbered(found["n"][0].as_py()))
                reads += 1
            for writer in writers:
                writer.result()

    def test_killed_writer_leaves_whole_tables(self, shared_backend: Backend, tables: TableBackend) -> None:
        moments, number = random.Random(0), 0
        written: dict[str, set[int]] = {}
        for _ in range(self.kills):
            first = number
            with Child(_replace_on, tables, first) as writer:
                number = writer.run(moments, self.patience)  # counted in batches: in the middle of a table
            for n in range(first, number + 1):
                written[_place(n)] = {n} if n < number else written.get(_place(n), {-1}) | {n}
            with Child(_inherit, tables, number + 1) as heir:
                found = heir.told(self.patience)
                heir.told(self.patience)  # it could write
            assert found.keys() <= written.keys(), "debris of the killed writer is listed"
            lost = [key for key in written if found.get(key, -1) not in written[key]]
            assert not lost, f"neither what was last written nor what was being written: {lost}"
            written[_place(number + 1)] = {number + 1}
            assert _numbers(tables) == {**found, _place(number + 1): number + 1}
            number += 2


def write(tables: TableBackend, key: str, table: pa.Table, rows: int | None = None) -> None:
    """Write a table, in batches of so many rows."""
    tables.write_table(key, table.to_reader(rows))


def read(tables: TableBackend, key: str) -> pa.Table:
    """A whole table."""
    return tables.read_table(key).read_all()


def _place(number: int) -> str:
    return f"killed/{number % 2}"


def _replace_often(tables: TableBackend, numbers: range) -> None:
    for number in numbers:
        write(tables, "t/x", numbered(number), 400)


def _replace_on(tell: Callable[[Any], None], tables: TableBackend, number: int) -> None:
    def telling(each: int, table: pa.Table) -> Iterator[pa.RecordBatch]:
        for batch in table.to_batches(250):
            tell(each)
            yield batch

    for each in itertools.count(number):
        table = numbered(each)
        tables.write_table(_place(each), pa.RecordBatchReader.from_batches(table.schema, telling(each, table)))


def _inherit(tell: Callable[[Any], None], tables: TableBackend, number: int) -> None:
    tell(_numbers(tables))
    write(tables, _place(number), numbered(number))
    tell("written")


def _numbers(tables: TableBackend) -> dict[str, int]:
    """Numbers of all tables that are listed; each is whole."""
    found = {}
    for entry in tables.list():
        table = read(tables, entry.key)
        found[entry.key] = table["n"][0].as_py()
        same(table, numbered(found[entry.key]))
    return found
