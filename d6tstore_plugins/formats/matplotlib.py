"""Formats `png` and `svg`: figures of matplotlib. They load as images."""

from __future__ import annotations

import contextlib
import io
import threading
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO
from xml.parsers import expat

import matplotlib
import numpy as np
from matplotlib.figure import Figure, SubFigure

from d6tstore.errors import FormatError
from d6tstore.format import Format
from d6tstore_plugins.formats.plain import decode, encode

_MAGIC = b"\x89PNG\r\n\x1a\n"
_SALT = threading.Lock()


class Png(bytes):
    """A PNG that was loaded: bytes, and a notebook shows it."""

    __slots__ = ()

    def _repr_png_(self) -> bytes:
        return bytes(self)


class Svg(str):
    """An SVG that was loaded: text, and a notebook shows it."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)


class PngFormat(Format):
    """A figure of matplotlib as PNG, or bytes that are a PNG. Size and resolution are those of the figure."""

    suffix = ".png"

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write what has a figure: a Figure, its Axes, what `plot` returns, a grid of seaborn."""
        data = value if isinstance(value, bytes) else _drawn(value, "png", {"Software": None})
        if problem := _damage(data):
            raise FormatError(f"these bytes are no PNG: {problem}. Save a figure, or the bytes of a PNG file.")
        file.write(data)

    def load(self, file: BinaryIO) -> Png:
        """The image, a `Png`."""
        data = file.read()
        if problem := _damage(data):
            raise FormatError(f"these bytes are no PNG: {problem}. Run the task again.")
        return Png(data)


class SvgFormat(Format):
    """A figure of matplotlib as SVG, or text that is an SVG."""

    suffix = ".svg"

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write what has a figure: a Figure, its Axes, what `plot` returns, a grid of seaborn."""
        data = encode(value) if isinstance(value, str) else _drawn(value, "svg", {"Date": None, "Creator": None})
        if problem := _no_svg(data):
            raise FormatError(f"this text is no SVG: {problem}. Save a figure, or the text of an SVG file.")
        file.write(data)

    def load(self, file: BinaryIO) -> Svg:
        """The image, an `Svg`."""
        data = file.read()
        if problem := _no_svg(data):
            raise FormatError(f"these bytes are no SVG: {problem}. Run the task again.")
        return Svg(decode(data))


def _drawn(value: Any, kind: str, metadata: dict[str, None]) -> bytes:
    """The figure of a value, drawn without anything that differs from one time to the next."""
    figure, image = _figure(value, kind), io.BytesIO()
    try:
        if figure is None:
            shown = getattr(value, f"_repr_{kind}_")()
            shown = shown[0] if isinstance(shown, tuple) else shown  # the rest is its size
            if shown is None:
                raise ValueError(f"_repr_{kind}_() returns nothing")
            return shown.encode() if isinstance(shown, str) else bytes(shown)
        with _salted() if kind == "svg" else contextlib.nullcontext():
            figure.savefig(image, format=kind, metadata=metadata)
    except Exception as exc:  # its text may be wrong TeX, its artists are anybody's code
        raise FormatError(
            f"the figure cannot be drawn: {type(exc).__name__}: {exc}. Correct it until fig.savefig(...) works; a "
            "smaller figsize or dpi helps if it is too large."
        ) from exc
    return image.getvalue()


@contextlib.contextmanager
def _salted() -> Iterator[None]:
    """Ids in an SVG that follow from what they name. One key only: `rc_context` would undo what others set."""
    with _SALT:
        kept = matplotlib.rcParams["svg.hashsalt"]
        matplotlib.rcParams["svg.hashsalt"] = kept or "d6tstore"
        try:
            yield
        finally:
            matplotlib.rcParams["svg.hashsalt"] = kept


def _figure(value: Any, kind: str) -> Figure | None:
    """The one figure of a value; None if a notebook shows it without: an image of Pillow, a plot of seaborn.objects."""
    found = {id(figure): figure for figure in _figures(value)}
    if len(found) == 1:
        return found.popitem()[1]
    if not found and hasattr(value, f"_repr_{kind}_") and not isinstance(value, type):
        return None
    name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    if found:
        raise FormatError(
            f"the {name} holds {len(found)} figures, and one output is one image. Declare persist with a name for "
            "each, or draw them as subplots of one figure."
        )
    raise FormatError(
        f"a {name} has no figure of matplotlib. Save the Figure (plt.gcf() is the current one), its Axes, or bytes or "
        "text of a finished image; for plotly and altair use TaskHTML."
    )


def _figures(value: Any) -> Iterator[Figure]:
    """The figure of an artist or of a grid of seaborn; those of a list or array of such (`df.plot(subplots=True)`)."""
    if isinstance(value, list | tuple | np.ndarray):
        for item in np.ravel(value) if isinstance(value, np.ndarray) else value:
            yield from _figures(item)
    elif isinstance(value, Figure):
        yield value
    else:
        for name in ("figure", "fig"):
            found = getattr(value, name, None)
            found = found.figure if isinstance(found, SubFigure) else found
            if isinstance(found, Figure):
                yield found
                return


def _damage(data: bytes) -> str | None:
    """What is wrong with a PNG: it is a row of chunks, each with its checksum."""
    if not data.startswith(_MAGIC):
        return "they begin otherwise"
    at = len(_MAGIC)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        if zlib.crc32(memoryview(data)[at + 4 : end]).to_bytes(4) != data[end : end + 4]:
            return f"they are damaged at byte {at}"
        if data[at + 4 : at + 8] == b"IEND":
            return None
        at = end + 4
    return "they end too early"


def _no_svg(data: bytes) -> str | None:
    """What is wrong with an SVG."""
    names: list[str] = []
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = lambda name, _: names.append(name) if not names else None
    try:
        parser.Parse(data, True)
    except expat.ExpatError as exc:
        return str(exc)
    return None if names[0].rpartition(":")[2] == "svg" else f"it is a <{names[0]}>"
