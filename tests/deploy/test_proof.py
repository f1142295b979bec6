import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.deploy.proof import prove
from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph, GraphBuilder

WRITERS = {".onnx": write_onnx, ".tflite": write_tflite}


def graph_of(scale: float = 1.0, size: int = 8) -> Graph:
    b = GraphBuilder("g")
    rng = np.random.default_rng(0)
    x = b.input("x", (1, 3, size, size), layout="NCHW")
    weight = b.weight("w", (scale * rng.normal(size=(4, 3, 3, 3))).astype(np.float32))
    y = b.add("hard_swish", [b.conv2d(x, weight, padding=1)])
    return b.build([y, b.add("flatten", [b.add("global_average_pool", [y])])])


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_from_disk_is_proven_in_its_own_runtime(suffix: str, tmp_path: Path) -> None:
    graph = graph_of()
    path = tmp_path / f"net{suffix}"
    path.write_bytes(WRITERS[suffix](graph))
    proof = prove(graph, path, feeds=4)
    assert proof.passed
    assert proof.samples == 4
    assert 0 < proof.max_abs_error < 1e-5
    assert proof.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    checks = json.loads(json.dumps(proof.as_checks()))
    assert checks["passed"] is True
    assert checks["runtime"].split()[0] == {".onnx": "onnxruntime", ".tflite": "litert"}[suffix]


@pytest.mark.parametrize(("suffix", "runtime"), [(".onnx", "onnxruntime"), (".tflite", "litert")])
def test_a_file_with_other_weights_fails(suffix: str, runtime: str) -> None:
    proof = prove(graph_of(), WRITERS[suffix](graph_of(scale=1.01)), runtime)
    assert not proof.passed
    assert 1e-3 < proof.relative_to_range < 0.1
    assert prove(graph_of(), WRITERS[suffix](graph_of(scale=1.01)), runtime, limit=0.1).passed


def test_error_is_measured_against_the_range_of_the_reference() -> None:
    def shifted(by: float) -> Graph:
        b = GraphBuilder("g")
        return b.build([b.add("add", [b.input("x", (1, 2)), b.weight("w", np.array([0, by], np.float32))], "y")])

    proof = prove(shifted(0), write_onnx(shifted(0.5)), "onnxruntime", [{"x": np.array([[-1, 3]], np.float32)}])
    assert proof.max_abs_error == 0.5
    assert proof.relative_to_range == 0.125


def test_a_nan_that_torch_does_not_have_fails() -> None:
    good, bad = graph_of(), graph_of()
    broken = replace(bad, weights={"w": np.full((4, 3, 3, 3), np.nan, np.float32)})
    proof = prove(good, write_onnx(broken), "onnxruntime")
    assert math.isinf(proof.max_abs_error)
    assert not proof.passed


def test_channels_last_square_images_are_not_taken_for_channels_first() -> None:
    b = GraphBuilder("g")
    x = b.input("x", (1, 4, 4, 4), layout="NCHW")
    graph = b.build([b.add("add", [x, b.weight("w", np.arange(4, dtype=np.float32).reshape(4, 1, 1))])])
    assert prove(graph, write_tflite(graph), "litert").passed
    assert prove(graph, write_onnx(graph), "onnxruntime").passed


def test_a_file_of_another_graph_is_refused() -> None:
    with pytest.raises(InputError, match=r"'x' of the file is \[1, 3, 8, 8\], of the graph \[1, 3, 9, 9\]"):
        prove(graph_of(size=9), write_onnx(graph_of()), "onnxruntime")
    b = GraphBuilder("g")
    other = b.build([b.add("relu", [b.input("z", (1, 2))])])
    with pytest.raises(InputError, match="no input or output 'x'"):
        prove(graph_of(), write_tflite(other), "litert")


def test_bytes_need_a_runtime_and_proofs_need_inputs() -> None:
    with pytest.raises(InputError, match="Name the runtime"):
        prove(graph_of(), write_onnx(graph_of()))
    with pytest.raises(InputError, match="at least one input"):
        prove(graph_of(), write_onnx(graph_of()), "onnxruntime", 0)


@pytest.mark.parametrize(("spread", "is_empty"), [(5e-4, True), (9.9e-4, True), (1.1e-3, False), (5e-3, False)])
def test_outputs_that_inputs_change_by_less_than_a_thousandth_prove_nothing(spread: float, is_empty: bool) -> None:
    def plus(values: list[float]) -> Graph:
        b = GraphBuilder("g")
        return b.build([b.add("add", [b.input("x", (1, 2)), b.weight("w", np.array(values, np.float32))], "y")])

    graph = plus([0.0, 1.0])
    feeds = [{"x": np.zeros((1, 2), np.float32)}, {"x": np.array([[spread, 0]], np.float32)}]
    proof = prove(graph, write_onnx(graph), "onnxruntime", feeds)
    assert proof.spread_of_range == pytest.approx(spread, rel=1e-3)
    assert (proof.is_empty, proof.passed) == (is_empty, not is_empty)
