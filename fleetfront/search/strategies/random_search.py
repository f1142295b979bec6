"""Random search: the baseline of every strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import Count, ReadsArchive, State, dump_generator, load_generator
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    pass

#: Draws before a space counts as exhausted; small spaces run out of new architectures.
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class RandomSettings:
    """``batch`` networks are drawn at a time."""

    batch: Count = 1000


class RandomSearch(ReadsArchive):
    """Architectures drawn uniformly gene by gene, none twice."""

    def __init__(self, problem: Problem, seed: int, settings: RandomSettings | None = None) -> None:
        self._problem = problem
        self.batch = (settings or RandomSettings()).batch
        self._rng = np.random.default_rng(seed)

    def ask(self, n: int) -> Genotypes:
        return fresh_sample(self._problem, n, self._rng)

    def dump(self) -> State:
        return {"rng": dump_generator(self._rng)}

    def load(self, state: State) -> None:
        self._rng = load_generator(str(state["rng"]))


def fresh_sample(problem: Problem, n: int, rng: np.random.Generator) -> Genotypes:
    """Up to ``n`` distinct random architectures that the archive lacks; fewer only where few are left."""
    found = problem.archive.unknown(problem.sample(n, rng))
    for _ in range(_ATTEMPTS):
        if len(found) >= n:
            break
        found = problem.archive.unknown(np.concatenate([found, problem.sample(n, rng)]))
    return found[:n]
