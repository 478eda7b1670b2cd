"""`TableBackendTests`: what every backend that holds tables promises besides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from d6tstore.backend import TableBackend
from d6tstore.errors import BackendError, Denied, NotFound
from d6tstore.store import Store
from d6tstore.testing import flow
from d6tstore.testing.backends import KEYS, BackendTests
from d6tstore.testing.replacing import ReplacingTests, read, write
from d6tstore.testing.samples import COLUMNS, COMPARE, NAMES, TEXTS, Condition, mixed, part, same

SCALARS = [type_ for type_ in COLUMNS if not pa.types.is_nested(type_) and not pa.types.is_null(type_)]


class TableBackendTests(ReplacingTests, BackendTests):
    """Subclass it in a test file and define the fixture `backend`; see `d6tstore.testing`.

    It asks `accepts` for each table. One that is refused, with a reason, is not tried; what is accepted comes
    back equal.
    """

    # ------------------------------------------------------------ types and names

    def test_plain_tables_are_accepted(self, tables: TableBackend) -> None:
        assert tables.accepts(mixed(1).schema) is None

    @pytest.mark.parametrize("type_", COLUMNS, ids=str)
    def test_type_comes_back_equal(self, tables: TableBackend, type_: pa.DataType) -> None:
        values = [None, *COLUMNS[type_], None]
        for column in (values, values[1:-1], [None, None], []):
            array = pa.array(column, type_)
            _stored_if_accepted(tables, pa.table({"i": range(len(array)), "x": array}))

    @pytest.mark.parametrize("type_", SCALARS, ids=str)
    def test_type_is_compared(self, tables: TableBackend, type_: pa.DataType) -> None:
        values = pa.array([None, *COLUMNS[type_], *COLUMNS[type_][:1]], type_)
        table = pa.table({"i": range(len(values)), "x": values})
        _stored_if_accepted(tables, table)
        known = [value for value in values.to_pylist() if value is not None and value == value]
        for op in ("==", "!=", "<", "<=", ">", ">="):
            for value in known:
                _check(tables, table, where=[("x", op, value)])
        for op in ("in", "not in"):
            _check(tables, table, where=[("x", op, known[:2])])
        for op in ("==", "!="):
            _check(tables, table, where=[("x", op, None)])

    @pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
    def test_column_names_are_kept(self, tables: TableBackend, names: list[str]) -> None:
        bystander = mixed(3)
        write(tables, "bystander/t", bystander)
        table = pa.table([pa.array([i, None, i + 1]) for i in range(len(names))], names)
        if _stored_if_accepted(tables, table) and len(names) < 100:
            _check(tables, table, columns=names[::-1])
            for i, name in enumerate(names):
                _check(tables, table, columns=[name], where=[(name, ">", i)])
        same(read(tables, "bystander/t"), bystander)

    # ----------------------------------------------------------------- tables

    @pytest.mark.parametrize("rows", [0, 1, 1_000, 100_000])
    def test_rows_keep_their_order(self, tables: TableBackend, rows: int) -> None:
        table = mixed(rows)
        for batch in (1 << 16, max(rows // 7, 1)):
            write(tables, "t/x", table, batch)
            same(read(tables, "t/x"), table)

    def test_empty_batches_and_no_batches(self, tables: TableBackend) -> None:
        table = mixed(10)
        empty, full = table.schema.empty_table().to_batches(), table.to_batches()
        for parts in ([], empty, [*empty, *full, *empty, *full]):
            expected = pa.Table.from_batches(parts, table.schema)
            tables.write_table("t/x", pa.RecordBatchReader.from_batches(table.schema, parts))
            same(read(tables, "t/x"), expected)

    def test_projection(self, tables: TableBackend) -> None:
        table = mixed(100)
        write(tables, "t/x", table)
        for columns in (["f"], ["s", "i"], table.schema.names[::-1], table.schema.names):
            _check(tables, table, columns=columns)
            _check(tables, table, columns=columns, where=[("b", "==", True)], limit=3)

    @pytest.mark.parametrize("op", COMPARE)
    def test_where(self, tables: TableBackend, op: str) -> None:
        table = mixed(200)
        write(tables, "t/x", table)
        tried: dict[str, list[Any]] = {
            "i": [3, -1, None],
            "f": [0.5, float("inf"), None],
            "s": [*TEXTS, None],
            "b": [True],
        }
        for column, values in tried.items():
            if op in ("in", "not in"):
                for chosen in ([], values[:1], values[:2], [v for v in values if v is not None], values):
                    _check(tables, table, where=[(column, op, chosen)])
            else:
                for value in values:
                    if value is not None or op in ("==", "!="):
                        _check(tables, table, where=[(column, op, value)])
                        _check(tables, table, columns=["i"], where=[(column, op, value), ("i", "!=", 4)])

    def test_limit(self, tables: TableBackend) -> None:
        table = mixed(50)
        write(tables, "t/x", table)
        for limit in (0, 1, 7, 49, 50, 51, 10**9):
            _check(tables, table, limit=limit)
            _check(tables, table, columns=["s"], where=[("i", ">", 2)], limit=limit)
            _check(tables, table, where=[("i", ">", 1_000)], limit=limit)

    def test_tables_are_objects(self, tables: TableBackend) -> None:
        versions = set()
        tables.write("t/bytes", b"1")
        for rows in (5, 5, 6):
            write(tables, "t/x", mixed(rows))
            found = {entry.key: entry for entry in tables.list("t/")}
            assert found.keys() == {"t/x", "t/bytes"} == {entry.key for entry in tables.list()}
            assert tables.stat(["t/x", "t/y"]) == {"t/x": found["t/x"]}
            assert tables.exists("t/x") and not tables.exists("t")
            versions.add(found["t/x"].version)
        assert len(versions) == 3, "the version did not change with the table"
        with pytest.raises(BackendError):
            tables.read("t/x")
        with pytest.raises(BackendError):
            read(tables, "t/bytes")
        tables.delete("t/x")
        assert [entry.key for entry in tables.list()] == ["t/bytes"]
        assert not tables.exists("t/x")
        with pytest.raises(NotFound):
            read(tables, "t/x")

    @pytest.mark.parametrize("key", KEYS, ids=lambda key: ascii(key[:30]))
    def test_tables_have_any_key(self, tables: TableBackend, key: str) -> None:
        table = mixed(3)
        write(tables, key, table)
        assert [entry.key for entry in tables.list()] == [key]
        same(read(tables, key), table)
        for missing in (f"{key[:-1]}_", "absent", "a/absent"):
            with pytest.raises(NotFound):
                read(tables, missing)
        tables.delete(key)
        assert list(tables.list()) == []

    def test_denied_table_is_not_absent(self, tables: TableBackend) -> None:
        table = mixed(5)
        for _ in range(2):
            write(tables, "t/x", table)
            read(tables, "t/x")
        with self.denying(tables):
            for call in (lambda: read(tables, "t/x"), lambda: write(tables, "t/x", mixed(6))):
                with pytest.raises(Denied):
                    call()
        same(read(tables, "t/x"), table)

    def test_flow_makes_tables(self, store: Store, tables: TableBackend) -> None:
        store.run(flow.Model())
        output = store.history(flow.Table())[0].outputs["data"]
        assert output.table, f"the frame was stored as bytes, for {output.note or 'no reason'}"
        assert read(tables, output.key).num_rows == 5
        assert store.verify() == []


def _stored_if_accepted(tables: TableBackend, table: pa.Table) -> bool:
    reason = tables.accepts(table.schema)
    if reason is None:
        write(tables, "t/x", table)
        same(read(tables, "t/x"), table)
    else:
        assert isinstance(reason, str) and reason.strip(), "a table is refused without a reason"
    return reason is None


def _check(
    tables: TableBackend,
    table: pa.Table,
    columns: Sequence[str] | None = None,
    where: Sequence[Condition] | None = None,
    limit: int | None = None,
) -> None:
    """A part of t/x is what plain Python takes from the table."""
    if tables.accepts(table.schema) is not None:
        return
    found = tables.read_table("t/x", columns, where, limit).read_all()
    try:
        same(found, part(table, columns, where, limit))
    except AssertionError as exc:
        raise AssertionError(f"columns={columns}, where={where}, limit={limit}: {exc}") from exc
