"""Pareto local search: every network one gene away from the fronts is tried, until none of them is better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import ReadsArchive, State, dump_generator, load_generator
from fleetfront.search.strategies.random_search import fresh_sample
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    pass

_FIRST_SAMPLE = 200
#: Front members whose neighbours are tried between two looks at the fronts.
_EXPLORED_AT_A_TIME = 8


class ParetoLocalSearch(ReadsArchive):
    """Pareto local search (Paquete, Chiarandini and Stuetzle 2004) over the union of all targets' fronts.

    Where every member has been explored, it restarts from fresh random architectures.
    """

    batch = 500

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem = problem
        self._rng = np.random.default_rng(seed)
        self._is_explored = np.zeros(0, dtype=np.bool_)
        self._waiting: Genotypes = np.zeros((0, len(problem.space.choices)), dtype=np.int8)

    def ask(self, n: int) -> Genotypes:
        archive = self._problem.archive
        if not len(archive):
            return fresh_sample(self._problem, min(n, _FIRST_SAMPLE), self._rng)
        self._is_explored = np.pad(self._is_explored, (0, len(archive) - len(self._is_explored)))
        waiting = archive.unknown(self._waiting)
        if not len(waiting):
            waiting = self._next_neighbours()
        self._waiting = waiting[n:]
        return waiting[:n] if len(waiting) else fresh_sample(self._problem, n, self._rng)

    def dump(self) -> State:
        return {"rng": dump_generator(self._rng), "explored": self._is_explored, "waiting": self._waiting}

    def load(self, state: State) -> None:
        self._rng = load_generator(str(state["rng"]))
        self._is_explored = np.asarray(state["explored"], np.bool_)
        self._waiting = np.asarray(state["waiting"], np.int8)

    def _next_neighbours(self) -> Genotypes:
        """Unseen neighbours of some unexplored front members; none if all members are explored."""
        archive = self._problem.archive
        members = np.unique(np.concatenate([self._problem.front(i) for i in range(len(self._problem.targets))]))
        members = self._rng.permutation(members[~self._is_explored[members]])
        for start in range(0, len(members), _EXPLORED_AT_A_TIME):
            chosen = members[start : start + _EXPLORED_AT_A_TIME]
            self._is_explored[chosen] = True
            unseen = archive.unknown(neighbours(self._problem, archive.genotypes[chosen]))
            if len(unseen):
                return unseen
        return np.zeros((0, archive.genotypes.shape[1]), dtype=np.int8)


def neighbours(problem: Problem, genotypes: Genotypes) -> Genotypes:
    """Every allowed architecture that differs from one of ``genotypes`` int8[n, v] in the value of one gene."""
    found = []
    for gene, count in enumerate(problem.free_choices):
        for step in range(1, count):
            moved = genotypes.copy()
            moved[:, gene] = (moved[:, gene] + step) % count
            found.append(problem.complete(moved))
    # One member's neighbours stay together, so that it is explored whole before the next.
    return np.stack(found, axis=1).reshape(-1, genotypes.shape[1]) if found else genotypes[:0]
