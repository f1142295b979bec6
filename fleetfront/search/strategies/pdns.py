"""Novelty among what no other network dominates in free criteria: accuracy is asked for, but never steers.

After MTF-PDNS (arXiv 2407.20656), with what every network tells without training: MACs and parameters, the more the
better, and the cost on each device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.search.front import non_dominated
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import Count, ReadsArchive, Share, State, dump_generator, load_generator
from fleetfront.search.strategies.random_search import fresh_sample
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray


@dataclass(frozen=True, slots=True)
class PdnsSettings:
    """Settings.

    Attributes:
        population: individuals of a generation.
        generations: of which nobody asks for an accuracy, between two batches that are evaluated.
        mutation: chance of each gene of a child to change; at least that of one gene of all.
        batch: networks that are evaluated then.
    """

    population: Count = 20
    generations: Count = 10
    mutation: Share = 1 / 6
    batch: Count = 20


class Pdns(ReadsArchive):
    """Members of the elite are fitter the farther they are from the others, the rest the nearer they are to it."""

    def __init__(self, problem: Problem, seed: int, settings: PdnsSettings | None = None) -> None:
        self._problem, self._settings = problem, settings or PdnsSettings()
        self._rng = np.random.default_rng(seed)
        self._counts = np.array(problem.free_choices)
        self.batch = self._settings.batch
        self._population = problem.sample(self._settings.population, self._rng)
        self._elite = self._population

    def ask(self, n: int) -> Genotypes:
        for _ in range(self._settings.generations):
            self._generation()
        found = self._admitted(self._problem.archive.unknown(self._elite))
        if not len(found):
            return fresh_sample(self._problem, n, self._rng)
        return found[self._rng.permutation(len(found))[:n]]

    def dump(self) -> State:
        return {"rng": dump_generator(self._rng), "population": self._population, "elite": self._elite}

    def load(self, state: State) -> None:
        self._rng = load_generator(str(state["rng"]))
        self._population, self._elite = (np.asarray(state[name], np.int8) for name in ("population", "elite"))

    def _admitted(self, genotypes: Genotypes) -> Genotypes:
        """Those that the limits of some device allow."""
        problem = self._problem
        cost, extras = problem.cost(genotypes), problem.extra_values(genotypes)
        within = [problem.is_within(target, cost, extras) for target in range(len(problem.targets))]
        allowed: Genotypes = genotypes[np.any(within, axis=0)]
        return allowed

    def _criteria(self, genotypes: Genotypes) -> FloatArray:
        """float64[n, 2 + t], all minimised."""
        space = self._problem.space
        size = np.stack([space.macs(genotypes), space.params(genotypes)], axis=1)
        return np.concatenate([-size.astype(np.float64), self._problem.cost(genotypes)], axis=1)

    def _generation(self) -> None:
        rng, size = self._rng, self._settings.population
        parents = self._population[rng.permutation(len(self._population))]
        mates = np.roll(parents, 1, axis=0)
        cuts = np.sort(rng.integers(0, parents.shape[1] + 1, (len(parents), 2)), axis=1)
        gene = np.arange(parents.shape[1])
        children = np.where((gene >= cuts[:, :1]) & (gene < cuts[:, 1:]), mates, parents)
        chance = max(self._settings.mutation, 1 / len(gene))
        drawn = rng.integers(0, self._counts, children.shape).astype(np.int8)
        children = self._problem.complete(np.where(rng.random(children.shape) < chance, drawn, children))
        pool = np.unique(np.concatenate([self._population, children]), axis=0)
        both = np.unique(np.concatenate([self._elite, pool]), axis=0)
        self._elite = both[np.sort(non_dominated(self._criteria(both)))]
        fitness = self._fitness(pool)
        rivals = rng.integers(0, len(pool), (size, 2))
        self._population = pool[rivals[np.arange(size), np.argmax(fitness[rivals], axis=1)]]

    def _fitness(self, pool: Genotypes) -> FloatArray:
        """float64[n]: the mean distance to the elite, in criteria scaled to 0 .. 1; minus it outside the elite."""
        ours, elite = self._criteria(pool), self._criteria(self._elite)
        low = np.minimum(ours.min(axis=0), elite.min(axis=0))
        spread = np.maximum(np.maximum(ours.max(axis=0), elite.max(axis=0)) - low, np.finfo(np.float64).tiny)
        apart = ((ours - low) / spread)[:, None] - ((elite - low) / spread)[None]
        distance = np.sqrt(np.square(apart).sum(axis=2)).mean(axis=1)
        is_elite = np.any(np.all(pool[:, None] == self._elite[None], axis=2), axis=1)
        fitness: FloatArray = np.where(is_elite, distance, -distance)
        return fitness
