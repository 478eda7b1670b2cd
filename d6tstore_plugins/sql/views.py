"""Views for people: one that lists all results, and one per family and output that joins its newest tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from d6tstore import record as records_
from d6tstore.errors import RecordError
from d6tstore.record import Record
from d6tstore_plugins.sql.catalogue import define, qualified, quoted
from d6tstore_plugins.sql.errors import ERRORS, state
from d6tstore_plugins.sql.layout import identifier
from d6tstore_plugins.sql.schema import LISTING, OURS, Schema

_NEWEST = 100  # parameter sets in the view of a family
_WAIT = "2s"  # for a person who reads the view
_OTHER_COLUMNS = "42P16"
# Statements that define take no parameters: literals are rendered, for a server that takes backslashes as they are.
_PLAIN = pg.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
_PLAIN._backslash_escapes = False
_COMMENT = sa.text(
    "SELECT obj_description(c.oid, 'pg_class') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = :schema AND c.relname = :name"
)
_MARK = f"{OURS}newest results of "
_LEFT = sa.text(
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = :schema AND c.relkind = 'v' AND starts_with(obj_description(c.oid, 'pg_class'), :mark) "
    "AND strpos(obj_description(c.oid, 'pg_class'), :family) > 0 AND NOT c.relname = ANY (:made)"
)
_SETTINGS = {"lock_timeout": _WAIT, "standard_conforming_strings": "on"}


class Part(NamedTuple):
    """A table in a view: its name, the parameters of its task, and its columns with their types."""

    relation: str
    parameters: Mapping[str, Any]
    columns: Mapping[str, str]


def refresh(connection: sa.Connection, catalogue: Schema, family: str) -> None:
    """Bring the views of a family, and the comments on its tables, up to date.

    Args:
        connection: within a transaction of its own.
        catalogue: of the schema.
        family: whose results changed.

    What is in the way, or locked for 2 s, raises an error of the driver. It must cost no result.
    """
    settings = (sa.func.set_config(name, value, True) for name, value in _SETTINGS.items())
    connection.execute(sa.select(*settings))
    for statement in catalogue.locking(f"views of {family}"):
        connection.execute(statement)
    outputs: dict[str, list[Part]] = {}
    tables = _tables(connection, catalogue, family)
    columns = _columns(connection, catalogue, [relation for _, _, relation in tables])
    for record, output, relation in tables:
        outputs.setdefault(output, []).append(Part(relation, record.params, columns.get(relation, {})))
    if tables:
        _describe(connection, catalogue.schema, *tables[0])
    made = []
    for output, parts in outputs.items():
        name = family if len(outputs) == 1 else f"{family}_{output}"
        made.append(_make(connection, catalogue.schema, name, f"{_MARK}{output!r} of {family}, ", parts))
    drop(connection, catalogue, family, made)


def drop(connection: sa.Connection, catalogue: Schema, family: str, but: list[str]) -> None:
    """Remove the views of a family, but some."""
    others = {"schema": catalogue.schema, "mark": _MARK, "family": f" of {family}, ", "made": but}
    for (view,) in connection.execute(_LEFT, others).all():
        define(connection, f"DROP VIEW {qualified(catalogue.schema, view)}")


def _describe(connection: sa.Connection, schema: str, record: Record, output: str, relation: str) -> None:
    """Say in a comment what a table is."""
    parameters = records_.encode_values(record.params).decode()
    code = ", ".join(f"{name} {hash[:12]}" for name, hash in record.functions.items()) or record.code[:12]
    said = (
        f"{OURS}{output!r} of {record.family} with {parameters}, computed {record.time} by {record.author} on "
        f"{record.host} in {record.seconds:g} s; module {record.module}; code {code}"
    )
    define(connection, f"COMMENT ON TABLE {qualified(schema, relation)} IS {_literal(said)}")


def _tables(connection: sa.Connection, catalogue: Schema, family: str) -> list[tuple[Record, str, str]]:
    """Newest records of a family, with the table of each output that is one."""
    objects = catalogue.objects
    prefix = records_.records_prefix(family)
    query = sa.select(objects.c.key, objects.c.data).where(catalogue.under(prefix))
    found = []
    for key, data in connection.execute(query.order_by(objects.c.modified.desc()).limit(_NEWEST)):
        with contextlib.suppress(RecordError):
            found.append(records_.decode(bytes(data), key))
    keys = [output.key for record in found for output in record.outputs.values() if output.table]
    at = sa.select(objects.c.key, objects.c.relation).where(catalogue.among(keys))
    relations = {key: relation for key, relation in connection.execute(at) if relation}
    return [
        (record, name, relations[output.key])
        for record in found
        for name, output in record.outputs.items()
        if output.key in relations
    ]


def _columns(connection: sa.Connection, catalogue: Schema, relations: Iterable[str]) -> dict[str, dict[str, str]]:
    """Columns of tables with their types, in one query."""
    query = sa.text(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = :schema AND c.relname = ANY (:names) ORDER BY a.attnum"
    )
    found: dict[str, dict[str, str]] = {}
    values = {"schema": catalogue.schema, "names": list(relations)}
    for relation, name, type_ in connection.execute(query, values):
        found.setdefault(relation, {})[name] = type_
    return found


def _make(connection: sa.Connection, schema: str, name: str, mark: str, parts: list[Part]) -> str:
    """Replace one view; returns the name that was free for it."""
    types: dict[str, set[str]] = {}
    for part in parts:
        for column, type_ in part.columns.items():
            types.setdefault(column, set()).add(type_)
    mixed = sorted(column for column, found in types.items() if len(found) > 1)
    columns = {column: min(found) for column, found in types.items() if len(found) == 1}
    body = _union(schema, parts, columns, set(types))
    free = _free(connection, schema, name, mark)
    view = qualified(schema, free)
    try:
        with connection.begin_nested():  # what depends on it stays, unless columns changed
            define(connection, f"CREATE OR REPLACE VIEW {view} AS {body}")
    except ERRORS as exc:
        if state(exc) != _OTHER_COLUMNS:
            raise
        define(connection, f"DROP VIEW {view}")  # nobody sees it gone before the transaction ends
        define(connection, f"CREATE VIEW {view} AS {body}")
    said = f"{mark}at most {_NEWEST}, parameters as p_..."
    said += f"; left out, for their types differ: {', '.join(mixed)}" if mixed else ""
    define(connection, f"COMMENT ON VIEW {view} IS {_literal(said)}")
    return free


def _free(connection: sa.Connection, schema: str, name: str, mark: str) -> str:
    """A name that nobody else's table or view has, and no family that differs in case only."""
    taken = {LISTING}
    while True:
        free = identifier(name.lower(), taken)
        comment = connection.execute(_COMMENT, {"schema": schema, "name": free}).first()
        if comment is None or (comment[0] or "").startswith(mark):
            return free


def _union(schema: str, parts: list[Part], columns: Mapping[str, str], taken: set[str]) -> str:
    """All rows of some tables: by name of column, with the parameters of each before them.

    Text, for a hundred selects of SQLAlchemy take as long to make as a small frame to save. It quotes names and values.
    """
    names = list(dict.fromkeys(name for part in parts for name in part.parameters))
    labels = [quoted(identifier(f"p_{name}", taken)) for name in names]
    kinds = [_kind([part.parameters.get(name) for part in parts]) for name in names]
    types = [kind.compile(dialect=_PLAIN) for kind in kinds]
    cells: dict[tuple[str, ...], str] = {}
    selects = []
    for part in parts:
        there = tuple(part.columns)
        if there not in cells:
            cells[there] = ", ".join(
                quoted(column) if column in part.columns else f"NULL::{type_} AS {quoted(column)}"
                for column, type_ in columns.items()
            )
        chosen = [
            f"CAST({_literal(_value(part.parameters.get(name), kind), kind)} AS {type_}) AS {label}"
            for name, kind, type_, label in zip(names, kinds, types, labels, strict=True)
        ]
        what = ", ".join(filter(None, [*chosen, cells[there]]))
        selects.append(f"SELECT {what} FROM {qualified(schema, part.relation)}")
    return " UNION ALL ".join(selects)


def _literal(value: Any, kind: Any = None) -> str:
    """A value as it stands in SQL."""
    if value is None:
        return "NULL"
    processor: Any = (kind or sa.Text()).dialect_impl(_PLAIN).literal_processor(_PLAIN)
    return str(processor(value.replace("\0", "\ufffd") if isinstance(value, str) else value))


def _kind(values: list[Any]) -> Any:
    """The type of a parameter's column: text, unless all its values are of one plain type."""
    kinds = {type(value) for value in values if value is not None}
    plain: dict[type, Any] = {bool: sa.Boolean(), int: sa.BigInteger(), float: sa.Double()}
    if len(kinds) == 1 and (kind := kinds.pop()) in plain:
        return sa.Numeric() if kind is int and any(abs(v or 0) >= 1 << 63 for v in values) else plain[kind]
    return sa.Text()


def _value(value: Any, kind: Any) -> Any:
    if value is None or not isinstance(kind, sa.Text) or isinstance(value, str):
        return value
    return records_.encode_values(value).decode()
