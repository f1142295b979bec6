"""Search along gradients: relaxed costs and a line through known accuracies say which way the choices should move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.errors import InputError
from fleetfront.predictors.base import Relaxed
from fleetfront.predictors.relaxed import import_torch, most_likely, one_hot, split_genes
from fleetfront.progress import Progress
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import Count, Positive, StrategyKind
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Settings:
    """``--strategy downhill:first=20,steps=30``."""

    #: Random networks that the line through accuracies begins with.
    first: Count = 60
    #: Networks evaluated between two fits of that line; the devices share them.
    batch: Count = 40
    #: Steps of each descent, and their size in logits.
    steps: Count = 25
    step: Positive = 0.4


class Downhill:
    """A ``TrainedStrategy``: descends from random choices to accuracy less cost, at many rates of exchange."""

    def __init__(self, problem: Problem, seed: int, settings: Settings | None = None) -> None:
        """Draw with ``seed``. Raises InputError where no gradient flows through a device's model."""
        for target in problem.targets:
            if not isinstance(target.cost, Relaxed):
                raise InputError(f"The model of {target.name} has no gradients.", "Use --strategy hybrid.")
        self._settings = settings or Settings()
        self._rng = np.random.default_rng(seed)

    def run(self, problem: Problem, progress: Progress, checkpoint: Callable[[], None]) -> None:
        """Evaluate where descents end, until the budget is spent or the space is."""
        proposals = problem.sample(self._settings.first, self._rng)
        while problem.remaining:
            fresh = problem.archive.unknown(problem.complete(proposals))
            if not len(fresh):
                fresh = problem.archive.unknown(problem.sample(4 * self._settings.batch, self._rng))
            if not len(fresh):
                return
            problem.evaluate(fresh[: problem.remaining])
            checkpoint()
            share = max(1, self._settings.batch // len(problem.targets))
            proposals = np.concatenate([self._descended(problem, c, share) for c in range(len(problem.targets))])

    def _descended(self, problem: Problem, column: int, count: int) -> Genotypes:
        """Where ``count`` descents on one device end, int8[count, v]."""
        torch, space, archive = import_torch(), problem.space, problem.archive
        known = one_hot(space, archive.genotypes).double()
        slopes = torch.from_numpy(_slopes(known.numpy(), archive.accuracy)).float()
        begun = problem.sample(count, self._rng)
        logits = (
            2 * one_hot(space, begun) + torch.from_numpy(self._rng.normal(0, 0.1, (count, known.shape[1])))
        ).float()
        logits.requires_grad_()
        unit = max(float(np.ptp(archive.cost[:, column])), 1e-12)
        rates = float(np.ptp(archive.accuracy)) * torch.logspace(-2, 1, count)
        optimiser = torch.optim.Adam([logits], lr=self._settings.step)
        model = problem.targets[column].cost
        for _ in range(self._settings.steps if isinstance(model, Relaxed) else 0):
            chances = _chances(problem, logits)
            loss = (rates * model.relaxed(chances) / unit - chances @ slopes).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return most_likely(space, _chances(problem, logits))


def _chances(problem: Problem, logits: Tensor) -> Tensor:
    torch = import_torch()
    return torch.cat([gene.softmax(dim=1) for gene in split_genes(problem.space, logits)], dim=1)


def _slopes(known: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Accuracy of each choice in a ridge regression, float64[f]."""
    centred = known - known.mean(axis=0)
    return np.linalg.solve(centred.T @ centred + np.eye(known.shape[1]), centred.T @ (accuracy - accuracy.mean()))


KIND = StrategyKind(Downhill, "gradients of relaxed costs and of a line through accuracies", Settings)
