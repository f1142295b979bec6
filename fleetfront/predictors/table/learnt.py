"""Learn costs and accuracies of networks that are known by a table alone from the few numbers that sum them up."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.predictors.base import covers_all
from fleetfront.predictors.one_hot import OneHot
from fleetfront.quantities import LATENCY, Estimate, FloatArray, Metric, Quality, Tier
from fleetfront.spaces.base import Genotypes, KnownByTables, SearchSpace
from fleetfront.targets import Target

if TYPE_CHECKING:
    from torch import Tensor

#: Degrees of the polynomial that are tried: widths enter work squared, times a number of layers.
_DEGREES = (2, 3)
_RIDGE = 1e-6
#: Networks that it is fitted to at most, and folds by which its error is told.
_FITTED, _FOLDS = 6000, 5
#: So many networks to a coefficient at least.
_FEWEST_EACH = 2


@dataclass(frozen=True, slots=True)
class SummaryRegression:
    """``exp`` of a polynomial of a network's summaries (``KnownByTables``), fitted to logarithms.

    Attributes:
        weights: float64[f, s]: what each choice adds to each summary.
        centre, spread: float64[s] that summaries are standardised by.
        coefficients: float64[terms].
        degree: of the polynomial.
        relative_std: root mean square error of the logarithm on networks left out of the fit.
        networks: how many it was fitted to.
    """

    space: SearchSpace
    weights: FloatArray
    centre: FloatArray
    spread: FloatArray
    coefficients: FloatArray
    degree: int
    relative_std: float
    networks: int

    @classmethod
    def fit(cls, space: SearchSpace, genotypes: Genotypes, values: FloatArray) -> SummaryRegression:
        """From positive values float64[n] of n networks.

        Raises InputError on a space that names no summaries, or too few networks.
        """
        if not isinstance(space, KnownByTables):
            raise InputError(f"{space.name} does not say what sums its networks up.", "Measure its blocks instead.")
        weights, _ = space.summary_weights()
        terms = len(_terms(weights.shape[1], min(_DEGREES)))
        if len(values) < _FEWEST_EACH * terms or not (values > 0).all():
            raise InputError(
                f"{len(values)} networks are too few to learn {space.name} from, or one costs nothing.",
                f"Import at least {_FEWEST_EACH * terms}.",
            )
        rows = np.random.default_rng(0).permutation(len(values))[:_FITTED]
        summaries, logs = OneHot.of(space)(genotypes[rows]).astype(np.float64) @ weights, np.log(values[rows])
        centre, spread = summaries.mean(axis=0), summaries.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        standardised = (summaries - centre) / spread
        error, degree = min((_left_out_error(_design(standardised, degree), logs), degree) for degree in _DEGREES)
        coefficients = _solve(_design(standardised, degree), logs)
        return cls(space, weights, centre, spread, coefficients, degree, error, len(rows))

    def __call__(self, genotypes: Genotypes) -> FloatArray:
        """float64[n]."""
        summaries = OneHot.of(self.space)(genotypes).astype(np.float64) @ self.weights
        values: FloatArray = np.exp(_design((summaries - self.centre) / self.spread, self.degree) @ self.coefficients)
        return values

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """float32[n] of relaxed architectures float32[n, f], differentiable."""
        import torch

        from fleetfront.predictors.relaxed import soft_features

        summaries = soft_features(self.space, choice_probabilities).double() @ torch.from_numpy(self.weights)
        x = (summaries - torch.from_numpy(self.centre)) / torch.from_numpy(self.spread)
        columns = [torch.ones_like(x[:, 0])]
        for term in _terms(x.shape[1], self.degree)[1:]:
            columns.append(x[:, list(term)].prod(dim=1))
        return (torch.stack(columns, dim=1) @ torch.from_numpy(self.coefficients)).exp().float()


@dataclass(frozen=True, slots=True)
class LearntTable:
    """One metric on one target, learnt from a table of some networks. A CostModel of the whole space."""

    regression: SummaryRegression
    target: Target
    metric: Metric = LATENCY
    tier: Tier = Tier.TRANSFERRED

    def predict(self, genotypes: Genotypes) -> Estimate:
        """In the metric's unit, for n genotypes int8[n, v]."""
        mean = self.regression(genotypes)
        return Estimate(mean, self.regression.relative_std * mean, self.tier)

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """Expected cost float32[n] of relaxed architectures float32[n, f]."""
        return self.regression.relaxed(choice_probabilities)

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: every architecture of the space."""
        return covers_all(genotypes)


@dataclass(frozen=True, slots=True)
class LearntAccuracy:
    """A quality of networks, learnt from a table. An AccuracyModel whose answers are scores: the higher the better.

    Attributes:
        lowest: the score of the worst network of the table.
    """

    regression: SummaryRegression
    source: str
    quality: Quality
    lowest: float
    tier: Tier = Tier.PREDICTED

    @property
    def fingerprint(self) -> str:
        """Differs where the table does, whatever its file is called."""
        return hashlib.sha256(np.ascontiguousarray(self.regression.coefficients).tobytes()).hexdigest()

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Scores of n genotypes int8[n, v]."""
        mean = self.regression(genotypes)
        return Estimate(self.quality.score(mean), self.regression.relative_std * mean, self.tier)

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """Scores float32[n] of relaxed architectures float32[n, f]."""
        value = self.regression.relaxed(choice_probabilities)
        return value if self.quality.is_higher_better else -value


def _terms(summaries: int, degree: int) -> list[tuple[int, ...]]:
    return [term for d in range(degree + 1) for term in combinations_with_replacement(range(summaries), d)]


def _design(x: FloatArray, degree: int) -> FloatArray:
    """float64[n, terms] of standardised summaries float64[n, s]."""
    return np.stack([x[:, list(term)].prod(axis=1) for term in _terms(x.shape[1], degree)], axis=1)


def _left_out_error(design: FloatArray, logs: FloatArray) -> float:
    """Root mean square of what networks left out of the fit are off; without end where there are too few."""
    if len(logs) < _FEWEST_EACH * design.shape[1]:
        return float("inf")
    fold = np.arange(len(logs)) % _FOLDS
    off = [logs[fold == i] - design[fold == i] @ _solve(design[fold != i], logs[fold != i]) for i in range(_FOLDS)]
    return float(np.sqrt(np.mean(np.concatenate(off) ** 2)))


def _solve(design: FloatArray, values: FloatArray) -> FloatArray:
    gram = design.T @ design
    gram[np.diag_indices_from(gram)] += _RIDGE * len(values)
    return np.asarray(np.linalg.solve(gram, design.T @ values), np.float64)
