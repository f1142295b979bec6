"""Find what counts of a NAS-Bench-201 cell where equal operators are run once, or branches side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.nasbench201.features import PATHS
from fleetfront.spaces.nasbench201.graph import EDGES, OPERATIONS

_NONE, _SKIP, _POOL = (OPERATIONS.index(name) for name in ("none", "skip_connect", "avg_pool_3x3"))
#: Edges that may meet another one at their node, so that what they carry is added to it.
ADDED_EDGES = (2, 4, 5)
_CONVOLUTIONS = tuple(OPERATIONS.index(name) for name in ("nor_conv_1x1", "nor_conv_3x3"))
_INTO = tuple([edge for edge, (_, to) in enumerate(EDGES) if to == node] for node in range(4))
#: What an operation takes beside a 3 x 3 convolution, for choosing the dearest path. Convolutions: the median over
#: thirteen public devices of coefficients fitted to live operations; poolings there range from nothing to as much.
_DEARNESS = {"none": 0.0, "skip_connect": 0.0, "nor_conv_1x1": 0.45, "nor_conv_3x3": 1.0, "avg_pool_3x3": 0.35}


def merged_edges(genotypes: Genotypes) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Edges bool[n, 6] and number of sums int[n] where everything is executed, but what is equal once.

    Poolings of equal inputs are equal, and so are products with zero; convolutions never (each has weights of its own).
    A skip is its input, and sums of equal terms are equal.
    """
    n = len(genotypes)
    values, edge_values = np.ones((n, 4), dtype=np.uint64), np.zeros((n, len(EDGES)), dtype=np.uint64)
    executed, sums = np.ones((n, len(EDGES)), dtype=np.bool_), np.zeros(n, dtype=np.intp)
    may_be_equal = np.isin(genotypes, (_NONE, _POOL))
    for node in (1, 2, 3):
        for edge in _INTO[node]:
            source, operation = values[:, EDGES[edge][0]], genotypes[:, edge]
            # Convolutions are told apart by their edge.
            kind = np.where(may_be_equal[:, edge], operation, len(OPERATIONS) * (1 + edge) + operation)
            edge_values[:, edge] = np.where(operation == _SKIP, source, _mixed(source ^ _mixed(kind.astype(np.uint64))))
            for earlier in range(edge):
                is_equal = edge_values[:, earlier] == edge_values[:, edge]
                executed[is_equal & may_be_equal[:, earlier] & may_be_equal[:, edge], edge] = False
        terms = edge_values[:, _INTO[node]]
        values[:, node] = terms[:, 0] if len(_INTO[node]) == 1 else _mixed(terms).sum(axis=1, dtype=np.uint64)
        is_new = np.all(values[:, 2:node] != values[:, [node]], axis=1)
        sums += np.where(is_new, len(_INTO[node]) - 1, 0)
    return executed, sums


def shared_edges(
    genotypes: Genotypes, live: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Parts of live edges bool[n, 6] that are executed where equal operators are shared: bool[n, 6], twice, bool[n, 3].

    The edges whose pooling or convolution is executed; those of them whose convolution reads what another one has
    activated already; whether a sum is made at each of ``ADDED_EDGES``. Poolings and activations of equal inputs are
    equal, and so are sums of two equal terms; of three, they are added one after another.
    """
    n = len(genotypes)
    values, edge_values = np.ones((n, 4), dtype=np.uint64), np.zeros((n, len(EDGES)), dtype=np.uint64)
    sources = np.zeros_like(edge_values)
    executed, activated, sums = live.copy(), np.zeros_like(live), np.zeros((n, len(EDGES)), dtype=np.bool_)
    sum_values = np.zeros_like(edge_values)
    is_pool, is_convolution = live & (genotypes == _POOL), live & np.isin(genotypes, _CONVOLUTIONS)
    for node in (1, 2, 3):
        total, is_begun = np.zeros(n, dtype=np.uint64), np.zeros(n, dtype=np.bool_)
        for edge in _INTO[node]:
            source = sources[:, edge] = values[:, EDGES[edge][0]]
            # Convolutions have weights of their own.
            kind = np.where(is_convolution[:, edge], np.uint64(2 + edge), np.uint64(1))
            made = edge_values[:, edge] = np.where(genotypes[:, edge] == _SKIP, source, _mixed(source ^ _mixed(kind)))
            for earlier in range(edge):
                is_same = sources[:, earlier] == source
                executed[is_same & is_pool[:, earlier] & is_pool[:, edge], edge] = False
                activated[is_same & is_convolution[:, earlier] & is_convolution[:, edge], edge] = True
            added = _mixed(_mixed(total) + _mixed(made))
            is_added = is_begun & live[:, edge]
            is_new = ~np.any(sums[:, :edge] & (sum_values[:, :edge] == added[:, None]), axis=1)
            sums[:, edge], sum_values[:, edge] = is_added & is_new, added
            total = np.where(is_added, added, np.where(live[:, edge], made, total))
            is_begun |= live[:, edge]
        values[:, node] = total
    return executed, activated, sums[:, ADDED_EDGES]


def dearest_path(genotypes: Genotypes, live: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Edges bool[n, 6] on the path of each cell that takes longest, and the sums int[n] at its nodes."""
    dearness = np.array([_DEARNESS[operation] for operation in OPERATIONS])[genotypes]
    whole = np.stack([np.all(live[:, path], axis=1) for path in PATHS], axis=1)
    costs = np.stack([dearness[:, path].sum(axis=1) for path in PATHS], axis=1)
    best = np.argmax(np.where(whole, costs, -1.0), axis=1)
    on_path = np.zeros((len(PATHS), len(EDGES)), dtype=np.bool_)
    for at, path in enumerate(PATHS):
        on_path[at, list(path)] = True
    edges: NDArray[np.bool_] = on_path[best] & np.any(whole, axis=1, keepdims=True)
    sums = np.zeros(len(genotypes), dtype=np.intp)
    for node in (1, 2, 3):
        is_passed = edges[:, _INTO[node]].any(axis=1)
        sums += np.where(is_passed, np.maximum(live[:, _INTO[node]].sum(axis=1) - 1, 0), 0)
    return edges, sums


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Values spread over 64 bits (splitmix64's finaliser, Steele et al. 2014), so that sums tell multisets apart."""
    mixed = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return result
