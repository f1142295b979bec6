"""Operators as devices see them: kinds, sizes, and what exporters spell in several operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.graphs.graph import GraphBuilder
from fleetfront.predictors.operators.kernels import FEATURES, graph_kernels, kernels_on
from fleetfront.predictors.operators.samples import Sample
from fleetfront.predictors.operators.scales import four_byte_weights
from fleetfront.targets import Target


def kinds(key: str) -> list[str]:
    return [kernel.kind for kernel in graph_kernels(Sample.parse(key).graph())]


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("1x32x28x28|conv:64x1x1x1x1", "pointwise"),
        ("1x32x28x28|conv:64x3x3x1x1", "conv"),
        ("1x3x32x32|conv:16x3x3x2x1", "conv narrow"),
        ("1x18x28x28|conv:16x3x3x1x1", "conv odd"),
        ("1x20x28x28|conv:18x3x3x1x1", "conv"),
        ("1x30x28x28|conv:64x1x1x1x1", "pointwise odd"),
        ("1x10x28x28|conv:64x1x1x1x1", "pointwise narrow"),
        ("1x32x28x28|conv:32x3x3x1x32", "depthwise"),
        ("1x30x28x28|conv:30x3x3x1x30", "depthwise odd"),
        ("1x64x28x28|conv:64x3x3x1x4", "grouped"),
        ("1x64x28x28|conv:64x3x3x1x8", "grouped odd"),
        ("1x64x100|conv1d:64x3x1x1", "1d conv"),
        ("1x5x100|conv1d:64x3x1x1", "1d conv"),
        ("1x30x100|conv1d:30x3x1x30", "1d depthwise"),
        ("1x16x32|skip_norm", "layer_norm skip"),
        ("1x32x8x8|global_pool", "global_average_pool"),
        ("1x24x8x8|global_pool", "global_average_pool odd"),
        ("int8 1x24x8x8|global_pool", "global_average_pool int8"),
        ("1x24x9x9|max_pool:3x3", "max_pool2d odd stepped"),
        ("1x16x32|linear:8", "linear"),
        ("16x32|linear:8", "linear flat"),
        ("int8 16x32|linear:8", "linear int8"),
        ("1x4x16x32|matmul:16", "matmul"),
        ("1x16x32|gelu", "gelu"),
        ("1x16x32|gelu_halved", "gelu halved"),
        ("1x16x8x8|silu", "silu"),
        ("int8 1x32x28x28|conv:64x1x1x1x1", "pointwise int8"),
        ("int8 1x4x32|linear:8", "linear int8"),
        ("int8 1x32|linear:8", "linear row int8"),
        ("1x16x8x8|scale", "arithmetic spread runs"),
        ("1x16x8x8|multiply", "multiply"),
        ("1x4x16x16|softmax", "softmax rows"),
        ("1x4x16x16|softmax:1", "softmax across far"),
        ("1x16x8x8|max_pool:5x1", "max_pool2d"),
    ],
)
def test_a_kind_is_what_devices_have_a_kernel_for(key: str, kind: str) -> None:
    assert kinds(key) == [kind]


@pytest.mark.parametrize("key", ["1x18x28x28|conv:16x3x3x1x1", "1x24x8x8|global_pool", "1x24x9x9|max_pool:3x3"])
def test_channels_that_fill_no_blocks_are_no_kind_of_their_own_where_they_come_last(key: str) -> None:
    (kernel,) = graph_kernels(Sample.parse(key).graph(), is_last=True)
    assert "odd" not in kernel.kind


def test_windows_that_are_written_out_are_counted_as_elements() -> None:
    (kernel,) = graph_kernels(Sample.parse("1x18x28x28|conv:16x3x3x1x1").graph())
    assert kernel.features[FEATURES.index("padded")] == pytest.approx(28 * 28 * 9 * 18 / 1e6)
    (few,) = graph_kernels(Sample.parse("1x3x28x28|conv:20x3x3x1x1").graph())
    assert few.features[FEATURES.index("padded")] == pytest.approx(28 * 28 * 9 * 3 * 32 / 1e6)


def test_a_sum_that_others_read_too_is_no_part_of_a_norm() -> None:
    builder = GraphBuilder("block")
    pair = [builder.input(name, (1, 4, 8)) for name in "xy"]
    weights = [builder.weight(name, np.ones(8, np.float32)) for name in "sb"]
    added = builder.add("add", pair)
    normed = builder.add("layer_norm", (added, *weights), axis=-1)
    graph = builder.build([builder.add("add", (added, normed))])
    assert [kernel.kind for kernel in graph_kernels(graph)] == ["add", "layer_norm", "add"]


@pytest.mark.parametrize(("dtype", "kind"), [("float64", "add float64"), ("int64", "add int64"), ("float32", "add")])
def test_other_numbers_than_floats_are_kinds_of_their_own(dtype: str, kind: str) -> None:
    builder = GraphBuilder("typed")
    pair = [builder.input(name, (4, 8), dtype) for name in "xy"]
    assert [kernel.kind for kernel in graph_kernels(builder.build([builder.add("add", pair)]))] == [kind]


def test_rows_looked_up_by_whole_numbers_are_floats() -> None:
    builder = GraphBuilder("table")
    rows = builder.input("rows", (7,), "int64")
    table = builder.weight("table", np.zeros((9, 4), np.float32))
    assert [k.kind for k in graph_kernels(builder.build([builder.add("gather", (table, rows), axis=0)]))] == ["gather"]


def test_pools_of_channels_that_fill_no_vector_go_elsewhere_where_these_come_first() -> None:
    for key, kind, groups in (
        ("1x24x9x9", "max_pool2d odd", 8),
        ("1x33x9x9", "max_pool2d odd", 1),
        ("1x48x9x9", "max_pool2d", 1),
    ):
        (kernel,) = graph_kernels(Sample.parse(f"{key}|max_pool:2x2").graph())
        assert (kernel.kind, kernel.features[FEATURES.index("groups")]) == (kind, groups)
    (last,) = graph_kernels(Sample.parse("1x3x9x9|max_pool:2x2").graph(), is_last=True)
    features = dict(zip(FEATURES, last.features, strict=True))
    assert last.kind == "max_pool2d"
    assert features["mmacs"] == pytest.approx(4 * 4 * 4 * 3 / 1e6)
    assert features["padded"] == pytest.approx(4 * 4 * 4 * 16 / 1e6)


def test_work_of_a_convolution_is_counted() -> None:
    (kernel,) = graph_kernels(Sample.parse("1x32x28x28|conv:40x3x3x2x1").graph())
    features = dict(zip(FEATURES, kernel.features, strict=True))
    assert features["mmacs"] == pytest.approx(14 * 14 * 40 * 32 * 9 / 1e6)
    # 40 channels fill three vectors of sixteen.
    assert features["padded"] == pytest.approx(14 * 14 * 48 * 32 * 9 / 1e6)
    assert features["weights"] == pytest.approx((40 * 32 * 9 + 40) / 1e6)
    assert (features["rows"], features["inner"], features["columns"]) == (196, 32, 40)


@pytest.mark.parametrize("key", ["1x197x64|linear:96|gelu|linear:64", "1x32x28x28|conv:64x3x3x1x1|hard_swish"])
def test_a_file_is_seen_as_the_graph_that_it_was_written_from(key: str, tmp_path: Path) -> None:
    from fleetfront.deploy.writers.onnx.writer import write_onnx
    from fleetfront.graphs.readers.file import read_graph

    graph = Sample.parse(key).graph()
    path = tmp_path / "chain.onnx"
    path.write_bytes(write_onnx(graph))
    # A file spells Gelu in five operators and a bias in one of its own.
    read, made = graph_kernels(read_graph(path)), graph_kernels(graph)
    assert [kernel.kind for kernel in read] == [kernel.kind for kernel in made]
    assert [kernel.producers for kernel in read] == [kernel.producers for kernel in made]
    for one, other in zip(read, made, strict=True):
        np.testing.assert_allclose(one.features, other.features, atol=1e-3)


@pytest.mark.parametrize(
    ("key", "kinds"),
    [
        ("1x32x28x28|conv:64x3x3x1x1", ["conv"]),
        ("1x32x28x28|conv:64x3x3x2x1", ["pad", "conv"]),
        ("1x32x27x27|conv:32x3x3x2x32", ["depthwise"]),
        ("1x32x28x28|conv:32x5x5x2x32", ["pad", "depthwise"]),
        ("1x16x28x28|max_pool:3x2", ["pad", "max_pool2d"]),
        ("1x16x28x28|average_pool:3x2", ["pad", "average_pool2d", "arithmetic spread runs"]),
        ("1x16x28x28|pad:2", ["pad"]),
    ],
)
def test_padding_is_an_operator_where_windows_cannot_pad(key: str, kinds: list[str], tmp_path: Path) -> None:
    from fleetfront.deploy.writers.tflite.writer import write_tflite
    from fleetfront.graphs.readers.file import read_graph

    graph = Sample.parse(key).graph()
    path = tmp_path / "chain.tflite"
    path.write_bytes(write_tflite(graph))
    lite = Target("pixel", "tflite-cpu")
    read, made = kernels_on(lite, read_graph(path)), kernels_on(lite, graph)
    assert [kernel.kind for kernel in read] == [kernel.kind for kernel in made] == kinds
    for one, other in zip(read, made, strict=True):
        # Arithmetic and traffic; the order of dimensions is the file's.
        np.testing.assert_allclose(one.features[:4], other.features[:4], rtol=1e-6)
    assert "pad" not in [kernel.kind for kernel in kernels_on(Target("cpu", "onnxruntime"), graph)[:-1]]


def test_a_gate_of_something_else_is_no_silu() -> None:
    builder = GraphBuilder("gated")
    data, other = builder.input("x", (1, 4, 8)), builder.input("y", (1, 4, 8))
    gate = builder.add("sigmoid", (data,))
    made = builder.add("multiply", (other, gate))
    assert [kernel.kind for kernel in graph_kernels(builder.build([made]))] == ["sigmoid", "multiply"]
    builder = GraphBuilder("read twice")
    data = builder.input("x", (1, 4, 8))
    gate = builder.add("sigmoid", (data,))
    twice = builder.add("add", (gate, builder.add("multiply", (data, gate))))
    found = [kernel.kind for kernel in graph_kernels(builder.build([twice]))]
    assert found == ["sigmoid", "multiply", "add"]


def test_what_only_renames_is_passed_through() -> None:
    builder = GraphBuilder("reshaped")
    data = builder.input("x", (1, 4, 8))
    turned = builder.add("reshape", (builder.add("relu", (data,)),), shape=(1, 32))
    kernels = graph_kernels(builder.build([builder.add("sigmoid", (turned,))]))
    assert [(kernel.kind, kernel.producers) for kernel in kernels] == [("relu", ()), ("sigmoid", (0,))]
    assert kernels[0].readers == 1


@pytest.mark.parametrize(
    "key", ["1x32x14x14|conv:64x1x1x1x1", "1x32x14x14|conv:32x3x3x1x32", "1x32|linear:8", "1x8|add"]
)
@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_a_narrow_file_is_seen_as_the_sample_that_it_was_made_from(key: str, suffix: str, tmp_path: Path) -> None:
    from fleetfront.deploy.formats import int8_writer_of
    from fleetfront.deploy.quantise.precisions import Piece
    from fleetfront.graphs.readers.file import read_graph

    sample = Sample.parse(f"int8 {key}")
    path = tmp_path / f"narrow.{suffix}"
    path.write_bytes(int8_writer_of(suffix)(sample.float_graph(), Piece.OPERATOR))
    (read,), (made,) = graph_kernels(read_graph(path)), graph_kernels(sample.graph())
    assert read.kind == made.kind
    # An empty bias may be left out, or come with the file.
    np.testing.assert_allclose(read.features, made.features, atol=1e-3)


@pytest.mark.parametrize("name", ["trt", "graph"])
def test_formats_without_int8_say_so_before_a_file_is_written(name: str) -> None:
    from fleetfront.deploy.formats import int8_writer_of

    with pytest.raises(InputError, match="not written in int8"):
        int8_writer_of(name)


def test_a_cut_off_result_between_changes_of_type_is_one_operator() -> None:
    builder = GraphBuilder("qdq")
    weight = builder.weight("w", np.ones((8, 16), np.int8))
    data = builder.add("dequantise", (builder.input("x", (4, 16), dtype="uint8"),), dtype="float32")
    wide = builder.add("dequantise", (weight,), dtype="float32")
    turned = builder.add("transpose", (wide,), permutation=(1, 0))
    relu = builder.add("relu", (builder.add("matmul", (data, turned)),))
    kept = builder.build([builder.add("quantise", (relu,), dtype="uint8")])
    # The weights are turned between, so that nobody knows what is read: it stays what it says.
    assert "matmul" in [kernel.kind for kernel in graph_kernels(kept)]
    plain = GraphBuilder("qdq")
    weight = plain.weight("w", np.ones((8, 16), np.int8))
    data = plain.add("dequantise", (plain.input("x", (4, 16), dtype="uint8"),), dtype="float32")
    product = plain.add("linear", (data, plain.add("dequantise", (weight,), dtype="float32")))
    quantised = plain.add("quantise", (plain.add("relu", (product,)),), dtype="uint8")
    assert [kernel.kind for kernel in graph_kernels(plain.build([quantised]))] == ["linear int8"]
    both = graph_kernels(plain.build([quantised, product]))
    assert "linear int8" in [kernel.kind for kernel in both]


def test_floats_by_narrow_weights_are_neither_kind() -> None:
    builder = GraphBuilder("hybrid")
    weight = builder.weight("w", np.ones((8, 16), np.int8))
    made = builder.add("linear", (builder.input("x", (4, 16)), weight))
    assert [kernel.kind for kernel in graph_kernels(builder.build([made]))] == ["linear int8 weights"]


def test_narrow_numbers_are_another_kind() -> None:
    builder = GraphBuilder("int8")
    data = builder.input("x", (1, 4, 8), dtype="int8")
    assert [k.kind for k in graph_kernels(builder.build([builder.add("relu", (data,))]))] == ["relu int8"]


@pytest.mark.parametrize("key", ["", "1x2", "1x2|nothing", "axb|relu", "1x2|conv:three"])
def test_a_key_of_no_chain_is_refused(key: str) -> None:
    with pytest.raises(InputError, match=r"chain|operators"):
        Sample.parse(key)


def test_keys_lead_back_to_their_samples() -> None:
    sample = Sample.parse("1x32x28x28|conv:64x3x3x1x1|relu")
    assert Sample.parse(sample.key) == sample
    assert sample.graph().content_hash == Sample.parse(sample.key).graph().content_hash


def test_weights_that_are_read_step_by_step_are_read_from_memory_once() -> None:
    builder = GraphBuilder("steps")
    weight = builder.weight("w", np.ones((64, 64), np.float32))
    data = builder.input("x", (1, 64))
    for _ in range(3):
        data = builder.add("linear", (data, weight))
    first, *others = graph_kernels(builder.build([data]))
    assert four_byte_weights(first) == 64 * 64 / 1e6
    assert [four_byte_weights(one) for one in others] == [0.0, 0.0]
    assert [one.kind for one in others] == ["linear row"] * 2
