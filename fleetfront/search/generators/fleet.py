"""See a problem as generators train on it: devices by their features, objectives scaled to each device's front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fleetfront.errors import InputError
from fleetfront.predictors.base import CostModel, Relaxed, RelaxesPart
from fleetfront.predictors.relaxed import by_look_up
from fleetfront.search.front import target_front
from fleetfront.search.generators.features import DeviceFeatures, Way
from fleetfront.search.metrics import COUNTED, CountedCost
from fleetfront.search.problem import Problem
from fleetfront.spaces.base import SearchSpace

#: A front reaches over at least this share of its dearest cost, and of a point of accuracy.
_LEAST_REACH = 1e-3


@dataclass(frozen=True, slots=True)
class Scale:
    """The range that becomes 0 to 1, of each objective of each device, accuracy (negated) first.

    Attributes:
        knots: float32[t, 1 + c, k], ascending: values that become 0, 1 / (k - 1), ..., 1. With two they are the ends of
            each front. With more, the front's quantiles: then equal steps of a preference are equal steps along it.
    """

    knots: Tensor

    def __call__(self, device: int, values: Tensor) -> Tensor:
        """float32[n, 1 + c] of values float32[n, 1 + c], linear between the knots and beyond the outer ones."""
        knots = self.knots[device]
        k = knots.shape[1]
        at = torch.searchsorted(knots, values.detach().T.contiguous()).clamp(1, k - 1)
        left, right = knots.gather(1, at - 1).T, knots.gather(1, at).T
        return ((at - 1).T + (values - left) / (right - left)) / (k - 1)


class Fleet:
    """Devices of a problem: their cost models by objective, described and scaled."""

    def __init__(self, problem: Problem, way: Way) -> None:
        """Raises InputError on an objective that some device has no model of."""
        self.problem = problem
        self.costs = (problem.targets[0].cost.metric.name, *problem.extras)
        self.models = [cost_models(problem, i) for i in range(len(problem.targets))]
        described = [own_models(models, self.costs) for models in self.models]
        self.features = DeviceFeatures.learn(problem.space, problem, way, described)
        self.described = np.stack([self.features(models) for models in described])

    @property
    def size(self) -> int:
        """Devices."""
        return len(self.models)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The parts of the devices' costs that gradients do not know, in words."""
        parts = (
            f"{target.name}: {model.relaxed_without}"
            for target, models in zip(self.problem.targets, self.models, strict=True)
            for model in models
            if isinstance(model, RelaxesPart) and model.relaxed_without
        )
        return tuple(parts)

    def scale(self, quantiles: int) -> Scale:
        """So many quantiles of the fronts of what is known so far; 2 for their ends alone."""
        archive = self.problem.archive
        knots = np.zeros((self.size, 1 + len(self.costs), quantiles))
        for device, models in enumerate(self.models):
            columns = np.stack([model.predict(archive.genotypes).mean for model in models], axis=1)
            front = target_front(columns[:, 0], archive.accuracy, None, columns[:, 1:])
            values = np.column_stack([-archive.accuracy[front], columns[front]])
            least = _LEAST_REACH * np.append(1.0, np.abs(values[:, 1:]).max(axis=0)) / quantiles
            for i, column in enumerate(values.T):
                found = np.quantile(column, np.linspace(0, 1, quantiles))
                # Equal quantiles would be a slope without end.
                knots[device, i] = np.maximum.accumulate(found) + least[i] * np.arange(quantiles)
        return Scale(torch.from_numpy(knots).float())

    def losses(self, scale: Scale, device: int, chosen: Tensor, accuracy: Tensor) -> Tensor:
        """float32[n, 1 + c] of relaxed architectures float32[n, f] with accuracies float32[n] on one device."""
        costs = [relax(self.problem.space, model, chosen) for model in self.models[device]]
        return scale(device, torch.stack([-accuracy, *costs], dim=1))


def relax(space: SearchSpace, model: CostModel, chosen: Tensor) -> Tensor:
    """Costs float32[n] through which gradients flow: the model's own way, else by looking neighbours up."""
    if isinstance(model, Relaxed):
        return model.relaxed(chosen).float()
    return by_look_up(space, lambda rows: model.predict(rows).mean, chosen).float()


def cost_models(problem: Problem, target: int) -> tuple[CostModel, ...]:
    """The models of a target's objectives beside accuracy: its own cost, then the problem's further ones."""
    of = problem.targets[target]
    further = [column.model for column in problem.columns if column.is_objective and column.is_of(target)]
    return (of.cost, *further)


def own_models(models: Sequence[CostModel], costs: Sequence[str]) -> list[CostModel]:
    """Without what is counted of every network alike, which says nothing of a device."""
    return [model for model, name in zip(models, costs, strict=True) if name not in COUNTED]


def counted_cost(space: SearchSpace, name: str) -> CostModel:
    """The model of an objective that every network has. Raises InputError on others."""
    if name not in COUNTED:
        raise InputError(f"There is no {name} model of the device.", "Give what the generator was trained with.")
    return CountedCost(space, COUNTED[name])
