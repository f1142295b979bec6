"""Files whose weights alone are narrow: what they hold, compute, are called, and are refused for."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fleetfront.datasets import Preprocessing
from fleetfront.deploy.contract import PREFIX, InputContract, contracted
from fleetfront.deploy.formats import ALL_FORMATS, FORMATS, FileFormat
from fleetfront.deploy.layout_lint import lint_layout
from fleetfront.deploy.quantise.rounding import misrounded
from fleetfront.deploy.quantise.weights_alone import narrow_onnx_weights
from fleetfront.deploy.writers.tflite.flatbuffer import operator_versions, pack_model, unpack_model
from fleetfront.deploy.writers.tflite.metadata import FileDescription, describe_file
from fleetfront.errors import InputError
from fleetfront.graphs.graph import GraphBuilder
from fleetfront.profilers.file_facts import file_precision
from fleetfront.runtimes.catalogue import load_runtime
from tests.deploy.quantise.test_precisions import images, network, outputs

EACH = pytest.mark.parametrize("kind", FORMATS.values(), ids=FORMATS)
BITS = pytest.mark.parametrize("bits", [8, 4])


@EACH
@BITS
def test_weights_are_rounded_and_the_file_computes_nearly_the_same(kind: FileFormat, bits: int, tmp_path: Path) -> None:
    full = kind.write(network())
    narrow = kind.weights_alone(full, bits)
    assert narrow == kind.weights_alone(full, bits)
    assert len(narrow) < 0.5 * len(full)
    fed = images(3, kind.layout)
    want, got = outputs(full, kind, fed), outputs(narrow, kind, fed)
    # 15 steps are seen on these ten logits of a hundred weights each.
    assert 0 < np.abs(want - got).max() < (0.05 if bits == 8 else 0.25) * np.ptp(want)
    before, after = kind.weights(full), kind.weights(narrow)
    assert {name for name, weight in before.items() if weight.values.ndim >= 2} <= set(after)
    assert misrounded(before, after) == []
    layout = lint_layout(narrow, kind.name, f"w{bits}", InputContract())
    # The network has depthwise kernels of 7.
    left = ("DEPTHWISE_CONV_2D",) if kind.name == "tflite" else ("MatMulNBits",) if bits == 4 else ()
    assert (layout.undelegated, layout.float_weights) == (left, ())
    widened = outputs(kind.with_weights(full, after), kind, fed)
    assert np.abs(widened - got).max() < (0.15 if left else 1e-5) * np.ptp(want)
    path = tmp_path / f"network.{kind.name}"
    path.write_bytes(narrow)
    assert file_precision(path) == f"w{bits}"
    assert file_precision(path, "int8") == "int8"
    with pytest.raises(InputError, match="not fp16"):
        file_precision(path, "fp16")


@BITS
def test_a_weight_that_was_not_rounded_but_changed_is_named(bits: int) -> None:
    full = FORMATS["onnx"].write(network())
    model = onnx.load_from_string(FORMATS["onnx"].weights_alone(full, bits))
    changed = next(one for one in model.graph.initializer if one.name.endswith("/rows" if bits == 4 else "weight"))
    array = numpy_helper.to_array(changed).copy()
    array.flat[3] ^= 0x40
    changed.CopyFrom(numpy_helper.from_array(array, changed.name))
    weights = FORMATS["onnx"].weights
    assert misrounded(weights(full), weights(model.SerializeToString())) == [changed.name.removesuffix("/rows")]


def test_a_changed_block_of_tflite_is_named() -> None:
    kind = FORMATS["tflite"]
    full = kind.write(network())
    model = unpack_model(kind.weights_alone(full, 4))
    (packed,) = (tensor for tensor in model.subgraphs[0].tensors if tensor.name == b"head.classifier.weight")
    content = bytearray(model.buffers[packed.buffer].content)
    content[5] ^= 0x44
    model.buffers[packed.buffer].content = bytes(content)
    assert misrounded(kind.weights(full), kind.weights(pack_model(model))) == ["head.classifier.weight"]


@EACH
@BITS
def test_what_scales_inputs_stays_in_float(kind: FileFormat, bits: int) -> None:
    contract = InputContract("uint8", softmax=True)
    preprocessing = Preprocessing(32)
    graph = contracted(network(), contract, kind.layout, preprocessing)
    full = kind.write(graph)
    narrow = kind.weights_alone(full, bits)
    fed = [np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)]
    if kind.layout == "NCHW":
        fed = [image.transpose(0, 3, 1, 2).copy() for image in fed]
    assert np.abs(outputs(full, kind, fed) - outputs(narrow, kind, fed)).max() < 0.2
    if kind.name == "onnx":
        nodes = onnx.load_from_string(narrow).graph.node
        floats = [node for node in nodes if node.name.startswith(PREFIX)]
        assert len(floats) == sum(node.name.startswith(PREFIX) for node in onnx.load_from_string(full).graph.node) > 0


def test_litert_rounds_what_goes_in_only_where_that_is_faster() -> None:
    lite, rng = FORMATS["tflite"], np.random.default_rng(0)
    shapes = {"few": (16, 3, 3, 3), "small": (16, 16, 1, 1), "large": (64, 16, 3, 3), "five": (64, 1, 5, 5)}
    shapes |= {"seven": (64, 1, 7, 7), "wide": (64, 64, 1, 1)}
    builder = GraphBuilder("network")
    data = builder.input("input", (1, 3, 16, 16), layout="NCHW")
    for name, shape in shapes.items():
        weight = builder.weight(name, rng.standard_normal(shape).astype(np.float32))
        groups = shape[0] if shape[1] == 1 else 1
        data = builder.conv2d(data, weight, padding=shape[2] // 2, groups=groups, name=f"{name}.")
    full = lite.write(builder.build([data]))
    narrow = lite.weights_alone(full, 8)
    model = unpack_model(narrow)
    tensors = model.subgraphs[0].tensors
    read = {tensors[one.inputs[1]].name.decode() for one in model.subgraphs[0].operators if len(one.inputs) > 2}
    assert read == {"few_dequant", "small_dequant", "five_dequant", "large", "seven", "wide"}
    assert misrounded(lite.weights(full), lite.weights(narrow)) == []
    assert lint_layout(narrow, "tflite", "w8", InputContract()).undelegated == ("DEPTHWISE_CONV_2D",)


def test_a_file_says_the_oldest_runtime_that_has_its_operators() -> None:
    lite, onnx_kind = FORMATS["tflite"], FORMATS["onnx"]
    full = lite.write(network())
    told = {}
    for bits in (8, 4):
        finished = describe_file(lite.weights_alone(full, bits), FileDescription("network", "narrow"))
        told[bits] = lite.minimum_runtime(finished)
        versions = Counter(dict(operator_versions(unpack_model(finished))))
        # A scale a channel beside float inputs: older runtimes would read the first scale alone.
        assert (versions["CONV_2D"], versions["DEPTHWISE_CONV_2D"]) == (5, 6)
        # Ten classes are too few to round what goes in for, but for int4.
        assert versions["FULLY_CONNECTED"] == (1 if bits == 8 else 14)
        assert versions["DEQUANTIZE"] == 5
    assert told == {8: "tflite 2.7.0", 4: "tflite 2.21.0"}
    data = onnx_kind.write(network())
    assert onnx_kind.minimum_runtime(onnx_kind.weights_alone(data, 8)) == onnx_kind.minimum_runtime(data)
    assert onnx_kind.minimum_runtime(onnx_kind.weights_alone(data, 4)) == "onnxruntime 1.17"


@BITS
def test_products_of_any_spelling_are_right(bits: int) -> None:
    """Widths that are no whole block, weights by rows and by columns, factors, a weight that two operators read."""
    rng = np.random.default_rng(0)
    wide, turned, scaled = (rng.standard_normal(shape).astype(np.float32) for shape in ((40, 24), (24, 40), (40, 24)))
    shared, bias = rng.standard_normal((24, 24)).astype(np.float32), rng.standard_normal(24).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "wide"], ["a"], "a"),
        helper.make_node("Gemm", ["x", "turned", "bias"], ["b"], "b", transB=1),
        helper.make_node("Gemm", ["x", "scaled", "bias"], ["c"], "c", alpha=0.5),
        helper.make_node("Sum", ["a", "b", "c"], ["sum"], "sum"),
        helper.make_node("Gemm", ["sum", "shared"], ["half"], "half", alpha=0.5),
        helper.make_node("MatMul", ["half", "shared"], ["d"], "d"),
        helper.make_node("MatMul", ["d", "shared"], ["e"], "e"),
        helper.make_node("Add", ["e", "shared"], ["y"], "y"),
    ]
    arrays = {"wide": wide, "turned": turned, "scaled": scaled, "shared": shared, "bias": bias}
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [24, 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [24, 24])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
        value_info=[
            helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in arrays.items()
        ],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    narrow = narrow_onnx_weights(data, bits)
    onnx.checker.check_model(onnx.load_from_string(narrow), full_check=True)
    fed = {"x": rng.standard_normal((24, 40)).astype(np.float32)}
    runtime = load_runtime("onnxruntime")
    want, got = (runtime.open(one).run(fed)["y"] for one in (data, narrow))
    assert np.abs(want - got).max() < (0.02 if bits == 8 else 0.2) * np.ptp(want)
    weights = FORMATS["onnx"].weights
    assert misrounded(weights(data), weights(narrow)) == []
    kinds = Counter(node.op_type for node in onnx.load_from_string(narrow).graph.node)
    assert kinds["MatMulNBits"] == (4 if bits == 4 else 0)
    names = Counter(one.name for one in onnx.load_from_string(narrow).graph.initializer)
    assert set(names.values()) == {1}


@BITS
def test_weights_of_recurrent_layers_and_tables_are_narrow(bits: int) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "table": rng.standard_normal((50, 16)).astype(np.float32),
        "fed": rng.standard_normal((2, 32, 16)).astype(np.float32),
        "kept": rng.standard_normal((2, 32, 8)).astype(np.float32),
        "left": rng.standard_normal((8, 8)).astype(np.float32),
        "nought": np.zeros(1, np.int64),
        "all": np.full(1, 2, np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["words"], "words"),
        helper.make_node("Slice", ["fed", "nought", "all", "nought"], ["sorted"], "slice"),
        helper.make_node("LSTM", ["words", "sorted", "kept"], ["y"], "lstm", hidden_size=8, direction="bidirectional"),
        helper.make_node("Mul", ["y", "left"], ["z"], "z"),
    ]
    graph = helper.make_graph(
        nodes,
        "recurrent",
        [helper.make_tensor_value_info("x", TensorProto.INT64, [5, 8])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [5, 2, 8, 8])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    narrow = narrow_onnx_weights(data, bits)
    runtime, weights = load_runtime("onnxruntime"), FORMATS["onnx"].weights
    fed = {"x": rng.integers(0, 50, (5, 8))}
    want, got = (runtime.open(one).run(fed)["z"] for one in (data, narrow))
    assert 0 < np.abs(want - got).max() < 0.05 * np.ptp(want)
    assert misrounded(weights(data), weights(narrow)) == []
    stored = {one.name: one.data_type for one in onnx.load_from_string(narrow).graph.initializer}
    assert {name for name in arrays if stored[name] == TensorProto.INT8} == {"table", "fed", "kept"}
    assert lint_layout(narrow, "onnx", f"w{bits}", InputContract()).float_weights == ("Mul",)


@BITS
@pytest.mark.parametrize("name", ["ort", "trt"])
def test_formats_that_widen_weights_are_refused_with_what_to_do(name: str, bits: int) -> None:
    with pytest.raises(InputError, match=f"w{bits}") as raised:
        ALL_FORMATS[name].weights_alone(b"", bits)
    assert f"w{bits} out of --precisions" in raised.value.remedy
