"""Predict all networks of a device from what few measurements made of what was known.

What is known beforehand is in ``few_shot.prior``, what measurements make of it in ``few_shot.posterior``.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from fleetfront.predictors.base import covers_all
from fleetfront.predictors.few_shot.basis import WorkBasis
from fleetfront.predictors.few_shot.posterior import Hypothesis
from fleetfront.predictors.operators.work import Mode, NetworkWork
from fleetfront.quantities import LATENCY, Estimate, FloatArray, Metric, Tier
from fleetfront.spaces.base import Genotypes
from fleetfront.targets import Target

if TYPE_CHECKING:
    from torch import Tensor

#: No ms, and no square of them, comes near.
_BEYOND = 1e18
#: Hypotheses below are not kept for prediction.
LEAST_WEIGHT = 1e-3


def mix(
    hypotheses: tuple[Hypothesis, ...], coordinates: Mapping[Mode, FloatArray], least_ms: float
) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation float64[n] of the mixture, in ms; the weights need not sum to 1."""
    n = len(next(iter(coordinates.values())))
    mean, square = np.zeros(n), np.zeros(n)
    total = sum(hypothesis.weight for hypothesis in hypotheses)
    for hypothesis in hypotheses:
        design, weight = coordinates[hypothesis.mode], hypothesis.weight / total
        value = np.maximum(design @ hypothesis.coefficients, least_ms)
        variance = ((design @ hypothesis.covariance) * design).sum(axis=1)
        variance = np.maximum(variance, 0.0) + (hypothesis.relative_std * value) ** 2
        mean += weight * value
        square += weight * (variance + value**2)
    return mean, np.sqrt(np.maximum(square - mean**2, 0.0))


@dataclass(frozen=True, slots=True)
class FewShotContent:
    """The fields of a ``FewShotModel`` in a file.

    Attributes:
        interval_factor: widens the intervals to what known devices, left out in turn, and the measurements themselves
            turned out to need.
        step_ms: what the measurements were rounded to, and what is measured later will be.
    """

    target: Target
    space: str
    basis: WorkBasis
    hypotheses: tuple[Hypothesis, ...]
    least_ms: Annotated[float, Ge(0)] = 0.0
    interval_factor: Annotated[float, Gt(0)] = 1.0
    step_ms: Annotated[float, Ge(0)] = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError if shapes differ, a number is beyond all devices', or no hypothesis has a weight."""
        shares = (h.relative_std for h in self.hypotheses)
        arrays = (array for h in self.hypotheses for array in (h.coefficients, h.covariance))
        largest = max(self.least_ms, self.step_ms, self.interval_factor, *shares)
        if largest > _BEYOND or not all(np.all(np.abs(array) < _BEYOND) for array in arrays):
            raise ValueError("it holds numbers beyond all devices'")
        if any(len(h.coefficients) != self.basis.rank for h in self.hypotheses):
            raise ValueError("a hypothesis has another number of coefficients than the basis")
        if not sum(h.weight for h in self.hypotheses) > LEAST_WEIGHT:
            raise ValueError("no hypothesis has a weight")


class FewShotModel:
    """One metric, mostly latency in ms, from few measurements and many known devices. A CostModel."""

    tier: Tier = Tier.TRANSFERRED

    def __init__(self, content: FewShotContent, work: NetworkWork, metric: Metric = LATENCY) -> None:
        """Raises ValueError if the content is of another space than ``work``, or of modes that it does not have."""
        if content.space != work.space.name:
            raise ValueError(f"the model is of {content.space}, not of {work.space.name}")
        self.content = content
        self.metric = metric
        self._work = work
        self._hypotheses = tuple(h for h in content.hypotheses if h.weight > LEAST_WEIGHT)
        if not {h.mode for h in self._hypotheses} <= set(work.modes):
            raise ValueError(f"{content.space} has no such execution mode")

    @property
    def target(self) -> Target:
        """The new device's."""
        return self.content.target

    @property
    def mode(self) -> Mode:
        """The most probable execution mode."""
        return max(self._hypotheses, key=lambda h: h.weight).mode

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Milliseconds and their std for n genotypes int8[n, v]; mean +- 1.645 std is a 90 % interval."""
        content = self.content
        modes = {h.mode for h in self._hypotheses}
        coordinates = {mode: content.basis.coordinates(self._work.detailed(genotypes, mode)) for mode in modes}
        mean, std = mix(self._hypotheses, coordinates, content.least_ms)
        return Estimate(mean, np.hypot(content.interval_factor * std, content.step_ms / math.sqrt(12)), self.tier)

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """Expected cost float32[n] of relaxed architectures float32[n, f]: work adds up over blocks where it is
        that of this project's files; else what networks take is looked up."""
        from fleetfront.predictors.relaxed import by_look_up, relaxed_sums

        work, basis = self._work, self.content.basis
        slopes = [_slope(basis, h.coefficients) for h in self._hypotheses]
        blocks = np.hstack([work.blocks, work.kernels])
        is_own = all(h.mode is work.own_mode for h in self._hypotheses)
        sums = relaxed_sums(work.space, [blocks @ s for _, s in slopes], choice_probabilities) if is_own else None
        if sums is None:
            return by_look_up(work.space, lambda rows: self.predict(rows).mean, choice_probabilities)
        least = self.content.least_ms
        means = [(part + constant).clamp(min=least) for part, (constant, _) in zip(sums, slopes, strict=True)]
        total = sum(h.weight for h in self._hypotheses)
        weighted = [h.weight / total * mean for h, mean in zip(self._hypotheses, means, strict=True)]
        return functools.reduce(operator.add, weighted)

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: every architecture of the space."""
        return covers_all(genotypes)


def _slope(basis: WorkBasis, coefficients: FloatArray) -> tuple[float, FloatArray]:
    """A constant and the cost of a unit of each column of work, float64[w], that coefficients of coordinates are."""
    direction = basis.directions @ coefficients
    slope = direction[1:] / basis.scale
    return float(direction[0] - basis.centre @ direction[1:]), slope
