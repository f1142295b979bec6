"""Every runtime that runs on this machine's CPU conforms, and each fault is found."""

from collections.abc import Callable

import numpy as np
import pytest

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.testing.checks import check_name, failures
from fleetfront.testing.runtimes import RUNTIME_CHECKS, RUNTIME_FAULTS, RuntimeCase, faulty_runtime

WRITERS: dict[str, tuple[str, Callable[[Graph], bytes]]] = {
    "litert": (".tflite", write_tflite),
    "onnxruntime": (".onnx", write_onnx),
    "torch": (".graph", Graph.to_bytes),
}


def case_of(name: str) -> RuntimeCase:
    b = GraphBuilder("g")
    x, y = b.input("x", (1, 3)), b.input("y", (1, 3))
    graph = b.build([b.add("add", [x, y], "sum"), b.add("concat", [x, x], "twice", axis=1)])
    suffix, write = WRITERS[name]
    feeds = {"x": np.full((1, 3), 2, np.float32), "y": np.arange(3, dtype=np.float32)[None]}
    expected = {"sum": np.array([[2, 3, 4]], np.float32), "twice": np.full((1, 6), 2, np.float32)}
    foreign = tuple(other(graph) for key, (_, other) in WRITERS.items() if key != name)
    return RuntimeCase(load_runtime(name), write(graph), feeds, expected, suffix, foreign)


@pytest.mark.parametrize("check", RUNTIME_CHECKS, ids=check_name)
@pytest.mark.parametrize("name", WRITERS)
def test_every_runtime_conforms(name: str, check: Callable[[RuntimeCase], None]) -> None:
    check(case_of(name))


@pytest.mark.parametrize("fault", RUNTIME_FAULTS)
def test_each_fault_is_found(fault: str) -> None:
    assert failures(RUNTIME_CHECKS, faulty_runtime(case_of("onnxruntime"), fault))
