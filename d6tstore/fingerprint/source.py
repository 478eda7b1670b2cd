"""From a code object to the syntax of the source that was loaded, never of a later edit.

Source is read through `linecache`, which also holds notebook cells and doctests, and is believed only if
compiling it gives the very code object in question. If the file was edited after the import, or there is
no source (`exec`, a lone ``.pyc``, an import hook that rewrites code), the bytecode is described instead:
safe, but the result then holds for one Python version only and does not see imports in the body.
"""

from __future__ import annotations
import __future__

import ast
import dis
import linecache
import sys
import threading
import warnings
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from blake3 import blake3

from d6tstore.fingerprint.names import SELF, SUPER, Names, Syntax, references
from d6tstore.fingerprint.syntax import literal

_FUTURE = 0
for _name in __future__.all_feature_names:
    _FUTURE |= getattr(__future__, _name).compiler_flag
_lock = threading.RLock()  # catch_warnings changes the process
_CACHE_SIZE = 4096
_FRAMEWORK = ("d6tstore", "d6tstore_plugins")


def syntax_of(code: CodeType, namespace: dict[str, Any]) -> Syntax:
    """Return the syntax of a function's code object.

    Args:
        code: the code object, as loaded.
        namespace: the function's globals; tells `linecache` of the loader of modules that lie in an archive.

    Returns:
        The syntax; ``exact`` is false where it had to be made from bytecode.

    Example:
        ``syntax_of(f.__code__, f.__globals__).paths``
    """
    for attempt in range(2):
        if attempt:  # what linecache holds may be older than the code, after importlib.reload
            linecache.checkcache(code.co_filename)
        text = "".join(linecache.getlines(code.co_filename, namespace))
        nodes = _find(text, code) if text else []
        if nodes:
            return references(nodes)
    return _from_bytecode(code)


@lru_cache(maxsize=4096)
def is_own(module: str, file: str, tops: tuple[str, ...], root: str) -> bool:
    """Return whether a module is the user's own code.

    Args:
        module: its name; "" for code that was made by `exec` without one.
        file: its file, "" if it has none.
        tops: packages that are own code wherever they lie.
        root: the project folder, or "".
    """
    top = module.partition(".")[0]
    if top in _FRAMEWORK:
        return False
    if module in ("", "__main__") or any(module == t or module.startswith(t + ".") for t in tops):
        return True
    if not root or not file or top in sys.stdlib_module_names:
        return False
    folder, project = Path(file).resolve().parent, Path(root).resolve()
    if not folder.is_relative_to(project) or {"site-packages", "dist-packages"} & set(folder.parts):
        return False
    between = [folder, *folder.parents][: len(folder.parts) - len(project.parts)]
    return not any((f / "pyvenv.cfg").exists() or (f / "conda-meta").exists() for f in between)


@lru_cache(maxsize=1024)
def is_framework(cls: type) -> bool:
    """Return whether a class is, or derives from, one of d6tstore itself."""
    return any(str(base.__module__).partition(".")[0] in _FRAMEWORK for base in cls.__mro__)


class Code(NamedTuple):
    """What is remembered of a code object, which never changes. Holding it keeps its id from being reused."""

    code: CodeType
    syntax: Syntax
    digest: str  # of the text
    paths: tuple[tuple[Names, str], ...]
    bound: bool  # refers to `self.` or `super().`


_codes: dict[int, Code] = {}


def code_of(function: FunctionType) -> Code:
    """Return what is known of a function's code object, remembered per code object."""
    code = function.__code__
    known = _codes.get(id(code))
    if known is None:
        syntax = syntax_of(code, function.__globals__)
        paths = tuple((path, ".".join(path)) for path in syntax.paths)
        bound = any(path[0] in (SELF, SUPER) for path in syntax.paths)
        known = Code(code, syntax, blake3(syntax.text.encode()).hexdigest()[:32], paths, bound)
        if len(_codes) >= _CACHE_SIZE:
            _codes.clear()
        _codes[id(code)] = known
    return known


def _find(text: str, code: CodeType) -> list[Any]:
    """The nodes in ``text`` that compile to ``code``; several only if nothing tells them apart."""
    bare = _bare(code)
    same = [item for item in _compiled(text, code.co_flags & _FUTURE).get(code.co_name, ()) if item.bare == bare]
    # `1 + 1` and `2` give equal bytecode: columns decide. Lines may have moved, if the file was edited above.
    for closer in (lambda i: i.line == code.co_firstlineno, lambda i: _columns(i.code) == _columns(code)):
        same = [item for item in same if closer(item)] or same
    return [item.node for item in same]


def _columns(code: CodeType) -> list[Any]:
    return [spot[2:] for spot in code.co_positions() if spot[3]]  # the prologue has none


def _bare(code: CodeType) -> CodeType:
    """The code without its place, so that equality means: it does the same."""
    constants = tuple(_bare(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_firstlineno=1, co_linetable=b"", co_filename="", co_consts=constants)


class _Compiled(NamedTuple):
    node: Any
    line: int
    code: CodeType
    bare: CodeType


@lru_cache(maxsize=32)
def _compiled(text: str, flags: int) -> dict[str, list[_Compiled]]:
    """The functions in a module's text, by name, as nodes and as code."""
    nodes: dict[tuple[str, int], tuple[Any, int]] = {}
    flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # notebook cells
    try:
        with _lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # shown at import already
            tree = compile(text, "<source>", "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
            _spread(tree, 0, text.count("\n") + 2, nodes)
            todo = [compile(tree, "<source>", "exec", flags, dont_inherit=True)]
    except (SyntaxError, ValueError, RecursionError):  # edited into something that is no Python
        return {}
    found: dict[str, list[_Compiled]] = {}
    while todo:
        code = todo.pop()
        todo += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        known = nodes.get((code.co_name, code.co_firstlineno))
        if known:
            found.setdefault(code.co_name, []).append(_Compiled(*known, code, _bare(code)))
    return found


def _spread(node: ast.AST, shift: int, height: int, nodes: dict[tuple[str, int], tuple[Any, int]]) -> None:
    """Index functions by name and line, and move every lambda to lines of its own, to tell them apart."""
    for child in ast.iter_child_nodes(node):
        inner = shift
        if isinstance(child, ast.Lambda):
            inner = height * (len(nodes) + 1)
            nodes["<lambda>", child.lineno + inner] = child, child.lineno
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            line = [*child.decorator_list, child][0].lineno
            nodes[child.name, line] = child, line
        if isinstance(child, ast.expr | ast.arg | ast.keyword):
            child.lineno += inner
            child.end_lineno = (child.end_lineno or 0) + inner
        _spread(child, inner, height, nodes)


def _from_bytecode(code: CodeType) -> Syntax:
    paths: set[Names] = set()
    texts = [f"bytecode {sys.version_info[0]}.{sys.version_info[1]}"]
    me = code.co_varnames[0] if code.co_argcount else ""
    todo = [code]
    while todo:
        code = todo.pop(0)
        values = [c for c in code.co_consts if not isinstance(c, CodeType)]
        todo += [c for c in code.co_consts if isinstance(c, CodeType)]
        texts += [
            code.co_name,
            code.co_code.hex(),
            *map(literal, values),
            literal((code.co_names, code.co_varnames)),
        ]
        path: Names = ()
        for step in dis.get_instructions(code):
            name = str(step.argval)
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_FAST"):
                path = (SELF if name == me else name,) if step.opname != "LOAD_FAST" or name == me else ()
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and path:
                path = (*path, name)
            elif step.opname == "LOAD_SUPER_ATTR":
                path = (SUPER, name)
            else:
                path = ()
            paths |= {path} if path and path != (SELF,) else set()
    longest = {p for p in paths if not any(q != p and q[: len(p)] == p for q in paths)}
    return Syntax("|".join(texts), tuple(sorted(longest)), {}, frozenset(), exact=False)
