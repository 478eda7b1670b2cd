"""The published suite for backends that hold tables: it can be passed, and it finds what is wrong."""

import pytest
from kit import check
from tables import SqliteTables

from d6tstore.testing import TableBackendTests, forbidden


class TestSqliteTables(TableBackendTests):
    @pytest.fixture
    def backend(self, tmp_path):
        (tmp_path / "db").mkdir()
        return SqliteTables(tmp_path / "db" / "results.sqlite")

    def denying(self, backend):
        return forbidden(backend.file.rpartition("/")[0])


HEAD = """
import itertools
import pyarrow as pa
import pytest
import tables
from d6tstore.errors import Denied, NotFound
from d6tstore.testing import TableBackendTests, forbidden
from tables import SqliteTables

sql = tables.sql

class Suite(TableBackendTests):
    rounds = 20
    @pytest.fixture
    def backend(self, tmp_path):
        (tmp_path / "db").mkdir()
        return self.cls(tmp_path / "db" / "results.sqlite")
    def denying(self, backend):
        return forbidden(backend.file.rpartition("/")[0])

class Reads(SqliteTables):
    "What comes back may be changed."
    def read_table(self, key, columns=None, where=None, limit=None):
        return self.change(super().read_table(key, columns, where, limit).read_all()).to_reader()
"""

BROKEN = {
    "refuses without a reason": ("""
        class Broken(SqliteTables):
            def accepts(self, schema):
                return "" if super().accepts(schema) else None
        """, {"test_type_comes_back_equal"}),
    "accepts what it cannot hold": ("""
        class Broken(SqliteTables):
            def accepts(self, schema):
                return None
        """, {"test_type_comes_back_equal"}),
    "refuses what everybody has": ("""
        class Broken(SqliteTables):
            def accepts(self, schema):
                return "no text" if any(pa.types.is_string(f.type) for f in schema) else None
        """, {"test_plain_tables_are_accepted"}),
    "refuses the text of pandas": ("""
        class Broken(SqliteTables):
            def accepts(self, schema):
                return "no text" if any(pa.types.is_large_string(f.type) for f in schema) else None
        """, {"test_flow_makes_tables"}),
    "NaN becomes NULL": ("""
        tables.encode = lambda value: None if value != value else value
        class Broken(SqliteTables): pass
        """, {"test_type_comes_back_equal", "test_rows_keep_their_order"}),
    "loses the sign of zero": ("""
        tables.encode = lambda value: "nan" if value != value else value
        class Broken(SqliteTables): pass
        """, {"test_type_comes_back_equal", "test_rows_keep_their_order"}),
    "strips text": ("""
        tables.encode = lambda value: value.rstrip() if isinstance(value, str) else value
        class Broken(SqliteTables): pass
        """, {"test_type_comes_back_equal"}),
    "other order of rows": ("""
        class Broken(Reads):
            def change(self, table):
                return table.take(pa.array(range(table.num_rows)[::-1], pa.int64()))
        """, {"test_rows_keep_their_order", "test_projection", "test_limit"}),
    "only the first batch": ("""
        class Broken(SqliteTables):
            def write_table(self, key, batches):
                first = itertools.islice(batches, 1)
                super().write_table(key, pa.RecordBatchReader.from_batches(batches.schema, first))
        """, {"test_rows_keep_their_order", "test_empty_batches_and_no_batches"}),
    "no table without rows": ("""
        class Broken(SqliteTables):
            def write_table(self, key, batches):
                table = batches.read_all()
                if table.num_rows:
                    super().write_table(key, table.to_reader())
        """, {"test_rows_keep_their_order", "test_empty_batches_and_no_batches", "test_type_comes_back_equal"}),
    "columns in the order of the table": ("""
        class Broken(SqliteTables):
            def read_table(self, key, columns=None, where=None, limit=None):
                return super().read_table(key, columns and sorted(columns), where, limit)
        """, {"test_projection"}),
    "NULL is different": ("""
        def broken(column, type_, op, value):
            condition, values = sql(column, type_, op, value)
            return f"({condition} OR {column} IS NULL)" if op == "!=" and value is not None else condition, values
        tables.sql = broken
        class Broken(SqliteTables): pass
        """, {"test_where", "test_type_is_compared"}),
    "NaN is a number": ("""
        def broken(column, type_, op, value):
            condition, values = sql(column, type_, op, value)
            return condition.replace(f"{column} <> 'nan' AND", ""), values
        tables.sql = broken
        class Broken(SqliteTables): pass
        """, {"test_where"}),
    "folds case when it compares": ("""
        def broken(column, type_, op, value):
            condition, values = sql(column, type_, op, value)
            return condition.replace("?", "? COLLATE NOCASE"), values
        tables.sql = broken
        class Broken(SqliteTables): pass
        """, {"test_where", "test_type_is_compared"}),
    "values are not quoted": ("""
        def broken(column, type_, op, value):
            condition, values = sql(column, type_, op, value)
            return (condition.replace("?", f"'{value}'"), []) if isinstance(value, str) else (condition, values)
        tables.sql = broken
        class Broken(SqliteTables): pass
        """, {"test_where"}),
    "limit 0 is no limit": ("""
        class Broken(SqliteTables):
            def read_table(self, key, columns=None, where=None, limit=None):
                return super().read_table(key, columns, where, limit or None)
        """, {"test_limit"}),
    "no limit with a filter": ("""
        class Broken(SqliteTables):
            def read_table(self, key, columns=None, where=None, limit=None):
                return super().read_table(key, columns, where, None if where else limit)
        """, {"test_limit"}),
    "names differ in case only": ("""
        tables.column = lambda i, name: '"{}"'.format(name.replace('"', '""'))
        class Broken(SqliteTables): pass
        """, {"test_column_names_are_kept"}),
    "names are not quoted": ("""
        tables.column = lambda i, name: f'"{i}_{name}"'
        class Broken(SqliteTables): pass
        """, {"test_column_names_are_kept"}),
    "names are cut": ("""
        tables.column = lambda i, name: '"{}"'.format(name.replace('"', '""')[:63])
        class Broken(SqliteTables):
            def accepts(self, schema):
                return "folds case" if len({n.lower() for n in schema.names}) < len(schema) else super().accepts(schema)
        """, {"test_column_names_are_kept"}),
    "each batch for itself": ("""
        class Broken(SqliteTables):
            def write_table(self, key, batches):
                done = []
                for batch in batches:
                    done.append(batch)
                    super().write_table(key, pa.Table.from_batches(done).to_reader())
        """, {
            "test_reader_that_fails_changes_nothing", "test_tables_are_replaced_as_a_whole",
            "test_killed_writer_leaves_whole_tables",
        }),
    "keeps what there was before the reader failed": ("""
        class Broken(SqliteTables):
            def write_table(self, key, batches):
                done = []
                try:
                    done.extend(batches)
                finally:
                    super().write_table(key, pa.Table.from_batches(done, batches.schema).to_reader())
        """, {"test_reader_that_fails_changes_nothing"}),
    "removes the old table first": ("""
        class Broken(SqliteTables):
            def write_table(self, key, batches):
                self.delete(key)
                super().write_table(key, batches)
        """, {"test_reader_that_fails_changes_nothing", "test_tables_are_replaced_as_a_whole"}),
    "what is being written is listed": ("""
        class Broken(SqliteTables):
            def write_table(self, key, batches):
                table = batches.read_all()
                super().write_table(f"{key}.new", table.to_reader())
                super().write_table(key, table.to_reader())
                self.delete(f"{key}.new")
        """, {"test_killed_writer_leaves_whole_tables"}),
    "tables are not listed": ("""
        class Broken(SqliteTables):
            def list(self, prefix=""):
                return (entry for entry in super().list(prefix) if entry.size)
        """, {"test_tables_are_objects", "test_tables_have_any_key"}),
    "version of a table stays": ("""
        class Broken(SqliteTables):
            def list(self, prefix=""):
                return (entry._replace(version="1") for entry in super().list(prefix))
        """, {"test_tables_are_objects"}),
    "tables are not deleted": ("""
        class Broken(SqliteTables):
            def delete(self, key):
                with self.transaction() as db:
                    db.execute("DELETE FROM catalogue WHERE key = ? AND relation IS NULL", [key])
        """, {"test_tables_are_objects", "test_tables_have_any_key"}),
    "what is not there is empty": ("""
        class Broken(SqliteTables):
            def read_table(self, key, columns=None, where=None, limit=None):
                try:
                    return super().read_table(key, columns, where, limit)
                except NotFound:
                    return pa.table({}).to_reader()
        """, {"test_tables_are_objects", "test_tables_have_any_key"}),
    "a denied table is absent": ("""
        class Broken(SqliteTables):
            def read_table(self, key, columns=None, where=None, limit=None):
                try:
                    return super().read_table(key, columns, where, limit)
                except Denied:
                    raise NotFound(f"no {key!r}") from None
        """, {"test_denied_table_is_not_absent"}),
}  # fmt: skip


def test_the_kit_finds_what_is_broken(tmp_path):
    check(tmp_path, HEAD, BROKEN)
