"""Find inputs whose values decide how much a file computes, through arithmetic, and leave others alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleetfront.profilers.steering import steering_inputs

onnx = pytest.importorskip("onnx")


def file_of(path: Path, nodes: list[Any], inputs: dict[str, tuple[str, list[int]]]) -> Path:
    """An ONNX file of ``nodes``; inputs by name with element type and shape."""
    ports = [
        onnx.helper.make_tensor_value_info(name, getattr(onnx.TensorProto, dtype), shape)
        for name, (dtype, shape) in inputs.items()
    ]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    table = onnx.numpy_helper.from_array(np.ones((9, 4), np.float32), "table")
    graph = onnx.helper.make_graph(nodes, "g", ports, [output], [table])
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    return path


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def test_sizes_are_followed_through_arithmetic(tmp_path: Path) -> None:
    nodes = [
        node("Cast", "n", "m", to=7),
        node("Add", "m m", "twice"),
        node("Concat", "twice twice", "shape", axis=0),
        node("Expand", "x shape", "y"),
    ]
    path = file_of(tmp_path / "m.onnx", nodes, {"x": ("FLOAT", [1, 1]), "n": ("INT32", [1])})
    assert steering_inputs(path) == {"n"}


def test_words_and_shapes_decide_nothing(tmp_path: Path) -> None:
    nodes = [
        node("Gather", "table ids", "found"),
        node("Shape", "ids", "size"),
        node("Concat", "size size", "shape", axis=0),
        node("Reshape", "found shape", "y"),
    ]
    path = file_of(tmp_path / "m.onnx", nodes, {"ids": ("INT64", [1])})
    assert steering_inputs(path) == frozenset()


def test_conditions_inside_bodies_count(tmp_path: Path) -> None:
    out = [onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None)]
    inner = onnx.helper.make_graph([node("Tile", "x r", "z")], "inner", [], out)
    other = onnx.helper.make_graph([node("Identity", "x", "z")], "other", [], out)
    nodes = [node("If", "is_long", "y", then_branch=inner, else_branch=other)]
    inputs = {"x": ("FLOAT", [4]), "r": ("INT64", [1]), "is_long": ("BOOL", [])}
    assert steering_inputs(file_of(tmp_path / "m.onnx", nodes, inputs)) == {"r", "is_long"}


@pytest.mark.parametrize(("name", "data"), [("m.ort", b"ORTM"), ("m.onnx", b"\xff" * 40), ("m.tflite", b"TFL3" * 9)])
def test_what_nothing_reads_tells_nothing(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert steering_inputs(tmp_path / name) is None
