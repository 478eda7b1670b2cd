"""Pieces of HTML for notebooks: escaped, without anything from elsewhere, readable on light and on dark pages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

# Its class twice: the rules of notebooks for tables are as particular as ours would be.
_STYLE = """<style>
.d6t.d6t{--d6t-line:#8886;font:13px/1.45 system-ui,sans-serif;color:inherit;margin:.3em 0}
.d6t.d6t table{border-collapse:collapse;margin:.2em 0}
.d6t.d6t :is(td,th){border-bottom:1px solid var(--d6t-line);padding:.15em .7em .15em 0;
text-align:left;vertical-align:top}
.d6t.d6t th{font-weight:600}.d6t.d6t .n{text-align:right;font-variant-numeric:tabular-nums}
.d6t.d6t code{font:12px/1.4 ui-monospace,monospace}.d6t.d6t .dim{opacity:.65}
.d6t.d6t .mark{display:inline-block;border:1.5px solid;border-radius:.6em;padding:0 .55em;white-space:nowrap}
.d6t.d6t .complete{border-color:#009e73}.d6t.d6t .pending{border-color:#d98c00;border-width:2.5px}
.d6t.d6t .evicted{border-color:#3a8fc4;border-style:dashed}
.d6t.d6t .absent,.d6t.d6t .failed{border-color:#c04f00;border-style:dotted}
.d6t.d6t .aggregate{border-color:#777}
.d6t.d6t .bar{display:inline-block;width:16em;height:.8em;border:1px solid var(--d6t-line);
border-radius:.4em;overflow:hidden}
.d6t.d6t .bar i{display:block;height:100%;background:#009e73}
.d6t.d6t pre{margin:0;font:12px/1.4 ui-monospace,monospace;background:none;color:inherit}
</style>"""


def notebook() -> Any:
    """The shell of IPython, if we are in a kernel that shows HTML; else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if hasattr(shell, "kernel") else None


def ipython() -> Any:
    """What displays things in a notebook."""
    return importlib.import_module("IPython.display")


def box(*parts: str) -> str:
    """Parts that belong together, with their style."""
    return f'<div class="d6t">{_STYLE}{"".join(parts)}</div>'


def text(value: Any) -> str:
    """A value as text: of a long one the beginning."""
    told = str(value)
    return escape(told if len(told) <= 500 else f"{told[:497]}...")


def code(value: Any) -> str:
    """A value as code."""
    return f"<code>{text(value)}</code>"


def mark(name: str, label: str) -> str:
    """A state: `name` says how it looks."""
    return f'<span class="mark {escape(name)}">{text(label)}</span>'


def title(label: str, note: str = "") -> str:
    """A heading, and what there is to add."""
    return f"<div><b>{text(label)}</b> <span class='dim'>{text(note)}</span></div>"


def pairs(values: Mapping[str, Any]) -> str:
    """Names and values, one below the other; values that are HTML already come as `Raw`."""
    return table([], [[name, value] for name, value in values.items()])


class Raw(str):
    """Text that is HTML already."""

    __slots__ = ()


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], more: str = "") -> str:
    """A table; numbers stand on the right. `more` is said below."""
    top = f"<tr>{''.join(f'<th>{text(name)}</th>' for name in head)}</tr>" if head else ""
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    below = f"<div class='dim'>{text(more)}</div>" if more else ""
    return f"<table>{top}{body}</table>{below}"


def _cell(value: Any) -> str:
    if isinstance(value, Raw):
        return f"<td>{value}</td>"
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td class="n">{value:,}</td>'
    if isinstance(value, float):
        return f'<td class="n">{value:,.4g}</td>'
    return f"<td>{'' if value is None else text(value)}</td>"


def described(label: str, note: str, values: Mapping[str, Any]) -> str:
    """A thing with what there is to say of it."""
    return box(title(label, note), pairs(values))


def bar(done: int, total: int, label: str, running: Iterable[str]) -> str:
    """How far something is."""
    width = 100 if not total else round(100 * done / total)
    named = "".join(f"<div>{code(name)}</div>" for name in running)
    progress = f'<span class="bar" role="progressbar" aria-valuenow="{width}"><i style="width:{width}%"></i></span>'
    return box(f"<div>{progress} {text(label)}</div>{named}")
