"""BoTorch's qLogNEHVI over discrete candidates: a baseline from outside, devices in turn.

It is told everything that the archive holds before each step, so nothing else needs to be kept.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.errors import missing
from fleetfront.predictors.one_hot import OneHot
from fleetfront.search.front import FULL
from fleetfront.search.problem import Problem
from fleetfront.search.run import reference_points
from fleetfront.search.strategies.base import Count, ReadsArchive, State, dump_generator, load_generator
from fleetfront.search.strategies.candidates import Candidates
from fleetfront.search.strategies.random_search import fresh_sample
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from torch import Tensor

    from fleetfront.quantities import FloatArray


@dataclass(frozen=True, slots=True)
class BotorchSettings:
    """Settings.

    Attributes:
        first: random networks before the first model.
        batch: networks of a step, chosen one after another for one device.
        considered: candidates of a step: random ones, and children of the device's front where the space is large.
        samples: of the posterior.
    """

    first: Count = 10
    batch: Count = 4
    considered: Count = 1000
    samples: Count = 64


class BotorchNehvi(ReadsArchive):
    """Log noisy expected hypervolume improvement (Daulton et al. 2021, Ament et al. 2023) of ``botorch``.

    Its Gaussian process learns accuracy from the genes; costs and further objectives are known, and it is told so.
    """

    def __init__(self, problem: Problem, seed: int, settings: BotorchSettings | None = None) -> None:
        """Raises MissingDependency without BoTorch."""
        try:
            import botorch  # noqa: F401
        except ImportError as error:
            raise missing("botorch", "botorch", "BoTorch's qLogNEHVI") from error
        self._problem, self._settings = problem, settings or BotorchSettings()
        self._rng = np.random.default_rng(seed)
        self._candidates = Candidates(problem, self._rng)
        self._one_hot = OneHot.of(problem.space)
        self._references = reference_points(problem)
        self._turn = 0

    @property
    def batch(self) -> int:
        left = self._settings.first - len(self._problem.archive)
        return left if left > 0 else self._settings.batch

    def ask(self, n: int) -> Genotypes:
        if len(self._problem.archive) < self._settings.first:
            return fresh_sample(self._problem, n, self._rng)
        target, self._turn = self._turn, (self._turn + 1) % len(self._problem.targets)
        pool = self._pool(target)
        if not len(pool):
            return fresh_sample(self._problem, n, self._rng)
        chosen: Genotypes = pool[self._best(target, pool, min(n, len(pool)))]
        return chosen

    def dump(self) -> State:
        return {"rng": dump_generator(self._rng), "turn": self._turn}

    def load(self, state: State) -> None:
        self._rng = load_generator(str(state["rng"]))
        self._turn = range(len(self._problem.targets))[int(state["turn"])]
        self._candidates = Candidates(self._problem, self._rng)

    def _pool(self, target: int) -> Genotypes:
        """Unknown networks within the limits of a device, of all if none is."""
        problem, n = self._problem, self._settings.considered
        found = self._candidates.some(n)
        if self._candidates.every is None and len(front := problem.front(target)):
            children = self._candidates.children(problem.archive.genotypes[front], n)
            found = np.unique(np.concatenate([found, children]), axis=0)
        within = problem.is_within(target, problem.cost(found), problem.extra_values(found))
        found = found[within] if within.any() else found
        return found[np.sort(self._rng.permutation(len(found))[: 2 * n])]

    def _known_values(self, target: int, genotypes: Genotypes) -> FloatArray:
        """float64[n, 1 + e]: what a front trades beside accuracy, as shares of its reference point."""
        problem = self._problem
        extras = problem.extra_values(genotypes)[:, problem.objectives_of(target)]
        cost, _, *further = self._references[target]
        values = np.concatenate([problem.cost(genotypes)[:, [target]], extras], axis=1)
        shares: FloatArray = values / np.array([cost, *further])
        return shares

    def _best(self, target: int, pool: Genotypes, n: int) -> list[int]:
        """Positions in the pool of the n that together promise most."""
        import torch
        from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
        from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.models.transforms.input import FilterFeatures
        from botorch.models.transforms.outcome import Standardize
        from botorch.optim import optimize_acqf_discrete
        from botorch.sampling import SobolQMCNormalSampler
        from gpytorch.mlls import ExactMarginalLogLikelihood

        problem, archive = self._problem, self._problem.archive
        known, candidates = self._encoded(target, archive.genotypes), self._encoded(target, pool)
        genes = self._one_hot.width
        told = torch.from_numpy(np.isfinite(archive.accuracy_std))
        score = torch.from_numpy(archive.accuracy - FULL)[:, None]
        model = SingleTaskGP(
            known[told],
            score[told],
            input_transform=FilterFeatures(torch.arange(genes)),
            outcome_transform=Standardize(1),
        )
        columns = known.shape[1] - genes

        def traded(samples: Tensor, X: Tensor) -> Tensor:
            """Drawn scores beside what is known of the same networks."""
            return torch.cat([-X[..., genes:].expand(*samples.shape[:-1], columns), samples], dim=-1)

        reference = torch.tensor([*[-1.0] * columns, -self._references[target][1]], dtype=torch.double)
        within = problem.is_within(target, archive.cost, archive.extras)
        baseline = known[told & torch.from_numpy(within)] if within.any() else known[told]
        with warnings.catch_warnings(), torch.random.fork_rng():
            # It warns of inputs that are not scaled and of fits that stop early.
            warnings.simplefilter("ignore")
            torch.manual_seed(int(self._rng.integers(2**31)))
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            acquisition = qLogNoisyExpectedHypervolumeImprovement(
                model,
                reference,
                baseline,
                objective=GenericMCMultiOutputObjective(traded),
                sampler=SobolQMCNormalSampler(torch.Size([self._settings.samples]), int(self._rng.integers(2**31))),
                prune_baseline=True,
            )
            chosen, _ = optimize_acqf_discrete(acquisition, n, candidates, max_batch_size=512)
        rows = [int(np.argmax(torch.all(candidates == one, dim=1).numpy())) for one in chosen]
        return list(dict.fromkeys(rows))

    def _encoded(self, target: int, genotypes: Genotypes) -> Tensor:
        """float64[n, f + 1 + e]: genes, then what is known of a device."""
        import torch

        genes = self._one_hot(genotypes).astype(np.float64)
        return torch.from_numpy(np.concatenate([genes, self._known_values(target, genotypes)], axis=1))
