"""Features: equal for cells that compute the same, different where they do not; a default for spaces without any."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetfront.search.models.features import NetworkFeatures
from fleetfront.spaces.base import DescribesNetworks
from fleetfront.spaces.catalogue import load_space

SPACE = load_space("nasbench201")


def features(*cells):
    return np.concatenate(NetworkFeatures(SPACE)(np.array(cells, dtype=np.int8)), axis=1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=6, max_size=6))
def test_dead_edges_do_not_matter(cell):
    row = np.array([cell], dtype=np.int8)
    live = SPACE.live_edges(row)[0]
    bare = np.where(live, cell, 0)
    assert np.array_equal(*features(cell, bare))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=4, max_size=4))
def test_parallel_nodes_may_change_places(edges):
    a, b, c, d = edges
    # Edges: 0-1, 0-2, 1-2, 0-3, 1-3, 2-3; nothing leads from node 1 to node 2.
    assert np.array_equal(*features([a, b, 0, 2, c, d], [b, a, 0, 2, d, c]))


def test_a_skip_on_the_way_computes_nothing_but_an_operation_does():
    convolution = features([3, 0, 0, 0, 1, 0], [1, 0, 0, 0, 3, 0], [3, 0, 0, 0, 3, 0])
    assert np.array_equal(convolution[0], convolution[1])
    assert not np.array_equal(convolution[0], convolution[2])


def test_counts_of_a_cell_by_hand():
    # Input -3x3-> 1 -1x1-> 2 -pool-> output, input -skip-> output; edges 0-2 and 1-3 are none.
    groups = SPACE.network_features(np.array([[3, 0, 2, 1, 0, 4]], dtype=np.int8))
    assert groups["operations"].tolist() == [[1, 1, 1, 1]]
    assert groups["paths"].sum() == 2
    assert groups["shape"].tolist() == [[2, 2, 0, 2, 1, 1, 1, 1, 1, 0]]
    assert groups["connected"].tolist() == [[1]]


def test_fewer_features_than_cells_and_disconnected_ones_are_alike():
    every = SPACE.every()
    found = np.concatenate(NetworkFeatures(SPACE)(every), axis=1)
    disconnected = SPACE.disconnected(every)
    assert len(np.unique(found[disconnected], axis=0)) == 1
    assert 4000 < len(np.unique(found, axis=0)) < 6466  # cells that differ in function: Dong and Yang 2020


@pytest.mark.parametrize("name", ["ofa-mbv3-mini", "ofa-mbv3-w1.2"])
def test_a_space_without_its_own_gets_genes_their_sums_and_size(name):
    space = load_space(name)
    assert not isinstance(space, DescribesNetworks)
    rows = space.sample(50, np.random.default_rng(0))
    genes, sums, size = NetworkFeatures(space)(rows)
    assert genes.shape[1] == sum(map(len, space.choices))
    assert np.array_equal(genes.sum(axis=1), space.active(rows).sum(axis=1))
    assert np.array_equal(sums.sum(axis=1), genes.sum(axis=1))
    # Kernels, expansions, depths, the resolution: values of each.
    assert sums.shape[1] == 9 + len(space.choices[-1])
    assert np.allclose(np.exp(size[:, 0]), space.macs(rows))
