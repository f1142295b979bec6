"""Choose the networks that a strategy considers before it asks for the accuracy of a few: all of a small space, else
children of good networks and random ones. Considering costs no evaluation.
"""

from __future__ import annotations

import numpy as np

from fleetfront.search.problem import Problem
from fleetfront.spaces.base import Genotypes

#: Of those made in a large space: shares of random networks and of crosses; the others are mutants.
_RANDOM, _CROSSED = 0.15, 0.45
#: Genes that mutation changes: one, and on average this many more.
_FURTHER_CHANGES = 1.0


class Candidates:
    """Makes allowed architectures that the archive lacks."""

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        self._problem, self._rng = problem, rng
        self._counts = np.array(problem.free_choices)
        self._free = np.flatnonzero(self._counts > 1)
        #: All allowed architectures of a space that is small enough to be considered whole.
        self.every = problem.every()

    def some(self, n: int) -> Genotypes:
        """About ``n`` distinct unknown ones, uniform; all if the space is small."""
        rows = self.every if self.every is not None else self._problem.sample(n, self._rng)
        return self._problem.archive.unknown(rows)

    def children(self, parents: Genotypes, n: int) -> Genotypes:
        """At most ``n`` distinct unknown ones: crosses of neighbours in the order of the parents, mutants, random."""
        rng = self._rng
        first = rng.integers(0, len(parents), n)
        mate = np.clip(first + np.rint(rng.normal(0, max(2.0, 0.1 * len(parents)), n)).astype(int), 0, len(parents) - 1)
        rows = parents[first]
        crossed = rng.random(n) < _CROSSED
        takes = crossed[:, None] & (rng.random(rows.shape) < rng.random((n, 1)))
        rows = np.where(takes, parents[mate], rows)
        # A cross may stay as it is; a mutant must change.
        chance = (~crossed + _FURTHER_CHANGES * rng.random(n)) / len(self._free)
        changes = rng.random((n, len(self._free))) < chance[:, None]
        at, gene = np.nonzero(changes)
        gene = self._free[gene]
        rows[at, gene] = rng.integers(0, self._counts[gene])
        random = int(_RANDOM * n)
        rows[:random] = self._problem.space.sample(random, rng)
        return self._problem.archive.unknown(self._problem.complete(rows))
