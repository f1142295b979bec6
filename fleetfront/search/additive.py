"""Functions that add up over the parts of a network, and the exact front of two of them by dynamic programming.

Given the context genes, a sum over groups of sums over leaves is minimised front by front: the fronts of the parts are
added, and partial sums that another one dominates are dropped. That is exact: a dominated part can be replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.search.block_genes import BlockGenes, combinations
from fleetfront.search.front import non_dominated
from fleetfront.search.problem import Problem
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Bins of cost in which partial sums are compared before they are sorted: cheaper than sorting what is far from fronts.
_BINS = 2048


@dataclass(frozen=True, slots=True)
class GroupRows:
    """Which rows of a table belong to the options of a group, for every context (c), state (q) of its controllers.

    Attributes:
        states: int8[q, controllers].
        options: for each leaf, int8[u, genes of the leaf].
        start: int[q]: row of each state with all leaves 0, relative to the context's first row.
        leaf_start: int[q, leaves]: row of the second option of each leaf; the first is the state's own row.
    """

    states: Genotypes
    options: tuple[Genotypes, ...]
    start: NDArray[np.intp]
    leaf_start: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Layout:
    """The architectures whose values make a table: for each context the plain one, then each part changed alone.

    Attributes:
        rows: int8[contexts * per_context, v], canonical; equal networks may repeat.
        contexts: int8[contexts, context genes].
        groups: in the order of ``block_genes.groups``.
    """

    block_genes: BlockGenes
    rows: Genotypes
    contexts: Genotypes
    groups: tuple[GroupRows, ...]

    @property
    def per_context(self) -> int:
        """Rows of one context."""
        return len(self.rows) // len(self.contexts)

    def table(self, values: FloatArray) -> FloatArray:
        """Values float64[len(rows), ...] of a function at ``rows``, a context a row: [contexts, per_context, ...]."""
        return values.reshape(len(self.contexts), self.per_context, *values.shape[1:])


def make_layout(problem: Problem, block_genes: BlockGenes) -> Layout:
    """The architectures that must be looked at to know every additive function of a problem's space."""
    v = len(problem.space.choices)
    parts: list[Genotypes] = [np.zeros((1, v), dtype=np.int8)]
    groups, position = [], 1
    for group in block_genes.groups:
        states = combinations(problem, group.controllers)
        options = tuple(combinations(problem, leaf) for leaf in group.leaves)
        start, leaf_start = np.empty(len(states), np.intp), np.empty((len(states), len(options)), np.intp)
        for q, state in enumerate(states):
            start[q] = position
            blocks = [np.zeros((1, v), dtype=np.int8)]
            position += 1
            for i, (leaf, values) in enumerate(zip(group.leaves, options, strict=True)):
                leaf_start[q, i] = position
                block = np.zeros((len(values) - 1, v), dtype=np.int8)
                block[:, leaf] = values[1:]
                blocks.append(block)
                position += len(block)
            changed = np.concatenate(blocks)
            changed[:, group.controllers] = state
            parts.append(changed)
        groups.append(GroupRows(states, options, start, leaf_start))
    one_context = np.concatenate(parts)
    contexts = combinations(problem, block_genes.context)
    rows = np.tile(one_context, (len(contexts), 1))
    rows[:, block_genes.context] = np.repeat(contexts, len(one_context), axis=0)
    return Layout(block_genes, problem.complete(rows), contexts, tuple(groups))


def additive_values(layout: Layout, table: FloatArray, genotypes: Genotypes) -> FloatArray:
    """float64[n]: what canonical ``genotypes`` would have if the function of this table added up.

    ``table`` is float64[contexts, per_context].
    """
    context = _position(genotypes[:, layout.block_genes.context], layout.contexts)
    total: FloatArray = table[context, 0].copy()
    for group, rows in zip(layout.block_genes.groups, layout.groups, strict=True):
        state = _position(genotypes[:, group.controllers], rows.states)
        plain = table[context, rows.start[state]]
        total += plain - table[context, 0]
        for i, leaf in enumerate(group.leaves):
            option = _position(genotypes[:, leaf], rows.options[i])
            at = np.where(option == 0, rows.start[state], rows.leaf_start[state, i] + option - 1)
            total += table[context, at] - plain
    return total


def additivity_error(
    problem: Problem, layout: Layout, function: Callable[[Genotypes], FloatArray], sample: int, seed: int = 1
) -> float:
    """Largest deviation of a function from the sum of its parts over a fresh sample, relative to its spread there."""
    genotypes = problem.sample(sample, np.random.default_rng(seed))
    values = function(genotypes)
    table = layout.table(function(layout.rows))
    spread = max(float(np.ptp(values)), float(np.finfo(np.float64).tiny))
    return float(np.abs(additive_values(layout, table, genotypes) - values).max()) / spread


def _position(values: Genotypes, of: Genotypes) -> NDArray[np.intp]:
    """Row of ``of`` (all combinations, the last gene fastest) that equals each row of ``values``."""
    if not of.shape[1]:
        return np.zeros(len(values), dtype=np.intp)
    counts = of.max(axis=0).astype(np.intp) + 1
    radix = np.append(np.cumprod(counts[::-1])[::-1][1:], 1)
    position: NDArray[np.intp] = values.astype(np.intp) @ radix
    return position


@dataclass(frozen=True, slots=True)
class PartFront:
    """Options on the front of a part of a network: cost[k], gain[k], and genes int8[k, v], 0 for those of other parts.

    Of whole networks, ``Problem.complete`` makes genotypes of the genes: it adds the fixed ones.
    """

    genes: Genotypes
    cost: FloatArray
    gain: FloatArray


def additive_front(layout: Layout, cost: FloatArray, gain: FloatArray, most: int | None = None) -> PartFront:
    """The front of two additive functions over the whole space: ``cost`` is minimised, ``gain`` maximised.

    ``cost`` and ``gain`` are tables [contexts, per_context]. ``most`` bounds the length of every partial front by
    leaving out all but evenly spaced members; None keeps the front exact. A context in which everything costs
    infinitely much is on no front.
    """
    v = layout.rows.shape[1]
    fronts = [PartFront(np.zeros((0, v), dtype=np.int8), np.zeros(0), np.zeros(0))]
    for c, context in enumerate(layout.contexts):
        if not np.isfinite(cost[c]).any():
            continue
        genes = np.zeros((1, v), dtype=np.int8)
        genes[0, layout.block_genes.context] = context
        front = PartFront(genes, cost[c, :1], gain[c, :1])
        for index in range(len(layout.groups)):
            front = _added(front, _group_front(layout, index, cost[c], gain[c], most), most)
        fronts.append(front)
    return _best(_together(fronts), None)


def additive_fronts(problem: Problem, layout: Layout, gain: FloatArray, most: int | None) -> list[Genotypes]:
    """For each column of ``Problem.front_costs``, the networks on its front against an additive gain.

    ``gain`` float64[len(layout.rows)] are the values of the gain at the layout's rows; costs count as additive, too.
    Limits on other metrics do not add up: what they forbid is left out of the finished fronts.
    """
    rows, table = layout.rows, layout.table(gain)
    cost, extras = problem.cost(rows), problem.extra_values(rows)
    is_forbidden = np.isinf(problem.front_costs(cost, extras))
    objectives = [i for i, column in enumerate(problem.columns) if column.is_objective]
    found = []
    for index, column in enumerate(np.concatenate([cost, extras[:, objectives]], axis=1).T):
        costs = layout.table(column).copy()
        costs[layout.table(is_forbidden[:, index]).all(axis=1)] = np.inf
        genotypes = problem.complete(additive_front(layout, costs, table, most).genes)
        kept = np.isfinite(problem.front_costs(problem.cost(genotypes), problem.extra_values(genotypes))[:, index])
        found.append(genotypes[kept])
    return found


def _group_front(layout: Layout, index: int, cost: FloatArray, gain: FloatArray, most: int | None) -> PartFront:
    group, rows, v = layout.block_genes.groups[index], layout.groups[index], layout.rows.shape[1]
    fronts = []
    for q, state in enumerate(rows.states):
        at = rows.start[q]
        genes = np.zeros((1, v), dtype=np.int8)
        genes[0, group.controllers] = state
        front = PartFront(genes, cost[[at]] - cost[0], gain[[at]] - gain[0])
        for i, leaf in enumerate(group.leaves):
            options = rows.options[i]
            positions = np.append(at, rows.leaf_start[q, i] + np.arange(len(options) - 1))
            chosen = np.zeros((len(options), v), dtype=np.int8)
            chosen[:, leaf] = options
            leaf_front = _best(PartFront(chosen, cost[positions] - cost[at], gain[positions] - gain[at]), None)
            front = _added(front, leaf_front, most)
        fronts.append(front)
    return _best(_together(fronts), most)


def _together(fronts: list[PartFront]) -> PartFront:
    return PartFront(
        np.concatenate([front.genes for front in fronts]),
        np.concatenate([front.cost for front in fronts]),
        np.concatenate([front.gain for front in fronts]),
    )


def _added(left: PartFront, right: PartFront, most: int | None) -> PartFront:
    """The front of all sums of an option of each; they change different genes, so genes add up too."""
    if len(right.cost) == 1:
        return PartFront(left.genes + right.genes, left.cost + right.cost, left.gain + right.gain)
    cost = (left.cost[:, None] + right.cost).ravel()
    gain = (left.gain[:, None] + right.gain).ravel()
    kept = _front_rows(cost, gain, most)
    i, j = np.divmod(kept, len(right.cost))
    return PartFront(left.genes[i] + right.genes[j], cost[kept], gain[kept])


def _best(front: PartFront, most: int | None) -> PartFront:
    kept = _front_rows(front.cost, front.gain, most)
    return PartFront(front.genes[kept], front.cost[kept], front.gain[kept])


def _front_rows(cost: FloatArray, gain: FloatArray, most: int | None) -> NDArray[np.intp]:
    kept = np.arange(len(cost))
    if len(cost) > _BINS:
        kept = _not_beaten_by_a_cheaper_bin(cost, gain)
    kept = kept[non_dominated(np.stack([cost[kept], -gain[kept]], axis=1))]
    if most is not None and len(kept) > most:
        kept = kept[np.linspace(0, len(kept) - 1, most).round().astype(np.intp)]
    return kept


def _not_beaten_by_a_cheaper_bin(cost: FloatArray, gain: FloatArray) -> NDArray[np.intp]:
    """Rows that no row of a lower bin of cost reaches: a superset of the front, found without sorting."""
    low, width = float(cost.min()), float(np.ptp(cost)) or 1.0
    bins = np.minimum(((cost - low) * (_BINS / width)).astype(np.intp), _BINS - 1)
    best = np.full(_BINS + 1, -np.inf)
    np.maximum.at(best, bins + 1, gain)
    reached = np.maximum.accumulate(best)
    kept: NDArray[np.intp] = np.flatnonzero(gain > reached[bins])
    return kept
