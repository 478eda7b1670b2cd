"""Names that a function refers to, found by the rules of scope in its syntax tree.

Only the standard library is imported, as in `syntax`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any, NamedTuple

from d6tstore.fingerprint.syntax import canonical

SELF, SUPER, EVERYTHING = ".", "^", "*"  # roots `self.`, `super().`; and "any attribute", for a bare `self`

Names = tuple[str, ...]
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_MUTATORS = {
    "append",
    "appendleft",
    "extend",
    "insert",
    "add",
    "update",
    "setdefault",
    "pop",
    "popitem",
    "clear",
}
_MUTATORS |= {"remove", "discard", "sort", "reverse"}
_HARMLESS = {
    "super",
    "type",
    "isinstance",
    "id",
    "print",
    "repr",
    "str",
    "hash",
}  # take `self`, call no method of ours


class Syntax(NamedTuple):
    """What one function says: its canonical text and the names to resolve."""

    text: str
    paths: tuple[Names, ...]  # ("helpers", "scale"), (SELF, "clean"), (SUPER, "run"); sorted
    imports: dict[str, tuple[str, str, int]]  # name -> (module, attribute or "", level) of imports in the body
    state: frozenset[Names]  # paths that the function changes: memory of the process, no constant
    exact: bool = True  # False: made from bytecode, hence only comparable within one Python version


def references(nodes: Iterable[_Function]) -> Syntax:
    """Return text and names of a function's node (of several: of lambdas that cannot be told apart)."""
    visitor = _References()
    texts = []
    for node in nodes:
        texts.append(canonical(node))
        first = [*node.args.posonlyargs, *node.args.args][:1]
        visitor.name = getattr(node, "name", "")
        visitor.function(node, frozenset(), None, first[0].arg if first else None)
    return Syntax("|".join(sorted(set(texts))), tuple(sorted(visitor.paths)), visitor.imports, frozenset(visitor.state))


class _References:
    """Collects the dotted names free in a function. `bound`: its local names; `me`: what it calls `self`."""

    def __init__(self) -> None:
        self.paths: set[Names] = set()
        self.state: set[Names] = set()
        self.imports: dict[str, tuple[str, str, int]] = {}
        self.name = ""

    def function(self, node: _Function, bound: frozenset[str], outer: str | None, me: str | None) -> None:
        args = node.args
        body: list[Any] = node.body if isinstance(node.body, list) else [node.body]
        for child in (*getattr(node, "decorator_list", ()), *args.defaults, *args.kw_defaults):
            if child is not None:  # decorators and defaults are evaluated outside of the function
                self.visit(child, bound, outer)
        every = [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]
        names, free = _bound(body)
        inner = (bound | {arg.arg for arg in every} | names) - free
        for statement in body:
            self.visit(statement, inner, me)

    def visit(self, node: ast.AST, bound: frozenset[str], me: str | None) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                hidden = any(isinstance(n, ast.arg) and n.arg == me for n in ast.iter_child_nodes(node.args))
                return self.function(node, bound, me, None if hidden else me)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self.visit(node.generators[0].iter, bound, me)
                targets = [n for generator in node.generators for n in ast.walk(generator.target)]
                bound |= {n.id for n in targets if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            case ast.AnnAssign(target=target, value=value):
                self.visit(target, bound, me)
                return self.visit(value, bound, me) if value else None
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"), orelse=orelse):
                for statement in orelse:
                    self.visit(statement, bound, me)
                return None
            case ast.Import(names=names):
                for alias in names:
                    top = alias.name.partition(".")[0]
                    self.imports[alias.asname or top] = (alias.name if alias.asname else top, "", 0)
            case ast.ImportFrom(module=module, names=names, level=level):
                self.imports |= {a.asname or a.name: (module or "", a.name, level) for a in names}
            case ast.Global(names=shared) | ast.Nonlocal(names=shared):
                self.state |= {(name,) for name in shared}
            case ast.Subscript(ctx=ast.Store() | ast.Del()):
                self.changes(node, bound, me)
            case ast.Name(ctx=ast.Load()) | ast.Attribute():
                return self.reference(node, bound, me)
            case ast.FormattedValue(value=ast.Name(id=name)) if name == me:
                return None
            case ast.Call(func=func, args=args):
                if isinstance(func, ast.Attribute) and func.attr in _MUTATORS:
                    self.changes(func.value, bound, me)
                harmless = getattr(func, "id", "") in _HARMLESS or getattr(func, "attr", "") == self.name != ""
                if _is_getattr(node):
                    return self.reference(node, bound, me)
                if harmless:  # also `Base.run(self)` inside of `run`
                    self.visit(func, bound, me)
                    rest = [arg for arg in args if not (isinstance(arg, ast.Name) and arg.id == me)]
                    for child in (*rest, *node.keywords):
                        self.visit(child, bound, me)
                    return None
        for child in ast.iter_child_nodes(node):
            self.visit(child, bound, me)
        return None

    def path(self, node: ast.AST, bound: frozenset[str], me: str | None) -> tuple[Names, ast.AST]:
        """The dotted name that a node spells, () if it spells none; and the node at its root."""
        names: list[str] = []
        while isinstance(node, ast.Attribute) or _is_getattr(node):
            if isinstance(node, ast.Attribute):
                names.insert(0, node.attr)
                node = node.value
            elif isinstance(node, ast.Call):
                names.insert(0, node.args[1].value)  # type: ignore[attr-defined]
                node = node.args[0]
        match node:
            case ast.Name(id=name) if name == me:
                root = SELF
            case ast.Name(id=name):
                return (() if name in bound else (name, *names)), node
            case ast.Call(func=ast.Name(id="type"), args=[ast.Name(id=name)]) if name == me:
                root = SELF
            case ast.Call(func=ast.Name(id="super")) if names:
                root = SUPER
            case _:
                return (), node
        return (root, *[n for n in names if n != "__class__"]), node

    def reference(self, node: ast.AST, bound: frozenset[str], me: str | None) -> None:
        path, root = self.path(node, bound, me)
        if path:
            self.paths.add((SELF, EVERYTHING) if path == (SELF,) else path)
            if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del) and (path[0] != SELF or me == "cls"):
                self.state.add(path)
        elif not isinstance(root, ast.Name):
            self.visit(root, bound, me)
        if _is_getattr(node) and isinstance(node, ast.Call):
            for child in node.args[2:]:
                self.visit(child, bound, me)

    def changes(self, node: ast.AST, bound: frozenset[str], me: str | None) -> None:
        while isinstance(node, ast.Subscript):
            node = node.value
        path, _ = self.path(node, bound, me)
        if path:
            self.state.add(path)


def _is_getattr(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str()), *_]):
            return True
    return False


def _bound(body: list[Any]) -> tuple[set[str], set[str]]:
    """The names that a function body binds; and those that it takes from elsewhere: `global` and imports."""
    names: set[str] = set()
    outer: set[str] = set()  # global and nonlocal
    free: set[str] = set()
    todo: list[ast.AST] = list(body)
    while todo:
        node = todo.pop()
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                names.add(name)
            case ast.MatchMapping(rest=str(name)):
                names.add(name)
            case ast.Global(names=shared):
                free.update(shared)
            case ast.Nonlocal(names=shared):
                outer.update(shared)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                free.update(alias.asname or alias.name.partition(".")[0] for alias in aliases)
        if isinstance(node, _COMPREHENSIONS):  # a scope of its own, except for `:=`
            todo += [child.target for child in ast.walk(node) if isinstance(child, ast.NamedExpr)]
        elif not isinstance(node, (*_SCOPES, ast.Lambda)):
            todo += ast.iter_child_nodes(node)
    return names - outer, free
