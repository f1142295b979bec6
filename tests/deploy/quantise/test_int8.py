"""int8 files as the quantisers make them of networks of a size that people have."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from fleetfront.deploy.formats import ALL_FORMATS, int8_writer_of
from fleetfront.deploy.quantise.onnx import quantise_onnx
from fleetfront.deploy.quantise.precisions import Piece, without_hard_swish
from fleetfront.deploy.quantise.rounding import tflite_weights
from fleetfront.deploy.quantise.tflite import quantise_tflite
from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.flatbuffer import kind_name, unpack_model
from fleetfront.deploy.writers.tflite.metadata import FileDescription, describe_file
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.graphs.readers.file import read_graph
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.runtimes.litert.operator_times import read_model, time_operators
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini

IMAGE = np.random.default_rng(1).standard_normal((1, 8, 8, 16)).astype(np.float32)


def large() -> Graph:
    """300,000 weights: from a quarter of a megabyte on the quantiser keeps them behind the flatbuffer."""
    rng = np.random.default_rng(0)
    builder = GraphBuilder("large")
    found = builder.input("image", (1, 16, 8, 8), layout="NCHW")
    for place, (wide, narrow) in enumerate(((16, 512), (512, 600))):
        weight = builder.weight(f"weight{place}", 0.1 * rng.standard_normal((narrow, wide, 1, 1)).astype(np.float32))
        bias = builder.weight(f"bias{place}", rng.standard_normal(narrow).astype(np.float32))
        found = builder.conv2d(found, weight, bias, name=f"conv{place}")
    return builder.build([found])


@pytest.fixture(scope="module")
def int8_tflite() -> bytes:
    return quantise_tflite(write_tflite(large()), [{"image": IMAGE}])


def run(data: bytes) -> np.ndarray:
    session = load_runtime("litert").open(data)
    return session.run({session.inputs[0].name: IMAGE})[session.outputs[0].name]


def test_constants_behind_the_flatbuffer_stay_in_the_file_that_is_handed_out(int8_tflite: bytes) -> None:
    described = describe_file(int8_tflite, FileDescription("large", "a network"))
    np.testing.assert_array_equal(run(described), run(int8_tflite))
    exact = run(write_tflite(large()))
    assert np.abs(run(described) - exact).max() < 0.05 * np.ptp(exact)


def test_the_weights_behind_the_flatbuffer_are_held_against_the_float_file(int8_tflite: bytes) -> None:
    floats = tflite_weights(write_tflite(large()))
    assert set(tflite_weights(int8_tflite)) == {name for name, one in floats.items() if one.values.ndim >= 2}


def test_every_operator_of_such_a_file_has_a_time(int8_tflite: bytes) -> None:
    times = time_operators(int8_tflite, load_runtime("litert").open, 3)
    assert Counter(one.kind for one in times.operators) == {"QUANTIZE": 1, "CONV_2D": 2, "DEQUANTIZE": 1}
    assert not times.taken_in


def test_a_file_cut_short_of_its_constants_is_refused(int8_tflite: bytes) -> None:
    with pytest.raises(InputError, match="whole"):
        read_model(int8_tflite[:-1000])


def test_settings_behind_the_flatbuffer_are_read(tmp_path: Path) -> None:
    space = ofa_mbv3_mini()
    graph = space.subnet_graphs(space.sample(1, np.random.default_rng(3))[0])["network"][0]
    image = np.zeros((1, *graph.tensors[graph.inputs[0]].shape[2:], 3), np.float32)
    data = write_tflite(graph)
    paths = {name: tmp_path / f"{name}.tflite" for name in ("float", "int8")}
    paths["float"].write_bytes(data)
    paths["int8"].write_bytes(quantise_tflite(data, [{graph.inputs[0]: image}]))

    def settings(path: Path) -> Counter[str]:
        texts = (f"{one.family} {sorted(one.attributes.items())}" for one in read_graph(path).operators)
        return Counter(text.replace("'int8'", "'float32'") for text in texts)

    ends = {name: count for name, count in settings(paths["int8"]).items() if "quantise" not in name}
    assert ends == dict(settings(paths["float"]))


def executed(data: bytes, folder: Path) -> Counter[str]:
    """Kinds of operators that ONNX Runtime makes of a file."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def network(space: SearchSpace) -> Graph:
    return space.subnet_graphs(space.sample(1, np.random.default_rng(3))[0])["network"][0]


@pytest.fixture(scope="module", params=["ofa-mbv3-mini", "nasbench201"])
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return load_space(request.param)


def test_int8_onnx_leaves_no_convolution_in_float_and_is_timed_as_it_is(space: SearchSpace, tmp_path: Path) -> None:
    """With signed activations ONNX Runtime leaves the convolutions of squeeze-and-excite in float on x86."""
    graph = network(space)
    image = np.random.default_rng(0).standard_normal(graph.tensors[graph.inputs[0]].shape).astype(np.float32)
    kinds = executed(quantise_onnx(write_onnx(graph), [{graph.inputs[0]: image}]), tmp_path)
    assert kinds["Conv"] == 0
    assert kinds["QLinearConv"] > 0
    assert executed(int8_writer_of("onnx")(graph, Piece.NETWORK), tmp_path) == kinds


def test_int8_tflite_is_timed_as_it_is_handed_out(space: SearchSpace) -> None:
    graph = without_hard_swish(network(space))
    sides = graph.tensors[graph.inputs[0]].shape[2:]
    made = quantise_tflite(write_tflite(graph), [{graph.inputs[0]: np.zeros((1, *sides, 3), np.float32)}])
    timed = int8_writer_of("tflite")(network(space), Piece.NETWORK)
    assert shapes_of(timed) == shapes_of(made)


def shapes_of(data: bytes) -> list[tuple[str, ...]]:
    """Operators of a file in order, each with the types that it works on."""
    model = unpack_model(data)
    tensors, codes = model.subgraphs[0].tensors, model.operatorCodes
    return [
        (kind_name(codes[one.opcodeIndex]), *(str(tensors[index].type) for index in one.inputs if index >= 0))
        for one in model.subgraphs[0].operators
    ]


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_blocks_have_int8_ends_and_networks_float_ends(space: SearchSpace, kind: str) -> None:
    write, runtime = int8_writer_of(kind), load_runtime(ALL_FORMATS[kind].runtime)
    block = runtime.open(write(space.block_graph(space.vocabulary[-1]), Piece.BLOCK))
    whole = runtime.open(write(network(space), Piece.NETWORK))
    assert {port.dtype for port in (*block.inputs, block.outputs[0])} <= {"int8", "uint8"}
    assert {port.dtype for port in (*whole.inputs, *whole.outputs)} == {"float32"}
