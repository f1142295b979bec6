"""Compute what uncertain networks are expected to add to the fronts of a whole fleet: hypervolume, summed over its
devices.

Nothing here knows where predictions come from; fronts that are known for sure are in ``front``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fleetfront.search.cost_range import cost_range
from fleetfront.search.front import Staircase, target_front
from fleetfront.search.problem import Problem
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Costs float64[n, columns] and accuracies float64[n] of n networks in each of the forms that they come in.
Forms: TypeAlias = "Sequence[tuple[FloatArray, FloatArray]]"

#: Networks whose extra objectives show how far these reach.
_SAMPLE = 2048
#: Share of its highest value that a column reaches over at least, so that what is beyond a limit stays so when scaled.
_LEAST_RANGE = 1e-9


@dataclass(frozen=True, slots=True)
class Steps:
    """The front of one column as the best accuracy ``level[i]`` for any cost between ``edge[i]`` and ``edge[i + 1]``.

    Attributes:
        edge: float64[k + 1], ascending, scaled so that the column's costs reach from 0 to 1.
        level: float64[k], percent, ascending.
    """

    edge: FloatArray
    level: FloatArray


class FleetGain:
    """Columns are the problem's targets and then its extra objectives, each against accuracy and scaled to 0 .. 1."""

    def __init__(self, problem: Problem, every: Genotypes | None = None) -> None:
        """``every`` architecture of a small space, whose costs then are the scale; else ``cost_range``."""
        self._problem = problem
        if every is None:
            low, high = cost_range(problem)
            extras = problem.extra_values(problem.sample(_SAMPLE, np.random.default_rng(0)))
        else:
            cost, extras = problem.cost(every), problem.extra_values(every)
            low, high = cost.min(axis=0), cost.max(axis=0)
        extras = extras[:, [column.is_objective for column in problem.columns]]
        low = np.concatenate([low, extras.min(axis=0, initial=np.inf)])
        high = np.concatenate([high, extras.max(axis=0, initial=-np.inf)])
        limits = [np.inf if limit is None else limit for limit in problem.front_limits]
        high = np.minimum(high, limits)
        # A limit may be the very lowest cost.
        self._low, self._range = low, np.maximum(high - low, _LEAST_RANGE * np.where(high > 0, high, 1.0))
        self.columns = len(low)
        self._has_limit = np.isfinite(limits)

    def cost(self, genotypes: Genotypes) -> FloatArray:
        """float64[n, columns]: scaled costs, free of charge; what a limit forbids costs infinitely much."""
        return self._scaled(self._problem.cost(genotypes), self._problem.extra_values(genotypes))

    def archived_cost(self) -> FloatArray:
        """The same of everything in the archive."""
        return self._scaled(self._problem.archive.cost, self._problem.archive.extras)

    def excess(self, genotypes: Genotypes) -> FloatArray:
        """float64[n]: by how much of a column's range networks miss the limit that they miss least; 0 within any."""
        targets = slice(None, len(self._problem.targets))
        problem, cost = self._problem, self._problem.cost(genotypes)
        scaled = (cost - self._low[targets]) / self._range[targets]
        missed = np.where(self._has_limit[targets], np.maximum(scaled - 1.0, 0.0), 0.0)
        # Of what another limit forbids, nothing says by how much.
        forbidden = np.isinf(problem.front_costs(cost, problem.extra_values(genotypes))[:, targets])
        least: FloatArray = np.where(forbidden, 1.0, missed).min(axis=1)
        return least

    def steps(self, cost: FloatArray, accuracy: FloatArray) -> list[Steps]:
        """The front of each column of known networks: scaled cost[n, columns], accuracy[n] in percent.

        Where no network reaches, the lowest accuracy known counts.
        """
        fronts = []
        for column in range(self.columns):
            stairs = Staircase.of(cost[:, column], accuracy, target_front(cost[:, column], accuracy, 1.0))
            edge = np.concatenate([[0.0], np.clip(stairs.cost, 0.0, 1.0), [1.0]])
            fronts.append(Steps(edge, np.concatenate([[accuracy.min()], stairs.accuracy])))
        return fronts

    @staticmethod
    def gap(cost: FloatArray, accuracy: FloatArray, fronts: list[Steps]) -> FloatArray:
        """float64[n]: how far below the nearest front networks are, percentage points; infinite beyond every limit."""
        gap = np.full(len(accuracy), np.inf)
        for column, front in enumerate(fronts):
            below = front.level[_segment(front, cost[:, column])] - accuracy
            np.minimum(gap, np.where(cost[:, column] <= 1.0, below, np.inf), out=gap)
        return gap

    @staticmethod
    def bound(cost: FloatArray, mean: FloatArray, std: FloatArray, fronts: list[Steps]) -> FloatArray:
        """float64[n]: no less than ``expected`` (up to the position within a step), for far less work."""
        return FleetGain.bound_of([(cost, mean)], std, fronts)

    @staticmethod
    def expected(cost: FloatArray, mean: FloatArray, std: FloatArray, fronts: list[Steps]) -> FloatArray:
        """float64[n]: expected gain of hypervolume, summed over columns, in shares of their cost range x percent.

        Accuracy is taken as normal with mean[n] and std[n]; costs float64[n, columns] are certain. In closed form: over
        each step of a front that a network reaches, the expected excess of a normal variable times the step's width
        (two objectives of Emmerich, Deutz and Klinkenberg 2011, one of them certain).
        """
        return FleetGain.expected_of([(cost, mean)], std, fronts)

    @staticmethod
    def bound_of(forms: Forms, std: FloatArray, fronts: list[Steps]) -> FloatArray:
        """``bound`` of networks that bring several forms each, of which every column takes the best."""
        return _best_of(_bound_in, forms, std, fronts)

    @staticmethod
    def expected_of(forms: Forms, std: FloatArray, fronts: list[Steps]) -> FloatArray:
        """``expected`` of the same: no more than what they bring together."""
        return _best_of(_expected_in, forms, std, fronts)

    def _scaled(self, cost: FloatArray, extras: FloatArray) -> FloatArray:
        scaled = (self._problem.front_costs(cost, extras) - self._low) / self._range
        forbidden = self._has_limit & (scaled > 1.0) | np.isinf(scaled)
        # What no device admits serves no further objective either.
        forbidden |= np.all(forbidden[:, : len(self._problem.targets)], axis=1, keepdims=True)
        result: FloatArray = np.where(forbidden, np.inf, np.clip(scaled, 0.0, 1.0))
        return result


def _best_of(
    gain_in: Callable[[FloatArray, FloatArray, FloatArray, Steps], FloatArray],
    forms: Forms,
    std: FloatArray,
    fronts: list[Steps],
) -> FloatArray:
    total = np.zeros(len(std))
    for column, front in enumerate(fronts):
        found = [gain_in(cost[:, column], mean, std, front) for cost, mean in forms]
        total += found[0] if len(found) == 1 else np.max(found, axis=0)
    return total


def _bound_in(x: FloatArray, mean: FloatArray, std: FloatArray, front: Steps) -> FloatArray:
    level = front.level[_segment(front, x)]
    result: FloatArray = np.clip(1.0 - x, 0.0, 1.0) * _expected_excess(mean, std, level)
    return result


def _expected_in(cost: FloatArray, mean: FloatArray, std: FloatArray, front: Steps) -> FloatArray:
    x, rows = np.minimum(cost, 1.0), np.arange(len(mean))
    excess = _expected_excess(mean[:, None], std[:, None], front.level[None])
    reached = np.cumsum((excess * np.diff(front.edge))[:, ::-1], axis=1)[:, ::-1]
    at = _segment(front, x)
    result: FloatArray = reached[rows, at] - excess[rows, at] * (x - front.edge[at])
    return result


def _segment(front: Steps, cost: FloatArray) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    at = np.searchsorted(front.edge, cost, side="right") - 1
    return np.clip(at, 0, len(front.level) - 1)


def _expected_excess(mean: FloatArray, std: FloatArray, level: FloatArray) -> FloatArray:
    """E[max(0, a - level)] of a normal ``a``."""
    from scipy.special import ndtr

    z = (mean - level) / std
    result: FloatArray = std * (z * ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))
    return result
