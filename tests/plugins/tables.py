"""A small backend that holds tables: a database of SQLite. It shows that `TableBackendTests` can be passed."""

import contextlib
import sqlite3
import struct
import time
import uuid
from pathlib import Path

import pyarrow as pa

from d6tstore.backend import Entry, TableBackend, check_key
from d6tstore.errors import BackendError, Denied, NotFound

# SQLite knows no NaN and no negative zero: they are text, which no other number is.
ODD = {"nan": float("nan"), "-0.0": -0.0}
TYPES = {
    pa.int64(): "INTEGER", pa.float64(): "REAL", pa.bool_(): "BOOLEAN", pa.binary(): "BLOB",
    pa.string(): "TEXT", pa.large_string(): "TEXT",
}  # fmt: skip
ORDERING = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


class SqliteTables(TableBackend):
    """Objects are rows of one table, frames are tables of their own, `catalogue` says which they are."""

    rows = 1_000  # of a batch

    def __init__(self, file):
        self.file, self.url = str(file), f"tables://{file}"
        with self.transaction() as db:
            db.execute(
                "CREATE TABLE IF NOT EXISTS catalogue "
                "(key TEXT PRIMARY KEY, data BLOB, relation TEXT, schema BLOB, version TEXT, modified REAL)"
            )

    @contextlib.contextmanager
    def transaction(self):
        try:
            with contextlib.closing(sqlite3.connect(self.file, timeout=60, isolation_level=None)) as db:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
        except sqlite3.Error as exc:
            kind = Denied if "readonly" in str(exc) or "unable to open" in str(exc) else BackendError
            raise kind(f"{self.file}: {exc}. Check path and rights, or use another file.") from exc

    def found(self, db, key):
        row = db.execute("SELECT data, relation, schema FROM catalogue WHERE key = ?", [check_key(key)]).fetchone()
        if row is None:
            raise NotFound(f"no object under {key!r} in {self.file}.")
        return row

    def read(self, key):
        with self.transaction() as db:
            data, relation, _ = self.found(db, key)
        if relation:
            raise NotFound(f"{key!r} in {self.file} is a table, no bytes. Use read_table().")
        return data

    def write(self, key, data):
        with self.transaction() as db:
            self.replace(db, key, data if isinstance(data, bytes) else data.read_bytes())
        if isinstance(data, Path):
            data.unlink()

    def delete(self, key):
        with self.transaction() as db:
            self.remove(db, key)

    def replace(self, db, key, data, relation=None, schema=None):
        self.remove(db, key)
        row = [key, data, relation, schema, uuid.uuid4().hex, time.time()]
        db.execute("INSERT INTO catalogue VALUES (?, ?, ?, ?, ?, ?)", row)

    def remove(self, db, key):
        for (relation,) in db.execute("SELECT relation FROM catalogue WHERE key = ?", [check_key(key)]).fetchall():
            if relation:
                db.execute(f"DROP TABLE {relation}")
            db.execute("DELETE FROM catalogue WHERE key = ?", [key])

    def list(self, prefix=""):
        with self.transaction() as db:
            rows = db.execute(
                "SELECT key, ifnull(length(data), 0), version, modified FROM catalogue WHERE substr(key, 1, ?) = ?",
                [len(prefix), prefix],
            ).fetchall()
        yield from map(Entry._make, rows)

    # ------------------------------------------------------------------- tables

    def accepts(self, schema):
        for field in schema:
            if field.type not in TYPES:
                return f"SQLite has no type for column {field.name!r}, {field.type}"
        return "SQLite holds 1 to 1,000 columns" if not 0 < len(schema) <= 1_000 else None

    def write_table(self, key, batches):
        relation, schema = f"t_{uuid.uuid4().hex}", batches.schema
        columns = ", ".join(f"{column(i, field.name)} {TYPES[field.type]}" for i, field in enumerate(schema))
        insert = f"INSERT INTO {relation} VALUES ({', '.join('?' * len(schema))})"
        with self.transaction() as db:
            self.replace(db, key, None, relation, schema.serialize().to_pybytes())
            db.execute(f"CREATE TABLE {relation} ({columns.replace(' REAL', '')})")
            for batch in batches:
                rows = zip(*(c.to_pylist() for c in batch.columns), strict=True)
                db.executemany(insert, ([encode(value) for value in row] for row in rows))

    def read_table(self, key, columns=None, where=None, limit=None):
        with self.transaction() as db:
            _, relation, encoded = self.found(db, key)
            if not relation:
                raise NotFound(f"{key!r} in {self.file} is bytes, no table. Use read().")
            whole = pa.ipc.read_schema(pa.py_buffer(encoded))
            at = {name: column(i, name) for i, name in enumerate(whole.names)}
            schema = whole if columns is None else pa.schema([whole.field(name) for name in columns])
            conditions, values = ["1"], []
            for name, op, value in where or ():
                condition, given = sql(at[name], whole.field(name).type, op, value)
                conditions.append(condition)
                values += given
            selected = ", ".join(at[name] for name in schema.names)
            query = f"SELECT {selected} FROM {relation} WHERE {' AND '.join(conditions)} ORDER BY rowid LIMIT ?"
            rows = db.execute(query, [*values, -1 if limit is None else limit]).fetchall()
        data = list(zip(*rows, strict=True)) or [()] * len(schema)
        arrays = [pa.array([decode(v, f.type) for v in c], f.type) for c, f in zip(data, schema, strict=True)]
        return pa.Table.from_arrays(arrays, schema=schema).to_reader(self.rows)


def column(i, name):
    """A quoted name; numbered, for SQLite folds case."""
    return '"{}_{}"'.format(i, name.replace('"', '""'))


def encode(value):
    if isinstance(value, float) and (value != value or struct.pack("d", value) == struct.pack("d", -0.0)):
        return str(value)
    return value


def decode(value, type_):
    if pa.types.is_boolean(type_) and value is not None:
        return bool(value)
    return ODD[value] if pa.types.is_floating(type_) and isinstance(value, str) else value


def sql(column, type_, op, value):
    """A condition and its values. NULL satisfies none but IS NULL."""
    if op in ("in", "not in"):
        if not value:
            return ("0" if op == "in" else f"{column} IS NOT NULL"), []
        parts = [sql(column, type_, "==" if op == "in" else "!=", v) for v in value]
        return f"({(' OR ' if op == 'in' else ' AND ').join(c for c, _ in parts)})", [v for _, g in parts for v in g]
    if value is None:
        return f"{column} IS {'' if op == '==' else 'NOT '}NULL", []
    if not pa.types.is_floating(type_):
        return f"{column} {ORDERING[op]} ?", [value]
    number = f"CAST({column} AS REAL) {ORDERING[op]} ?"
    return (f"({column} = 'nan' OR {number})" if op == "!=" else f"({column} <> 'nan' AND {number})"), [value]
