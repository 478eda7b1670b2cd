"""Figures of matplotlib."""

import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from PIL import Image

import d6tstore
from d6tstore import registry
from d6tstore.errors import FormatError
from d6tstore.testing import FormatTests, Refused
from d6tstore.testing.formats import _dumped, _loaded


def figure(text="ünï $x^2$", **options):
    made = Figure((2, 2), **options)
    axes = made.add_subplot()
    axes.plot([1, 3, 2])
    axes.imshow(np.eye(3))
    axes.set_title(text)
    axes.fill_between([0, 1], [0, 1], hatch="/")
    return made


def subfigures():
    return figure().subfigures(1, 2)


class Grid:
    """Like a grid of seaborn."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


def png():
    file = io.BytesIO()
    Image.new("RGB", (3, 2)).save(file, "png")
    return file.getvalue()


class Shows:
    """Like an image of Pillow, or a plot of seaborn.objects."""

    def __init__(self, shown):
        self.shown = shown

    def _repr_png_(self):
        return self.shown

    _repr_svg_ = _repr_png_


class Broken(Figure):
    def draw(self, renderer):
        raise ZeroDivisionError("mine")


def drawable():
    shared, other = figure(), figure()
    return {
        "figure": shared,
        "axes": other.axes[0],
        "line": figure().axes[0].lines[0],
        "lines": list(figure().axes[0].lines),
        "bars": figure().axes[0].bar([1, 2], [3, 4]),
        "subfigure": subfigures()[0],
        "axes of a subfigure": subfigures()[1].subplots(),
        "array of axes": figure().subplots(2, 2),
        "figure and axes": (shared, shared.axes),
        "seaborn grid": Grid(figure=figure()),
        "old seaborn grid": Grid(fig=figure()),
        "constrained": figure(layout="constrained"),
        "tight": figure(layout="tight"),
        "empty": Figure(),
    }


def refused():
    return {
        "two figures": Refused([figure(), figure()], "list holds 2 figures.*Declare persist"),
        "no figure": Refused([], "a list has no figure"),
        "array": Refused(np.eye(2), "a numpy.ndarray has no figure"),
        "class": Refused(Figure, "a type has no figure"),
        "shows nothing": Refused(Shows(None), "cannot be drawn.* returns nothing"),
        "shows something else": Refused(Shows(b"else"), "no PNG|no SVG"),
        "pyplot": Refused(pyplot, r"a module has no figure.*plt\.gcf\(\)"),
        "removed": Refused(removed(), "no figure"),
        "frame": Refused(pd.DataFrame(), "DataFrame has no figure"),
        "None": Refused(None, "NoneType"),
        "wrong TeX": Refused(figure("$\\frac$"), "(?s)cannot be drawn: .*Correct it"),
        "broken artist": Refused(Broken(), "ZeroDivisionError: mine"),
    }


def removed():
    line = figure().axes[0].lines[0]
    line.remove()
    return pickle.loads(pickle.dumps(line)) if line.figure is not None else line


class Images(FormatTests):
    def test_the_same_figure_gives_the_same_bytes(self, format, tmp_path):
        def one():
            made = figure()
            made.axes[0].set_clip_path(made.patch)
            return _dumped(format, made, tmp_path)[0]

        assert one() == one()

    def test_a_figure_gives_the_same_bytes_again(self, format, tmp_path):
        made = figure()
        assert _dumped(format, made, tmp_path) == _dumped(format, made, tmp_path)

    def test_another_figure_gives_other_bytes(self, format, tmp_path):
        assert _dumped(format, figure("a"), tmp_path) != _dumped(format, figure("b"), tmp_path)

    def test_the_users_settings_and_figures_stay(self, format, tmp_path):
        made = pyplot.figure(figsize=(2, 2))
        pyplot.plot([1, 2])
        try:
            assert matplotlib.rcParams["svg.hashsalt"] is None
            before = dict(matplotlib.rcParams), matplotlib.get_backend(), made.dpi, type(made.canvas)
            _dumped(format, made, tmp_path)
            assert (dict(matplotlib.rcParams), matplotlib.get_backend(), made.dpi, type(made.canvas)) == before
            assert pyplot.fignum_exists(made.number)
        finally:
            pyplot.close(made)

    def test_pyplot_is_not_imported(self, format, tmp_path, python):
        out = python(
            """
            import sys
            from matplotlib.figure import Figure
            from d6tstore import registry
            made = Figure()
            made.add_subplot().plot([1, 2])
            with open(sys.argv[2], "wb") as file:
                registry.format_of(sys.argv[1]).dump(made, file)
            print("matplotlib.pyplot" in sys.modules)
            """,
            format.suffix[1:],
            str(tmp_path / "x"),
        )
        assert out == "False\n"

    def test_a_plot_of_pandas(self, format, tmp_path):
        frame = pd.DataFrame({"a": [1, 2], "b": [2, 1]})
        try:
            for value in (frame.plot(), frame.plot(subplots=True), frame.hist(), frame.a.plot.bar()):
                _loaded(format, _dumped(format, value, tmp_path), tmp_path)
        finally:
            pyplot.close("all")

    def test_threads(self, format):
        def one(i):
            return _dumped(format, figure(f"{i % 2}"), None)

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(one, range(8)))) == 2
        assert matplotlib.rcParams["svg.hashsalt"] is None


class TestPng(Images):
    values = {**drawable(), "bytes": png(), "shows": Shows((png(), {"width": 3})), "Pillow": Image.new("L", (2, 2))}
    refused = {
        **refused(),
        "too large": Refused(Figure((200_000, 1), dpi=100), "cannot be drawn.*smaller figsize or dpi"),
        "other bytes": Refused(b"GIF89a", "no PNG: they begin otherwise"),
        "half a PNG": Refused(png()[:-20], "no PNG"),
        "text": Refused("<svg/>", "a str has no figure"),
    }

    @pytest.fixture
    def format(self):
        return registry.format_of("png")

    def equal(self, saved, loaded):
        assert type(loaded).__name__ == "Png" and loaded._repr_png_() == loaded
        if isinstance(saved, bytes):
            return saved == loaded
        if isinstance(saved, Shows):
            return saved.shown[0] == loaded
        if isinstance(saved, Image.Image):
            return Image.open(io.BytesIO(loaded)).tobytes() == saved.tobytes()
        saved = saved[0] if isinstance(saved, tuple) else saved
        wanted = saved.get_size_inches() * saved.dpi if isinstance(saved, Figure) else [200, 200]
        return Image.open(io.BytesIO(loaded)).size == tuple(wanted)

    def test_it_tells_of_no_version(self, format, tmp_path):
        assert b"matplotlib" not in _dumped(format, figure(), tmp_path)[0].lower()

    def test_loaded_pickles(self, format, tmp_path):
        loaded = _loaded(format, _dumped(format, figure(), tmp_path), tmp_path)
        again = pickle.loads(pickle.dumps(loaded))
        assert again == loaded and type(again) is type(loaded)

    def test_damage_anywhere_is_noticed(self, format, tmp_path):
        data = _dumped(format, figure(), tmp_path)[0]
        for at in (0, 9, 20, len(data) // 2, len(data) - 2):
            with pytest.raises(FormatError, match="no PNG"):
                _loaded(format, (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], None), tmp_path)


class TestSvg(Images):
    values = {
        **drawable(),
        "text": '<?xml version="1.0" encoding="us-ascii"?>\r\n<svg xmlns="http://www.w3.org/2000/svg">ü</svg>',
        "shows": Shows("<svg>ü</svg>"),
        "prefixed": '<s:svg xmlns:s="http://www.w3.org/2000/svg"/>',
    }
    refused = {
        **refused(),
        "other text": Refused("<html><svg/></html>", "no SVG: it is a <html>"),
        "no text": Refused("", "no SVG: no element found"),
        "half an SVG": Refused("<svg><g>", "no SVG"),
        "surrogate": Refused("<svg>\ud800</svg>", "half of a character"),
        "bytes": Refused(png(), "a bytes has no figure"),
    }

    @pytest.fixture
    def format(self):
        return registry.format_of("svg")

    def equal(self, saved, loaded):
        assert type(loaded).__name__ == "Svg" and loaded._repr_svg_() == loaded
        if isinstance(saved, Shows):
            return saved.shown == loaded
        return saved == loaded if isinstance(saved, str) else "<svg" in loaded and loaded.endswith("</svg>\n")

    def test_it_tells_of_no_version_or_time(self, format, tmp_path):
        data = _dumped(format, figure(), tmp_path)[0]
        assert b"<dc:date>" not in data and matplotlib.__version__.encode() not in data

    def test_the_users_own_salt_is_used(self, format, tmp_path):
        before = _dumped(format, figure(), tmp_path)
        with matplotlib.rc_context({"svg.hashsalt": "mine"}):
            assert _dumped(format, figure(), tmp_path) != before


@pytest.mark.parametrize("kind", ["TaskMatplotlibPNG", "TaskMatplotlibSVG"])
def test_an_unchanged_figure_does_not_run_its_downstream(store, kind):
    class Plot(getattr(d6tstore.tasks, kind)):
        def run(self):
            self.save(figure())

    @d6tstore.requires(Plot)
    class Report(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(len(self.input().load()))

    store.run(Report())
    drawn, before = store.history(Plot()), store.history(Report())
    store.invalidate(Plot())
    store.run(Report())
    assert store.history(Plot())[0].write_id != drawn[0].write_id
    assert store.history(Report()) == before
