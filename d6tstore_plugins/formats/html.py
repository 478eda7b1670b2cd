"""Format `html`."""

from __future__ import annotations

from typing import Any, BinaryIO

from d6tstore import content
from d6tstore.errors import FormatError
from d6tstore.format import Format
from d6tstore_plugins.formats.plain import decode, encode

_ID = "d6tstoreid"
_RANDOM = {"to_plotly_json": "div_id", "set_uuid": "table_uuid"}
"""What figures of plotly and Stylers of pandas are known by -> what they make up anew in each to_html()."""


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
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    render = None if isinstance(value, type) else _method(value, "to_html") or _method(value, "_repr_html_")
    if render is None:
        raise FormatError(
            f"a {kind} is no text and has neither to_html() nor _repr_html_(). Save its HTML as text; for a "
            "matplotlib figure use TaskMatplotlibPNG or TaskMatplotlibSVG, for several outputs declare persist."
        )
    if kind.startswith("bokeh."):  # what it shows of itself is a list of its properties
        raise FormatError(f"a {kind} does not show its plot as HTML. Save bokeh.embed.file_html(plot) instead.")
    named = {argument: _ID for mark, argument in _RANDOM.items() if _method(value, mark)}
    try:
        text = render(**named)
    except Exception as exc:  # code of the value's class: it may be anything
        raise FormatError(
            f"a {kind} does not render as HTML: {type(exc).__name__}: {exc}. Correct it, or save its HTML as text."
        ) from exc
    if not isinstance(text, str):
        raise FormatError(
            f"{kind}.{render.__name__}() returned a {type(text).__name__}, no text. Save its HTML as text instead."
        )
    # An id that follows from the content: equal values are equal, and others may stand in one page.
    return text.replace(_ID, f"d6t{content.of_bytes(encode(text))[:16]}") if named else text


def _method(value: Any, name: str) -> Any:
    found = getattr(value, name, None)
    return found if callable(found) else None
