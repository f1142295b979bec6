"""LINAS: a genetic algorithm searches a predictor of accuracy, and what it ends with is evaluated, again and again.

After Cummings et al., "A Hardware-Aware System for Accelerating Deep Neural Network Optimization" and SimQ-NAS (arXiv
2312.13301), whose predictors and populations it keeps; costs are known here and not predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.predictors.one_hot import OneHot
from fleetfront.quantities import Estimate, Tier
from fleetfront.search.models.ridge import PairRidge
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import Count, ReadsArchive, State, dump_generator, load_generator
from fleetfront.search.strategies.pymoo_algorithms import nsga2_shared
from fleetfront.search.strategies.random_search import fresh_sample
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class LinasSettings:
    """Settings.

    Attributes:
        population: networks that are evaluated in each loop.
        predicted: evaluations of the predictor in each loop.
    """

    population: Count = 50
    predicted: Count = 5000


@dataclass(frozen=True, slots=True)
class _Predictor:
    """An accuracy that was learnt, for the inner search. An AccuracyModel."""

    one_hot: OneHot
    model: PairRidge
    source: str = "predictor"
    tier: Tier = Tier.PREDICTED

    def predict(self, genotypes: Genotypes) -> Estimate:
        return Estimate(self.model(self.one_hot(genotypes)), np.zeros(len(genotypes)), self.tier)


class Linas(ReadsArchive):
    """One predictor serves all devices, whose inner search is NSGA-II with one population for all of them."""

    def __init__(self, problem: Problem, seed: int, settings: LinasSettings | None = None) -> None:
        self._problem, self._settings = problem, settings or LinasSettings()
        self._rng = np.random.default_rng(seed)
        self._one_hot = OneHot.of(problem.space)
        self.batch = self._settings.population

    def ask(self, n: int) -> Genotypes:
        problem = self._problem
        if len(problem.archive) < min(self.batch, 2):
            return fresh_sample(problem, n, self._rng)
        found = problem.archive.unknown(self._searched())
        if len(found) > n:
            order = np.argsort(problem.cost(found).mean(axis=1), kind="stable")
            found = found[order[np.linspace(0, len(found) - 1, n).round().astype(int)]]
        return found if len(found) else fresh_sample(problem, n, self._rng)

    def dump(self) -> State:
        return {"rng": dump_generator(self._rng)}

    def load(self, state: State) -> None:
        self._rng = load_generator(str(state["rng"]))

    def _searched(self) -> Genotypes:
        """The networks on the predicted fronts of all devices."""
        problem, archive = self._problem, self._problem.archive
        model = PairRidge.fit(self._one_hot(archive.genotypes), archive.accuracy)
        inner = Problem(
            problem.space,
            problem.targets,
            _Predictor(self._one_hot, model),
            problem.extras,
            problem.held,
            self._settings.predicted,
            excluded=problem.excluded,
        )
        inner.adopt(archive)
        strategy = nsga2_shared(inner, int(self._rng.integers(2**31)))
        while inner.remaining:
            rows = strategy.ask(min(strategy.batch, inner.remaining))
            if not len(rows):
                break
            found = inner.evaluate(rows)
            strategy.tell(rows, found.accuracy, found.cost)
        members = np.unique(np.concatenate([inner.front(i) for i in range(len(problem.targets))]))
        best: Genotypes = inner.archive.genotypes[members]
        return best
