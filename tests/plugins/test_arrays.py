"""Arrays: numpy, npz, joblib."""

import io
import warnings
import zipfile

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from d6tstore import registry
from d6tstore.errors import FormatError
from d6tstore.testing import FormatTests, Refused
from d6tstore.testing.formats import _dumped, _loaded


def same(a, b):
    """Equal to the bit: class, dtype, order of bytes and of axes."""
    order = [x.flags.f_contiguous for x in (a, b)] if a.flags.forc else [0, 0]
    assert type(a) is type(b) is np.ndarray and b.flags.writeable
    assert (a.shape, a.dtype, order[0]) == (b.shape, b.dtype, order[1])
    if a.dtype.names is None:
        return a.tobytes() == b.tobytes()
    return all(same(np.array(a[name]), np.array(b[name])) for name in a.dtype.names)  # gaps do not count


def gaps(fill):
    """An array with gaps between its fields."""
    dtype = np.dtype([("a", "i1"), ("b", "f8"), ("c", "i4", (1,)), ("d", [("e", "i1"), ("f", "i8")])], align=True)
    value = np.frombuffer(bytearray([fill]) * dtype.itemsize * 2, dtype)
    value["a"], value["b"], value["c"], value["d"]["e"], value["d"]["f"] = 1, 2, 3, 4, 5
    return value


class Subclass(np.ndarray):
    pass


def matrix():
    with warnings.catch_warnings():  # numpy's own word on it, unless some library turned that off before
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.asmatrix([1])


wide = np.zeros(2, [(f"column {i}", "f4") for i in range(3000)])

ARRAYS = {
    "floats": np.random.default_rng(0).normal(size=(7, 3)),
    "NaN and -0": np.array([np.nan, -0.0, np.inf]),
    "scalar": np.array(5),
    "empty": np.empty((0, 3), "f4"),
    "empty text": np.array([], "U0"),
    "big endian": np.arange(5, dtype=">i4"),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided": np.arange(20)[::3],
    "transposed": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    "read only": np.broadcast_to(np.arange(3), (2, 3)),
    "bool": np.array([True, False]),
    "half": np.array([0.5], "f2"),
    "long": np.array([1], np.longdouble) / 3,
    "complex": np.array([1 + 2j]),
    "text": np.array(["ü", "abc", ""]),
    "bytes": np.array([b"a", b"\0b"]),
    "void": np.array([b"\0\1"], "V2"),
    "dates": np.array(["2024-01-01", "NaT"], "M8[ns]"),
    "weeks": np.array(["2024-01-01"], "M8[25s]"),
    "no unit": np.array(["NaT"], "M8"),
    "durations": np.array([1, 2], "m8[D]"),
    "structured": np.array([(1, "ü", (2.0, 3))], [("a", "i4"), ("ä", "U3"), ("c", [("x", "f8"), ("y", "u1")])]),
    "japanese field": np.zeros(2, [("値", "f8")]),
    "sub-arrays": np.zeros(3, [("a", "f4", (2, 2))]),
    "titles": np.zeros(3, [(("title", "a"), "f4")]),
    "gaps": gaps(7),
    "gaps in columns": np.asfortranarray(np.stack([gaps(7), gaps(8), gaps(9)])),
    "3,000 fields": wide,
    "large": np.arange(2_000_000),
}

REFUSED = {
    "objects": Refused(np.array([1, "a"], object), r"dtype object.*x.astype\(float\).*TaskPickle"),
    "field of objects": Refused(np.zeros(1, [("a", "O")]), "'a', 'O'"),
    "StringDType": Refused(np.array(["a"], np.dtypes.StringDType()), r"StringDType.*astype\('U'\)"),
    "metadata": Refused(np.zeros(1, np.dtype("f8", metadata={"unit": "m"})), "metadata"),
    "metadata inside": Refused(np.zeros(1, [("a", np.dtype("f8", metadata={"unit": "m"}))]), "metadata"),
    "overlap": Refused(
        np.zeros(1, np.dtype({"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [0, 2]})), "overlapping"
    ),
    "masked": Refused(np.ma.array([1, 2], mask=[0, 1]), r"MaskedArray, no plain array.*filled.*TaskNpz"),
    "matrix": Refused(matrix(), r"matrix.*np.asarray\(x\)"),
    "records": Refused(np.rec.array([(1,)], dtype=[("a", "i4")]), "recarray"),
    "subclass": Refused(np.zeros(1).view(Subclass), "Subclass"),
    "number": Refused(np.float64(1), r"numpy.float64.*np.asarray\(x\).*TaskJson"),
    "list": Refused([1, 2], "builtins.list"),
    "frame": Refused(pd.DataFrame({"a": [1]}), "DataFrame.*TaskPqPandas"),
    "None": Refused(None, "NoneType"),
}


class TestNumpy(FormatTests):
    values = ARRAYS
    refused = REFUSED

    @pytest.fixture
    def format(self):
        return registry.format_of("numpy")

    def equal(self, saved, loaded):
        return same(saved, loaded)

    def test_numpy_reads_it_too(self, format, tmp_path):
        for value in (ARRAYS["structured"], ARRAYS["fortran"], ARRAYS["large"]):
            assert same(value, np.load(io.BytesIO(_dumped(format, value, tmp_path)[0])))

    def test_what_numpy_wrote_is_read(self, format, tmp_path):
        for value in (ARRAYS["fortran"], ARRAYS["japanese field"][["値"]]):
            with warnings.catch_warnings(action="ignore"):  # that only newer ones read it
                np.save(tmp_path / "x.npy", value)
            assert same(value, _loaded(format, ((tmp_path / "x.npy").read_bytes(), None), tmp_path))

    def test_nothing_is_ever_unpickled(self, format, tmp_path):
        np.save(tmp_path / "x.npy", np.array([Subclass], object), allow_pickle=True)
        with pytest.raises(FormatError, match="Object arrays"):
            _loaded(format, ((tmp_path / "x.npy").read_bytes(), None), tmp_path)

    def test_a_mapped_file_is_an_array(self, format, tmp_path):
        np.save(tmp_path / "x.npy", np.arange(9))
        value = np.load(tmp_path / "x.npy", mmap_mode="r")
        assert type(value) is np.memmap
        assert same(np.arange(9), _loaded(format, _dumped(format, value, tmp_path), tmp_path))

    @pytest.mark.parametrize("shape", ["(1000000000000000,)", "(3,)", "(1,)", "(10**9,)", "(True,)", "'a'"])
    def test_a_header_that_lies(self, format, tmp_path, shape):
        data = _dumped(format, np.arange(2.0), tmp_path)[0]
        end = data.index(b"\n")
        header = data[10:end].replace(b"(2,)", shape.encode()).strip().ljust(end - 10)
        (tmp_path / "x.npy").write_bytes(data[:10] + header[: end - 10] + data[end:])
        with (tmp_path / "x.npy").open("rb") as file, pytest.raises(FormatError, match="no array of numpy"):
            format.load(file)  # from a real file it takes another way than from memory
        with pytest.raises(FormatError, match="no array of numpy"):
            format.load(io.BytesIO((tmp_path / "x.npy").read_bytes()))

    def test_more_bytes_than_the_shape_says(self, format, tmp_path):
        with pytest.raises(FormatError, match="more bytes"):
            _loaded(format, (_dumped(format, np.arange(2), tmp_path)[0] + b"\0", None), tmp_path)

    def test_gaps_between_fields_do_not_count(self, format, tmp_path):
        assert gaps(0).tobytes() != gaps(9).tobytes()
        assert _dumped(format, gaps(0), tmp_path) == _dumped(format, gaps(9), tmp_path)

    def test_any_array_comes_back(self, format):
        dtypes = arrays.scalar_dtypes() | arrays.nested_dtypes(max_itemsize=200)

        @settings(max_examples=150, deadline=None, database=None)
        @given(st.data())
        def check(data):
            dtype = data.draw(dtypes)
            shape = arrays.array_shapes(min_dims=0, min_side=0, max_side=4)
            value = np.asarray(data.draw(arrays.arrays(dtype, shape)))
            assert same(value, _loaded(format, _dumped(format, value, None), None))

        check()


class TestNpz(FormatTests):
    values = {
        "none": {},
        "all": {f"{name} {i}": value for i, (name, value) in enumerate(ARRAYS.items()) if name != "large"},
        "odd names": dict.fromkeys(
            ["", "file", "args", "a/b", "../x", "..", "a.npy", "ü\n", "C:x", ".npy", "/", "kwds"], np.arange(2)
        ),
        "long name": {"n" * 60_000: np.arange(2)},
        "large": {"a": ARRAYS["large"], "b": ARRAYS["large"]},
    }
    refused = {
        **{name: {"a": np.eye(1), "b": each.value} for name, each in REFUSED.items()},
        "where": Refused({"a": np.eye(1), "b": [1]}, r"value\['b'\] is a builtins.list"),
        "array": Refused(np.eye(2), "dict of names to arrays, got a ndarray.*TaskNumpy"),
        "list of arrays": Refused([np.eye(2)], "got a list"),
        "int name": Refused({1: np.eye(2)}, "1 is a int.*str keys"),
        "backslash": Refused({"a\\b": np.eye(2)}, "backslash.*another name"),
        "NUL": Refused({"a\0b": np.eye(2)}, "NUL"),
        "half character": Refused({"\ud800": np.eye(2)}, "half"),
        "too long": Refused({"é" * 40_000: np.eye(2)}, "at most 65,500 bytes"),
    }

    @pytest.fixture
    def format(self):
        return registry.format_of("npz")

    def equal(self, saved, loaded):
        return list(saved) == list(loaded) and all(same(saved[name], loaded[name]) for name in saved)

    def test_numpy_reads_it_and_we_what_numpy_wrote(self, format, tmp_path):
        value = {"a": np.eye(3), "b/c": np.array("ü")}
        with np.load(io.BytesIO(_dumped(format, value, tmp_path)[0])) as loaded:
            assert self.equal(value, dict(loaded))
        for save in (np.savez, np.savez_compressed):
            save(tmp_path / "x.npz", **value)
            assert self.equal(value, _loaded(format, ((tmp_path / "x.npz").read_bytes(), None), tmp_path))

    def test_equal_values_have_equal_bytes(self, format, tmp_path, monkeypatch):
        before = _dumped(format, {"a": np.eye(2), "b": gaps(1)}, tmp_path)
        monkeypatch.setattr("time.time", lambda: 2e9)
        assert _dumped(format, {"a": np.eye(2), "b": gaps(2)}, tmp_path) == before

    @pytest.mark.parametrize(
        ("names", "problem"),
        [(["a.npy", "a.npy"], "'a.npy' is twice"), (["a.txt"], "'a.txt' is no array"), (["a/"], "no array")],
    )
    def test_a_zip_of_something_else(self, format, tmp_path, names, problem):
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive, warnings.catch_warnings(action="ignore"):
            for name in names:
                with archive.open(name, "w") as member:
                    np.lib.format.write_array(member, np.eye(2))
        with pytest.raises(FormatError, match=problem):
            _loaded(format, ((tmp_path / "x.npz").read_bytes(), None), tmp_path)

    def test_a_changed_number_is_noticed(self, format, tmp_path):
        data = bytearray(_dumped(format, {"a": np.zeros(1000)}, tmp_path)[0])
        data[4000] ^= 1
        with pytest.raises(FormatError, match="CRC"):
            _loaded(format, (bytes(data), None), tmp_path)


class Model:
    def __init__(self, weights):
        self.weights = weights


class TestJoblib(FormatTests):
    values = {
        "none": None,
        "tuple": (1, {2, 3}, b"4"),
        "array": np.arange(12.0).reshape(3, 4),
        "nested": {"a": [np.eye(2), np.array(["a", None], object)]},
        "large": np.arange(2_000_000),
        "strided": np.arange(20)[::3],
    }
    refused = {
        "lambda": Refused(lambda x: x, "joblib cannot store a function.*TaskCache"),
        "generator": Refused((i for i in range(3)), "generator"),
        "memoryview": Refused(memoryview(b"1"), "memoryview"),
    }

    @pytest.fixture
    def format(self):
        return registry.format_of("joblib")

    def equal(self, saved, loaded):
        np.testing.assert_equal(loaded, saved)
        return type(saved) is type(loaded)

    def test_a_pipeline_of_scikit_learn(self, format, tmp_path):
        x, y = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50.0)
        model = make_pipeline(FunctionTransformer(np.abs), StandardScaler(), LinearRegression()).fit(x, y)
        loaded = _loaded(format, _dumped(format, model, tmp_path), tmp_path)
        np.testing.assert_array_equal(model.predict(x), loaded.predict(x))

    def test_joblib_reads_it_and_we_what_joblib_wrote(self, format, tmp_path):
        value = {"a": np.eye(3)}
        self.equal(value, joblib.load(io.BytesIO(_dumped(format, value, tmp_path)[0])))
        for compress in (0, 3, ("xz", 2)):
            joblib.dump(value, tmp_path / "x", compress=compress)
            assert self.equal(value, _loaded(format, ((tmp_path / "x").read_bytes(), None), tmp_path))

    def test_equal_models_have_equal_bytes(self, format, tmp_path):
        x, y = np.arange(30.0).reshape(10, 3), np.arange(10.0)
        assert len({_dumped(format, LinearRegression().fit(x, y), tmp_path)[0] for _ in range(2)}) == 1

    def test_a_large_array_is_written_in_pieces(self, format):
        class Pieces(io.RawIOBase):
            sizes = []

            def write(self, data):
                self.sizes.append(memoryview(data).nbytes)
                return self.sizes[-1]

            def tell(self):
                return sum(self.sizes)

        format.dump({"a": np.zeros(10_000_000)}, Pieces())
        assert sum(Pieces.sizes) > 80_000_000 and max(Pieces.sizes) <= 16 << 20

    def test_class_and_lambda_of_main_come_back_in_another_process(self, format, tmp_path, python):
        python(
            """
            import sys
            import numpy as np
            from d6tstore import registry
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import FunctionTransformer
            class Kept:
                def __init__(self, a): self.a = a
                def twice(self): return self.a * self.double(2)
                double = staticmethod(lambda n: n)
            first = Kept(np.arange(3))
            steps = make_pipeline(FunctionTransformer(lambda x: x + 1))
            value = {"models": [first, Kept(first)], "class": Kept, "steps": steps}
            with open(sys.argv[1], "wb") as file:
                registry.format_of("joblib").dump(value, file)
            """,
            str(tmp_path / "x"),
        )
        with open(tmp_path / "x", "rb") as file:
            loaded = format.load(file)
        assert loaded["models"][0].twice().tolist() == [0, 2, 4]
        assert loaded["models"][1].a is loaded["models"][0]
        assert type(loaded["models"][0]) is loaded["class"]
        assert loaded["steps"].fit_transform(np.array([[1]])).tolist() == [[2]]

    def test_what_is_not_installed_is_named(self, format, tmp_path):
        data = _dumped(format, Model(1), tmp_path)[0].replace(__name__.encode(), b"x" * len(__name__))
        with pytest.raises(FormatError, match="needs what is not here: .*xxx.*Install"):
            _loaded(format, (data, None), tmp_path)
