"""Count what networks ask of a device: launches, multiply-accumulates, elements moved, by class of operator.

What one operator asks is in its record (``graphs.operators``), what a device takes for it in ``operators.model`` and
``few_shot.posterior``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph, Operator
from fleetfront.graphs.operators.base import CLASSES as CLASSES
from fleetfront.graphs.operators.base import elements
from fleetfront.graphs.operators.catalogue import family_of
from fleetfront.predictors.table.calibrated import block_sum
from fleetfront.spaces.base import ExecutesDeadBranches, Genotypes, SearchSpace
from fleetfront.spaces.base import Mode as Mode
from fleetfront.spaces.outlines import outline_blocks

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: What is counted of each class, in millions except launches. Elements are of activations read and written; weights
#: are apart because a batch reads them once.
QUANTITIES = ("launches", "mmacs", "melements", "mweights")

#: The columns of every work matrix, class by class.
WORK_NAMES = tuple(f"{name}.{quantity}" for name in CLASSES for quantity in QUANTITIES)

#: Multiply-accumulates of depthwise convolutions with large kernels, counted once more: some runtimes have fast paths
#: for certain kernels only (7 x 7 costs ten times 5 x 5 in LiteRT on x86), which no other column sees.
KERNEL_SIZES = (5, 7)
DETAILED_NAMES = (*WORK_NAMES, *(f"depthwise{size}.mmacs" for size in KERNEL_SIZES))


def graph_work(graph: Graph) -> FloatArray:
    """float64[len(WORK_NAMES)] of one inference of a graph at batch 1; batch-norm is expected to be folded.

    Raises InputError if the graph holds operators of which only the name is known, or of a class that the shipped
    estimates have no coefficients of: they would count as nothing.
    """
    work = np.zeros((len(CLASSES), len(QUANTITIES)))
    for operator in graph.operators:
        asked = family_of(operator.family).work(graph, operator)
        if asked.kind is not None and asked.kind not in CLASSES:
            raise InputError(
                f"What operators of class {asked.kind} ({operator.outputs[0]!r}) cost is not known of this device.",
                "Measure the network as a whole.",
            )
        if asked.kind is not None:
            work[CLASSES.index(asked.kind)] += quantities_of(graph, operator, asked.macs)
    return work.ravel()


def kernel_work(graph: Graph) -> FloatArray:
    """float64[len(KERNEL_SIZES)]: millions of multiply-accumulates of depthwise convolutions with each large kernel."""
    work = np.zeros(len(KERNEL_SIZES))
    for operator in graph.operators:
        asked = family_of(operator.family).work(graph, operator)
        if asked.kind == "depthwise":
            size = graph.value(operator.inputs[1]).shape[-1]
            work[[size == known for known in KERNEL_SIZES]] += asked.macs / 1e6
    return work


def quantities_of(graph: Graph, operator: Operator, macs: float) -> FloatArray:
    """One launch and what goes with it. A constant of one element is part of the instruction, no weight to be read."""
    moved = [name for name in (*operator.inputs, *operator.outputs) if name in graph.tensors]
    activations = sum(elements(graph.tensors[name].shape) for name in moved)
    sizes = [graph.weights[name].size for name in operator.inputs if name in graph.weights]
    return np.array([1.0, macs / 1e6, activations / 1e6, sum(size for size in sizes if size > 1) / 1e6])


class NetworkWork:
    """Work of whole networks of a space. Making one outlines the graph of every block once.

    Raises InputError on a space without blocks.
    """

    def __init__(self, space: SearchSpace) -> None:
        if not space.vocabulary:
            raise InputError(
                f"{space.name} has no blocks whose work could be counted: its networks are known by tables alone.",
                "Import a table: what networks cost is learnt from it whenever it is asked for.",
            )
        self.space = space
        #: float64[|V|, len(WORK_NAMES)]: work of each block of the vocabulary.
        graphs = outline_blocks(space, space.vocabulary)
        self.blocks: FloatArray = np.array([graph_work(graph) for graph in graphs])
        #: float64[|V|, len(KERNEL_SIZES)], as ``kernel_work`` counts.
        self.kernels: FloatArray = np.array([kernel_work(graph) for graph in graphs])
        self._columns = [block_sum(space, column) if column.any() else None for column in self.blocks.T]
        self._kernel_columns = [block_sum(space, column) if column.any() else None for column in self.kernels.T]
        self._dead = space if isinstance(space, ExecutesDeadBranches) else None
        if self._dead is not None:
            dead = [graph_work(graph) for graph in outline_blocks(space, self._dead.dead_blocks)]
            self._executed: FloatArray = np.array([*self.blocks, *dead])

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes in which networks of the space differ."""
        return (Mode.LIVE,) if self._dead is None else tuple(Mode)

    @property
    def own_mode(self) -> Mode:
        """That of the files that this project writes, whose blocks are those of the space."""
        return Mode.LIVE if self._dead is None else Mode.SHARED

    def __call__(self, genotypes: Genotypes, mode: Mode | None = None) -> FloatArray:
        """float64[n, len(WORK_NAMES)] of n genotypes int8[n, v], in ``own_mode`` by default."""
        if self._dead is not None and mode not in (None, self.own_mode):
            return self._dead.executed_blocks(genotypes, mode) @ self._executed
        return _summed(self._columns, genotypes)

    def detailed(self, genotypes: Genotypes, mode: Mode | None = None) -> FloatArray:
        """float64[n, len(DETAILED_NAMES)]: the same, with large kernels apart. No space with modes has any."""
        return np.hstack([self(genotypes, mode), _summed(self._kernel_columns, genotypes)])


def _summed(columns: Sequence[Callable[[Genotypes], FloatArray] | None], genotypes: Genotypes) -> FloatArray:
    return np.stack([np.zeros(len(genotypes)) if c is None else c(genotypes) for c in columns], axis=1)
