import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.graphs.batch import with_batch
from fleetfront.graphs.graph import Graph, GraphBuilder


def graph_of(shape: tuple[int, ...]) -> Graph:
    b = GraphBuilder("g")
    x = b.input("x", (1, 4, 2, 2), layout="NCHW")
    weight = b.weight("w", np.ones((6, 4, 1, 1), np.float32))
    return b.build([b.add("relu", [b.add("reshape", [b.conv2d(x, weight)], shape=shape)], "y")], {"a": "b"})


def test_all_shapes_follow_the_batch() -> None:
    graph = graph_of((1, 6, 4))
    eight, symbolic = with_batch(graph, 8), with_batch(graph, "batch")
    assert [tensor.shape for tensor in eight.tensors.values()] == [(8, 4, 2, 2), (8, 6, 2, 2), (8, 6, 4), (8, 6, 4)]
    assert [tensor.shape[0] for tensor in symbolic.tensors.values()] == ["batch"] * 4
    assert eight.labels == graph.labels
    assert with_batch(eight, 1).content_hash == graph.content_hash


def test_a_graph_that_moves_its_batch_is_refused() -> None:
    with pytest.raises(InputError, match=r"\(1, 6, 2, 2\) to \(6, 4\) moves the batch"):
        with_batch(graph_of((6, 4)), 2)
    for batch in (0, -3, ""):
        with pytest.raises(InputError, match="is not a batch"):
            with_batch(graph_of((1, 24)), batch)
