"""The precision of files as the project writes them, of files of other kinds, and of damaged ones."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetfront.deploy.quantise.onnx import quantise_onnx
from fleetfront.deploy.quantise.precisions import half_compute, half_weights
from fleetfront.deploy.quantise.tflite import quantise_tflite
from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.pipelines.measure.single_file import check_file
from fleetfront.profilers.file_facts import batch_of, file_batch, file_precision, file_signatures
from fleetfront.runtimes.base import Port
from fleetfront.targets import UNKNOWN_BATCH, Target

_RNG = np.random.default_rng(0)


def convolution() -> Graph:
    builder = GraphBuilder("conv")
    image = builder.input("image", (1, 4, 8, 8), layout="NCHW")
    weight = builder.weight("weight", _RNG.standard_normal((8, 4, 3, 3)).astype(np.float32))
    bias = builder.weight("bias", _RNG.standard_normal(8).astype(np.float32))
    return builder.build([builder.conv2d(image, weight, bias, padding=1, name="out")])


def int8_onnx() -> bytes:
    return quantise_onnx(write_onnx(convolution()), [{"image": np.ones((1, 4, 8, 8), np.float32)}])


def int8_tflite() -> bytes:
    pytest.importorskip("ai_edge_quantizer")
    return quantise_tflite(write_tflite(convolution()), [{"image": np.ones((1, 8, 8, 4), np.float32)}])


WRITTEN: dict[tuple[str, str], Callable[[], bytes]] = {
    ("fp32", ".onnx"): lambda: write_onnx(convolution()),
    ("fp16", ".onnx"): lambda: write_onnx(half_compute(convolution())),
    ("int8", ".onnx"): int8_onnx,
    ("fp32", ".tflite"): lambda: write_tflite(convolution()),
    ("fp16", ".tflite"): lambda: write_tflite(half_weights(convolution())),
    ("int8", ".tflite"): int8_tflite,
}


@pytest.fixture(autouse=True)
def _writers() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ai_edge_litert")


@pytest.mark.parametrize(("precision", "suffix"), WRITTEN)
def test_a_file_tells_and_nobody_contradicts(precision: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(WRITTEN[precision, suffix]())
    assert file_precision(path) == file_precision(path, precision) == precision
    assert file_precision(path, "unknown") == "unknown"
    for word in {"fp32", "fp16", "int8", "tf32"} - {precision}:
        with pytest.raises(InputError, match=rf"are {precision}, not {word}") as caught:
            file_precision(path, word)
        assert f"--precision {precision}" in caught.value.remedy


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_delegate_computes_in_either_float(precision: str, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(WRITTEN[precision, ".tflite"]())
    assert file_precision(path, computes_in_either=True) == "fp32"
    for word in ("fp32", "fp16"):
        assert file_precision(path, word, computes_in_either=True) == word
    with pytest.raises(InputError, match="not int8"):
        file_precision(path, "int8", computes_in_either=True)


def test_weights_that_are_constants_of_nodes_count(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((4, 4), np.float16), "value")
    nodes = [helper.make_node("Constant", [], ["w"], value=weight), helper.make_node("MatMul", ["x", "w"], ["y"])]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, [1, 4]) for name in ("x", "y")]
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(helper.make_graph(nodes, "g", ports[:1], ports[1:])).SerializeToString())
    assert file_precision(path) == "fp16"


def test_float_weights_between_quantisers_may_be_either(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper

    weights = [numpy_helper.from_array(np.ones((4, 4), np.float32), "w"), numpy_helper.from_array(np.float32(0.1), "s")]
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["d"]),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    path = tmp_path / "model.onnx"
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], weights)
    path.write_bytes(helper.make_model(graph).SerializeToString())
    assert file_precision(path, "int8") == "int8"
    assert file_precision(path, "fp32") == "fp32"


@pytest.mark.parametrize("name", ["missing.onnx", "model.txt", "empty.tflite", "empty.onnx"])
def test_what_tells_nothing_keeps_the_word(name: str, tmp_path: Path) -> None:
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b"")
    assert file_precision(tmp_path / name) == "fp32"
    assert file_precision(tmp_path / name, "int8") == "int8"


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_left_to_the_runtime(suffix: str, tmp_path: Path, data: st.DataObject) -> None:
    damaged = bytearray(WRITTEN["fp32", suffix]())
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place : place + 4] = data.draw(st.binary(min_size=4, max_size=4))
    path = tmp_path / f"model{suffix}"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    assert file_precision(path) in ("fp32", "fp16", "int8")


def test_a_small_file_cannot_pretend_to_have_endless_tensors(tmp_path: Path) -> None:
    """Every subgraph is the same table, whose tensors are the same table: n squared visits for 8 n bytes."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    import flatbuffers

    many, builder = 20_000, flatbuffers.Builder(1 << 20)
    schema.TensorStart(builder)
    tensor = schema.TensorEnd(builder)
    schema.SubGraphStartTensorsVector(builder, many)
    for _ in range(many):
        builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, many)
    for _ in range(many):
        builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), file_identifier=b"TFL3")
    path = tmp_path / "endless.tflite"
    path.write_bytes(builder.Output())
    before = time.process_time()
    assert file_precision(path) == "fp32"
    assert time.process_time() - before < 30


def test_what_nothing_here_reads_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.ort").write_bytes(b"ORTM")
    (tmp_path / "model.onnx").write_bytes(WRITTEN["fp16", ".onnx"]())
    monkeypatch.setitem(sys.modules, "onnx", None)
    for name in ("model.ort", "model.onnx"):
        assert file_precision(tmp_path / name) == "unknown"
        assert file_precision(tmp_path / name, "int8") == "int8"


def onnx_of(*shapes: list[int | str]) -> bytes:
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info(f"in{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(shapes)]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, shapes[0])]
    graph = helper.make_graph([helper.make_node("Relu", ["in0"], ["out"])], "g", inputs, outputs)
    data: bytes = helper.make_model(graph).SerializeToString()
    return data


@pytest.mark.parametrize(
    ("shapes", "batch"),
    [
        (([8, 2], [8, 3, 64, 64], [8, 2]), 8),
        (([1, 256], [4, 3, 32, 32]), 4),
        (([1, 96, 8, 8], [4, 32, 32, 3]), 4),
        (([5, 7, 8, 8],), UNKNOWN_BATCH),
        ((["n", 3, 8, 8],), 1),
        (([16, 128],), UNKNOWN_BATCH),
        (([1, 128], [1, 128]), 1),
        (([1, 128], [8, 16]), UNKNOWN_BATCH),
        (([16000],), UNKNOWN_BATCH),
        (([2, 3, 8, 8], [4, 3, 8, 8]), UNKNOWN_BATCH),
    ],
)
def test_the_batch_is_that_of_the_image_among_the_inputs(
    shapes: tuple[list[int | str], ...], batch: int, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_of(*shapes))
    assert file_batch(path) == batch


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        ("onnx/m_paddle_b8.onnx", 8),
        ("tflite/l_state_first_b4.tflite", 4),
        ("onnx/p_kv_cache.onnx", UNKNOWN_BATCH),
        ("onnx/missing.onnx", UNKNOWN_BATCH),
    ],
)
def test_the_batch_of_files_that_others_wrote(name: str, batch: int, shared_data: Path) -> None:
    assert file_batch(shared_data / "cases" / name) == batch


@pytest.mark.parametrize(
    ("ports", "shapes", "batch"),
    [
        ({"ids": ("batch", "seq")}, [(8, 128)], 8),
        ({"x": ("T", "B", 8), "h0": (1, "B", 16)}, [(128, 4, 8), (1, 4, 16)], 4),
        ({"past": (2, 12, "past_len", 64)}, [(2, 12, 9, 64)], UNKNOWN_BATCH),
        ({"past_key_values.0.key": ("b", 4, "past", 64)}, [(3, 4, 9, 64)], 3),
        ({"past_key_values.0.key": (2, 4, 9, 64)}, [(2, 4, 9, 64)], UNKNOWN_BATCH),
        ({"x": ("?", 16)}, [(8, 16)], 8),
        ({"x": ("2*batch", 16)}, [(8, 16)], UNKNOWN_BATCH),
    ],
)
def test_the_batch_of_sequences_is_what_is_named_so(
    ports: dict[str, tuple[int | str, ...]], shapes: list[tuple[int, ...]], batch: int
) -> None:
    assert batch_of([Port(name, shape, "float32") for name, shape in ports.items()], shapes) == batch


def signed(*signatures: tuple[str, int]) -> bytes:
    """A file whose subgraph is there twice, with these signatures."""
    import copy

    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(write_tflite(convolution()), 0))
    model.subgraphs = [model.subgraphs[0], copy.deepcopy(model.subgraphs[0])]
    made = []
    for name, subgraph in signatures:
        one = copy.deepcopy(model.signatureDefs[0])
        one.signatureKey, one.subgraphIndex = name, subgraph
        made.append(one)
    model.signatureDefs = made
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(
    ("signatures", "told", "is_refused"),
    [
        ([("serving_default", 0)], (), False),
        ([("decode", 1), ("encode", 0)], ("encode", "decode"), False),
        ([("serving_default", 0), ("encode", 1)], ("serving_default", "encode"), False),
        ([("encode", 0), ("serving_default", 1)], ("encode", "serving_default"), True),
        ([("encode", 1), ("decode", 1)], ("", "encode", "decode"), True),
    ],
)
def test_a_file_of_several_signatures_says_which_runs(
    signatures: list[tuple[str, int]], told: tuple[str, ...], is_refused: bool, tmp_path: Path
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(signed(*signatures))
    assert file_signatures(path) == told
    if is_refused:
        with pytest.raises(InputError, match="first subgraph"):
            check_file(path, Target("cpu", "litert"))
    else:
        check_file(path, Target("cpu", "litert"))
