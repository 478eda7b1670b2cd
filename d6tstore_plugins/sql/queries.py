"""Queries of the user's own, over tables of results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from d6tstore.errors import SelectionError


class Transfer:
    """A transaction in which whole tables go in and out as Arrow data."""

    def execute(self, statement: Any) -> None:
        """Run a statement."""
        raise NotImplementedError

    def given(self, value: Any) -> Any:
        """A value of Python for a query, as the driver takes it."""
        return value

    def read_only(self) -> None:
        """Refuse whatever changes something, to the end of the transaction."""
        self.execute(sa.text("SET TRANSACTION READ ONLY"))


def run(connections: Any, query: str, relations: Mapping[str, str], params: Mapping[str, Any]) -> pa.RecordBatchReader:
    """Rows of a query.

    Args:
        connections: of the database.
        query: SQL, with `{name}` for a relation and `:name` for a value.
        relations: quoted names by name.
        params: values by name.

    Raises:
        SelectionError: it names a relation or value that is not given, or gives one that it does not name.
        BackendError: the database refuses it.
    """
    try:
        text = query.format_map({name: relation.replace(":", r"\:") for name, relation in relations.items()})
    except KeyError as exc:
        if not exc.args[0]:
            raise SelectionError("the query has braces that name no table: {}. Write them twice: {{}}.") from None
        raise SelectionError(
            f"the query names {{{exc.args[0]}}}, which is not given: sql(..., {exc.args[0]}=Task())."
        ) from None
    except (ValueError, IndexError, AttributeError) as exc:
        raise SelectionError(
            f"the query has braces that name no table ({exc}). Write them twice: {{{{ and }}}}."
        ) from None
    statement = sa.text(text)
    named = set(statement._bindparams)
    if missing := sorted(named - params.keys()):
        raise SelectionError(
            f"the query names :{missing[0]}, which is not given: sql(..., params={{{missing[0]!r}: ...}})."
        )
    if more := sorted(params.keys() - named):
        raise SelectionError(
            f"params has {more[0]!r}, which the query does not name. Write :{more[0]} there, or leave it out."
        )

    def batches() -> Iterator[pa.Schema | pa.RecordBatch]:
        with connections.bulk() as bulk:
            bulk.read_only()
            given = {name: bulk.given(_python(value)) for name, value in params.items()}
            with bulk.copy_out(statement.bindparams(**given)) as found:
                schema = pa.schema([(field.name, _plain(field.type)) for field in found.schema])
                yield schema
                for batch in found:
                    arrays = [
                        _converted(array, type_) for array, type_ in zip(batch.columns, schema.types, strict=True)
                    ]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    begun = batches()
    schema = cast("pa.Schema", next(begun))
    return pa.RecordBatchReader.from_batches(schema, begun)


def _python(value: Any) -> Any:
    """A value of numpy or pandas as Python's own: drivers take its bytes, or refuse it."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        unit = "D" if np.datetime_data(value.dtype)[0] == "D" else "us"  # of nanoseconds numpy would make an integer
        return value.astype(f"{value.dtype.kind}8[{unit}]").item()
    if isinstance(value, np.generic):
        return value.item()
    for name in ("to_pydatetime", "to_pytimedelta"):
        if hasattr(value, name):
            return getattr(value, name)()
    return value


def _plain(type_: Any) -> pa.DataType:
    """A type that every library of frames has, for one of Postgres."""
    if isinstance(type_, pa.OpaqueType) and type_.type_name == "numeric":
        return pa.float64()
    return pa.string() if isinstance(type_, pa.BaseExtensionType) else type_


def _converted(array: Any, type_: pa.DataType) -> Any:
    if not isinstance(array, pa.ExtensionArray):
        return array
    if isinstance(array.type, pa.UuidType):
        return pa.array([None if value is None else str(value) for value in array.to_pylist()], type_)
    return array.storage.cast(type_)
