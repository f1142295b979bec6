"""One strategy a target, taking turns on one archive: for strategies that see a single cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import Strategy
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray


class PerTarget:
    """Asks the strategies of the targets in turn. What one evaluates is in every front, as the archive is shared."""

    def __init__(self, problem: Problem, seed: int, make: Callable[[Problem, int, int], Strategy]) -> None:
        """``make(problem, column, seed)`` gives the strategy of one cost column."""
        self._members = [make(problem, column, seed + 1000 * column) for column in range(len(problem.targets))]
        self._turn = 0

    @property
    def batch(self) -> int:
        return self._members[self._turn].batch

    def ask(self, n: int) -> Genotypes:
        return self._members[self._turn].ask(n)

    def tell(self, genotypes: Genotypes, accuracy: FloatArray, cost: FloatArray) -> None:
        self._members[self._turn].tell(genotypes, accuracy, cost)
        self._turn = (self._turn + 1) % len(self._members)
