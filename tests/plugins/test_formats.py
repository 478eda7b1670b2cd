"""Formats that are not frames."""

import math
import pickle
import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import d6tstore
from d6tstore import registry
from d6tstore.errors import FormatError
from d6tstore.testing import FormatTests, Refused
from d6tstore.testing.formats import _dumped, _loaded


def same_json(a, b):
    """Equal, of the same types, NaN equal to itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same_json(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same_json, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return a == b


def nested(depth, value=None):
    for _ in range(depth):
        value = [value]
    return value


class TestJson(FormatTests):
    values = {
        "none": None,
        "empty": {},
        "text": 'ünï \U0001f600 \x00 \u2028 "\\\n',
        "bool": True,
        "int": 2**80,
        "-int": -(10**40),
        "floats": [0.1, -0.0, 1e308, 5e-324, float("nan"), float("inf"), -float("inf"), 1e22, 1.0],
        "nested": {"a": [{"b": [[], {}, ""]}, None], "": 0},
        "order": {"z": 1, "a": 2},
        "deep": nested(100),
    }
    refused = {
        "tuple": Refused({"a": [1, (2, 3)]}, r"value\['a'\]\[1\] of type builtins.tuple.*list\(x\)"),
        "set": Refused({1, 2}, "value of type builtins.set"),
        "int key": Refused({"a": {1: 2}}, r"value\['a'\]: key 1 is no text.*str keys"),
        "None key": Refused({None: 2}, "key None"),
        "bytes": Refused([b"1"], r"value\[0\] of type builtins.bytes"),
        "numpy scalar": Refused({"score": np.float64(0.5)}, r"value\['score'\] of type numpy.float64.*float\(x\)"),
        "numpy array": Refused(np.eye(2), r"numpy.ndarray.*x.tolist\(\)"),
        "frame": Refused(pd.DataFrame(), "pandas.*DataFrame.*TaskP"),
        "surrogate": Refused({"a": "\ud800"}, "surrogate"),
        "surrogate key": Refused({"\udc80": 1}, "surrogate"),
        "too deep": Refused(nested(600), r"value\[0\]\[0\].*nested deeper than 500"),
        "huge int": Refused([10**5000], "limit"),
        "object": Refused([object()], "builtins.object"),
    }

    @pytest.fixture
    def format(self):
        return registry.format_of("json")

    def equal(self, saved, loaded):
        return same_json(saved, loaded)

    def test_a_cycle_is_refused(self, format, tmp_path):
        endless = []
        endless.append(endless)
        with pytest.raises(FormatError, match="nested"):
            _dumped(format, endless, tmp_path)

    def test_bytes_are_plain_json_that_others_read(self, format, tmp_path):
        assert _dumped(format, {"é": [1, 2.5]}, tmp_path)[0] == '{"é":[1,2.5]}'.encode()

    def test_any_json_value_comes_back(self, format):
        scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
        values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)

        @settings(max_examples=100, deadline=None, database=None)
        @given(values)
        def check(value):
            assert same_json(value, _loaded(format, _dumped(format, value, None), None))

        check()


class Model:
    def __init__(self, weights):
        self.weights = weights

    def __eq__(self, other):
        return type(self) is type(other) and self.weights == other.weights

    __hash__ = None


class Stubborn:
    def __reduce__(self):
        raise RuntimeError("never")


class TestPickle(FormatTests):
    values = {
        "none": None,
        "tuple": (1, {2, 3}, b"4"),
        "int keys": {1: "a", None: 2},
        "instance": Model([1.5]),
        "class": Model,
        "function": math.sqrt,
        "nested": {"models": [Model([i]) for i in range(3)]},
        "surrogate": "\ud800",
        "large": bytes(3_000_000),
    }
    refused = {
        "lambda": Refused(lambda x: x, "cannot be pickled.*TaskCache"),
        "lock": Refused({"lock": threading.Lock()}, "a dict cannot be pickled.*lock"),
        "generator": Refused((i for i in range(3)), "generator"),
        "thread local": Refused(threading.local(), "local"),
        "stubborn": Refused(Stubborn(), "never"),
    }

    @pytest.fixture
    def format(self):
        return registry.format_of("pickle")

    def test_array_comes_back(self, format, tmp_path):
        value = np.arange(10.0).reshape(2, 5)
        loaded = _loaded(format, _dumped(format, value, tmp_path), tmp_path)
        np.testing.assert_array_equal(loaded, value, strict=True)

    def test_protocol_is_5(self, format, tmp_path):
        assert _dumped(format, 1, tmp_path)[0][:2] == b"\x80\x05"

    def test_class_of_main_comes_back_in_another_process(self, format, tmp_path, python):
        python(
            """
            import sys
            from d6tstore import registry
            class Kept:
                def __init__(self, n): self.n = n
                def twice(self): return self.n * 2
            with open(sys.argv[1], "wb") as file:
                registry.format_of("pickle").dump({"models": [Kept(21)]}, file)
            """,
            str(tmp_path / "x.pkl"),
        )
        with open(tmp_path / "x.pkl", "rb") as file:
            assert format.load(file)["models"][0].twice() == 42

    def test_what_is_not_installed_is_named(self, format, tmp_path):
        path = tmp_path / "x.pkl"
        path.write_bytes(pickle.dumps(math.sqrt).replace(b"math", b"mash"))
        with path.open("rb") as file, pytest.raises(FormatError, match="mash.*Install"):
            format.load(file)


class TestObject(FormatTests):
    values = {"none": None, "lambda": abs, "lock": threading.Lock(), "dict": {1: (2,)}}

    @pytest.fixture
    def format(self):
        return registry.format_of("object")

    def test_it_needs_memory(self, tmp_path):
        class Kept(d6tstore.tasks.TaskCache):
            backend = None

        with (
            d6tstore.use(d6tstore.open(tmp_path / "s")),
            pytest.raises(FormatError, match="backend = 'memory'"),
        ):
            Kept().save(1)


class TestObjectPandas(FormatTests):
    values = {"frame": pd.DataFrame({"a": [1, 2], "b": [object(), {1}]}), "empty": pd.DataFrame()}
    refused = {"list": Refused([1], "got a list.*TaskCache"), "series": pd.Series([1])}

    @pytest.fixture
    def format(self):
        return registry.format_of("object-pandas")

    def equal(self, saved, loaded):
        pd.testing.assert_frame_equal(saved, loaded)
        return saved is not loaded

    def test_readers_and_writer_do_not_share(self, store):
        class Kept(d6tstore.tasks.TaskCachePandas):
            def run(self):
                pass

        frame = pd.DataFrame({"a": [1, 2]})
        with d6tstore.use(store):
            Kept().save(frame)
            frame.loc[0, "a"] = 9
            loaded = Kept().output().load()
            loaded.loc[1, "a"] = 9
            assert Kept().output().load().a.tolist() == [1, 2]
