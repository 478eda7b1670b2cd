"""Format `html`."""

from __future__ import annotations

import inspect
from typing import Any, BinaryIO

from d6tstore.errors import FormatError
from d6tstore.format import Format
from d6tstore_plugins.formats.plain import decode, encode

_ID = "d6tstoreid"
_RANDOM = ("div_id", "table_uuid")  # of plotly and pandas Styler: a new one each time, unless it is given


class Html(str):
    """HTML that was loaded: text, and a notebook shows it."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)


class HtmlFormat(Format):
    """A page or fragment of HTML. What renders itself is rendered when it is saved, and comes back as text."""

    suffix = ".html"

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write text as it is, else what `to_html()` or `_repr_html_()` of the value return."""
        file.write(encode(value if isinstance(value, str) else _rendered(value)))

    def load(self, file: BinaryIO) -> Html:
        """The text, an `Html`."""
        return Html(decode(file.read()))


def _rendered(value: Any) -> str:
    kind = type(value).__name__
    render = None if isinstance(value, type) else _method(value, "to_html") or _method(value, "_repr_html_")
    if render is None:
        raise FormatError(
            f"a {kind} is no text and has neither to_html() nor _repr_html_(). Save its HTML as text; for a "
            "matplotlib figure use TaskMatplotlibPNG or TaskMatplotlibSVG, for several outputs declare persist."
        )
    try:
        named = {name: _ID for name in _RANDOM if name in _parameters(render)}
        text = render(**named)
    except Exception as exc:  # code of the value's class: it may be anything
        raise FormatError(
            f"a {kind} does not render as HTML: {type(exc).__name__}: {exc}. Correct it, or save its HTML as text."
        ) from exc
    if not isinstance(text, str):
        raise FormatError(
            f"{kind}.{render.__name__}() returned a {type(text).__name__}, no text. Save its HTML as text instead."
        )
    if named:  # an id that tells of the content: two such values may stand in one page, equal ones are equal
        from d6tstore import content

        text = text.replace(_ID, f"d6t{content.of_bytes(encode(text))[:16]}")
    return text


def _method(value: Any, name: str) -> Any:
    found = getattr(value, name, None)
    return found if callable(found) else None


def _parameters(function: Any) -> Any:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # it is built in, or hides its signature
        return ()
