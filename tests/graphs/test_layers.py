"""Outlines: graphs of drawn weights, with placeholders for these."""

from __future__ import annotations

import numpy as np
import pytest

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph
from fleetfront.predictors.file_sizes import FileParts
from fleetfront.predictors.operators.work import graph_work, kernel_work
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.outlines import outline_blocks

SPACES = ("ofa-mbv3-mini", "ofa-proxyless", "ofa-resnet50", "ofa-mbv3-mini@fp32,int8", "nasbench201")


def told(graph: Graph) -> object:
    weights = {name: (array.shape, array.dtype) for name, array in graph.weights.items()}
    return graph.inputs, graph.outputs, graph.operators, dict(graph.tensors), weights


@pytest.mark.parametrize("name", SPACES)
def test_an_outline_is_the_graph_but_for_its_numbers(name: str) -> None:
    space = load_space(name)
    blocks = space.vocabulary[:: max(1, len(space.vocabulary) // 12)]
    for block, outline in zip(blocks, outline_blocks(space, blocks), strict=True):
        graph = space.block_graph(block)
        assert told(outline) == told(graph)
        assert outline.has_placeholders == (name != "nasbench201")
        assert np.array_equal(graph_work(outline), graph_work(graph))
        assert np.array_equal(kernel_work(outline), kernel_work(graph))
        assert not graph.has_placeholders


def test_no_file_is_written_of_an_outline() -> None:
    space = load_space("ofa-mbv3-mini")
    (outline,) = outline_blocks(space, space.vocabulary[:1])
    with pytest.raises(InputError, match="weights"):
        write_onnx(outline)
    assert len(FileParts(space)(space.sample(3, np.random.default_rng(0)))) == 3
