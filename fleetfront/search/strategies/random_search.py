"""Random search: the baseline of every strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fleetfront.search.problem import Problem
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Draws before a space counts as exhausted; small spaces run out of new architectures.
_ATTEMPTS = 20


class RandomSearch:
    """Architectures drawn uniformly gene by gene, none twice."""

    batch = 1000

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem = problem
        self._rng = np.random.default_rng(seed)

    def ask(self, n: int) -> Genotypes:
        return fresh_sample(self._problem, n, self._rng)

    def tell(self, genotypes: Genotypes, accuracy: FloatArray, cost: FloatArray) -> None:
        return None


def fresh_sample(problem: Problem, n: int, rng: np.random.Generator) -> Genotypes:
    """Up to ``n`` distinct random architectures that the archive lacks; fewer only where few are left."""
    found = problem.archive.unknown(problem.sample(n, rng))
    for _ in range(_ATTEMPTS):
        if len(found) >= n:
            break
        found = problem.archive.unknown(np.concatenate([found, problem.sample(n, rng)]))
    return found[:n]
