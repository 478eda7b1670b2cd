"""From a code object to the syntax of the source that was loaded, never of a later edit.

Source is read through `linecache`, which also holds notebook cells and doctests, and is believed only if compiling
it gives the very code object in question. If the file was edited after the import, or there is no source (`exec`, a
lone ``.pyc``, an import hook that rewrites code), the bytecode is described instead: safe, but the result then
holds for one Python version only and sees neither imports in the body nor the difference of `self` and a namesake.
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
from types import CodeType
from typing import Any

from .syntax import SELF, SUPER, Names, Syntax, literal, references

_FUTURE = 0
for _name in __future__.all_feature_names:
    _FUTURE |= getattr(__future__, _name).compiler_flag
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_lock = threading.RLock()  # catch_warnings changes the process
_Key = tuple[str, int]  # name and first line
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


def _find(text: str, code: CodeType) -> list[Any]:
    """The nodes in ``text`` that compile to ``code``; several only if nothing tells them apart."""
    nodes, codes = _compiled(text, code.co_flags & _FUTURE)
    bare = _bare(code)
    same = [c for c in codes.get(code.co_name, ()) if _bare(c) == bare]
    if not same:
        return []
    # `1 + 1` and `2` give equal bytecode: positions decide. They may all have moved, if lines were added above.
    same.sort(
        key=lambda c: (_spots(c) == _spots(code), c.co_firstlineno == code.co_firstlineno), reverse=True
    )
    found = same[0]
    candidates = nodes.get((found.co_name, found.co_firstlineno), [])
    if len(candidates) > 1:  # lambdas on one line: the innermost around all the instructions
        spots = [s for s in _spots(found) if None not in s and s[3]]  # the prologue ends in column 0
        inside = [n for n in candidates if spots and all(_holds(n, spot) for spot in spots)]
        inside.sort(key=lambda n: (n.end_lineno - n.lineno, n.end_col_offset - n.col_offset))
        return inside[:1] or candidates
    return candidates


def _spots(code: CodeType) -> list[Any]:
    return list(code.co_positions())


def _holds(node: ast.expr, spot: tuple[int, int, int, int]) -> bool:
    line, end_line, column, end_column = spot
    start, end = (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)
    return start <= (line, column) and (end_line, end_column) <= end


def _bare(code: CodeType) -> CodeType:
    """The code without its place, so that equality means: it does the same."""
    constants = tuple(_bare(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_firstlineno=1, co_linetable=b"", co_filename="", co_consts=constants)


@lru_cache(maxsize=32)
def _compiled(text: str, flags: int) -> tuple[dict[_Key, list[Any]], dict[str, list[CodeType]]]:
    """Function nodes by name and first line, and function code objects by name, of a module's text."""
    nodes: dict[_Key, list[Any]] = {}
    codes: dict[str, list[CodeType]] = {}
    flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # notebook cells
    try:
        with _lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # shown at import already
            tree = compile(text, "<source>", "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
            todo = [compile(tree, "<source>", "exec", flags, dont_inherit=True)]
    except (SyntaxError, ValueError, RecursionError):  # edited into something that is no Python
        return nodes, codes
    for node in ast.walk(tree):
        if isinstance(node, _FUNCTIONS):
            first = [*getattr(node, "decorator_list", ()), node][0]
            nodes.setdefault((getattr(node, "name", "<lambda>"), first.lineno), []).append(node)
    while todo:
        code = todo.pop()
        codes.setdefault(code.co_name, []).append(code)
        todo += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return nodes, codes


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
