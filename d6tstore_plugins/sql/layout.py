"""Which columns a table has for a frame: names within the limits of the server, types, and the way there and back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from d6tstore.errors import Damaged, Unsupported
from d6tstore_plugins.sql.columns import Column, column


class Product(NamedTuple):
    """What tables of a database can be: how types are held, or why not, and the limits.

    Attributes:
        name: for people.
        column: how a column of an Arrow type is held, or the reason why it is not.
        most: columns of a table.
        longest: bytes of an identifier.
        page: bytes of a row, without what can be moved elsewhere; None if there is no limit.
        taken: names that no column can have.
        folds: are names that differ in case only the same?
        order: the hidden column by which rows come as they were written; None if they do in any case.
    """

    name: str
    column: Callable[[pa.DataType], Column | str]
    most: int
    longest: int
    page: int | None
    taken: frozenset[str]
    folds: bool
    order: str | None


POSTGRES = Product(
    "Postgres", column, 1_600, 63, 8_160, frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}), False, None
)


class Layout(NamedTuple):
    """Columns of a table in the order of the frame: the name in the frame, in the table, of nanoseconds, and how."""

    schema: pa.Schema
    columns: dict[str, tuple[str, str | None, Column]]

    @classmethod
    def of(cls, schema: pa.Schema, product: Product = POSTGRES) -> Layout:
        """The table of a frame. Raises Unsupported: the reason why there can be none."""
        if reason := refusal(schema, product):
            raise Unsupported(reason)
        taken, columns = set(product.taken), {}
        for i, field in enumerate(schema):
            found = product.column(field.type)
            assert isinstance(found, Column)
            name = identifier(field.name or f"column {i}", taken, product)
            columns[field.name] = name, identifier(f"{name} ns", taken, product) if found.fine else None, found
        return cls(schema, columns)

    def table(self, relation: str, db_schema: str | None) -> sa.Table:
        """For SQLAlchemy; its columns in the order of `encoded`."""
        parts = []
        for name, fine, how in self.columns.values():
            parts.append(sa.Column(name, how.sql))
            if fine:
                parts.append(sa.Column(fine, sa.SmallInteger()))
        return sa.Table(relation, sa.MetaData(), *parts, schema=db_schema)

    def whole(self, names: Iterable[str]) -> Layout:
        """The same for reading, where columns are known to have whole microseconds only: their second one is left."""
        without = {name: (self.columns[name][0], None, self.columns[name][2]._replace(fine=False)) for name in names}
        return self._replace(columns={**self.columns, **without})

    def encoded(
        self, batches: pa.RecordBatchReader, refused: list[Unsupported], whole: set[str]
    ) -> pa.RecordBatchReader:
        """The batches as drivers take them.

        Reading raises Unsupported, a value that no column holds, and adds it to `refused`: drivers make it another.
        It leaves in `whole`, all columns with nanoseconds at first, those that had none.
        """
        fields = []
        for name, fine, how in self.columns.values():
            fields += [(name, how.wire)] + ([(fine, pa.int16())] if fine else [])
        schema = pa.schema(fields)

        def parts() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                arrays = []
                for array, (label, (_, _, how)) in zip(batch.columns, self.columns.items(), strict=True):
                    try:
                        encoded = how.encode(array)
                    except Unsupported as exc:
                        refused.append(Unsupported(f"column {label!r}: {exc}"))
                        raise refused[0] from exc
                    if label in whole and (pc.max(encoded[1]).as_py() or 0) > 0:
                        whole.discard(label)
                    arrays += encoded
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

        return pa.RecordBatchReader.from_batches(schema, parts())

    def selected(self, table: sa.Table, names: Sequence[str]) -> list[Any]:
        """Expressions for columns of the frame."""
        found: list[Any] = []
        for i, name in enumerate(names):
            real, fine, how = self.columns[name]
            found.append(how.select(table.c[real]).label(f"c{i}"))
            if fine:
                found.append(table.c[fine].label(f"n{i}"))
        return found

    def decoded(
        self, batches: Iterator[pa.RecordBatch], names: Sequence[str], dictionaries: dict[str, pa.Array]
    ) -> pa.RecordBatchReader:
        """What `selected` gave, as columns of the frame."""
        schema = pa.schema([self.schema.field(name) for name in names], self.schema.metadata)

        def parts() -> Iterator[pa.RecordBatch]:
            none = True
            for batch in batches:
                none = False
                arrays, at = [], 0
                for name in names:
                    _, fine, how = self.columns[name]
                    width = 2 if fine else 1
                    try:
                        array = how.decode(batch.columns[at : at + width])
                    except (pa.ArrowException, ValueError, TypeError) as exc:
                        raise damaged(f"column {name!r} holds what was not saved there ({exc})") from exc
                    arrays.append(_coded(array, how.type, dictionaries[name]) if name in dictionaries else array)
                    at += width
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
            if none and dictionaries:  # no rows, but categories
                yield pa.RecordBatch.from_arrays(
                    [_coded(pa.nulls(0, dictionaries[f.name].type), f.type, dictionaries[f.name])
                     if f.name in dictionaries else pa.nulls(0, f.type) for f in schema], schema=schema)  # fmt: skip

        return pa.RecordBatchReader.from_batches(schema, parts())


def damaged(problem: str) -> Damaged:
    """That somebody changed a table."""
    return Damaged(f"{problem}. Run the task with force, or restore the table from a backup.", problem=problem)


def _coded(values: pa.Array, type_: pa.DataType, dictionary: pa.Array) -> pa.Array:
    common = pa.float32() if pa.types.is_float16(dictionary.type) else dictionary.type  # of float16 Arrow has no hash
    indices = pc.index_in(values.cast(common), dictionary.cast(common)).cast(type_.index_type)
    return pa.DictionaryArray.from_arrays(indices, dictionary, ordered=type_.ordered)


def refusal(schema: pa.Schema, product: Product = POSTGRES) -> str | None:
    """Why no table can hold frames of this schema; None if one can."""
    if len(set(schema.names)) < len(schema.names):
        return "two of its columns have the same name"
    if not schema.names:
        return "it has no columns"
    end = columns = 0
    for field in schema:
        found = product.column(field.type)
        if isinstance(found, str):
            return f"{product.name} has no column for {field.name!r}, {found}"
        end = found.end(end)
        columns += 1 + found.fine
    if columns > product.most:
        return f"it has {columns:,} columns, a table of {product.name} at most {product.most:,}"
    head = -(-(23 + -(-columns // 8)) // 8) * 8  # of each row of Postgres: 23 bytes and a bit for each column
    if product.page and head + end > product.page:
        return f"its rows of {head + end:,} bytes do not fit into a page of {product.name}, which has 8 kB"
    return None


def identifier(name: str, taken: set[str], product: Product = POSTGRES) -> str:
    """A name that the database keeps as it is, and that no other column has.

    One that is too long is cut by us, and ends in a hash of the whole; so does one that is taken.

    Example:
        >>> identifier("price", set()), len(identifier("x" * 99, set()))
        ('price', 63)
    """

    def same(text: str) -> str:
        return text.casefold() if product.folds else text

    plain = name.replace("\0", "\ufffd")
    if len(plain.encode()) > product.longest or same(plain) in taken or plain != name:
        digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
        number = 0
        while True:
            ending = f"~{digest}{number or ''}"
            cut = plain.encode()[: product.longest - len(ending)].decode(errors="ignore") + ending
            if same(cut) not in taken:
                break
            number += 1
        plain = cut
    taken.add(same(plain))
    return plain
