"""ONNX files in whole numbers as ONNX Runtime's quantiser writes them: no shape is lost behind its own operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from fleetfront.graphs.readers.file import read_graph
from fleetfront.predictors.operators.kernels import graph_kernels

#: What its own operators are called.
_OWN = "com.microsoft"


def test_shapes_pass_through_operators_with_scales(tmp_path: Path) -> None:
    def node(kind: str, inputs: list[str], output: str, domain: str = _OWN, **attributes: object) -> object:
        return helper.make_node(kind, inputs, [output], domain=domain, **attributes)

    q = ["s", "z"]
    nodes = [
        node("QLinearConv", ["x", *q, "w", *q, *q], "a", domain="", pads=[1] * 4),
        node("QLinearSigmoid", ["a", *q, *q], "b"),
        node("QLinearMul", ["a", *q, "b", *q, *q], "c"),
        node("QLinearConv", ["c", *q, "w", *q, *q], "d", domain="", pads=[1] * 4, strides=[2, 2]),
        node("QLinearAdd", ["d", *q, "d", *q, *q], "e"),
        node("QLinearConcat", [*q, "d", *q, "e", *q], "f", axis=1),
        node("QLinearAveragePool", ["f", *q, *q], "g", kernel_shape=[2, 2], strides=[2, 2]),
        node("QLinearGlobalAveragePool", ["g", *q, *q], "h"),
        node("QLinearSoftmax", ["h", *q, *q], "y", axis=1, opset=17),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.UINT8, s) for n, s in (("x", (1, 8, 16, 16)), ("y", None)))
    arrays = {"w": np.zeros((8, 8, 3, 3), np.uint8), "s": np.float32(1), "z": np.uint8(0)}
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(_OWN, 1)]
    path = tmp_path / "whole.onnx"
    save(helper.make_model(helper.make_graph(nodes, "g", [x], [y], held), opset_imports=opsets, ir_version=9), path)
    graph = read_graph(path)
    assert not [one.origin for one in graph.operators if one.family == "opaque"]
    shapes = [graph.tensors[name].shape for name in "bcdefgh"]
    assert shapes[:3] == [(1, 8, 16, 16), (1, 8, 16, 16), (1, 8, 8, 8)]
    assert shapes[3:] == [(1, 8, 8, 8), (1, 16, 8, 8), (1, 16, 4, 4), (1, 16, 1, 1)]
    # They run on other code than what stands between changes of type.
    kinds = [kernel.kind for kernel in graph_kernels(graph)]
    assert kinds[0] == "conv narrow uint8 qlinear"
    assert all(kind.endswith("uint8 qlinear") for kind in kinds)
