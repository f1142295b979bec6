"""Describe what a NAS-Bench-201 cell computes, in numbers: its live operations and the sequences of operations along
its paths. Cells that compute the same function, such as those that differ in dead edges, have equal numbers.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.nasbench201.graph import EDGES, OPERATIONS

#: Edges of the four paths from a cell's input (node 0) to its output (node 3).
PATHS = tuple(
    tuple(EDGES.index(step) for step in itertools.pairwise((0, *between, 3))) for between in ((), (1,), (2,), (1, 2))
)
_NONE, _SKIP, _CONV_1, _CONV_3, _POOL = range(len(OPERATIONS))
#: What may stand along a path, skips left out as they compute nothing: every sequence of up to three operations.
SEQUENCES = tuple(itertools.chain(*(itertools.product((_CONV_1, _CONV_3, _POOL), repeat=k) for k in range(4))))


def network_features(genotypes: Genotypes, live: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """Groups of numbers about n cells int8[n, 6], whose live edges are bool[n, 6].

    ``operations`` float64[n, 4]: how many live edges have each operation; ``paths`` float64[n, 40]: how many paths have
    each sequence of operations; ``shape`` float64[n, 10]: summaries of the paths; ``connected`` float64[n, 1]:
    whether there is any path, on which alone everything else depends.
    """
    operations = np.stack([((genotypes == op) & live).sum(axis=1) for op in range(1, len(OPERATIONS))], axis=1)
    is_path = np.stack([np.all(genotypes[:, path] != _NONE, axis=1) for path in PATHS], axis=1)
    sequence = np.stack([_sequence(genotypes[:, path]) for path in PATHS], axis=1)
    paths = np.zeros((len(genotypes), len(SEQUENCES)))
    np.add.at(paths, (np.nonzero(is_path)[0], sequence[is_path]), 1.0)
    return {
        "operations": operations.astype(np.float64),
        "paths": paths,
        "shape": _shape(paths, is_path.sum(axis=1)),
        "connected": np.any(is_path, axis=1, keepdims=True).astype(np.float64),
    }


def _sequence(operations: Genotypes) -> NDArray[np.intp]:
    """Index into ``SEQUENCES`` of what n paths of k edges compute, int8[n, k]; of no meaning where one is ``none``."""
    length = (operations > _SKIP).sum(axis=1)
    code = np.zeros(len(operations), dtype=np.intp)
    for operation in operations.T:
        code = np.where(operation > _SKIP, 3 * code + operation - _CONV_1, code)
    # Shorter sequences come first: 1, 3 and 9 of them.
    index: NDArray[np.intp] = np.array([0, 1, 4, 13])[length] + code
    return index


def _shape(paths: NDArray[np.float64], count: NDArray[np.intp]) -> NDArray[np.float64]:
    """Number of paths; most, fewest and all convolutions on a path; plain paths and whether there is one; most 3 x 3
    convolutions, most poolings, paths with pooling, most convolutions on a path without pooling: float64[n, 10]."""
    convolutions = np.array([sum(op != _POOL for op in ops) for ops in SEQUENCES])
    threes = np.array([ops.count(_CONV_3) for ops in SEQUENCES])
    pools = np.array([ops.count(_POOL) for ops in SEQUENCES])
    taken = paths > 0
    fewest = np.where(taken, convolutions, 9).min(axis=1)
    columns = [
        count,
        np.where(taken, convolutions, 0).max(axis=1),
        np.where(count > 0, fewest, 0),
        paths @ convolutions,
        paths[:, 0],
        taken[:, 0],
        np.where(taken, threes, 0).max(axis=1),
        np.where(taken, pools, 0).max(axis=1),
        paths @ (pools > 0),
        np.where(taken & (pools == 0), convolutions, 0).max(axis=1),
    ]
    return np.stack(columns, axis=1).astype(np.float64)
