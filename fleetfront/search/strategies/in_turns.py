"""Search for several accuracies at once: any strategy, in turns for each of them and for mixes of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.errors import InputError
from fleetfront.progress import Progress
from fleetfront.quantities import Estimate, Tier
from fleetfront.search.archive import Archive
from fleetfront.search.front import FULL
from fleetfront.search.metrics import TaskLoss
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import Strategy, TrainedStrategy
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Random networks that show how far each task reaches: a share of the budget.
_FIRST = 0.06
#: Turns of each; with many accuracies one, for strategies that serve these do much at their beginning.
_ROUNDS, _ROUNDS_OF_MANY, _MANY = 4, 1, 2000
#: A mix is its weakest part, and this share of the sum: among equals the better (as the augmented Chebyshev norm).
_SUM = 0.1
#: The best known so far in a mix: what is better has room below 100 %.
_BEST = 80.0


@dataclass(frozen=True, slots=True)
class _Mix:
    """One number for all tasks. An AccuracyModel that asks the whole problem, where it counts.

    Attributes:
        weights: float64[tasks], which sum to 1; a task alone counts as it is.
        low, high: float64[tasks], scores of the worst and the best network known.
    """

    problem: Problem
    weights: FloatArray
    low: FloatArray
    high: FloatArray

    @property
    def source(self) -> str:
        """That of the whole."""
        return self.problem.accuracy.source

    @property
    def tier(self) -> Tier:
        """That of the whole."""
        return Tier(self.problem.accuracy.tier)

    def predict(self, genotypes: Genotypes) -> Estimate:
        """The mix of n networks; their deviation is infinite where they failed."""
        self.problem.evaluate(genotypes)
        rows = self.problem.archive.find(genotypes)
        return Estimate(self.of(rows), self.problem.archive.accuracy_std[rows], self.tier)

    def of(self, rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> FloatArray:
        """float64[n] of archive rows; of networks that failed the lowest known."""
        used = self.weights > 0
        reached = (_scores(self.problem)[rows] - self.low) / np.maximum(self.high - self.low, 1e-9)
        weighed = (reached / self.weights.clip(min=1e-9))[:, used]
        mixed = (1 - _SUM) * weighed.min(axis=1) * self.weights.max() + _SUM * reached @ self.weights
        return _BEST * np.where(np.isfinite(mixed), mixed, 0.0)


class InTurns:
    """A ``TrainedStrategy``: after some random networks, ordinary searches for each task and mixes of all take turns,
    each with an equal share of the budget and all that those before it asked for.

    A killed search repeats its steps, and its accuracies are recalled.
    """

    def __init__(self, problem: Problem, seed: int, make: Callable[[Problem, int], Strategy | TrainedStrategy]) -> None:
        """``make`` a strategy for a problem with one accuracy. Raises InputError where that trains, or as it does."""
        self._problem, self._seed, self._make = problem, seed, make
        first = turn_weights(_scores(problem).shape[1])[0]
        if isinstance(make(self._turn(first, problem.budget or 1), seed), TrainedStrategy):
            raise InputError(
                "A strategy that trains a generator knows one accuracy, and the networks do several things.",
                "Combine them (combines=worst), or leave --strategy out.",
            )

    def run(self, problem: Problem, progress: Progress, checkpoint: Callable[[], None]) -> None:
        """See ``TrainedStrategy``."""
        first = max(2, int(_FIRST * (problem.budget or 0)))
        drawn = problem.archive.unknown(problem.sample(first, np.random.default_rng(self._seed)))
        problem.evaluate(drawn[: problem.remaining])
        checkpoint()
        rounds = _ROUNDS if (problem.budget or 0) <= _MANY else _ROUNDS_OF_MANY
        turns = np.tile(turn_weights(_scores(problem).shape[1]), (rounds, 1))
        for number, weights in enumerate(turns):
            share = (problem.remaining or 0) // (len(turns) - number)
            if not share:
                continue
            turn = self._turn(weights, share)
            strategy = self._make(turn, self._seed + number)
            if isinstance(strategy, TrainedStrategy):
                raise RuntimeError("the strategy became one that trains")
            while turn.remaining:
                rows = strategy.ask(min(strategy.batch, turn.remaining))
                if not len(rows):
                    break
                found = turn.evaluate(rows)
                strategy.tell(rows, found.accuracy, found.cost)
                checkpoint()

    def _turn(self, weights: FloatArray, budget: int) -> Problem:
        """The same problem with one accuracy, which knows what was asked for."""
        whole = self._problem
        known, scores = whole.archive, _scores(whole)
        usable = scores[np.isfinite(known.accuracy_std) & np.isfinite(scores).all(axis=1)]
        nothing = np.zeros(scores.shape[1]), np.ones(scores.shape[1])
        low, high = (usable.min(axis=0), usable.max(axis=0)) if len(usable) else nothing
        mix = _Mix(whole, weights, low, high)
        turn = Problem(
            whole.space, whole.targets, mix, whole.extras, whole.held, budget, excluded=whole.excluded, part=whole.part
        )
        if len(known):
            told = Archive(len(whole.space.choices), whole.names)
            rows = np.arange(len(known))
            told.add(known.genotypes, mix.of(rows), known.accuracy_std, known.cost)
            turn.adopt(told)
        return turn


def turn_weights(tasks: int) -> FloatArray:
    """float64[turns, tasks]: each task alone, all alike, and between these."""
    alone, alike = np.eye(tasks), np.full((1, tasks), 1 / tasks)
    return np.concatenate([alone, alike, (alone + alike) / 2])


def _scores(problem: Problem) -> FloatArray:
    """float64[rows of the archive, tasks], the higher the better; NaN where they failed."""
    archive = problem.archive
    further = [i for i, column in enumerate(problem.columns) if isinstance(column.model, TaskLoss)]
    return np.column_stack([archive.accuracy, FULL - archive.extras[:, further]])
