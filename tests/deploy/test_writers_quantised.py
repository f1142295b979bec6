"""Numbers go into bytes and back alike in ONNX files and in torch."""

import numpy as np
import pytest

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.graphs.graph import Graph
from fleetfront.runtimes.catalogue import load_runtime
from tests.deploy.written import Builder

SHAPE, SCALE, ZERO = (2, 5, 8), np.array(0.05, np.float32), np.array(100, np.uint8)
FLOATS = np.random.default_rng(1).normal(0, 3, SHAPE).astype(np.float32)
STORED = np.random.default_rng(2).integers(0, 256, SHAPE).astype(np.uint8)
FAMILIES = ("quantise", "dequantise")


def one_operator(family: str) -> Graph:
    builder = Builder()
    data = builder.input("x", SHAPE, "float32" if family == "quantise" else "uint8")
    operands = [data, builder.weight("scale", SCALE), builder.weight("zero", ZERO)]
    dtype = "uint8" if family == "quantise" else "float32"
    return builder.build([builder.add(family, operands, dtype=dtype)])


@pytest.mark.parametrize("family", FAMILIES)
def test_bytes_are_those_that_the_scale_says(family: str) -> None:
    graph = one_operator(family)
    session = load_runtime("onnxruntime").open(write_onnx(graph))
    (found,) = session.run({"x": FLOATS if family == "quantise" else STORED}).values()
    session.close()
    if family == "quantise":
        np.testing.assert_array_equal(found, np.clip(np.round(FLOATS / SCALE) + ZERO, 0, 255).astype(np.uint8))
    else:
        np.testing.assert_allclose(found, (STORED.astype(np.float32) - ZERO) * SCALE, rtol=1e-6)
