"""int8 files as the quantisers make them of networks of a size that people have."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from fleetfront.deploy.quantise.onnx import quantise_onnx
from fleetfront.deploy.quantise.rounding import tflite_weights
from fleetfront.deploy.quantise.tflite import quantise_tflite
from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.metadata import FileDescription, describe_file
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.graphs.readers.file import read_graph
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.runtimes.litert.operator_times import read_model, time_operators
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
    return quantise_tflite(write_tflite(large()), "image", [IMAGE])


def run(data: bytes) -> np.ndarray:
    session = load_runtime("litert").open(data)
    return session.run({session.inputs[0].name: IMAGE})[session.outputs[0].name]


def test_constants_behind_the_flatbuffer_stay_in_the_file_that_is_handed_out(int8_tflite: bytes) -> None:
    described = describe_file(int8_tflite, FileDescription("large", "a network"))
    np.testing.assert_array_equal(run(described), run(int8_tflite))
    exact = run(write_tflite(large()))
    assert np.abs(run(described) - exact).max() < 0.05 * np.ptp(exact)


def test_the_weights_behind_the_flatbuffer_are_held_against_the_float_file(int8_tflite: bytes) -> None:
    assert set(tflite_weights(int8_tflite)) == set(tflite_weights(write_tflite(large())))


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
    paths["int8"].write_bytes(quantise_tflite(data, graph.inputs[0], [image]))

    def settings(path: Path) -> Counter[str]:
        texts = (f"{one.family} {sorted(one.attributes.items())}" for one in read_graph(path).operators)
        return Counter(text.replace("'int8'", "'float32'") for text in texts)

    ends = {name: count for name, count in settings(paths["int8"]).items() if "quantise" not in name}
    assert ends == dict(settings(paths["float"]))


def test_int8_onnx_leaves_no_convolution_in_float(tmp_path: Path) -> None:
    """With signed activations ONNX Runtime leaves the convolutions of squeeze-and-excite in float on x86."""
    space = ofa_mbv3_mini()
    graph = space.subnet_graphs(space.sample(1, np.random.default_rng(3))[0])["network"][0]
    image = np.random.default_rng(0).standard_normal(graph.tensors[graph.inputs[0]].shape).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    data = quantise_onnx(write_onnx(graph), graph.inputs[0], [image])
    onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert kinds["Conv"] == 0
    assert kinds["QLinearConv"] > 0
