"""Models: ONNX, PyTorch, Keras."""

import os
import zipfile

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

from d6tstore import registry
from d6tstore.errors import FormatError
from d6tstore.testing import FormatTests, Refused
from d6tstore.testing.formats import _dumped, _loaded

onnx = pytest.importorskip("onnx")
WHERE = "{} is too large for the test environment. To run this: scripts/env --group models"


def linear(n=3, **options):
    from onnx import helper, numpy_helper

    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, n]) for name in "xy")
    weights = numpy_helper.from_array(np.arange(n * n, dtype="f4").reshape(n, n), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "linear", [x], [y], [weights])
    return helper.make_model(graph, producer_name="ünï", **options)


def external(where):
    model = linear()
    graph = model.graph
    if where == "branch":
        node = graph.node.add(op_type="If")
        attribute = node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
        graph = attribute.g
        graph.initializer.add(name="w", data_type=1, dims=[1])
    tensor = graph.initializer[0]
    if where == "constant":
        attribute = graph.node.add(op_type="Constant").attribute.add(name="value", type=onnx.AttributeProto.TENSOR)
        tensor = attribute.t
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return model


class TestOnnx(FormatTests):
    values = {"linear": linear(), "large": linear(1500), "with metadata": linear(ir_version=8)}
    refused = {
        "path": Refused("model.onnx", r"a str is no onnx.ModelProto.*onnx.load\(path\)"),
        "graph": Refused(linear().graph, "a GraphProto is no"),
        "bytes": Refused(linear().SerializeToString(), "a bytes is no"),
        "empty": Refused(onnx.ModelProto(), "no graph.*make_model"),
        **{where: Refused(external(where), "weights in other files.*TaskFolder") for where in
           ("initializer", "branch", "constant")},
    }  # fmt: skip

    @pytest.fixture
    def format(self):
        return registry.format_of("onnx")

    def equal(self, saved, loaded):
        return saved.SerializeToString(deterministic=True) == loaded.SerializeToString(deterministic=True)

    def test_others_read_it(self, format, tmp_path):
        (tmp_path / "m.onnx").write_bytes(_dumped(format, linear(), tmp_path)[0])
        onnx.checker.check_model(tmp_path / "m.onnx")

    def test_foreign_bytes(self, format, tmp_path):
        for data in (b"", b"\x08\x07", b"no model at all"):
            with pytest.raises(FormatError, match="no ONNX model.*Run the task"):
                _loaded(format, (data, None), tmp_path)


class TestTorch(FormatTests):
    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch", reason=WHERE.format("torch"))

    @pytest.fixture
    def format(self, torch):
        return registry.format_of("torch")

    def back(self, format, value, folder):
        return _loaded(format, _dumped(format, value, folder), folder)

    def test_tensors_come_back(self, torch, format, tmp_path):
        value = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16), "n": [1, "a", None]}
        loaded = self.back(format, value, tmp_path)
        assert torch.equal(value["w"], loaded["w"]) and loaded["b"].dtype == torch.bfloat16
        assert loaded["n"] == [1, "a", None]

    def test_state_dict_loads_without_running_code(self, torch, format, tmp_path, monkeypatch):
        value = torch.nn.Linear(3, 2).state_dict()
        data = _dumped(format, value, tmp_path)
        load, asked = torch.load, []
        monkeypatch.setattr(torch, "load", lambda *a, **k: asked.append(k["weights_only"]) or load(*a, **k))
        loaded = _loaded(format, data, tmp_path)
        assert asked == [True]
        assert list(loaded) == list(value) and all(torch.equal(value[k], loaded[k]) for k in value)

    def test_modules_come_back(self, torch, format, tmp_path):
        x, model = torch.ones(4, 3), torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
        assert torch.equal(model(x), self.back(format, model, tmp_path)(x))

    def test_equal_tensors_have_equal_bytes(self, torch, format, tmp_path):
        one, other = (_dumped(format, {"w": torch.ones(9)}, tmp_path)[0] for _ in range(2))
        assert one == other

    def test_a_store_keeps_it(self, torch, any_store):
        import d6tstore

        class Weights(d6tstore.tasks.TaskPyTorch):
            def run(self):
                self.save({"w": torch.zeros(2_000_000)})

        any_store.run(Weights())
        assert torch.equal(Weights().output().load(verify=True)["w"], torch.zeros(2_000_000))

    def test_refusals(self, torch, format, tmp_path):
        import threading

        for value in (threading.Lock(), (i for i in range(3))):
            with pytest.raises(FormatError, match=r"torch.save cannot store.*state_dict\(\)"):
                _dumped(format, value, tmp_path)

    def test_damage(self, torch, format, tmp_path):
        data = _dumped(format, {"w": torch.ones(1000)}, tmp_path)[0]
        for wrong in (b"", b"text", data[:100], data[:-30], data[: len(data) // 2]):
            with pytest.raises(FormatError, match="Run the task again"):
                _loaded(format, (wrong, None), tmp_path)

    def test_class_of_main_comes_back_in_another_process(self, torch, format, tmp_path, python):
        python(
            """
            import sys, torch
            from d6tstore import registry
            class Net(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layer = torch.nn.Linear(1, 1)
                def forward(self, x): return x * 3
            with open(sys.argv[1], "wb") as file:
                registry.format_of("torch").dump(Net(), file)
            """,
            str(tmp_path / "x"),
        )
        with open(tmp_path / "x", "rb") as file:
            assert format.load(file)(torch.tensor(2)) == 6


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Keras and jax about numpy
class TestKeras(FormatTests):
    @pytest.fixture(autouse=True)
    def keras(self):
        return pytest.importorskip("keras", reason=WHERE.format("keras"))

    @pytest.fixture
    def format(self, keras):
        return registry.format_of("keras")

    @pytest.fixture
    def model(self, keras):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="relu"), keras.layers.Dense(1)])
        model.compile(optimizer="adam", loss="mse")
        model.fit(np.ones((4, 3)), np.ones(4), verbose=0)
        return model

    def test_model_comes_back(self, format, model, tmp_path):
        x = np.arange(6.0).reshape(2, 3)
        loaded = _loaded(format, _dumped(format, model, tmp_path), tmp_path)
        np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))
        assert [(type(each), each.name) for each in loaded.layers] == [(type(e), e.name) for e in model.layers]
        assert loaded.optimizer.iterations == model.optimizer.iterations == 1
        loaded.fit(x, np.ones(2), verbose=0)

    def test_a_store_keeps_it(self, model, any_store):
        import d6tstore

        class Net(d6tstore.tasks.TaskKeras):
            def run(self):
                self.save(model)

        any_store.run(Net())
        loaded = Net().output().load(verify=True)
        assert [w.tolist() for w in loaded.get_weights()] == [w.tolist() for w in model.get_weights()]
        assert [e.key for e in any_store.repository.default.list() if "tmp" in e.key] == []

    def test_equal_models_have_equal_bytes(self, format, model, tmp_path):
        (tmp_path / "b").mkdir()
        one, other = _dumped(format, model, tmp_path)[0], _dumped(format, model, tmp_path / "b")[0]
        assert one == other
        with zipfile.ZipFile(tmp_path / "dumped.keras") as archive:
            assert {i.date_time[0] for i in archive.infolist()} == {1980}
        assert sorted(p.name for p in tmp_path.iterdir() if "keras" in p.name) == ["dumped.keras"]

    def test_registered_classes_and_functions_come_back(self, keras, format, tmp_path):
        @keras.saving.register_keras_serializable()
        class Twice(keras.layers.Layer):
            def call(self, x):
                return x * 2

        @keras.saving.register_keras_serializable()
        def loss(a, b):
            return a - b

        model = keras.Sequential([keras.Input((1,)), Twice()])
        for each in (loss, keras.losses.mean_squared_error, keras.losses.Huber(), "mse"):
            model.compile(loss=each, metrics=["mae"])
            loaded = _loaded(format, _dumped(format, model, tmp_path), tmp_path)
            assert loaded(np.ones((1, 1))) == 2

    def test_equal_models_have_equal_bytes_in_every_process(self, format, tmp_path, python):
        script = """
            import sys, warnings
            from pathlib import Path
            warnings.simplefilter("ignore")
            kept = [bytearray(int(n)) for n in sys.argv[2:]]  # other addresses in memory
            import keras
            from d6tstore import registry
            keras.utils.set_random_seed(1)
            model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5)])
            registry.format_of("keras").dump_path(model, Path(sys.argv[1]))
            """
        python(script, str(tmp_path / "a"))
        python(script, str(tmp_path / "b"), "1000", "100000", "9999999")
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_refusals(self, keras, format, model, tmp_path):
        class Mine(keras.layers.Layer):
            pass

        def double(x):
            return x * 2

        def of(layer):
            return keras.Sequential([keras.Input((3,)), layer])

        for value, match in [
            (of(keras.layers.Lambda(lambda x: x * 2)), "holds a lambda.*register_keras_serializable"),
            (of(keras.layers.Lambda(double)), "holds 'double', which is not registered.*register_keras_serializable"),
            (of(Mine()), "holds 'Mine', which is not registered"),
            (model.get_weights(), r"a list is no keras.Model.*TaskNpz"),
            ("model.keras", "a str is no keras.Model"),
            (keras.layers.Dense(2), "a Dense is no keras.Model"),
        ]:
            with pytest.raises(FormatError, match=match):
                _dumped(format, value, tmp_path)
        assert [p.name for p in tmp_path.iterdir() if p.name.endswith("keras.keras")] == []

    def test_damage(self, format, model, tmp_path):
        data = _dumped(format, model, tmp_path)[0]
        for wrong in (b"", b"text", data[:100], data[:-30], data[: len(data) // 2]):
            with pytest.raises(FormatError, match="Run the task|run the task"):
                _loaded(format, (wrong, None), tmp_path)


def test_a_version_of_a_class_of_its_own_is_text_in_the_record(monkeypatch, store):
    """`torch.__version__` is such a one: no task ran in a process that had imported torch."""
    import sys
    import types

    import d6tstore
    from d6tstore import project

    class One(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(1)

    module = types.ModuleType("torch")
    module.__version__ = type("TorchVersion", (str,), {})("2.15")
    monkeypatch.setitem(sys.modules, "torch", module)
    project._versions.cache_clear()
    store.run(One())
    assert store.history(One())[0].versions["torch"] == "2.15"
    project._versions.cache_clear()
