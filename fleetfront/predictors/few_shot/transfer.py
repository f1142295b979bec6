"""The latency of a device from a handful of measurements, given what other devices taught.

Latency is linear in operator work (``few_shot.basis``) with coefficients around those of known devices
(``few_shot.prior``). A few measurements decide, by Bayes' rule, between execution modes, levels of noise and which
measurement is an outlier, and move the coefficients. Which networks to measure is chosen in ``design``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.predictors.base import covers_all
from fleetfront.predictors.few_shot.basis import WorkBasis
from fleetfront.predictors.few_shot.prior import Prior
from fleetfront.predictors.operators.work import Mode, NetworkWork
from fleetfront.quantities import LATENCY, Estimate, Metric, Tier
from fleetfront.spaces.base import Genotypes
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Relative noise levels that are weighed against each other.
_NOISE_LEVELS = np.geomspace(0.005, 0.4, 16)
#: Share of measurements that something disturbed, and how many times noisier these are. On the public phone with the
#: cleanest table, 20 % of the networks ran 5 to 30 % faster than the other 80 %, which agree within 2 %.
_OUTLIER_SHARE = 0.12
_OUTLIER_FACTOR = 8.0
#: Patterns of outliers tried; beyond it only patterns with fewer outliers are.
_MOST_PATTERNS = 400
#: Factors on the covariance of the coefficients and their weights: devices unlike all known ones exist.
_WIDTHS = (1.0, 5.0, 25.0)
_WIDTH_WEIGHTS = (0.6, 0.3, 0.1)
#: The overall scale of a new device is known to about a factor of two beforehand.
_SCALE_STD = 1.0
#: A prediction is at least this share of the smallest measurement.
_LEAST_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One execution mode with its posterior: weight, coefficients in ms float64[r], their covariance, noise."""

    mode: Mode
    weight: float
    coefficients: FloatArray
    covariance: FloatArray
    relative_std: float


def choose_few(prior: Prior, coordinates: Mapping[Mode, FloatArray], k: int) -> NDArray[np.intp]:
    """Indices int[k] of the ``k`` candidates to measure, given their coordinates float64[c, r] in each mode.

    Candidates should be drawn as the networks that will be predicted: a choice among all networks falls on freaks, and
    a model is least right there.
    """
    designs, covariances = [], []
    for design in coordinates.values():
        expected = design @ prior.mean
        designs.append(design / np.maximum(expected, 0.1 * np.median(expected))[:, None])
        covariances.append(prior.covariance + _SCALE_STD**2 * np.outer(prior.mean, prior.mean))
    return choose_networks(designs, covariances, prior.typical_noise, k)


def choose_networks(
    designs: Sequence[FloatArray], covariances: Sequence[FloatArray], relative_std: float, k: int
) -> NDArray[np.intp]:
    """Greedy Bayesian D-optimal choice of ``k`` of c candidates: int[k], in the order of choice.

    Each network is the one that most increases the sum over hypotheses of log det of the posterior precision of the
    coefficients (Chaloner and Verdinelli 1995, section 2.1). Candidates that no hypothesis can tell apart from a chosen
    one are passed over while others are left: measuring the same thing twice would hide what the model cannot express.

    Args:
        designs: for each hypothesis, float64[c, p]: regressors divided by the latency they are expected to give.
        covariances: for each hypothesis, float64[p, p]: of the coefficients before measuring.
        relative_std: expected relative error of model and measurement together.
        k: how many to choose.

    Raises:
        InputError: if there are fewer candidates than ``k``.
    """
    candidates = len(designs[0])
    if not 0 < k <= candidates:
        raise InputError(f"Cannot choose {k} of {candidates} networks.", f"Ask for 1 to {candidates}.")
    _, group = np.unique(np.round(np.hstack(designs), 9), axis=0, return_inverse=True)
    group = group.ravel()
    remaining = [covariance.copy() for covariance in covariances]
    is_open = np.ones(candidates, dtype=np.bool_)
    chosen: list[int] = []
    for _ in range(k):
        gain = np.zeros(candidates)
        for design, covariance in zip(designs, remaining, strict=True):
            variance = np.einsum("cp,pq,cq->c", design, covariance, design)
            gain += np.log1p(np.maximum(variance, 0.0) / relative_std**2)
        gain[chosen] = -np.inf
        if is_open.any():
            gain[~is_open] = -np.inf
        best = int(np.argmax(gain))
        chosen.append(best)
        is_open[group == group[best]] = False
        for design, covariance in zip(designs, remaining, strict=True):
            direction = covariance @ design[best]
            covariance -= np.outer(direction, direction) / (relative_std**2 + design[best] @ direction)
    return np.asarray(chosen, dtype=np.intp)


def fit_few(prior: Prior, coordinates: Mapping[Mode, FloatArray], ms: FloatArray) -> tuple[Hypothesis, ...]:
    """The posterior after measuring k networks: coordinates float64[k, r] in each mode, milliseconds float64[k].

    Relative errors are normal, ``_OUTLIER_FACTOR`` times wider for outliers; noise levels and patterns of outliers are
    enumerated and weighed by their marginal likelihood, then averaged within each mode.

    Raises:
        InputError: if a latency is not positive.
    """
    ms = np.asarray(ms, np.float64)
    if not (ms.size and np.all(np.isfinite(ms)) and np.all(ms > 0)):
        raise InputError("A measured latency is not a positive number.", "Leave that network out or measure again.")
    patterns, log_pattern = _outlier_patterns(len(ms))
    levels = _NOISE_LEVELS
    log_level = -0.5 * ((np.log(levels) - prior.log_noise[0]) / prior.log_noise[1]) ** 2
    log_prior = log_level[:, None] + log_pattern
    found = []
    for mode, design in coordinates.items():
        log_weight, hypothesis = _mode_posterior(prior, mode, design, ms, patterns, log_prior)
        found.append((log_weight + math.log(prior.mode_weights[mode]), hypothesis))
    highest = max(log_weight for log_weight, _ in found)
    weights = np.exp([log_weight - highest for log_weight, _ in found])
    weights /= weights.sum()
    return tuple(
        Hypothesis(h.mode, float(weight), h.coefficients, h.covariance, h.relative_std)
        for weight, (_, h) in zip(weights, found, strict=True)
    )


def _mode_posterior(
    prior: Prior, mode: Mode, design: FloatArray, ms: FloatArray, patterns: FloatArray, log_prior: FloatArray
) -> tuple[float, Hypothesis]:
    """Log evidence and posterior of a mode, averaged over noise levels, outlier patterns and widths of the prior."""
    expected = design @ prior.mean
    scale = float(np.median(ms / np.maximum(expected, 0.1 * np.median(np.abs(expected)))))
    mean = scale * prior.mean
    overall = _SCALE_STD**2 * np.outer(prior.mean, prior.mean)
    covariance = scale**2 * (np.asarray(_WIDTHS)[:, None, None] * prior.covariance + overall)  # widths, r, r
    relative = design / ms[:, None]
    surprise = 1 - relative @ mean
    signal = relative @ covariance @ relative.T
    noise = (_NOISE_LEVELS**2)[:, None, None] * patterns  # levels, patterns, k
    total = signal[:, None, None] + noise[..., None] * np.eye(len(ms))  # widths, levels, patterns, k, k
    solved = np.linalg.solve(total, np.broadcast_to(surprise[:, None], (*total.shape[:-1], 1)))[..., 0]
    log_weight = log_prior + np.log(_WIDTH_WEIGHTS)[:, None, None] - 0.5 * np.linalg.slogdet(total)[1]
    log_weight -= 0.5 * (solved @ surprise)
    highest = float(log_weight.max())
    weight = np.exp(log_weight - highest)
    log_evidence = highest + math.log(weight.sum())
    # Terms under a hundred-thousandth of the whole change nothing that is ever shown.
    width, level, pattern = np.nonzero(weight > 1e-5 * weight.sum())
    kept = weight[width, level, pattern] / weight[width, level, pattern].sum()
    crossed = relative @ covariance[width]  # j, k, r
    gain = np.linalg.solve(total[width, level, pattern], crossed)
    shifts = np.einsum("jkr,k->jr", gain, surprise)
    spread = shifts - kept @ shifts
    within = np.einsum("j,jrs->rs", kept, covariance[width] - np.einsum("jkr,jks->jrs", gain, crossed))
    posterior = within + np.einsum("j,jr,js->rs", kept, spread, spread)
    relative_std = float(np.sqrt(kept @ _NOISE_LEVELS[level] ** 2))
    return log_evidence, Hypothesis(mode, 1.0, mean + kept @ shifts, (posterior + posterior.T) / 2, relative_std)


def _outlier_patterns(k: int) -> tuple[FloatArray, FloatArray]:
    """Factors on the noise variance float64[patterns, k], and the log probability of each pattern."""
    factors, logs = [np.ones(k)], [k * math.log(1 - _OUTLIER_SHARE)]
    for outliers in range(1, k // 3 + 1):
        if sum(math.comb(k, n) for n in range(outliers + 1)) > _MOST_PATTERNS:
            break
        for which in itertools.combinations(range(k), outliers):
            factor = np.ones(k)
            factor[list(which)] = _OUTLIER_FACTOR**2
            factors.append(factor)
            logs.append(outliers * math.log(_OUTLIER_SHARE) + (k - outliers) * math.log(1 - _OUTLIER_SHARE))
    return np.stack(factors), np.asarray(logs)


def least_latency(ms: FloatArray) -> float:
    """No prediction is lower than this after measuring ``ms``."""
    return _LEAST_SHARE * float(np.min(ms))


def mix(
    hypotheses: tuple[Hypothesis, ...], coordinates: Mapping[Mode, FloatArray], least_ms: float
) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation float64[n] of the mixture, in ms."""
    n = len(next(iter(coordinates.values())))
    mean, square = np.zeros(n), np.zeros(n)
    for hypothesis in hypotheses:
        design = coordinates[hypothesis.mode]
        value = np.maximum(design @ hypothesis.coefficients, least_ms)
        variance = np.einsum("nr,rs,ns->n", design, hypothesis.covariance, design)
        variance = np.maximum(variance, 0.0) + (hypothesis.relative_std * value) ** 2
        mean += hypothesis.weight * value
        square += hypothesis.weight * (variance + value**2)
    return mean, np.sqrt(np.maximum(square - mean**2, 0.0))


class TransferModel:
    """Latency in ms from few measurements and many known devices. A CostModel."""

    metric: Metric = LATENCY
    tier: Tier = Tier.TRANSFERRED

    def __init__(
        self,
        target: Target,
        work: NetworkWork,
        basis: WorkBasis,
        hypotheses: tuple[Hypothesis, ...],
        *,
        least_ms: float = 0.0,
        interval_factor: float = 1.0,
    ) -> None:
        """``interval_factor`` widens the intervals to what known devices, left out in turn, turned out to need."""
        self.target = target
        self._work = work
        self._basis = basis
        self._hypotheses = tuple(h for h in hypotheses if h.weight > 1e-3)
        self._least_ms = least_ms
        self._interval_factor = interval_factor

    @property
    def mode(self) -> Mode:
        """The most probable execution mode."""
        return max(self._hypotheses, key=lambda h: h.weight).mode

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Milliseconds and their std for n genotypes int8[n, v]; mean +- 1.645 std is a 90 % interval."""
        modes = {h.mode for h in self._hypotheses}
        coordinates = {mode: self._basis.coordinates(self._work.detailed(genotypes, mode)) for mode in modes}
        mean, std = mix(self._hypotheses, coordinates, self._least_ms)
        return Estimate(mean, self._interval_factor * std, self.tier)

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: every architecture of the space."""
        return covers_all(genotypes)

    def to_json(self) -> dict[str, Any]:
        """Plain values that ``from_json`` reads."""
        return {
            "target": str(self.target),
            "space": self._work.space.name,
            "basis": self._basis.to_json(),
            "least_ms": self._least_ms,
            "interval_factor": self._interval_factor,
            "hypotheses": [
                {
                    "mode": h.mode.value,
                    "weight": h.weight,
                    "coefficients": h.coefficients.tolist(),
                    "covariance": h.covariance.tolist(),
                    "relative_std": h.relative_std,
                }
                for h in self._hypotheses
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], work: NetworkWork) -> TransferModel:
        """Read ``to_json`` back. Raises KeyError, TypeError or ValueError on anything else."""
        if data["space"] != work.space.name:
            raise ValueError(f"the model is of {data['space']}, not of {work.space.name}")
        hypotheses = tuple(
            Hypothesis(
                Mode(h["mode"]),
                float(h["weight"]),
                np.asarray(h["coefficients"], np.float64),
                np.asarray(h["covariance"], np.float64),
                float(h["relative_std"]),
            )
            for h in data["hypotheses"]
        )
        return cls(
            Target.parse(data["target"]),
            work,
            WorkBasis.from_json(data["basis"]),
            hypotheses,
            least_ms=float(data["least_ms"]),
            interval_factor=float(data["interval_factor"]),
        )
