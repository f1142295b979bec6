"""Resizing is named alike, whichever reader found it: costs of operators are looked up by the name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fleetfront.deploy.writers.tflite.flatbuffer import pack_model, unpack_model
from fleetfront.graphs.readers.file import read_graph

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("word", "mode"),
    [("nearest", "nearest"), ("nearest-exact", "nearest"), ("bilinear", "linear"), ("bicubic", "cubic")],
)
def test_torch_says_what_onnx_says(word: str, mode: str) -> None:
    from fleetfront.graphs.readers.torch import read_module

    graph = read_module(torch.nn.Upsample(scale_factor=2, mode=word), torch.empty(1, 3, 8, 8))
    assert [(one.family, one.attributes["mode"]) for one in graph.operators] == [("resize", mode)]


def test_tflite_says_what_onnx_says(shared_data: Path, tmp_path: Path) -> None:
    """A file of one bilinear resize, whose size becomes a constant."""
    model = unpack_model((shared_data / "cases/tflite/f_resize_size_input.tflite").read_bytes())
    (inside,) = model.subgraphs
    place = inside.operators[0].inputs[1]
    model.buffers[inside.tensors[place].buffer].data = list(np.array([16, 16], np.int32).tobytes())
    inside.inputs = [one for one in inside.inputs if one != place]
    resized = inside.tensors[inside.operators[0].outputs[0]]
    resized.shape, resized.shapeSignature = [1, 16, 16, 3], None
    path = tmp_path / "resize.tflite"
    path.write_bytes(pack_model(model))
    graph = read_graph(path)
    assert [one.attributes["mode"] for one in graph.operators if one.family == "resize"] == ["linear"]
