"""What stands between changes of type runs in narrow numbers only where a runtime finds nothing to cut off."""

from __future__ import annotations

import numpy as np
import pytest

from fleetfront.graphs.graph import GraphBuilder
from fleetfront.predictors.operators.kernels import graph_kernels


def kinds(activation: str, dtype: str, zero: int, scale: float) -> list[str]:
    """A product of dequantised data and weights, cut off and quantised again."""
    builder = GraphBuilder("qdq")
    data = builder.add("dequantise", (builder.input("x", (4, 16), dtype=dtype),), dtype="float32")
    weight = builder.add("dequantise", (builder.weight("w", np.ones((8, 16), np.int8)),), dtype="float32")
    product = builder.add("linear", (data, weight))
    result = builder.add(activation, (product,)) if activation else product
    numbers = builder.weight("scale", np.array(scale, np.float32)), builder.weight("zero", np.array(zero, dtype))
    made = builder.build([builder.add("quantise", (result, *numbers), dtype=dtype)])
    return [kernel.kind for kernel in graph_kernels(made)]


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
        "linear",
        activation,
        f"quantise {dtype}",
    ]


def test_weights_that_alone_are_narrow_are_widened_for_a_product_of_floats() -> None:
    builder = GraphBuilder("stored")
    weight = builder.add("dequantise", (builder.weight("w", np.ones((8, 16), np.int8)),), dtype="float32")
    made = builder.build([builder.add("linear", (builder.input("x", (4, 16)), weight))])
    assert [kernel.kind for kernel in graph_kernels(made)] == ["dequantise int8", "linear"]


def test_what_nobody_computes_with_is_widened_all_the_same() -> None:
    builder = GraphBuilder("last")
    widened = builder.add("dequantise", (builder.input("x", (4, 16), dtype="int8"),), dtype="float32")
    assert [kernel.kind for kernel in graph_kernels(builder.build([widened]))] == ["dequantise int8"]
