"""Costs of operators are what one counts by hand."""

from __future__ import annotations

import numpy as np

from fleetfront.graphs.costs import (
    count_parameters,
    element_bytes,
    operator_costs,
    peak_activation_bytes,
    weights_by_type,
)
from fleetfront.graphs.graph import Graph, GraphBuilder


def small() -> Graph:
    """Two convolutions that share a weight, a reshape, and a look-up of four rows of fifty."""
    b = GraphBuilder("g")
    x = b.input("x", (1, 4, 8, 8), layout="NCHW")
    indices = b.input("i", (4,), "int64")
    weight = b.weight("w", np.zeros((4, 4, 3, 3), np.float32))
    y = b.conv2d(b.conv2d(x, weight, padding=1), weight, stride=2, padding=1)
    flat = b.add("reshape", [y], shape=(4, 16))
    rows = b.add("gather", [b.weight("table", np.zeros((50, 16), np.float16)), indices], axis=0)
    return b.build([b.add("matmul", [flat, b.add("cast", [rows], dtype="float32")], transpose_right=True)])


def test_each_operator_is_counted() -> None:
    first, second, reshaped, gathered, cast, product = operator_costs(small())
    image = 4 * 8 * 8 * 4
    assert (first.macs, second.macs) == (4 * 8 * 8 * 36, 4 * 4 * 4 * 36)
    assert (first.read_bytes, first.written_bytes, first.weight_bytes) == (image, image, 4 * 36 * 4)
    assert (reshaped.kind, reshaped.moved_bytes) == (None, 0)
    assert (gathered.kind, gathered.weight_bytes, gathered.read_bytes) == ("lookup", 4 * 16 * 2, 4 * 8)
    assert (cast.macs, cast.moved_bytes) == (0, 4 * 16 * (2 + 4))
    assert (product.kind, product.macs, product.written_bytes) == ("matrix", 4 * 4 * 16, 4 * 4 * 4)


def test_shared_constants_count_once() -> None:
    graph = small()
    assert count_parameters(graph) == 4 * 36 + 50 * 16
    assert dict(weights_by_type(graph)) == {"float16": 1600, "float32": 576}


def test_the_most_memory_is_where_two_images_are_alive() -> None:
    graph = small()
    # Beside the two images of the first convolution there are the four indices, which are read later.
    assert peak_activation_bytes(graph) == 2 * 4 * 8 * 8 * 4 + 4 * 8


def test_a_reshape_takes_no_memory() -> None:
    b = GraphBuilder("g")
    x = b.input("x", (2, 6))
    y = b.add("reshape", [b.add("relu", [x])], shape=(3, 4))
    assert peak_activation_bytes(b.build([b.add("relu", [y])])) == 2 * 12 * 4


def test_unknown_operators_and_sizes_are_said_to_be() -> None:
    b = GraphBuilder("g")
    x = b.input("x", (1, 4))
    y = b.add("opaque", [x], kind="Fancy", shapes=(("found", 4),), dtypes=("float32",), layouts=("",))
    opaque, relu = operator_costs(b.build([b.add("relu", [y])]))
    assert (opaque.is_known, opaque.macs, opaque.read_bytes) == (False, 0, 16)
    assert (relu.is_known, relu.kind, relu.written_bytes) == (False, "elementwise", 0)


def test_types_of_less_than_a_byte() -> None:
    assert [element_bytes(name) for name in ("int4", "int8", "bfloat16", "float8_e4m3fn", "int64")] == [0.5, 1, 2, 1, 8]
