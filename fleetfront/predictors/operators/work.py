"""What networks ask of a device, operator by operator: launches, multiply-accumulates, elements moved, by class of
operator. Counting only; what a device takes for it is in ``operators.model`` and ``transfer``.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.graphs.graph import Graph, Operator
from fleetfront.predictors.table.calibrated import block_sum
from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.spaces.nasbench201.graph import CELLS, EDGES, OPERATIONS, STAGES, add_block, operation_block
from fleetfront.spaces.nasbench201.space import NasBench201Space

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Operators of one class have one launch overhead, one rate and one bandwidth on a device. ``vector``: linear layers
#: and convolutions of a single pixel, which are bound by reading their weights. ``movement``: data is only rearranged.
CLASSES = ("convolution", "depthwise", "vector", "pooling", "elementwise", "movement")

#: What is counted of each class, in millions except launches. Elements are of activations read and written; weights
#: are apart because a batch reads them once.
QUANTITIES = ("launches", "mmacs", "melements", "mweights")

#: The columns of every work matrix, class by class.
WORK_NAMES = tuple(f"{name}.{quantity}" for name in CLASSES for quantity in QUANTITIES)

#: Multiply-accumulates of depthwise convolutions with large kernels, counted once more: some runtimes have fast paths
#: for certain kernels only (7 x 7 costs ten times 5 x 5 in LiteRT on x86), which no other column sees.
KERNEL_SIZES = (5, 7)
DETAILED_NAMES = (*WORK_NAMES, *(f"depthwise{size}.mmacs" for size in KERNEL_SIZES))

_POOLS = ("max_pool2d", "average_pool2d", "global_average_pool")
_FREE = ("reshape", "flatten")
_MOVES = ("transpose", "concat")


class Mode(enum.StrEnum):
    """Which operators of a network with dead branches a runtime executes. Networks without any are equal in all."""

    #: Only those on a path from input to output: what this project's files hold.
    LIVE = "live"
    #: Those that the output depends on; a branch fed by zeros is executed. Converters remove the others.
    NEEDED = "needed"
    #: Everything that was written down, multiplications by zero included, as define-by-run frameworks do.
    ALL = "all"


def graph_work(graph: Graph) -> FloatArray:
    """float64[len(WORK_NAMES)] of one inference of a graph at batch 1; batch-norm is expected to be folded."""
    work = np.zeros((len(CLASSES), len(QUANTITIES)))
    for operator in graph.operators:
        name = operator_class(graph, operator)
        if name is not None:
            work[CLASSES.index(name)] += _operator_work(graph, operator)
    return work.ravel()


def kernel_work(graph: Graph) -> FloatArray:
    """float64[len(KERNEL_SIZES)]: millions of multiply-accumulates of depthwise convolutions with each large kernel."""
    work = np.zeros(len(KERNEL_SIZES))
    for operator in graph.operators:
        if operator_class(graph, operator) == "depthwise":
            size = int(graph.weights[operator.inputs[1]].shape[-1])
            if size in KERNEL_SIZES:
                work[KERNEL_SIZES.index(size)] += _operator_work(graph, operator)[1]
    return work


def operator_class(graph: Graph, operator: Operator) -> str | None:
    """The class of an operator, None for those that cost nothing (reshape)."""
    family = operator.family
    if family == "linear":
        return "vector"
    if family == "conv2d":
        channels, *sides = graph.tensors[operator.output].shape[1:]
        if all(side == 1 for side in sides):
            return "vector"
        weight = graph.weights[operator.inputs[1]].shape
        is_depthwise = operator.attributes["groups"] > 1 and weight[1] == 1 and weight[0] == channels
        return "depthwise" if is_depthwise else "convolution"
    if family in _FREE:
        return None
    if family in _POOLS:
        return "pooling"
    return "movement" if family in _MOVES else "elementwise"


def _operator_work(graph: Graph, operator: Operator) -> FloatArray:
    weights = [graph.weights[name] for name in operator.inputs if name in graph.weights]
    moved = [name for name in (*operator.inputs, operator.output) if name in graph.tensors]
    elements = sum(_elements(graph, name) for name in moved)
    macs = 0.0
    if operator.family in ("conv2d", "linear"):
        # Every output element takes one multiply-accumulate a weight of its channel.
        macs = _elements(graph, operator.output) * weights[0].size / weights[0].shape[0]
    return np.array([1.0, macs / 1e6, elements / 1e6, sum(array.size for array in weights) / 1e6])


def _elements(graph: Graph, name: str) -> float:
    return float(math.prod(d for d in graph.tensors[name].shape if isinstance(d, int)))


class NetworkWork:
    """Work of whole networks of a space. Making one builds the graph of every block once (a second or two)."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        #: float64[|V|, len(WORK_NAMES)]: work of each block of the vocabulary.
        graphs = [space.block_graph(block) for block in space.vocabulary]
        self.blocks: FloatArray = np.array([graph_work(graph) for graph in graphs])
        #: float64[|V|, len(KERNEL_SIZES)], as ``kernel_work`` counts.
        self.kernels: FloatArray = np.array([kernel_work(graph) for graph in graphs])
        self._columns = [block_sum(space, column) if column.any() else None for column in self.blocks.T]
        self._kernel_columns = [block_sum(space, column) if column.any() else None for column in self.kernels.T]
        self._whole_cells = _cell_work(space, self.blocks) if isinstance(space, NasBench201Space) else {}

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes in which networks of the space differ."""
        return (Mode.LIVE, *self._whole_cells)

    def __call__(self, genotypes: Genotypes, mode: Mode = Mode.LIVE) -> FloatArray:
        """float64[n, len(WORK_NAMES)] of n genotypes int8[n, v]."""
        if mode in self._whole_cells:
            return self._whole_cells[mode](genotypes)
        return _summed(self._columns, genotypes)

    def detailed(self, genotypes: Genotypes, mode: Mode = Mode.LIVE) -> FloatArray:
        """float64[n, len(DETAILED_NAMES)]: the same, with large kernels apart. No space with modes has any."""
        return np.hstack([self(genotypes, mode), _summed(self._kernel_columns, genotypes)])


def _summed(columns: Sequence[Callable[[Genotypes], FloatArray] | None], genotypes: Genotypes) -> FloatArray:
    return np.stack([np.zeros(len(genotypes)) if c is None else c(genotypes) for c in columns], axis=1)


def _cell_work(space: NasBench201Space, blocks: FloatArray) -> Mapping[Mode, Callable[[Genotypes], FloatArray]]:
    """The two modes in which dead edges of NAS-Bench-201 cost something.

    In the published networks every edge is executed: ``none`` multiplies by zero, and the edges into a node are summed.
    """
    index = {block: number for number, block in enumerate(space.vocabulary)}
    fixed = blocks[: len(STAGES) + 1].sum(axis=0)
    per_operation = np.zeros((len(OPERATIONS), blocks.shape[1]))
    per_sum = np.zeros(blocks.shape[1])
    zero = np.zeros(blocks.shape[1])
    for stage, (width, side) in enumerate(STAGES):
        per_sum += CELLS * blocks[index[add_block(stage)]]
        zero[_column("elementwise", "launches")] += CELLS
        zero[_column("elementwise", "melements")] += CELLS * 2 * width * side**2 / 1e6
        for at, operation in enumerate(OPERATIONS):
            block = operation_block(operation, stage)
            if block is not None:
                per_operation[at] += CELLS * blocks[index[block]]
    with_zeros = per_operation.copy()
    with_zeros[OPERATIONS.index("none")] = zero
    edges_into = [[edge for edge, (_, to) in enumerate(EDGES) if to == node] for node in (1, 2, 3)]
    sums_of_all = sum(len(into) - 1 for into in edges_into)

    def everything(genotypes: Genotypes) -> FloatArray:
        work: FloatArray = fixed + sums_of_all * per_sum + with_zeros[genotypes].sum(axis=1)
        return work

    def needed(genotypes: Genotypes) -> FloatArray:
        edges = _needed_edges(genotypes)
        sums = sum(np.maximum(edges[:, into].sum(axis=1) - 1, 0) for into in edges_into)
        work: FloatArray = fixed + np.asarray(sums)[:, None] * per_sum
        work += (per_operation[genotypes] * edges[..., None]).sum(axis=1)
        return work

    return {Mode.NEEDED: needed, Mode.ALL: everything}


def _needed_edges(genotypes: Genotypes) -> NDArray[np.bool_]:
    """bool[n, 6]: edges other than ``none`` into nodes from which a path leads to the output."""
    present = genotypes != 0
    reaching = np.zeros((len(genotypes), 4), dtype=np.bool_)
    reaching[:, 3] = True
    for edge, (source, node) in reversed(list(enumerate(EDGES))):
        reaching[:, source] |= reaching[:, node] & present[:, edge]
    needed: NDArray[np.bool_] = present & reaching[:, [node for _, node in EDGES]]
    return needed


def _column(name: str, quantity: str) -> int:
    return CLASSES.index(name) * len(QUANTITIES) + QUANTITIES.index(quantity)
