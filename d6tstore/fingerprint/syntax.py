"""Canonical form of Python source: what a function says, whatever its layout.

The form is written here, node by node, instead of taken from ``ast.dump`` or from bytecode, because those
differ between Python versions; golden vectors in the tests hold it. It leaves out what does not change a
result: docstrings, comments, positions, annotations, ``pass``, ``if TYPE_CHECKING``, and import
statements (what an import brings in is followed instead, so that renaming a package changes nothing).

Only the standard library is imported, so that the form can be checked under any Python on its own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Any

_SKIPPED_FIELDS = {"ctx", "kind", "type_comment", "type_params", "annotation", "returns", "simple"}


def literal(value: object) -> str:
    """Return a plain constant as text, equal on every Python, different for ``1``, ``1.0`` and ``True``.

    Example: ``literal("é")`` is ``"str:'\\xe9'"`` (what `repr` escapes depends on the Unicode version).
    """
    match value:
        case bool() | None:
            return str(value)
        case int():
            return f"int:{int(value):#x}"  # not decimal: Python refuses to print more than 4300 digits
        case float():
            return f"float:{float.__repr__(value)}"
        case str():
            return f"str:{str(value)!a}"
        case tuple():
            return f"tuple({','.join(map(literal, value))})"
        case frozenset():
            return f"frozenset({','.join(sorted(map(literal, value)))})"
    return f"{type(value).__name__}:{value!r}"  # bytes, complex, Ellipsis


def canonical(node: ast.AST) -> str:
    """Return the canonical text of a syntax tree.

    Example: ``canonical(ast.parse("x: int = (1)"))`` equals ``canonical(ast.parse("x = 1  # one"))``.
    """
    match node:
        case ast.Constant(value=constant):
            return literal(constant)
        case ast.JoinedStr(values=values):
            parts = list(_joined(values))
            if all(isinstance(part, str) for part in parts):  # no placeholder: a plain string
                return literal("".join(map(str, parts)))
            return f"JoinedStr({','.join(literal(p) if isinstance(p, str) else canonical(p) for p in parts)})"
    fields = []
    for name in sorted(node._fields):
        value: Any = getattr(node, name, None)
        if name in _SKIPPED_FIELDS or value is None:
            continue
        if isinstance(value, list):
            if value and isinstance(value[0], ast.stmt):
                value = list(_statements(value, fields=isinstance(node, ast.ClassDef)))
            if value:
                fields.append(f"{name}=[{','.join(map(_item, value))}]")
        else:
            fields.append(f"{name}={_item(value)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _item(value: object) -> str:
    return canonical(value) if isinstance(value, ast.AST) else literal(value)


def _joined(values: Iterable[ast.expr]) -> Iterator[str | ast.expr]:
    """Parts of an f-string with neighbouring texts merged: how they are cut differs between versions."""
    text = ""
    for value in values:
        if isinstance(value, ast.Constant):
            text += str(value.value)
            continue
        if text:
            yield text
        text = ""
        yield value
    if text:
        yield text


def _statements(body: Iterable[ast.stmt], fields: bool) -> Iterator[ast.stmt]:
    """The statements that do something; ``fields`` keeps ``x: int``, which is a field in a dataclass."""
    for node in body:
        match node:
            case ast.Pass() | ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
                continue
            case ast.AnnAssign(target=target, value=value) if not fields:
                if value:
                    yield ast.Assign([target], value)
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"), orelse=orelse):
                yield from _statements(orelse, fields)
            case _ if type(node).__name__ != "TypeAlias":  # `type X = int`, from 3.12
                yield node
