"""Search by trying every neighbour of the most accurate network that was not tried from yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fleetfront.quantities import FloatArray
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import Count, StrategyKind
from fleetfront.spaces.base import Genotypes


@dataclass(frozen=True, slots=True)
class Settings:
    """``--strategy best-neighbour:first=20,batch=10``."""

    #: Random networks to begin with, and whenever every front member was tried from.
    first: Count = 50
    batch: Count = 50


class BestNeighbour:
    """A ``Strategy``: of all fronts' members, steps from the most accurate one that it has not stepped from."""

    def __init__(self, problem: Problem, seed: int, settings: Settings | None = None) -> None:
        """Draw with ``seed``; nothing is evaluated here."""
        self._settings = settings or Settings()
        self._problem = problem
        self._rng = np.random.default_rng(seed)
        self._waiting: Genotypes = problem.sample(self._settings.first, self._rng)
        self._tried: set[int] = set()

    @property
    def batch(self) -> int:
        """Architectures proposed at a time."""
        return self._settings.batch

    def ask(self, n: int) -> Genotypes:
        """What is waiting and not known yet; neighbours of another member where nothing is; else random networks."""
        fresh = self._problem.archive.unknown(self._waiting)
        while not len(fresh) and len(members := self._untried()):
            row = int(members[np.argmax(self._problem.archive.accuracy[members])])
            self._tried.add(row)
            fresh = self._problem.archive.unknown(self._neighbours(self._problem.archive.genotypes[row]))
        if not len(fresh):
            fresh = self._problem.archive.unknown(self._problem.sample(self._settings.first, self._rng))
        self._waiting = fresh[n:]
        return fresh[:n]

    def tell(self, genotypes: Genotypes, accuracy: FloatArray, cost: FloatArray) -> None:
        """Nothing to note: the archive holds it all."""

    def _untried(self) -> np.ndarray:
        fronts = [self._problem.front(column) for column in range(len(self._problem.targets))]
        members = np.unique(np.concatenate(fronts)) if len(self._problem.archive) else np.zeros(0, np.intp)
        return members[~np.isin(members, list(self._tried))]

    def _neighbours(self, genotype: Genotypes) -> Genotypes:
        changes = [(gene, v) for gene, count in enumerate(self._problem.free_choices) for v in range(count)]
        rows = np.repeat(genotype[None], len(changes), axis=0)
        rows[np.arange(len(changes)), [gene for gene, _ in changes]] = [value for _, value in changes]
        return np.unique(self._problem.complete(rows), axis=0)


KIND = StrategyKind(BestNeighbour, "neighbours of the most accurate network on any front", Settings)
