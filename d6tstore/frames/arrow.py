"""Arrow tables, which are kept as they are, and what every frame must be once it is Arrow data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from d6tstore.errors import FormatError

if TYPE_CHECKING:
    import pyarrow as pa


def to_arrow(value: Any) -> pa.Table | None:
    """None: tables need no conversion, and nothing else is one."""
    return None


def from_arrow(table: pa.Table) -> pa.Table:
    """The table."""
    return table


def checked(table: pa.Table) -> pa.Table:
    """The table, with one dictionary for each column that has one.

    Raises:
        FormatError: a column that no format brings back: column, rule, cure.
    """
    check(table.schema)
    if table.num_rows and not table.num_columns:
        raise FormatError(f"a table of {table.num_rows} rows has no columns, and its rows would be lost. Add a column.")
    table = table.unify_dictionaries()
    for name, column in zip(table.column_names, table.columns, strict=True):
        if is_dictionary(column.type) and column.num_chunks:
            check_dictionary(name, column.chunk(0).dictionary)
    return table


def check(schema: pa.Schema) -> None:
    """Refuse columns of types that no format brings back, and names that occur twice.

    Raises:
        FormatError: column, rule, cure.
    """
    import pyarrow as pa

    names = schema.names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise FormatError(
            f"column {twice!r} occurs twice; names of Arrow columns must be unique. Rename it: "
            "table.rename_columns(...)."
        )
    kept = pa.ipc.read_schema(schema.serialize())
    for field, back in zip(schema, kept, strict=True):
        if problem := _problem(field.type):
            raise FormatError(f"column {field.name!r} of type {field.type} {problem}.")
        if field.type != back.type:
            raise FormatError(
                f"column {field.name!r} of type {field.type} would come back as {back.type}. Register its type: "
                "pa.register_extension_type(...)."
            )


def check_dictionary(name: str, values: pa.Array) -> None:
    """Refuse a dictionary that holds NULL, NaN or a value twice: libraries would make it another one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    missing = values.null_count or (pa.types.is_floating(values.type) and pc.any(pc.is_nan(values)).as_py())
    if missing or len(values.unique()) < len(values):
        raise FormatError(
            f"the dictionary of column {name!r} holds NULL, NaN or a value twice and would come back as another. "
            "Make it anew: column.cast(column.type.value_type).dictionary_encode()."
        )


def filtered(table: pa.Table, test: Any) -> pa.Table:
    """The rows of which an expression is true."""
    import pyarrow as pa
    from pyarrow import acero

    try:
        return table.filter(test)
    except pa.ArrowNotImplementedError:  # views and runs
        source = acero.Declaration("table_source", acero.TableSourceNodeOptions(table))
        tested = acero.Declaration("project", acero.ProjectNodeOptions([test], ["true"]), [source])
        return taken(table, tested.to_table(use_threads=False)["true"].fill_null(False).to_numpy().nonzero()[0])


def taken(table: pa.Table, rows: Any) -> pa.Table:
    """Some rows, by ascending numbers (an array)."""
    import numpy as np
    import pyarrow as pa

    try:
        return table.take(pa.array(rows))
    except pa.ArrowNotImplementedError:
        numbers = np.asarray(rows)
        runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
        return pa.concat_tables(table.slice(run[0] if len(run) else 0, len(run)) for run in runs)


def is_dictionary(type_: pa.DataType) -> bool:
    """Is a column of this type a dictionary, and not only what it holds?"""
    import pyarrow as pa

    return bool(pa.types.is_dictionary(type_))


def _problem(type_: Any, top: bool = True) -> str:
    """What is wrong with a type, and the cure; empty if nothing is."""
    import pyarrow as pa

    types = pa.types
    if isinstance(type_, pa.BaseExtensionType):
        return _problem(type_.storage_type, top)
    if types.is_union(type_):
        return "holds values of several types. Make it one column for each type"
    if types.is_dictionary(type_):
        values = type_.value_type
        text = types.is_string(values) or types.is_large_string(values)
        odd = values.num_fields or types.is_dictionary(values) or isinstance(values, pa.BaseExtensionType)
        if odd or values in (pa.string_view(), pa.binary_view()) or not (top or text):
            return f"is a dictionary that parquet cannot bring back. Cast it to {values}"
        return ""
    if types.is_fixed_size_list(type_) and not type_.list_size:
        return "holds lists of the fixed size 0, which parquet cannot bring back. Cast it to a list"
    if types.is_decimal(type_) and type_.scale < 0:
        return "has a negative scale, which parquet and other libraries do not know. Cast it to scale 0"
    if types.is_run_end_encoded(type_):
        return _problem(type_.value_type, False)
    inner = (_problem(type_.field(i).type, False) for i in range(type_.num_fields))
    return next(filter(None, inner), "")
