"""Bytes, text and HTML."""

import io
import pickle

import numpy as np
import pandas as pd
import pytest

import d6tstore
from d6tstore import registry
from d6tstore.errors import FormatError
from d6tstore.testing import FormatTests, Refused
from d6tstore.testing.formats import _dumped, _loaded


class TestBytes(FormatTests):
    values = {"empty": b"", "zero": b"\0", "all": bytes(range(256)), "lines": b"a\r\nb\n", "large": b"ab" * 3_000_000}
    refused = {
        "bytearray": Refused(bytearray(b"1"), r"a bytearray is no bytes.*bytes\(x\)"),
        "memoryview": Refused(memoryview(b"1"), "memoryview"),
        "text": Refused("1", r"text\.encode\(\)"),
        "generator": Refused((b for b in (b"1", b"2")), r"generator.*join\(parts\)"),
        "file": Refused(io.BytesIO(b"1"), r"BytesIO.*file\.read\(\)"),
        "None": Refused(None, "NoneType"),
    }

    @pytest.fixture
    def format(self):
        return registry.format_of("bytes")

    def equal(self, saved, loaded):
        return type(loaded) is bytes and saved == loaded


class TestText(FormatTests):
    values = {
        "empty": "",
        "lines": "a\r\nb\nc\rd\u2028\x85",
        "unicode": "ünï \U0001f600 \x00",
        "byte order mark": "\ufeffa",
        "large": "é\n" * 2_000_000,
    }
    refused = {
        "bytes": Refused(b"1", r"a bytes is no text.*data\.decode\(\)"),
        "lines": Refused(["a", "b"], r"list.*join\(lines\)"),
        "number": Refused(1.5, r"str\(x\)"),
        "surrogate": Refused("ab\ud800", r"'\\ud800' at position 2.*TaskBytes"),
        "file": Refused(io.StringIO("1"), "StringIO.*TaskFile"),
    }

    @pytest.fixture
    def format(self):
        return registry.format_of("text")

    def equal(self, saved, loaded):
        return type(loaded) is str and saved == loaded

    def test_bytes_are_the_text(self, format, tmp_path):
        assert _dumped(format, "é\r\n", tmp_path)[0] == "é\r\n".encode()

    def test_other_encodings_are_no_text(self, format, tmp_path):
        with pytest.raises(FormatError, match="no UTF-8 text.*Run the task"):
            _loaded(format, ("é".encode("latin-1"), None), tmp_path)


class Renders:
    """Like a chart of plotly: a new id whenever none is given."""

    made = 0

    def __init__(self, body="1"):
        self.body = body

    def to_plotly_json(self):
        raise NotImplementedError

    def to_html(self, *args, **options):
        Renders.made += 1
        div_id = options.get("div_id") or f"random-{Renders.made}"
        return f"<div id='{div_id}'>{self.body}</div><script>draw('{div_id}')</script>"


class Shows:
    """Like a map of folium."""

    def __init__(self, html="<b>ü</b>"):
        self.html = html

    def _repr_html_(self):
        if isinstance(self.html, Exception):
            raise self.html
        return self.html


class Blank:
    """Has any attribute, such as a mock: none of them is a method."""

    def __getattr__(self, name):
        return 1


class TestHtml(FormatTests):
    values = {
        "empty": "",
        "page": "<!doctype html>\r\n<p>ünï</p>",
        "frame": pd.DataFrame({"a": range(100), "b": "<&>"}),
        "shows": Shows(),
        "renders": Renders(),
    }
    refused = {
        "bytes": Refused(b"<p>", "a builtins.bytes is no text"),
        "list": Refused([Renders(), Renders()], "a builtins.list.*declare persist"),
        "object": Refused(object(), "neither to_html"),
        "any attribute": Refused(Blank(), "neither to_html"),
        "class": Refused(pd.DataFrame, "a builtins.type"),
        "bokeh": Refused(type("figure", (Shows,), {"__module__": "bokeh.plotting"})(), r"bokeh\.embed\.file_html"),
        "array": Refused(np.eye(2), "ndarray"),
        "None": Refused(Shows(None), "returned a NoneType, no text"),
        "error": Refused(Shows(ImportError("needs jinja2")), "does not render.*ImportError: needs jinja2"),
        "surrogate": Refused("\ud800", "half of a character"),
        "shown surrogate": Refused(Shows("\ud800"), "half of a character"),
    }

    @pytest.fixture
    def format(self):
        return registry.format_of("html")

    def equal(self, saved, loaded):
        rendered = {Shows: lambda: saved.html, pd.DataFrame: lambda: saved.to_html(), str: lambda: saved}
        if type(saved) is Renders:
            return f">{saved.body}</div>" in loaded
        return isinstance(loaded, str) and loaded == rendered[type(saved)]()

    def test_a_notebook_shows_what_was_loaded(self, format, tmp_path):
        loaded = _loaded(format, _dumped(format, Shows(), tmp_path), tmp_path)
        assert type(loaded._repr_html_()) is str and loaded._repr_html_() == "<b>ü</b>"
        assert pickle.loads(pickle.dumps(loaded)) == loaded
        assert type(pickle.loads(pickle.dumps(loaded))) is type(loaded)

    def test_a_whole_frame_is_rendered(self, format, tmp_path):
        assert _dumped(format, pd.DataFrame({"a": range(100)}), tmp_path)[0].count(b"<tr") == 101

    def test_equal_charts_have_equal_bytes_and_others_other_ids(self, format, tmp_path):
        one, same, other = (_dumped(format, Renders(body), tmp_path)[0] for body in ("1", "1", "2"))
        assert one == same
        ids = [text.split(b"'")[1] for text in (one, other)]
        assert ids[0] != ids[1] and one.count(ids[0]) == 2

    def test_an_unchanged_chart_does_not_run_its_downstream(self, store):
        class Report(d6tstore.tasks.TaskHTML):
            def run(self):
                self.save(Renders())

        @d6tstore.requires(Report)
        class Mail(d6tstore.tasks.TaskText):
            def run(self):
                self.save("see " + self.input().load())

        store.run(Mail())
        made, before = Renders.made, store.history(Mail())
        store.invalidate(Report())
        store.run(Mail())
        assert Renders.made > made and store.history(Mail()) == before
