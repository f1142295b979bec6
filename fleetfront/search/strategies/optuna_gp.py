"""Optuna's Gaussian process sampler behind ask and tell: a baseline from outside, devices in turn.

It is told everything that the archive holds before each step, so nothing else needs to be kept.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.errors import missing
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import Count, ReadsArchive, State, dump_generator, load_generator
from fleetfront.search.strategies.random_search import fresh_sample
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True, slots=True)
class OptunaGpSettings:
    """Settings.

    Attributes:
        first: random networks before the first model, Optuna's own number.
        batch: networks of a step, all for one device.
    """

    first: Count = 10
    batch: Count = 4


class OptunaGp(ReadsArchive):
    """Log expected hypervolume improvement by ``optuna.samplers.GPSampler``, which models cost and error alike."""

    def __init__(self, problem: Problem, seed: int, settings: OptunaGpSettings | None = None) -> None:
        """Raises MissingDependency without Optuna or torch."""
        try:
            import optuna
        except ImportError as error:
            raise missing("optuna", "optuna", "Optuna's GPSampler") from error
        try:
            import torch  # noqa: F401
        except ImportError as error:
            raise missing("torch", "torch", "Optuna's GPSampler") from error
        self._optuna, self._problem = optuna, problem
        self._settings = settings or OptunaGpSettings()
        self._rng = np.random.default_rng(seed)
        self._turn = 0
        self._free = np.flatnonzero(np.array(problem.free_choices) > 1)

    @property
    def batch(self) -> int:
        left = self._settings.first - len(self._problem.archive)
        return left if left > 0 else self._settings.batch

    def ask(self, n: int) -> Genotypes:
        if len(self._problem.archive) < self._settings.first or not len(self._free):
            return fresh_sample(self._problem, n, self._rng)
        study, distributions = self._study(self._turn)
        self._turn = (self._turn + 1) % len(self._problem.targets)
        asked = [study.ask(distributions).params for _ in range(n)]
        rows = np.zeros((n, len(self._problem.space.choices)), dtype=np.int8)
        for i, params in enumerate(asked):
            rows[i, self._free] = [params[self._problem.space.gene_names[gene]] for gene in self._free]
        fresh = self._problem.archive.unknown(self._problem.complete(rows))
        return fresh if len(fresh) else fresh_sample(self._problem, n, self._rng)

    def dump(self) -> State:
        return {"rng": dump_generator(self._rng), "turn": self._turn}

    def load(self, state: State) -> None:
        self._rng = load_generator(str(state["rng"]))
        self._turn = range(len(self._problem.targets))[int(state["turn"])]

    def _distributions(self) -> dict[str, BaseDistribution]:
        """The free genes: positions among their values, in order where these are numbers."""
        found: dict[str, Any] = {}
        for gene in self._free:
            choices = self._problem.space.choices[gene]
            is_ordered = all(isinstance(value, int | float) for value in choices)
            found[self._problem.space.gene_names[gene]] = (
                self._optuna.distributions.IntDistribution(0, len(choices) - 1)
                if is_ordered
                else self._optuna.distributions.CategoricalDistribution(tuple(range(len(choices))))
            )
        return found

    def _study(self, target: int) -> tuple[Study, dict[str, BaseDistribution]]:
        """A study of one device that holds the archive, and what it draws from."""
        optuna, problem = self._optuna, self._problem
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        archive = problem.archive
        excess = problem.excess(target, archive.cost, archive.extras)
        with warnings.catch_warnings():
            # Two of these arguments are experimental.
            warnings.simplefilter("ignore")
            sampler = optuna.samplers.GPSampler(
                seed=int(self._rng.integers(2**31)),
                n_startup_trials=self._settings.first,
                deterministic_objective=True,
                # Those of known networks are told; none of this study is ever finished.
                constraints_func=(lambda trial: ()) if excess.shape[1] else None,
            )
        values = problem.objectives(target, np.arange(len(archive)))
        study: Study = optuna.create_study(directions=["minimize"] * values.shape[1], sampler=sampler)
        optuna.logging.set_verbosity(level)
        distributions = self._distributions()
        for row, genotype in enumerate(archive.genotypes.tolist()):
            params = {problem.space.gene_names[gene]: genotype[gene] for gene in self._free}
            told = {"constraints": excess[row].tolist()} if excess.shape[1] else {}
            study.add_trial(
                optuna.trial.create_trial(
                    params=params, distributions=distributions, values=values[row].tolist(), system_attrs=told
                )
            )
        return study, distributions
