"""Find which genes of a space decide which blocks. Found by trying, so that any space's own blocks say it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleetfront.search.problem import Problem
from fleetfront.spaces.base import Genotypes, HasPrecisions

#: Architectures whose genes are changed one by one; each gene must be active in some of them.
_PROBES = 64
#: A gene that changes more than this share of the blocks is context: everything else is considered given its value.
_CONTEXT_SHARE = 0.5
#: More architectures than this to tabulate mean that the space does not fall apart usefully.
_MOST_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class Group:
    """Genes that share blocks, e.g. those of a stage.

    Attributes:
        controllers: genes that switch others on and off, e.g. a depth.
        leaves: sets of the other genes; given the controllers, sets decide different blocks.
    """

    controllers: tuple[int, ...]
    leaves: tuple[tuple[int, ...], ...]

    @property
    def genes(self) -> tuple[int, ...]:
        """All genes of the group."""
        return (*self.controllers, *itertools.chain(*self.leaves))


@dataclass(frozen=True, slots=True)
class BlockGenes:
    """A space as context genes and groups: given the context, groups decide different blocks."""

    context: tuple[int, ...]
    groups: tuple[Group, ...]


def find_block_genes(problem: Problem) -> BlockGenes:
    """The genes that decide blocks in a problem's space, from the blocks of architectures that differ in one gene.

    It is a guess from ``_PROBES`` architectures; whether a cost or an accuracy really adds up along it is checked where
    that matters (``additive.additivity_error``).
    """
    space, counts = problem.space, problem.free_choices
    probes = problem.sample(_PROBES, np.random.default_rng(0))
    blocks, active = space.block_indices(probes), space.active(probes)
    changes = np.zeros((len(counts), blocks.shape[1]), dtype=np.bool_)
    switches = np.zeros((len(counts), len(counts)), dtype=np.bool_)
    for gene, count in enumerate(counts):
        for step in range(1, count):
            moved = probes.copy()
            moved[:, gene] = (moved[:, gene] + step) % count
            moved = problem.complete(moved)
            changes[gene] |= np.any(space.block_indices(moved) != blocks, axis=0)
            switches[gene] |= np.any(space.active(moved) != active, axis=0)
    used = np.any(changes, axis=0)
    free = np.array([count > 1 for count in counts])
    is_context = free & (changes[:, used].sum(axis=1) > _CONTEXT_SHARE * max(1, used.sum()))
    if isinstance(space, HasPrecisions):
        # Blocks keep their names, and each costs something else.
        is_context[-1] = free[-1]
    members = np.flatnonzero(free & ~is_context)
    linked = (changes[members].astype(int) @ changes[members].T.astype(int)) > 0
    linked |= switches[np.ix_(members, members)] | switches[np.ix_(members, members)].T
    groups = [_group(members[component], changes, switches) for component in _components(linked)]
    return BlockGenes(tuple(np.flatnonzero(is_context).tolist()), tuple(groups))


def _group(genes: NDArray[np.intp], changes: NDArray[np.bool_], switches: NDArray[np.bool_]) -> Group:
    controls = np.any(switches[np.ix_(genes, genes)], axis=1)
    others = genes[~controls]
    linked = (changes[others].astype(int) @ changes[others].T.astype(int)) > 0
    leaves = tuple(tuple(others[component].tolist()) for component in _components(linked))
    return Group(tuple(genes[controls].tolist()), leaves)


def _components(linked: NDArray[np.bool_]) -> list[list[int]]:
    """Connected components of a symmetric graph, as sorted lists of positions."""
    left, found = set(range(len(linked))), []
    while left:
        reached, frontier = set(), {min(left)}
        while frontier:
            reached |= frontier
            frontier = {int(j) for i in frontier for j in np.flatnonzero(linked[i])} - reached
        found.append(sorted(reached))
        left -= reached
    return found


def combinations(problem: Problem, genes: tuple[int, ...]) -> Genotypes:
    """Every combination of values of some genes: int8[m, len(genes)], the all-zero one first."""
    values = list(itertools.product(*(range(problem.free_choices[gene]) for gene in genes)))
    return np.array(values, dtype=np.int8).reshape(len(values), len(genes))


def table_rows(problem: Problem, block_genes: BlockGenes) -> int:
    """How many architectures ``additive.Tables`` has to look at."""

    def size(genes: tuple[int, ...]) -> int:
        return math.prod(problem.free_choices[gene] for gene in genes)

    per_context = 1 + sum(
        size(group.controllers) * (1 + sum(size(leaf) - 1 for leaf in group.leaves)) for group in block_genes.groups
    )
    return size(block_genes.context) * per_context


def is_separable(problem: Problem, block_genes: BlockGenes) -> bool:
    """Tell whether the tables along them are small enough to be worth making."""
    return table_rows(problem, block_genes) <= _MOST_ROWS
