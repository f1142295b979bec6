"""Graphs in half precision from end to end run in ONNX Runtime and agree with float32."""

import numpy as np
import pytest

from fleetfront.deploy.quantise.half_throughout import half_throughout
from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.errors import InputError
from fleetfront.graphs.graph import GraphBuilder
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini


def test_a_block_has_no_conversions_and_computes_the_same() -> None:
    onnx = pytest.importorskip("onnx")
    space = ofa_mbv3_mini()
    graph = space.block_graph(space.vocabulary[3])
    half = half_throughout(graph)
    name = graph.inputs[0]
    assert half.tensors[name].dtype == half.tensors[half.outputs[0]].dtype == "float16"
    data = write_onnx(half)
    assert "Cast" not in {node.op_type for node in onnx.load_from_string(data).graph.node}
    image = np.random.default_rng(0).normal(size=[int(side) for side in graph.tensors[name].shape]).astype(np.float32)
    exact = load_runtime("onnxruntime").open(write_onnx(graph)).run({name: image})[graph.outputs[0]]
    rounded = load_runtime("onnxruntime").open(data).run({name: image.astype(np.float16)})[graph.outputs[0]]
    assert rounded.dtype == np.float16
    np.testing.assert_allclose(rounded, exact, atol=5e-3 * max(1e-6, float(np.abs(exact).max())))


def test_weights_that_do_not_fit_are_named() -> None:
    builder = GraphBuilder("large")
    data = builder.input("x", (1, 2))
    weight = builder.weight("w", np.full((2, 2), 1e6, np.float32))
    graph = builder.build([builder.add("linear", [data, weight], "y")])
    with pytest.raises(InputError, match="'w'"):
        half_throughout(graph)
