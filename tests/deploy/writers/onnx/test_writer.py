"""See what the ONNX writer puts into a file. That it computes right is in test_writers."""

import numpy as np
import onnx
import pytest

from fleetfront.deploy.proof import prove
from fleetfront.deploy.writers.onnx.writer import IR_VERSION, OPSET, write_onnx
from fleetfront.errors import InputError
from fleetfront.graphs.batch import with_batch
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.runtimes.catalogue import load_runtime


def small_network() -> Graph:
    b = GraphBuilder("net")
    rng = np.random.default_rng(0)
    x = b.input("image", (1, 3, 8, 8), layout="NCHW")
    weight = b.weight("w", rng.normal(size=(4, 3, 3, 3)).astype(np.float32))
    y = b.add("hard_swish", [b.conv2d(x, weight, stride=2, padding=1)])
    y = b.add("flatten", [b.add("global_average_pool", [y])])
    y = b.add("linear", [y, b.weight("classifier", rng.normal(size=(5, 4)).astype(np.float32))], "logits")
    return b.build([y], {"space": "tests", "arch": "k5"})


def test_operators_names_versions_and_labels() -> None:
    model = onnx.load_from_string(write_onnx(small_network()))
    kinds = [node.op_type for node in model.graph.node]
    assert kinds == ["Conv", "HardSwish", "GlobalAveragePool", "Flatten", "Gemm"]
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["image", "logits"]
    assert (model.ir_version, model.opset_import[0].version) == (IR_VERSION, OPSET)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"space": "tests", "arch": "k5"}


def test_labels_in_another_order_give_the_same_bytes() -> None:
    first, second = GraphBuilder("g"), GraphBuilder("g")
    graphs = [
        builder.build([builder.add("relu", [builder.input("x", (1, 2))])], labels)
        for builder, labels in ((first, {"a": "1", "b": "2"}), (second, {"b": "2", "a": "1"}))
    ]
    assert write_onnx(graphs[0]) == write_onnx(graphs[1])


def test_a_symbolic_batch_stays_symbolic() -> None:
    graph = with_batch(small_network(), "batch")
    data = write_onnx(graph)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    session = load_runtime("onnxruntime").open(data)
    assert (session.inputs[0].shape, session.outputs[0].shape) == (("batch", 3, 8, 8), ("batch", 5))
    feeds = {"image": np.random.default_rng(1).normal(size=(3, 3, 8, 8)).astype(np.float32)}
    assert prove(graph, data, "onnxruntime", [feeds]).passed


def test_unknown_dimensions_of_a_reshape_are_copied_or_inferred() -> None:
    b = GraphBuilder("g")
    x = b.input("x", ("batch", "time", 4))
    graph = b.build([b.add("reshape", [x], shape=("batch", "time", 2, 2))])
    feeds = {"x": np.arange(24, dtype=np.float32).reshape(2, 3, 4)}
    result = load_runtime("onnxruntime").open(write_onnx(graph)).run(feeds)
    assert np.array_equal(next(iter(result.values())), feeds["x"].reshape(2, 3, 2, 2))
    swapped = GraphBuilder("g")
    y = swapped.add("reshape", [swapped.input("x", ("a", "b"))], shape=("b", "a"))
    with pytest.raises(InputError, match="two unknown dimensions"):
        write_onnx(swapped.build([y]))


def test_computed_weights_are_allowed() -> None:
    b = GraphBuilder("g")
    x, w = b.input("x", (2, 3, 4)), b.input("w", (5, 4))
    graph = b.build([b.add("linear", [x, w])])
    assert prove(graph, write_onnx(graph), "onnxruntime").passed
