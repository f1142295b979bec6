"""See what the TFLite writer puts into a file. That it computes right is in test_writers."""

import json

import numpy as np
import pytest

from fleetfront.deploy.proof import prove
from fleetfront.deploy.writers.tflite.flatbuffer import LABELS
from fleetfront.deploy.writers.tflite.writer import minimum_runtime, write_tflite
from fleetfront.errors import InputError
from fleetfront.graphs.batch import with_batch
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.runtimes.catalogue import load_runtime
from tests.deploy.writers.tflite.reading import read_metadata


class Builder(GraphBuilder):
    def conv(self, x: str, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> str:
        shape = (out, int(self.shape(x)[1]) // groups, kernel, kernel)
        weight = self.weight(f"w{len(self._weights)}", np.full(shape, 0.1, dtype=np.float32))
        bias = self.weight(f"b{len(self._weights)}", np.linspace(-1, 1, out, dtype=np.float32))
        return self.conv2d(x, weight, bias, stride=stride, padding=kernel // 2, groups=groups)


def mobilenet_block(stride: int = 1, classes: int = 0) -> Graph:
    """An inverted residual with hard-swish, squeeze-and-excitation, and perhaps the head of a network."""
    b = Builder("block")
    x = b.input("image", (1, 8, 14, 14), layout="NCHW")
    y = b.add("hard_swish", [b.conv(x, 24)])
    y = b.add("relu", [b.conv(y, 24, 5, stride, groups=24)])
    gate = b.add("relu", [b.conv(b.add("global_average_pool", [y]), 8)])
    y = b.add("multiply", [y, b.add("hard_sigmoid", [b.conv(gate, 24)])])
    y = b.conv(y, 8)
    y = b.add("add", [y, x]) if stride == 1 else y
    if classes:
        y = b.add("flatten", [b.add("global_average_pool", [y])])
        y = b.add("linear", [y, b.weight("classifier", np.eye(classes, 8, dtype=np.float32))], "logits")
    return b.build([y], {"space": "tests", "arch": "k5"})


def operators(data: bytes) -> list[str]:
    from ai_edge_litert import schema_py_generated as schema

    kinds = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    model = schema.Model.GetRootAs(data)
    graph = model.Subgraphs(0)
    codes = [model.OperatorCodes(graph.Operators(i).OpcodeIndex()) for i in range(graph.OperatorsLength())]
    return [kinds[code.BuiltinCode()] for code in codes]


def test_a_mobilenet_block_becomes_the_operators_that_converters_write() -> None:
    gate = ["MEAN", "CONV_2D", "CONV_2D", "ADD", "MUL"]
    assert operators(write_tflite(mobilenet_block())) == [
        "CONV_2D", "HARD_SWISH", "DEPTHWISE_CONV_2D", *gate, "MUL", "CONV_2D", "ADD",
    ]  # fmt: skip
    assert operators(write_tflite(mobilenet_block(stride=2))) == [
        "CONV_2D", "HARD_SWISH", "PAD", "DEPTHWISE_CONV_2D", *gate, "MUL", "CONV_2D",
    ]  # fmt: skip


def test_flattening_a_pooled_image_moves_nothing_but_flattening_an_image_does() -> None:
    pooled = operators(write_tflite(mobilenet_block(classes=3)))
    assert pooled[-3:] == ["MEAN", "RESHAPE", "FULLY_CONNECTED"]
    b = Builder("g")
    image = b.build([b.add("flatten", [b.input("x", (1, 3, 4, 4), layout="NCHW")])])
    assert operators(write_tflite(image)) == ["TRANSPOSE", "RESHAPE"]


def test_images_are_channels_last_and_names_are_those_of_the_graph() -> None:
    session = load_runtime("litert").open(write_tflite(mobilenet_block(classes=3)))
    assert [(p.name, p.shape, p.dtype) for p in session.inputs] == [("image", (1, 14, 14, 8), "float32")]
    assert [(p.name, p.shape, p.dtype) for p in session.outputs] == [("logits", (1, 3), "float32")]


def test_the_signature_is_serving_default() -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=write_tflite(mobilenet_block(classes=3)))
    signatures = interpreter.get_signature_list()
    assert signatures == {"serving_default": {"inputs": ["image"], "outputs": ["logits"]}}
    run = interpreter.get_signature_runner("serving_default")
    assert run(image=np.zeros((1, 14, 14, 8), np.float32))["logits"].shape == (1, 3)


def test_xnnpack_takes_the_whole_block() -> None:
    from ai_edge_litert.interpreter import Interpreter

    for stride in (1, 2):
        interpreter = Interpreter(model_content=write_tflite(mobilenet_block(stride)))
        interpreter.allocate_tensors()
        plan = [step["op_name"] for step in interpreter._get_ops_details()]
        # The delegate replaces what it takes by one node after the original ones.
        assert plan.count("DELEGATE") == 1
        assert plan[-1] == "DELEGATE"


def test_constants_are_aligned() -> None:
    from ai_edge_litert import schema_py_generated as schema

    data = write_tflite(mobilenet_block())
    model = schema.Model.GetRootAs(data)
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    offsets = [b._tab.Vector(b._tab.Offset(4)) for b in buffers if b.DataLength()]
    assert len(offsets) > 8
    assert all(offset % 16 == 0 for offset in offsets)


def test_metadata_holds_the_labels_and_the_oldest_runtime() -> None:
    data = write_tflite(mobilenet_block())
    assert json.loads(read_metadata(data)[LABELS]) == {"space": "tests", "arch": "k5"}
    assert minimum_runtime(data) == "tflite 1.15.0"
    b = Builder("g")
    grouped = write_tflite(b.build([b.conv(b.input("x", (1, 4, 3, 3), layout="NCHW"), 4, groups=2)]))
    assert minimum_runtime(grouped) == "tflite 2.9.0"
    with pytest.raises(InputError, match="not a TFLite file"):
        minimum_runtime(b"something else")


def test_tensor_names_are_unique() -> None:
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.Model.GetRootAs(write_tflite(mobilenet_block())).Subgraphs(0)
    names = [graph.Tensors(i).Name() for i in range(graph.TensorsLength())]
    assert len(set(names)) == len(names)


def test_a_symbolic_batch_is_resized() -> None:
    graph = with_batch(mobilenet_block(classes=3), "batch")
    feeds = [{"image": np.random.default_rng(n).normal(size=(n, 8, 14, 14)).astype(np.float32)} for n in (3, 1, 5)]
    for runtime_feeds in feeds:
        assert prove(graph, write_tflite(graph), "litert", [runtime_feeds]).passed
    session = load_runtime("litert").open(write_tflite(graph))
    assert session.inputs[0].shape == ("?", 14, 14, 8)
    assert session.run({"image": np.zeros((4, 14, 14, 8), np.float32)})["logits"].shape == (4, 3)


def test_operators_that_reach_no_output_are_left_out() -> None:
    # LiteRT 2.3 gives garbage for exactly this graph if the unread convolution is in the file.
    b = Builder("g")
    first = b.conv(b.input("x", (1, 2, 5, 5), layout="NCHW"), 1)
    b.conv(first, 1)
    y = b.add("max_pool2d", [b.add("relu", [first])], kernel=(1, 1), stride=(1, 1), padding=(0, 0, 0, 0))
    graph = b.build([y])
    assert operators(write_tflite(graph)) == ["CONV_2D", "MAX_POOL_2D"]
    # Large, so that something is left of them behind the ReLU.
    feeds = [{"x": np.random.default_rng(seed).normal(0, 100, (1, 2, 5, 5)).astype(np.float32)} for seed in range(3)]
    assert prove(graph, write_tflite(graph), "litert", feeds).passed


def test_computed_convolution_weights_are_refused() -> None:
    b = Builder("g")
    x = b.input("x", (1, 4, 3, 3), layout="NCHW")
    weight = b.input("w", (2, 4, 1, 1))
    with pytest.raises(InputError, match="computes its operand 'w'"):
        write_tflite(b.build([b.conv2d(x, weight)]))


def test_two_unknown_dimensions_cannot_be_reshaped() -> None:
    b = Builder("g")
    x = b.input("x", ("batch", "time", 4))
    with pytest.raises(InputError, match="two unknown dimensions"):
        write_tflite(b.build([b.add("reshape", [x], shape=("batch", "time", 2, 2))]))
