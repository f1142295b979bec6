"""Train a generator of budgets by reinforcement against an evaluator that ranks, as PNAG does (arXiv 2103.00250)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fleetfront.predictors.base import CostModel
from fleetfront.predictors.relaxed import one_hot, soft_features
from fleetfront.search.generators.fleet import Fleet
from fleetfront.search.generators.networks import BudgetLstm
from fleetfront.search.generators.wishes import Wishes, cost_place
from fleetfront.search.models.counted import CountedAccuracy
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: The evaluator's layers, and networks of a batch, all pairs of which are ranked; as published.
_UNITS, _BATCH = 512, 256
_MOMENTUM, _MOST_GRADIENT = 0.9, 1.0
#: Exponent of the published rewards that weigh accuracy by cost.
_EXPONENT = 0.07
#: How fast the mean reward that is taken off follows.
_FOLLOWS = 0.1
#: Draws of the generator a step.
_DRAWS = 32


@dataclass(frozen=True, slots=True)
class Reinforcement:
    """How evaluator and generator are trained.

    Attributes:
        reward: ``ranking``: what the evaluator says; ``product``: accuracy x (cost / budget)^-0.07; ``absolute``:
            accuracy - 0.07 |cost / budget - 1|, with accuracy in units of its spread.
        rate: of the evaluator's SGD.
        generator_rate: of the generator's Adam.
        entropy: weight of the choices' entropy beside the standardised reward.
    """

    reward: Literal["ranking", "product", "absolute"] = "ranking"
    rate: float = 0.05
    generator_rate: float = 1e-3
    entropy: float = 0.1


class Evaluator(nn.Module):
    """R(architecture, budget, device): higher is better. A multilayer perceptron over genes, budget and features."""

    def __init__(self, inputs: int, units: int = _UNITS) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU(), nn.Linear(units, 1)
        )

    def forward(self, genes: Tensor, wish: Tensor, device: Tensor) -> Tensor:
        """float[n]."""
        result: Tensor = self.layers(torch.cat([genes, wish, device], dim=1))[:, 0]
        return result


def is_better(accuracy: FloatArray, place: FloatArray, budget: float) -> FloatArray:
    """float64[n, n]: 1 where row i is better than row j within a budget, -1 where worse, 0 where they are alike.

    Both over the budget: the cheaper wins; both within: the more accurate; one within: that one.
    """
    within = place <= budget
    cheaper = np.sign(place[None, :] - place[:, None])
    better = np.sign(accuracy[:, None] - accuracy[None, :])
    first = within[:, None].astype(float) - within[None, :].astype(float)
    both = within[:, None] & within[None, :]
    neither = ~within[:, None] & ~within[None, :]
    result: FloatArray = np.where(both, better, np.where(neither, cheaper, first))
    return result


class BudgetTrainer:
    """Evaluator and generator of a fleet; both go on where they were when more is known."""

    def __init__(
        self,
        network: BudgetLstm,
        evaluator: Evaluator,
        fleet: Fleet,
        wishes: Wishes,
        settings: Reinforcement,
    ) -> None:
        self._network, self._evaluator = network, evaluator
        self._fleet, self._wishes, self._settings = fleet, wishes, settings
        self._described = torch.from_numpy(fleet.described).float()

    def reach(self, device: int) -> tuple[float, float]:
        """The lowest and highest cost of a device's reference networks and of what is known."""
        rows = np.concatenate([self._fleet.features.references, self._fleet.problem.archive.genotypes])
        cost = self._model(device).predict(rows).mean
        return float(cost.min()), float(cost.max())

    def train_evaluator(self, steps: int, seed: int) -> None:
        """Rank random batches of what is known within random budgets on random devices."""
        rng, problem = np.random.default_rng(seed), self._fleet.problem
        archive = problem.archive
        genes = soft_features(problem.space, one_hot(problem.space, archive.genotypes))
        places = np.stack([self._places(d, archive.genotypes) for d in range(self._fleet.size)], axis=1)
        optimiser = torch.optim.SGD(self._evaluator.parameters(), self._settings.rate, _MOMENTUM)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
        for _ in range(steps):
            rows = rng.permutation(len(archive))[:_BATCH]
            device, budget = int(rng.integers(self._fleet.size)), self._budgets(1, rng)
            label = torch.from_numpy(is_better(archive.accuracy[rows], places[rows, device], float(budget[0]))).float()
            wish = torch.from_numpy(self._wishes.of_places(budget)).float().expand(len(rows), -1)
            rank = self._evaluator(genes[rows], wish, self._described[device].expand(len(rows), -1))
            margin = label * (rank[:, None] - rank[None, :])
            loss = nn.functional.softplus(-margin)[label != 0].mean() if (label != 0).any() else rank.sum() * 0
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._evaluator.parameters(), _MOST_GRADIENT)
            optimiser.step()
            schedule.step()

    def train_generator(self, steps: int, accuracy: CountedAccuracy, seed: int) -> None:
        """REINFORCE (Williams 1992) with the mean reward of each budget's draws taken off."""
        settings = self._settings
        generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
        optimiser = torch.optim.Adam(self._network.parameters(), settings.generator_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
        spread = 1.0
        for step in range(steps):
            devices = rng.integers(self._fleet.size, size=4).repeat(_DRAWS // 4)
            budget = self._budgets(4, rng).repeat(_DRAWS // 4)
            wish, described = torch.from_numpy(self._wishes.of_places(budget)).float(), self._described[devices]
            chosen, log_p, entropy = self._network.roll(wish, described, None, generator)
            reward = self._reward(chosen, devices, budget, wish, described, accuracy)
            groups = reward.view(4, -1)
            advantage = (groups - groups.mean(dim=1, keepdim=True)).flatten()
            now = float(advantage.std())
            spread = now if step == 0 else spread + _FOLLOWS * (now - spread)
            cooling = 1 - step / steps
            loss = -(advantage / max(spread, 1e-6) * log_p).mean() - settings.entropy * cooling * entropy.mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), _MOST_GRADIENT)
            optimiser.step()
            schedule.step()

    def _budgets(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Places of budgets: anywhere, or one of the fixed ones."""
        fixed = self._wishes.published
        if fixed:
            return rng.integers(fixed, size=n) / max(fixed - 1, 1)
        return rng.random(n)

    def _reward(
        self, chosen: Tensor, devices: NDArray[np.int64], budget: FloatArray, wish: Tensor, described: Tensor,
        accuracy: CountedAccuracy,
    ) -> Tensor:  # fmt: skip
        space = self._fleet.problem.space
        rows = space.canonical(chosen.numpy().astype(np.int8))
        with torch.no_grad():
            if self._settings.reward == "ranking":
                ranked: Tensor = self._evaluator(soft_features(space, one_hot(space, rows)), wish, described)
                return ranked
        mean = accuracy.predict(rows)[0]
        known = self._fleet.problem.archive.accuracy
        score = 1.0 + (mean - known.min()) / max(float(np.ptp(known)), 1e-9)
        ratio = np.empty(len(rows))
        for device in np.unique(devices):
            own = devices == device
            low, high = self.reach(int(device))
            ratio[own] = self._model(int(device)).predict(rows[own]).mean / (low * (high / low) ** budget[own])
        if self._settings.reward == "product":
            return torch.from_numpy(score * ratio**-_EXPONENT).float()
        return torch.from_numpy(score - _EXPONENT * np.abs(ratio - 1)).float()

    def _places(self, device: int, rows: Genotypes) -> FloatArray:
        return cost_place(self._model(device).predict(rows).mean, *self.reach(device))

    def _model(self, device: int) -> CostModel:
        return self._fleet.models[device][0]
