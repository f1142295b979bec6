"""Operators between changes of type run in narrow numbers only where a runtime finds nothing to cut off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fleetfront.graphs.graph import GraphBuilder
from fleetfront.predictors.operators.kernels import graph_kernels
from fleetfront.predictors.operators.samples import Sample


def kinds(activation: str, dtype: str, zero: int, scale: float) -> list[str]:
    """A product of dequantised data and weights, cut off and quantised again."""
    builder = GraphBuilder("qdq")
    narrow = builder.add("quantise", (builder.input("x", (4, 16)),), dtype=dtype)
    data = builder.add("dequantise", (narrow,), dtype="float32")
    weight = builder.add("dequantise", (builder.weight("w", np.ones((8, 16), np.int8)),), dtype="float32")
    product = builder.add("linear", (data, weight))
    result = builder.add(activation, (product,)) if activation else product
    numbers = builder.weight("scale", np.array(scale, np.float32)), builder.weight("zero", np.array(zero, dtype))
    quantised = builder.add("quantise", (result, *numbers), dtype=dtype)
    made = builder.build([builder.add("dequantise", (quantised,), dtype="float32")])
    first, *others, last = [kernel.kind for kernel in graph_kernels(made)]
    assert (first, last) == (f"quantise {dtype}", f"dequantise {dtype}")
    return others


@pytest.mark.parametrize(
    ("activation", "dtype", "zero", "scale"),
    [
        ("", "int8", 0, 0.1),
        ("relu", "uint8", 0, 0.1),
        ("relu", "int8", -128, 0.1),
        ("relu6", "uint8", 0, 0.02),
        ("relu6", "int8", -128, 0.02),
    ],
)
def test_a_type_that_holds_nothing_beyond_an_activation_swallows_it(
    activation: str, dtype: str, zero: int, scale: float
) -> None:
    assert kinds(activation, dtype, zero, scale) == ["linear int8"]


@pytest.mark.parametrize(
    ("activation", "dtype", "zero", "scale"),
    [
        ("relu", "int8", 0, 0.1),
        ("relu", "uint8", 128, 0.1),
        ("relu6", "uint8", 0, 0.1),
        ("relu6", "uint8", 3, 0.01),
    ],
)
def test_where_something_is_cut_off_floats_are_multiplied(activation: str, dtype: str, zero: int, scale: float) -> None:
    assert kinds(activation, dtype, zero, scale) == [
        f"dequantise {dtype}",
        "dequantise int8",
        "matmul",
        activation,
        f"quantise {dtype}",
    ]


@pytest.mark.parametrize(
    ("dtype", "shared", "kind"),
    [
        ("uint8", "data", "linear int8"),
        ("uint8", "result", "linear int8"),
        ("uint8", "made", "linear int8"),
        ("int8", "", "linear int8"),
        ("int8", "data", "matmul"),
        ("int8", "result", "matmul"),
        ("int8", "made", "matmul"),
    ],
)
def test_signed_numbers_that_others_read_or_make_are_multiplied_in_floats(dtype: str, shared: str, kind: str) -> None:
    builder = GraphBuilder("residual")
    start = builder.input("x", (4, 16), dtype=dtype if shared == "made" else "float32")
    narrow = start if shared == "made" else builder.add("quantise", (start,), dtype=dtype)
    data = builder.add("dequantise", (narrow,), dtype="float32")
    weight = builder.add("dequantise", (builder.weight("w", np.ones((8, 16), np.int8)),), dtype="float32")
    quantised = builder.add("quantise", (builder.add("linear", (data, weight)),), dtype=dtype)
    result = builder.add("dequantise", (quantised,), dtype="float32")
    outputs = [builder.add("elementwise", (result,), function="tanh")]
    if shared in ("data", "result"):
        other = data if shared == "data" else result
        outputs.append(builder.add("elementwise", (other,), function="erf"))
    assert kind in [kernel.kind for kernel in graph_kernels(builder.build(outputs))]


def test_a_convolution_in_floats_cannot_lay_its_widened_weights_out() -> None:
    builder = GraphBuilder("stored")
    weight = builder.add("dequantise", (builder.weight("w", np.ones((8, 16, 3, 3), np.int8)),), dtype="float32")
    made = builder.build([builder.conv2d(builder.input("x", (1, 16, 9, 9), layout="NCHW"), weight, padding=1)])
    widened, convolved = graph_kernels(made)
    (fed,) = graph_kernels(Sample.parse("1x16x9x9|conv:8x3x3x1x1x1").graph())
    assert (widened.kind, convolved.kind) == ("dequantise int8", fed.kind) == ("dequantise int8", "conv fed")
    np.testing.assert_allclose(convolved.features, fed.features, atol=1e-5)


def test_weights_that_alone_are_narrow_are_widened_for_a_product_of_floats() -> None:
    builder = GraphBuilder("stored")
    weight = builder.add("dequantise", (builder.weight("w", np.ones((8, 16), np.int8)),), dtype="float32")
    made = builder.build([builder.add("linear", (builder.input("x", (4, 16)), weight))])
    assert [kernel.kind for kernel in graph_kernels(made)] == ["dequantise int8", "linear int8 weights"]


def test_what_nobody_computes_with_is_widened_all_the_same() -> None:
    builder = GraphBuilder("last")
    widened = builder.add("dequantise", (builder.input("x", (4, 16), dtype="int8"),), dtype="float32")
    assert [kernel.kind for kernel in graph_kernels(builder.build([widened]))] == ["dequantise int8"]


@pytest.mark.parametrize(
    ("is_widened", "behind", "kind"),
    [
        (True, "add", "matmul"),
        (True, "quantise", "matmul"),
        (True, "sigmoid", "linear int8 weights"),
        (False, "sigmoid", "linear int8 weights"),
    ],
)
def test_narrow_weights_that_are_widened_at_each_run_are_not_laid_out_before(
    is_widened: bool, behind: str, kind: str
) -> None:
    """Without a bias, a cut or a change back ONNX Runtime multiplies whole numbers, or widens as it goes."""
    builder = GraphBuilder("widened")
    data = builder.input("x", (4, 16), dtype="int8" if is_widened else "float32")
    if is_widened:
        data = builder.add("dequantise", (data,), dtype="float32")
    weight = builder.add("dequantise", (builder.weight("w", np.ones((16, 8), np.int8)),), dtype="float32")
    product = builder.add("matmul", (data, weight))
    others = {"add": (builder.weight("b", np.ones(8, np.float32)),)}.get(behind, ())
    said: dict[str, Any] = {"dtype": "int8"} if behind == "quantise" else {}
    made = builder.add(behind, (product, *others), **said)
    graph = builder.build([product, made] if behind == "quantise" else [made])
    assert kind in [kernel.kind for kernel in graph_kernels(graph)]
