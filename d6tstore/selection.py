"""The part of a frame that somebody asks for: columns, a filter, a number of rows. It means the same everywhere."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from d6tstore import conditions, frames
from d6tstore.errors import SelectionError
from d6tstore.frames import arrow

if TYPE_CHECKING:
    import pyarrow as pa


class Selection(NamedTuple):
    """Columns by their Arrow names, in the order asked for; conditions that all hold; the first rows.

    NULL satisfies no condition but `("x", "==", None)`; `("x", "!=", None)` is the rest. NaN satisfies only `!=`
    and `not in`. Values have the type of their column. `Selection()` is all.
    """

    columns: list[str] | None = None
    where: list[tuple[str, str, Any]] | None = None
    limit: int | None = None

    @classmethod
    def of(
        cls,
        schema: pa.Schema,
        columns: Iterable[Any] | None = None,
        where: Iterable[tuple[Any, str, Any]] | None = None,
        limit: int | None = None,
        index: bool = True,
    ) -> Selection:
        """What is asked for in the user's terms, checked against the schema of the whole.

        Args:
            schema: Arrow schema of the frame.
            columns: labels; None is all.
            where: `(label, operator, value)`, of columns or of levels of the index; all must hold.
            limit: number of rows at most.
            index: keep the index of a pandas frame beside the columns.

        Raises:
            SelectionError: what does not fit: the column, the rule, the cure.
        """
        if limit is not None:
            if isinstance(limit, bool) or not hasattr(limit, "__index__") or operator.index(limit) < 0:
                raise SelectionError(f"limit={limit!r}: give a number of rows, 0 or more.")
            limit = operator.index(limit)
        named, levels = frames.fields(schema)
        chosen = None
        if columns is not None:
            if isinstance(columns, str | bytes) or not isinstance(columns, Iterable):
                raise SelectionError(f"columns={columns!r}: give a list of labels, columns=[{columns!r}].")
            columns = list(columns)
            chosen = [field for label in columns for field in conditions.find(label, named, levels)]
            if len(set(chosen)) < len(chosen):
                raise SelectionError(f"columns={columns!r} names a column twice. Name each once.")
            if index:
                chosen += [field for _, field in levels if field not in chosen]
        if where is not None and not isinstance(where, Iterable):
            raise SelectionError(f"where={where!r}: give a list of (column, operator, value).")
        tests = [conditions.condition(item, schema, named, levels) for item in where or ()]
        return cls(chosen, tests or None, limit)

    def __bool__(self) -> bool:
        return any(part is not None for part in self)

    def schema(self, whole: pa.Schema) -> pa.Schema:
        """Schema of the part."""
        import pyarrow as pa

        if self.columns is None:
            return whole
        return pa.schema([whole.field(name) for name in self.columns], whole.metadata)

    def needed(self, whole: pa.Schema) -> list[str]:
        """Columns that must be read."""
        if self.columns is None:
            return list(whole.names)
        return list(dict.fromkeys([*self.columns, *self.tested]))

    @property
    def tested(self) -> list[str]:
        """Columns that the conditions look at."""
        return list(dict.fromkeys(name for name, _, _ in self.where or ()))

    def expression(self, schema: pa.Schema) -> Any:
        """The conditions as an Arrow expression over columns of this schema; None if there are none."""
        if not self.where:
            return None
        return functools.reduce(operator.and_, [conditions.expression(schema.field(c[0]).type, *c) for c in self.where])

    @staticmethod
    def filtered(table: pa.Table, test: Any) -> pa.Table:
        """The rows of which an expression is true; of columns that Arrow itself cannot filter too."""
        return arrow.filtered(table, test)

    @staticmethod
    def taken(table: pa.Table, rows: Any) -> pa.Table:
        """Rows by their ascending numbers; of columns that Arrow itself cannot take them from too."""
        return arrow.taken(table, rows)

    def apply(self, batches: pa.Table | pa.RecordBatchReader) -> pa.RecordBatchReader:
        """The part of batches that hold at least the columns that are needed, read as far as is needed.

        Args:
            batches: of the whole, or of some of its columns.
        """
        import pyarrow as pa

        whole = batches.schema
        schema, test = self.schema(whole), self.expression(whole)

        def parts() -> Iterator[pa.RecordBatch]:
            left, batch, given = self.limit, None, False
            for batch in frames.stream.reader(batches):
                if left == 0:
                    break
                table = pa.Table.from_batches([batch])
                if test is not None:
                    table = self.filtered(table, test)
                if left is not None:
                    table = table.slice(0, left)
                    left -= table.num_rows
                for part in table.select(schema.names).to_batches():
                    given = True
                    yield part
                if left == 0:
                    break
            if batch is not None and not given:  # no rows, but categories
                yield batch.select(schema.names).slice(0, 0)

        return pa.RecordBatchReader.from_batches(schema, parts())


def check_kind(as_: str | None) -> None:
    """Refuse a kind of frame that there is not."""
    if as_ is not None and as_ not in (*frames.KINDS, "batches"):
        raise SelectionError(
            f"as_={as_!r}: there is no such kind of frame. Use {', '.join(map(repr, (*frames.KINDS, 'batches')))}."
        )
