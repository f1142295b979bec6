"""Compare ways to describe devices by what a generator answers for devices that its training left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fleetfront.predictors.base import CostModel
from fleetfront.search.front import FULL, hypervolume
from fleetfront.search.generators.features import Way
from fleetfront.search.generators.fleet import cost_models
from fleetfront.search.models.counted import CountedAccuracy
from fleetfront.search.problem import Problem
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

WAYS: tuple[Way, ...] = ("coefficients", "latencies")
#: So many devices are left out, one after another; fewer than the least tell nothing.
_LEFT_OUT, _LEAST_DEVICES = 4, 3


class Trainee(Protocol):
    """A generator of some devices."""

    def train(self, accuracy: CountedAccuracy, steps: int, seed: int) -> None:
        """Train it."""

    def proposed_for(self, models: Sequence[CostModel]) -> Genotypes:
        """Distinct genotypes int8[k, v] for a device with these cost models."""


def compare_descriptions(
    problem: Problem, accuracy: CountedAccuracy, make: Callable[[Problem, Way], Trainee], steps: int, seed: int
) -> dict[Way, float]:
    """For each way the share of hypervolume that devices left out keep: of what all ways and the counted networks
    reach together, mean over up to four devices. Empty for fewer than three devices or no steps.

    Args:
        problem: its archive is known to every training, and no further accuracy is asked for.
        accuracy: judges what is proposed.
        make: (a problem without the device, way) -> an untrained generator.
        steps: of each training.
        seed: of each training.
    """
    size = len(problem.targets)
    if size < _LEAST_DEVICES or not steps:
        return {}
    shares: dict[Way, list[float]] = {way: [] for way in WAYS}
    for device in np.unique(np.linspace(0, size - 1, min(size, _LEFT_OUT)).round().astype(int)):
        others = tuple(target for i, target in enumerate(problem.targets) if i != device)
        without = Problem(
            problem.space, others, problem.accuracy, problem.extras, problem.fixed, excluded=problem.excluded
        )
        without.adopt(problem.archive)
        models, found = cost_models(problem, device), {}
        for way in WAYS:
            trainee = make(without, way)
            trainee.train(accuracy, steps, seed)
            rows = trainee.proposed_for(models)
            found[way] = _objectives(models, rows, accuracy.predict(rows)[0])
        known = problem.archive
        every = np.concatenate([*found.values(), _objectives(models, known.genotypes, known.accuracy)])
        reference = tuple(every.max(axis=0))
        whole = hypervolume(every, reference)
        for way, values in found.items():
            shares[way].append(hypervolume(values, reference) / whole if whole > 0 else 1.0)
    return {way: float(np.mean(values)) for way, values in shares.items()}


def _objectives(models: Sequence[CostModel], rows: Genotypes, accuracy: FloatArray) -> FloatArray:
    """float64[n, c + 1]: costs and error."""
    return np.column_stack([*(model.predict(rows).mean for model in models), FULL - accuracy])
