"""Whole tables by psycopg2 alone, where ADBC is not there: in by COPY of text, out as rows. Slower, as exact."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import sqlalchemy as sa
from pyarrow import types as is_
from sqlalchemy.dialects import postgresql as pg

from d6tstore.errors import SelectionError
from d6tstore_plugins.sql.catalogue import qualified
from d6tstore_plugins.sql.queries import Transfer

_ROWS = 1 << 14  # of a batch: Python objects are larger than what they stand for
_OPTIONS = pa.csv.WriteOptions(include_header=False)  # texts stand in quotes, and NULL does not


class Rows(Transfer):
    """A transaction in which whole tables go in and out, on a connection of SQLAlchemy."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def execute(self, statement: Any) -> None:
        """Run a statement."""
        self._connection.execute(statement)

    def rows(self, statement: Any) -> list[dict[str, Any]]:
        """Rows of a small query."""
        return [dict(row._mapping) for row in self._connection.execute(statement)]

    def copy_in(self, table: sa.Table, batches: pa.RecordBatchReader) -> None:
        """Add rows to a table."""
        where = qualified(str(table.schema), table.name)
        with self._connection.connection.cursor() as cursor:  # type: ignore[attr-defined]
            cursor.copy_expert(f"COPY {where} FROM STDIN (FORMAT csv)", _Lines(batches, table), 1 << 20)

    @contextlib.contextmanager
    def copy_out(self, statement: Any) -> Iterator[pa.RecordBatchReader]:
        """Rows of a query, in batches."""
        if isinstance(statement, sa.TextClause):
            if ";" in str(statement).strip().rstrip(";"):  # which would begin another statement
                raise SelectionError("a query is one statement, and by psycopg2 alone it has no ; in a text either.")
            streamed = self._connection.execution_options(stream_results=True, max_row_buffer=_ROWS)
            yield inferred(streamed.execute(statement))
            return
        inner = statement.subquery()
        hows = [_reading(column) for column in inner.c]
        schema = pa.schema([(column.name, type_) for column, (_, type_, _) in zip(inner.c, hows, strict=True)])
        query = sa.select(*(expression for expression, _, _ in hows))
        result = self._connection.execution_options(stream_results=True, max_row_buffer=_ROWS).execute(query)

        def batches() -> Iterator[pa.RecordBatch]:
            for rows in result.partitions(_ROWS):
                cells = zip(*rows, strict=True)
                arrays = [make(list(values)) for values, (_, _, make) in zip(cells, hows, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

        with contextlib.closing(result):
            yield pa.RecordBatchReader.from_batches(schema, batches())


def _reading(column: Any) -> tuple[Any, pa.DataType, Callable[[list[Any]], pa.Array]]:
    """What is asked for a column, such that Python's types hold it; its Arrow type; and how its values become that."""
    kind = column.type
    if isinstance(kind, sa.TIMESTAMP | sa.Time):
        type_ = (
            pa.timestamp("us", "UTC" if kind.timezone else None) if isinstance(kind, sa.TIMESTAMP) else pa.time64("us")
        )
        micros = sa.cast(sa.extract("epoch", column) * 1_000_000, sa.BigInteger)
        return micros, type_, lambda values: pa.array(values, pa.int64()).cast(type_)
    if isinstance(kind, sa.Date):
        days = column - sa.cast("1970-01-01", sa.Date)
        return (
            sa.type_coerce(days, sa.Integer),
            pa.date32(),
            lambda values: pa.array(values, pa.int32()).cast(pa.date32()),
        )
    if isinstance(kind, sa.Uuid):
        identified = pa.binary(16)
        return (
            sa.cast(column, sa.Text),
            identified,
            lambda values: pa.array(
                [None if value is None else bytes.fromhex(value.replace("-", "")) for value in values], identified
            ),
        )
    if isinstance(kind, sa.JSON | sa.Numeric) and not isinstance(kind, sa.Float):
        return sa.cast(column, sa.Text), pa.string(), lambda values: pa.array(values, pa.string())
    type_ = _arrow(kind.item_type if isinstance(kind, sa.ARRAY) else kind)
    if isinstance(kind, sa.ARRAY):
        return (
            column,
            pa.list_(type_),
            lambda values: pa.array([v and [_bytes(x) for x in v] for v in values], pa.list_(type_)),
        )
    return column, type_, lambda values: pa.array(values, type_)


def _bytes(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def _arrow(kind: Any) -> pa.DataType:
    types: dict[Any, pa.DataType] = {
        sa.SmallInteger: pa.int16(), sa.BigInteger: pa.int64(), sa.Integer: pa.int32(), pg.REAL: pa.float32(),
        sa.Float: pa.float64(), sa.Boolean: pa.bool_(), sa.LargeBinary: pa.binary(), sa.Text: pa.string(),
    }  # fmt: skip
    return next(type_ for sql, type_ in types.items() if isinstance(kind, sql))


def inferred(result: Any) -> pa.RecordBatchReader:
    """Rows of a query of the user's: types as Python has them, text where a column has several."""
    names = list(result.keys())
    parts = [
        pa.table([_column(values) for values in zip(*rows, strict=True)], names) for rows in result.partitions(_ROWS)
    ]
    if not parts:
        return pa.table([pa.nulls(0)] * len(names), names).to_reader()
    try:
        return pa.concat_tables(parts, promote_options="permissive").to_reader()
    except pa.ArrowException:
        texts = [pa.table([column.cast(pa.string()) for column in part.columns], names) for part in parts]
        return pa.concat_tables(texts).to_reader()


def _column(values: Sequence[Any]) -> pa.Array:
    plain = [float(value) if hasattr(value, "as_tuple") else value for value in map(_bytes, values)]
    try:
        return pa.array(plain)
    except (pa.ArrowException, OverflowError):
        with contextlib.suppress(ValueError, TypeError):  # NaN, which SQLite has as text
            return pa.array([value if value is None else float(value) for value in plain], pa.float64())
        return pa.array([value if value is None else str(value) for value in plain], pa.string())


class _Lines(io.RawIOBase):
    """Batches as a file of CSV that is made as it is read."""

    def __init__(self, batches: pa.RecordBatchReader, table: sa.Table) -> None:
        self._parts = self._made(batches, [column.type for column in table.columns])
        self._part = io.BytesIO()

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes, fewer than asked for at the end of a batch."""
        while not (found := self._part.read(size)):
            more = next(self._parts, None)
            if more is None:
                return b""
            self._part = io.BytesIO(more)
        return found

    def _made(self, batches: pa.RecordBatchReader, kinds: list[Any]) -> Iterator[bytes]:
        for batch in _cut(batches):
            texts = [_text(array, kind) for array, kind in zip(batch.columns, kinds, strict=True)]
            sink = pa.BufferOutputStream()
            pa.csv.write_csv(pa.table(texts, batch.schema.names), sink, _OPTIONS)
            yield sink.getvalue().to_pybytes()


def _cut(batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            yield batch.slice(start, _ROWS)


def _text(array: pa.Array, kind: Any) -> pa.Array:
    """An array as CSV takes it, for a column of a kind."""
    type_ = array.type
    if is_.is_duration(type_):
        return pc.binary_join_element_wise(array.cast(pa.int64()).cast(pa.string()), " microseconds", "")
    if isinstance(kind, sa.Uuid):
        return pa.array([None if value is None else value.hex() for value in array.to_pylist()], pa.string())
    if isinstance(kind, sa.JSON):
        if not is_.is_binary(type_):
            return array
        return pa.array([v and v[1:].decode() for v in array.to_pylist()], pa.string())  # without jsonb's version
    if is_.is_binary(type_) or is_.is_large_binary(type_):
        return pa.array([None if value is None else rf"\x{value.hex()}" for value in array.to_pylist()], pa.string())
    if is_.is_list(type_):
        return pa.array([None if value is None else _array(value) for value in array.to_pylist()], pa.string())
    return array


def _array(values: list[Any]) -> str:
    """An array literal."""
    shown = []
    for value in values:
        if value is None:
            shown.append("NULL")
            continue
        text = rf"\x{value.hex()}" if isinstance(value, bytes) else str(value)
        shown.append('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
    return "{" + ",".join(shown) + "}"
