"""Choose whose accuracy is counted next, by expected gain: what a generator proposes, and what lies around fronts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fleetfront.search.gain.fleet import FleetGain
from fleetfront.search.models.counted import CountedAccuracy
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.candidates import Candidates
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Candidates whose gain is computed exactly, and from how many a batch is chosen one by one.
_SCREENED, _FINALISTS = 2000, 256
#: A batch up to this size is chosen one by one, each as if those before had given what is expected.
_ONE_BY_ONE = 64
#: Children of the fronts for each network that is wanted, and at least.
_CHILDREN, _LEAST_CHILDREN = 8, 500


class Collector:
    """Proposes networks of which nothing is known yet."""

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        self._problem, self._rng = problem, rng
        self._candidates = Candidates(problem, rng)
        self._gain = FleetGain(problem, self._candidates.every)

    def first(self, n: int) -> Genotypes:
        """Networks of even steps in cost: one of each of n strata of the mean rank over all columns."""
        rows = self._candidates.some(50 * n)
        rows = rows[np.argsort(self._gain.excess(rows), kind="stable")]
        rows = rows[: max(int((self._gain.excess(rows) <= 0).sum()), n)]
        rank = np.argsort(np.argsort(self._problem.cost(rows), axis=0, kind="stable"), axis=0, kind="stable")
        strata = np.array_split(np.argsort(rank.mean(axis=1), kind="stable"), min(n, len(rows)) or 1)
        return rows[[self._rng.choice(stratum) for stratum in strata if len(stratum)]]

    def next(self, n: int, proposed: Genotypes, model: CountedAccuracy) -> Genotypes:
        """At most ``n`` of the proposals and the children of what is best, most gain first; none if all is known."""
        problem = self._problem
        members = np.unique(np.concatenate([problem.front(i) for i in range(len(problem.targets))]))
        parents = problem.archive.genotypes[members] if len(members) else problem.archive.genotypes
        parents = parents[np.argsort(problem.cost(parents).mean(axis=1), kind="stable")]
        children = self._candidates.children(parents, max(_CHILDREN * n, _LEAST_CHILDREN))
        rows = problem.archive.unknown(np.unique(np.concatenate([problem.complete(proposed), children]), axis=0))
        if not len(rows):
            rows = self._candidates.some(n)
        return self._chosen(n, rows, *model.predict(rows)) if len(rows) else rows

    def _chosen(self, n: int, rows: Genotypes, mean: FloatArray, std: FloatArray) -> Genotypes:
        gain, archive = self._gain, self._problem.archive
        std = np.maximum(std, 1e-9)
        cost, known = gain.cost(rows), gain.archived_cost()
        fronts = gain.steps(known, archive.accuracy)
        value = gain.bound(cost, mean, std, fronts)
        forbidden = np.all(np.isinf(cost), axis=1)
        value[forbidden] = -gain.excess(rows[forbidden])
        left = np.argsort(-value, kind="stable")[: max(_SCREENED, 2 * n)]
        admitted = ~forbidden[left]
        exact = value[left]
        exact[admitted] = gain.expected(cost[left][admitted], mean[left][admitted], std[left][admitted], fronts)
        left = left[np.argsort(-exact, kind="stable")]
        if n > _ONE_BY_ONE or not admitted.any():
            return rows[left[:n]]
        left = left[~forbidden[left]][:_FINALISTS]
        chosen: list[int] = []
        while len(left) and len(chosen) < n:
            believed = np.concatenate([archive.accuracy, mean[chosen]])
            steps = gain.steps(np.concatenate([known, cost[chosen]]), believed)
            best = int(np.argmax(gain.expected(cost[left], mean[left], std[left], steps)))
            chosen.append(int(left[best]))
            left = np.delete(left, best)
        return rows[chosen]
