"""Inspect files and modules: figures, operators that are not known, and who refuses what."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from fleetfront.errors import InputError
from fleetfront.pipelines.inspect import inspect


def onnx_file(path: Path, nodes: list[NodeProto], shape: list[int | str], weights: dict[str, np.ndarray]) -> Path:
    """Nodes from ``x`` to ``y``."""
    graph: GraphProto = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def test_an_int8_file_of_others(shared_data: Path) -> None:
    found = inspect(shared_data / "model_files" / "vww_96_int8.tflite")
    assert found.precision == "int8"
    # MLPerf Tiny's person detector: MobileNetV1 0.25 at 96 pixels.
    assert found.macs == pytest.approx(7.49e6, rel=0.001)
    assert found.parameters == pytest.approx(0.211e6, rel=0.001)
    assert {kind.name: kind.operators for kind in found.kinds} == {
        "CONV_2D": 14,
        "DEPTHWISE_CONV_2D": 13,
        "FULLY_CONNECTED": 1,
        "AVERAGE_POOL_2D": 1,
        "SOFTMAX": 1,
        "RESHAPE": 1,
    }
    assert [port.name for port in found.open_inputs] == ["input_1_int8"]
    assert not found.not_taken
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["inputs"] == [{"name": "input_1_int8", "shape": [1, 96, 96, 3], "dtype": "int8"}]
    assert sum(row["macs"] for row in plain["operators"]) == plain["macs"] == sum(k["macs"] for k in plain["kinds"])


def test_an_operator_from_elsewhere_is_named_and_refused_by_runtimes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Fancy", ["a"], ["b"], domain="com.example"),
        helper.make_node("Sigmoid", ["b"], ["y"]),
    ]
    found = inspect(onnx_file(tmp_path / "m.onnx", nodes, [1, 4], {}))
    assert [cost.is_known for cost in found.costs] == [True, False, False]
    assert any("com.example.Fancy" in note and "not counted" in note for note in found.notes)
    refused = {one.engine: (dict(one.operators), one.leaves) for one in found.not_taken}
    assert refused["ONNX Runtime"] == refused["TensorRT"] == ({"com.example.Fancy": 1}, "")
    assert found.to_json()["unknown_operators"] == 2


def test_a_branch_is_said_to_be_unknown(tmp_path: Path) -> None:
    def branch(name: str, kind: str) -> GraphProto:
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(kind, ["x"], [name])], name, [], [out])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["is"]),
        helper.make_node("If", ["is"], ["y"], then_branch=branch("t", "Relu"), else_branch=branch("e", "Abs")),
    ]
    found = inspect(onnx_file(tmp_path / "m.onnx", nodes, [1, 4], {"zero": np.array(0, np.float32)}))
    assert any(note.startswith("If: which branch is taken") for note in found.notes)


def test_wide_floats_are_said_whatever_the_weights_are(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Exp", ["wide"], ["more"]),
        helper.make_node("Cast", ["more"], ["y"], to=TensorProto.FLOAT),
    ]
    found = inspect(onnx_file(tmp_path / "m.onnx", nodes, [1, 4], {}))
    assert found.precision == "fp32"
    assert any(note.startswith("2 operators give float64") for note in found.notes)


def test_open_sizes_are_bound_or_asked_for(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)]
    weights = {"w": np.zeros((8, 3, 3, 3), np.float32)}
    path = onnx_file(tmp_path / "m.onnx", nodes, ["n", 3, "height", "width"], weights)
    with pytest.raises(InputError) as caught:
        inspect(path)
    assert "--shape x=" in caught.value.remedy
    found = inspect(path, shapes={"x": (2, 3, 32, 16)})
    assert found.macs == 2 * 8 * 32 * 16 * 27
    assert [str(port) for port in found.open_inputs] == ["x float32[n, 3, height, width]"]


def test_sizes_that_a_network_works_out_are_known(tmp_path: Path) -> None:
    """Shape, Gather and Concat, as exporters spell a view."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "axes"], ["one"]),
        helper.make_node("Concat", ["one", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    weights = {
        "zero": np.array(0, np.int64),
        "axes": np.array([0], np.int64),
        "rest": np.array([-1], np.int64),
        "w": np.zeros((12, 5), np.float32),
    }
    found = inspect(onnx_file(tmp_path / "m.onnx", nodes, ["batch", 3, 4], weights), shapes={"x": (7, 3, 4)})
    assert [kind.name for kind in found.kinds] == ["MatMul", "Reshape"]
    assert found.macs == 7 * 12 * 5
    assert found.to_json()["outputs"] == [{"name": "y", "shape": [7, 5], "dtype": "float32"}]


def test_what_a_file_says_of_its_outputs_is_not_believed(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    path = onnx_file(tmp_path / "m.onnx", nodes, ["n", 6], {"shape": np.array([-1, 3], np.int64)})
    model = ModelProto.FromString(path.read_bytes())
    for size in (1, 6):
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = size
    path.write_bytes(model.SerializeToString())
    found = inspect(path, shapes={"x": (5, 6)})
    assert found.to_json()["outputs"] == [{"name": "y", "shape": [10, 3], "dtype": "float32"}]
    assert all(cost.is_known for cost in found.costs)


def test_a_module_leaves_no_trace() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout())
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    found = inspect(module, torch.zeros(1, 3, 10, 10))
    assert found.macs == 8 * 8 * 8 * 27
    assert found.path is None
    assert found.to_json()["file"] is None
    assert module.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_a_module_that_branches_on_numbers_is_refused() -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.relu() if x.sum() > 0 else x.abs()

    with pytest.raises(InputError, match="branches, loops or cuts by numbers") as caught:
        inspect(Branching(), torch.zeros(1, 4))
    assert "torch.jit.trace(module, input)" in caught.value.remedy
    with pytest.raises(InputError, match="does not run on that input"):
        inspect(nn.Linear(3, 4), torch.zeros(1, 4))
