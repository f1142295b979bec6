"""Variants of operators are kinds of their own, and attributes that nobody looked at make one that nobody measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fleetfront.deploy.formats import int8_writer_of
from fleetfront.deploy.quantise.precisions import Piece
from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.flatbuffer import TfliteFile
from fleetfront.errors import InputError
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.graphs.operators.base import IMAGE
from fleetfront.graphs.readers.file import read_graph
from fleetfront.predictors.operators.design import DRAWS, FIRST
from fleetfront.predictors.operators.kernels import FEATURES, Kernel, graph_kernels, kernels_on
from fleetfront.predictors.operators.samples import Sample
from fleetfront.targets import Target

LITE = Target("cpu", "litert")


def read(path: Path, *nodes: onnx.NodeProto, opset: int = 17, **inputs: tuple[int, ...]) -> Graph:
    """A file of some nodes, the last of which gives ``y``; arrays that they read are named after their numbers."""
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    constants = [
        numpy_helper.from_array(np.array([int(one) for one in name[1:].split("_")], np.int64), name)
        for node in nodes
        for name in node.input
        if name.startswith("i")
    ]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "one", made, [result], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    (path / "one.onnx").write_bytes(model.SerializeToString())
    return read_graph(path / "one.onnx")


def kinds(graph: Graph) -> list[str]:
    return [kernel.kind for kernel in graph_kernels(graph)]


def sizes(kernel: Kernel, *names: str) -> tuple[float, ...]:
    return tuple(kernel.features[FEATURES.index(name)] for name in names)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("1x4x16x16|softmax", "softmax rows"),
        ("1x32x1x1|softmax:1", "softmax rows"),
        ("1x32x100|softmax:1", "softmax across near"),
        ("1x32x1x100|softmax:1", "softmax across far"),
        ("1x32x10x10|softmax:1", "softmax across far"),
        ("1x64x20x20|reduce:0x2x3", "reduce sum kr"),
        ("1x64x20x20|reduce:0x1", "reduce sum ork"),
        ("4x64x20|reduce:0x0", "reduce sum rk"),
        ("1x32x4096|reduce:0x1", "reduce sum ork crowded"),
        ("1x64x1024|transpose:0x2x1", "transpose 10 crowded"),
        ("1x8x1024|transpose:0x2x1", "transpose 10"),
        ("1x20x64|transpose:2x1x0", "transpose 10 about ones"),
        ("1x1x20x64|transpose:3x0x1x2", "transpose 10"),
        ("1x16x512|reduce:2x1", "reduce max ork"),
        ("1x17x512|reduce:2x1", "reduce max ork crowded"),
        ("2x64x1024|transpose:0x2x1", "transpose 021 crowded"),
        ("1x64x20x20|reduce:1x2", "reduce sum krk"),
        ("2x64x20x20|reduce:2x1", "reduce max krk"),
        ("2x64x20x20|reduce:2x0x2", "reduce max rkrk"),
        ("1x64x20x20|reduce:0x0x1x2x3", "reduce sum r"),
        ("1x20x64|transpose:0x2x1", "transpose 10"),
        ("1x20x64|transpose:1x0x2", "copy"),
        ("1x20x4x16|transpose:0x2x1x3", "transpose runs"),
        ("1x20x4x16|transpose:0x2x3x1", "transpose 10"),
        ("3x20x4x16|transpose:0x2x1x3", "transpose runs"),
        ("4x20x3x2x8|transpose:2x0x3x1x4", "transpose runs"),
        ("1x4x20x16|transpose:0x1x3x2", "transpose 021"),
        ("50x16|gather:7", "gather"),
        ("1x20x64|pick:2x7", "gather elements"),
        ("4x20x64|pick:1x7", "gather blocks"),
        ("1x20x64|slice:1", "slice runs"),
        ("1x20x64|slice:1x2", "slice runs"),
        ("1x20x64|slice:2x2", "slice elements"),
        ("1x20x1x1|expand:1x20x8x8", "expand runs"),
        ("1x1x64|expand:1x20x64", "expand rows"),
        ("1x8x12x12|resize:2x0", "resize nearest"),
        ("1x8x12x12|resize:2x0x1", "resize nearest doubled"),
        ("1x8x12x12|resize:2x2", "resize cubic"),
        ("1x8x12x12|resize:2x1x2", "resize linear antialias"),
        ("1x12x12x8|resize:2x1x3", "resize linear inside"),
        ("1x12x20|resize:2x1x4", "resize linear along"),
        ("1x8x12x12|spread:1x1x1x8x1x1", "arithmetic spread runs"),
        ("1x8x12x12|spread:0x1x1x1x12x12", "arithmetic spread rows"),
        ("1x8x1x1|spread:0x0x1x1x12x12", "arithmetic spread grown"),
        ("1x20x64|spread:2x0x1x20x1", "div spread runs"),
        ("1x12x8x8|finer:2x0", "depthtospace crd"),
        ("1x12x8x8|finer:2x1", "depthtospace dcr"),
        ("1x3x8x8|coarser:2", "spacetodepth"),
        ("1x8x12x12|concat:1", "concat"),
        ("1x8x12x12|concat:3", "concat rows"),
        ("1x8x12x12|split:2", "split rows"),
        ("1x20x64|gelu_tanh", "gelu tanh"),
        ("1x8x12x12|conv_transpose:8x2x2", "transposed conv"),
        ("1x8x12x12|conv_transpose:8x2x2x4", "transposed grouped"),
        ("1x8x12x12|conv_transpose:8x2x2x8", "transposed grouped"),
        ("9x1x8|lstm:16", "lstm"),
        ("9x4x8|gru:16", "gru batch"),
        ("9x4x8|gru:16x2", "gru both ways batch"),
        ("9x1x8|lstm:16x2", "lstm both ways"),
        ("1x20x64|copy:1x64x20", "copy"),
        ("uint8 4x32|linear:8", "linear int8 unsigned"),
        ("uint8 1x32|linear:8", "linear row int8 unsigned"),
        ("1x32|linear:8", "linear row"),
        ("1x4x1x16|matmul:20", "matmul row"),
        ("1x16x9x9|conv:32x3x3x1x16", "depthwise multiplied"),
        ("1x16x9x9|batch_norm", "batch_norm"),
        ("1x16x9x9|flip:3", "slice elements back"),
        ("1x16x9x9|flip:2", "slice runs back"),
        ("1x16x9|spread:1x1x1", "arithmetic number"),
        ("1x16x9|spread:2x1x1", "div number"),
        ("1x16x9x9|pad:1", "pad"),
        ("1x16x9x9|quantise:0", "quantise uint8"),
        ("1x16x9x9|quantise:1", "quantise int8"),
        ("1x16x9x9|dequantise:0", "dequantise uint8"),
        ("1x16x9x9|concat:1x3", "concat"),
    ],
)
def test_each_variant_is_a_kind(key: str, kind: str) -> None:
    assert kinds(Sample.parse(key).graph()) == [kind]


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("1x8x12x12|spread:1x1x1x8x1x1", "arithmetic spread rows"),
        ("1x8x12x12|spread:0x1x1x1x12x12", "arithmetic spread runs"),
        ("1x8x12x12|concat:1", "concat rows"),
        ("1x8x12x12|transpose:0x2x3x1", "copy"),
        ("1x8x12x12|resize:2x1", "resize linear inside"),
    ],
)
def test_where_channels_are_stored_last_axes_are_too(key: str, kind: str) -> None:
    assert [kernel.kind for kernel in kernels_on(LITE, Sample.parse(key).graph())] == [kind]


def test_sizes_are_those_that_loops_run_over() -> None:
    (across,) = graph_kernels(Sample.parse("2x32x5x9|softmax:1").graph())
    assert sizes(across, "rows", "inner", "times", "width") == (2, 32, 5, 9)
    assert sizes(across, "padded") == (2 * 5 * 9 / 1e6,)
    (rows,) = graph_kernels(Sample.parse("2x32x9|softmax").graph())
    assert sizes(rows, "padded", "rows", "width") == (64 / 1e6, 64, 9)
    (reduced,) = graph_kernels(Sample.parse("2x32x9|reduce:0x1").graph())
    assert sizes(reduced, "rows", "inner", "width") == (2, 32, 9)
    (picked,) = graph_kernels(Sample.parse("4x20x64|pick:1x7").graph())
    assert sizes(picked, "rows", "inner", "width") == (4, 7, 64)
    (scaled,) = graph_kernels(Sample.parse("1x8x12x12|spread:1x1x1x8x1x1").graph())
    assert sizes(scaled, "rows", "width", "columns") == (8, 144, 8)
    assert sizes(scaled, "padded") == (8 / 1e6,)
    (lite,) = kernels_on(LITE, Sample.parse("1x3x12x12|spread:1x1x1x3x1x1").graph())
    assert sizes(lite, "rows", "width") == (144, 3)


@pytest.mark.parametrize("kind", [kind for kind in FIRST if " " not in kind])
def test_a_file_holds_the_variant_that_it_was_written_for(kind: str, tmp_path: Path) -> None:
    sample = DRAWS[kind](np.random.default_rng(3))
    path = tmp_path / "one.onnx"
    path.write_bytes(write_onnx(sample.graph()))
    (read,), (made,) = graph_kernels(read_graph(path)), graph_kernels(sample.graph())
    assert read.kind == made.kind
    np.testing.assert_allclose(read.features, made.features, atol=1e-3)


@pytest.mark.parametrize(
    ("node", "shape", "kind"),
    [
        (helper.make_node("Gelu", ["x"], ["y"], approximate="tanh"), (4, 8), "gelu tanh"),
        (helper.make_node("Resize", ["x", "", "", "i1_3_16_16"], ["y"], mode="cubic"), (1, 3, 8, 8), "resize cubic"),
        (
            helper.make_node(
                "Resize", ["x", "", "", "i1_3_16_16"], ["y"], coordinate_transformation_mode="tf_crop_and_resize"
            ),
            (1, 3, 8, 8),
            "resize nearest cropped",
        ),
        (helper.make_node("Pad", ["x", "i0_0_1_1"], ["y"], mode="reflect"), (4, 8), "pad elsewhere mode=reflect"),
        (helper.make_node("Pad", ["x", "i0_0_1_1"], ["y"], mode="constant"), (4, 8), "pad elsewhere"),
        (helper.make_node("Slice", ["x", "i0", "i8", "i1", "i2"], ["y"]), (4, 8), "slice elements"),
        (helper.make_node("ReduceMean", ["x", "i2_3"], ["y"], keepdims=1), (1, 3, 8, 8), "reduce sum kr"),
        (helper.make_node("GlobalAveragePool", ["x"], ["y"]), (1, 16, 8, 8), "global_average_pool"),
        (helper.make_node("GlobalMaxPool", ["x"], ["y"]), (1, 3, 8, 8), "global max"),
        (
            helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], dilations=[2, 2]),
            (1, 4, 8, 8),
            "pool max 2d dilated",
        ),
        (
            helper.make_node("Resize", ["x", "", "", "i1_3_4_4"], ["y"], mode="linear"),
            (1, 3, 8, 8),
            "resize linear shrunk",
        ),
        (
            helper.make_node("Resize", ["x", "", "", "i1_3_8_16"], ["y"], mode="linear"),
            (1, 3, 8, 8),
            "resize linear along",
        ),
        (helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.3), (4, 8), "leakyrelu"),
    ],
)
def test_attributes_of_a_file_say_the_variant(
    node: onnx.NodeProto, shape: tuple[int, ...], kind: str, tmp_path: Path
) -> None:
    assert kinds(read(tmp_path, node, opset=20, x=shape)) == [kind]


def test_an_attribute_that_no_rule_looks_at_is_part_of_the_kind(tmp_path: Path) -> None:
    operands = {"x": (9, 1, 4), "w": (1, 32, 4), "r": (1, 32, 8)}
    plain = helper.make_node("LSTM", [*operands], ["y"], hidden_size=8)
    assert kinds(read(tmp_path, plain, **operands)) == ["lstm fed"]
    clipped = helper.make_node("LSTM", [*operands], ["y"], hidden_size=8, clip=3.0)
    assert kinds(read(tmp_path, clipped, **operands)) == ["lstm fed clip=3.0"]


def test_values_that_are_usual_are_said_by_nobody(tmp_path: Path) -> None:
    node = helper.make_node(
        "Resize", ["x", "", "", "i1_3_16_16"], ["y"], mode="linear", cubic_coeff_a=-0.75, antialias=0
    )
    assert kinds(read(tmp_path, node, opset=18, x=(1, 3, 8, 8))) == ["resize linear"]


@pytest.mark.parametrize(
    ("opset", "axis", "kind", "width"),
    [
        (11, {}, "softmax rows", 300),
        (11, {"axis": -1}, "softmax rows", 10),
        (13, {"axis": 1}, "softmax across far", 10),
    ],
)
def test_older_softmax_works_on_all_that_follows(
    opset: int, axis: dict[str, int], kind: str, width: int, tmp_path: Path
) -> None:
    node = helper.make_node("Softmax", ["x"], ["y"], **axis)
    (kernel,) = graph_kernels(read(tmp_path, node, opset=opset, x=(2, 3, 10, 10)))
    assert (kernel.kind, *sizes(kernel, "width")) == (kind, width)


def test_a_convolution_of_weights_that_are_fed_is_another_one(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    assert kinds(read(tmp_path, node, x=(1, 32, 8, 8), w=(16, 32, 3, 3))) == ["conv fed"]


def test_a_projection_is_no_plain_lstm() -> None:
    def layer(*shapes: tuple[int, int], width: int) -> list[str]:
        builder = GraphBuilder("layer")
        matrices = [builder.weight(f"w{place}", np.zeros(shape, np.float32)) for place, shape in enumerate(shapes)]
        said: dict[str, Any] = {"shapes": ((9, 1, width),), "dtypes": ("float32",), "layouts": ("",)}
        operands = (builder.input("x", (9, 1, 4)), *matrices)
        return kinds(builder.build([builder.add("lstm", operands, matrices=len(matrices), **said)]))

    assert layer((32, 4), (32, 8), width=8) == ["lstm"]
    assert layer((32, 4), (32, 8), (32, 4), (32, 8), width=16) == ["lstm both ways"]
    assert layer((32, 4), (32, 2), (2, 8), width=2) == ["lstm projected"]


def test_weights_from_0_to_255_between_changes_of_type_are_another_kind() -> None:
    for dtype, kind in ((np.int8, "linear int8"), (np.uint8, "linear int8 unsigned")):
        builder = GraphBuilder("qdq")
        data = builder.add("dequantise", (builder.input("x", (4, 16), dtype="uint8"),), dtype="float32")
        weight = builder.add("dequantise", (builder.weight("w", np.ones((8, 16), dtype)),), dtype="float32")
        product = builder.add("linear", (data, weight))
        assert kinds(builder.build([builder.add("quantise", (product,), dtype="uint8")])) == [kind]


@pytest.mark.parametrize("key", ["1x32x14x14|conv:64x3x3x1x1", "1x32|linear:8"])
def test_a_file_with_weights_from_0_to_255_is_seen_as_its_sample(key: str, tmp_path: Path) -> None:
    sample = Sample.parse(f"uint8 {key}")
    path = tmp_path / "narrow.onnx"
    path.write_bytes(int8_writer_of("onnx")(sample.float_graph(), Piece.UNSIGNED_OPERATOR))
    (read,), (made,) = graph_kernels(read_graph(path)), graph_kernels(sample.graph())
    assert read.kind == made.kind
    assert read.kind.endswith(" int8 unsigned")
    with pytest.raises(InputError, match="from 0 to 255"):
        int8_writer_of("tflite")(sample.float_graph(), Piece.UNSIGNED_OPERATOR)


def test_a_constant_of_one_element_is_no_operand_that_is_spread() -> None:
    builder = GraphBuilder("halved")
    data = builder.input("x", (1, 8, 4, 4), layout=IMAGE)
    half = builder.weight("half", np.array(0.5, np.float32))
    assert kinds(builder.build([builder.add("multiply", (data, half))])) == ["arithmetic number"]


@pytest.mark.parametrize(
    ("activation", "kind"), [("NONE", "conv"), ("RELU6", "conv"), ("TANH", "conv tanh"), ("SIGN_BIT", "conv sign_bit")]
)
def test_a_function_that_is_worked_out_of_all_results_makes_another_kind(
    activation: str, kind: str, tmp_path: Path
) -> None:
    file = TfliteFile("fused")
    x = file.tensor("x", (1, 8, 8, 16), "float32")
    weight, bias = file.constant("w", np.ones((16, 3, 3, 16), np.float32)), file.constant("b", np.ones(16, np.float32))
    y = file.tensor("y", (1, 8, 8, 16), "float32")
    said = {"padding": "SAME", "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    options = {**said, "fusedActivationFunction": activation}
    file.operator("CONV_2D", (x, weight, bias), (y,), table="Conv2DOptions", version=1, **options)
    (tmp_path / "fused.tflite").write_bytes(file.finish({"x": x}, {"y": y}, {}))
    assert [kernel.kind for kernel in kernels_on(LITE, read_graph(tmp_path / "fused.tflite"))] == [kind]


@pytest.mark.parametrize(
    ("key", "sets"),
    [
        ("1x64x1024|transpose:0x2x1", 16),
        ("1x1024x64|transpose:0x2x1", 256),
        ("1x60x1030|transpose:0x2x1", 1024),
        ("1x32x64x64|reduce:2x1", 4),
        ("1x32x64x64|reduce:2x3", 1024),
        ("1x32x64x64|softmax:1", 4),
        ("1x32x60x60|softmax:1", 1024 / 1),
    ],
)
def test_walks_by_powers_of_two_meet_few_sets_of_caches(key: str, sets: float) -> None:
    (kernel,) = graph_kernels(Sample.parse(key).graph())
    assert sizes(kernel, "stride") == (sets,)


@pytest.mark.parametrize(("key", "lines"), [("1x64x1024|transpose:0x2x1", 64), ("1x60x1030|reduce:2x1", 1)])
def test_lines_of_a_walk_share_the_few_sets_that_it_meets(key: str, lines: float) -> None:
    (kernel,) = graph_kernels(Sample.parse(key).graph())
    assert sizes(kernel, "groups") == (lines,)


@pytest.mark.parametrize("parts", [2, 16])
def test_a_split_counts_its_parts(parts: int) -> None:
    (kernel,) = graph_kernels(Sample.parse(f"1x64x9x9|split:1x{parts}").graph())
    assert (kernel.kind, *sizes(kernel, "groups", "padded")) == ("split", parts, parts / 1e6)


@pytest.mark.parametrize(("axis", "kind"), [(0, "dequantise int8"), (1, "dequantise by column int8")])
def test_scales_that_change_along_rows_are_widened_one_by_one(axis: int, kind: str, tmp_path: Path) -> None:
    def constant(name: str, array: np.ndarray[Any, Any]) -> onnx.TensorProto:
        return numpy_helper.from_array(array, name)

    held = [constant("s", np.ones(12, np.float32)), constant("z", np.zeros(12, np.int8))]
    nodes = [helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"], axis=axis)]
    ports = [helper.make_tensor_value_info("x", TensorProto.INT8, (12, 12))]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, (12, 12))
    model = helper.make_model(
        helper.make_graph(nodes, "one", ports, [result], held),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    (tmp_path / "one.onnx").write_bytes(model.SerializeToString())
    graph = read_graph(tmp_path / "one.onnx")
    assert kinds(graph) == [kind]
    (tmp_path / "two.onnx").write_bytes(write_onnx(graph))
    assert kinds(read_graph(tmp_path / "two.onnx")) == [kind]


def test_batch_norm_by_itself_is_one_operator_where_channels_come_first(tmp_path: Path) -> None:
    path = tmp_path / "norm.onnx"
    path.write_bytes(write_onnx(Sample.parse("1x16x9x9|batch_norm").graph()))
    graph = fold_batch_norm(read_graph(path))
    assert kinds(graph) == ["batch_norm"]
    assert [kernel.kind for kernel in kernels_on(LITE, graph)] == ["arithmetic spread runs"] * 2


def test_what_follows_an_addition_and_a_sharper_softmax_are_other_kinds(tmp_path: Path) -> None:
    file = TfliteFile("two")
    x, y, z = (file.tensor(name, (1, 8, 8, 16), "float32") for name in "xyz")
    file.operator("ADD", (x, x), (y,), table="AddOptions", version=1, fusedActivationFunction="RELU")
    file.operator("SOFTMAX", (y,), (z,), table="SoftmaxOptions", version=1, beta=2.0)
    (tmp_path / "two.tflite").write_bytes(file.finish({"x": x}, {"z": z}, {}))
    found = [kernel.kind for kernel in kernels_on(LITE, read_graph(tmp_path / "two.tflite"))]
    assert found == ["add", "relu", "softmax sharpened"]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"blocksize": 2}, "depthtospace dcr"),
        ({"blocksize": 2, "mode": "CRD"}, "depthtospace crd"),
        ({"blocksize": 2, "mode": "DCR"}, "depthtospace dcr"),
    ],
)
def test_the_order_of_finer_pixels_is_read(said: dict[str, Any], kind: str, tmp_path: Path) -> None:
    graph = read(tmp_path, helper.make_node("DepthToSpace", ["x"], ["y"], **said), x=(1, 12, 4, 4))
    assert kinds(graph) == [kind]
