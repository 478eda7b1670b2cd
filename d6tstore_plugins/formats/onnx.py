"""Format `onnx`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import onnx
from onnx.external_data_helper import uses_external_data

from d6tstore.errors import FormatError
from d6tstore.format import Format


class OnnxFormat(Format):
    """An ONNX model with its weights inside, up to 2 GB."""

    suffix = ".onnx"

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write a model; equal models have equal bytes."""
        if not isinstance(value, onnx.ModelProto):
            raise FormatError(
                f"a {type(value).__name__} is no onnx.ModelProto. Save onnx.load(path), program.model_proto of "
                "torch.onnx.export, or what skl2onnx returns; for a path use TaskFile."
            )
        if not value.HasField("graph"):
            raise FormatError("the model has no graph. Build it with onnx.helper.make_model(graph).")
        if any(uses_external_data(tensor) for tensor in _tensors(value)):
            raise FormatError(
                "the model has weights in other files, which would be lost. Put them in with onnx.load(path), or "
                "save the folder of the model with TaskFolder."
            )
        try:
            data = value.SerializeToString(deterministic=True)
        except Exception as exc:  # that of protobuf has another class in each of its versions
            raise FormatError(
                f"the model cannot be stored: {exc}. One above 2 GB keeps its weights in other files: use "
                "onnx.save(..., save_as_external_data=True) and save that folder with TaskFolder."
            ) from exc
        file.write(data)

    def load(self, file: BinaryIO) -> onnx.ModelProto:
        """Read a model."""
        try:
            model = onnx.load_model_from_string(file.read())
        except OSError:
            raise
        except Exception as exc:
            raise FormatError(f"these bytes are no ONNX model: {exc}. Run the task again.") from exc
        if not model.HasField("graph"):
            raise FormatError("these bytes are no ONNX model: there is no graph. Run the task again.")
        return model


def _tensors(part: Any) -> Iterator[Any]:
    """All tensors of a model, graph or function."""
    graphs = [part] if hasattr(part, "node") else [part.graph, *part.functions]
    for graph in graphs:
        yield from getattr(graph, "initializer", ())
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                    yield from _tensors(inner)
