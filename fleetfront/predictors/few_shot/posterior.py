"""The latency of a device from a handful of measurements, given what other devices taught.

Latency is linear in operator work (``few_shot.basis``) with coefficients around those of known devices
(``few_shot.prior``). A few measurements decide, by Bayes' rule, between execution modes, levels of noise and which
measurement is an outlier, and move the coefficients.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.predictors.base import covers_all
from fleetfront.predictors.few_shot.basis import WorkBasis
from fleetfront.predictors.few_shot.prior import Prior
from fleetfront.predictors.operators.work import Mode, NetworkWork
from fleetfront.quantities import LATENCY, Estimate, FloatArray, Metric, Tier
from fleetfront.spaces.base import Genotypes
from fleetfront.targets import Target

if TYPE_CHECKING:
    from torch import Tensor

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
#: Hypotheses below are not kept for prediction.
LEAST_WEIGHT = 1e-3
#: Steps finer than this share of the median measurement drown in other noise.
_FINEST_STEP = 0.01


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One execution mode with its posterior: weight, coefficients in ms float64[r], their covariance, noise."""

    mode: Mode
    weight: Annotated[float, Ge(0), Le(1)]
    coefficients: FloatArray
    covariance: FloatArray
    relative_std: Annotated[float, Ge(0)]

    def __post_init__(self) -> None:
        """Raises ValueError if the shapes differ."""
        if self.coefficients.ndim != 1 or self.covariance.shape != 2 * self.coefficients.shape:
            raise ValueError("a hypothesis has the wrong shape")


@dataclass(frozen=True, slots=True)
class Posterior:
    """What few measurements say.

    Attributes:
        hypotheses: one an execution mode; their weights sum to 1.
        left_out: float64[k]: 1 - predicted / measured of each measurement, predicted without it.
    """

    hypotheses: tuple[Hypothesis, ...]
    left_out: FloatArray


def choose_informative(prior: Prior, coordinates: Mapping[Mode, FloatArray], k: int) -> NDArray[np.intp]:
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


def fit_posterior(
    prior: Prior, coordinates: Mapping[Mode, FloatArray], ms: FloatArray, step_ms: float = 0.0
) -> Posterior:
    """The posterior after measuring k networks: coordinates float64[k, r] in each mode, milliseconds float64[k].

    Relative errors are normal, ``_OUTLIER_FACTOR`` times wider for outliers; noise levels and patterns of outliers are
    enumerated and weighed by their marginal likelihood, then averaged within each mode. ``step_ms`` is what the values
    were rounded to.

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
    noise = ((levels**2)[:, None, None] * patterns + step_ms**2 / 12 / ms**2).reshape(-1, len(ms))
    found = []
    for mode, design in coordinates.items():
        terms = _Terms(prior, design, ms, noise, log_prior.ravel() + math.log(prior.mode_weights[mode]))
        found.append((terms.log_evidence, terms.hypothesis(mode), *terms.left_out))
    weights = _normalised(np.array([evidence for evidence, *_ in found]))
    shares = _normalised(np.stack([evidence for _, _, evidence, _ in found]))
    left_out = (shares * np.stack([error for *_, error in found])).sum(axis=0)
    hypotheses = (replace(h, weight=float(w)) for w, (_, h, _, _) in zip(weights, found, strict=True))
    return Posterior(tuple(hypotheses), left_out)


class _Terms:
    """The mixture within a mode: one term for each width of the prior, noise level and pattern of outliers.

    All is computed from r x r matrices: the precision of the coefficients is that of the prior and what each
    measurement adds (Rasmussen and Williams 2006, sections 2.1 and 5.4.2).
    """

    def __init__(
        self, prior: Prior, design: FloatArray, ms: FloatArray, noise: FloatArray, log_prior: FloatArray
    ) -> None:
        """``noise`` float64[j, k]: relative variances of j noise levels and patterns; ``log_prior`` float64[j]."""
        expected = design @ prior.mean
        scale = float(np.median(ms / np.maximum(expected, 0.1 * np.median(np.abs(expected)))))
        self.mean = scale * prior.mean
        overall = _SCALE_STD**2 * np.outer(prior.mean, prior.mean)
        relative = design / ms[:, None]
        surprise = 1 - relative @ self.mean
        weights = 1 / noise
        r = design.shape[1]
        information = (weights @ (relative[:, :, None] * relative[:, None, :]).reshape(len(ms), r * r)).reshape(
            -1, r, r
        )
        parts = []
        for width, log_width in zip(_WIDTHS, np.log(_WIDTH_WEIGHTS), strict=True):
            covariance = scale**2 * (width * prior.covariance + overall)
            within = np.linalg.inv(np.linalg.inv(covariance) + information)
            shifts = np.einsum("jrs,js->jr", within, (weights * surprise) @ relative)
            solved = weights * (surprise - shifts @ relative.T)
            diagonal = weights - weights**2 * np.einsum("kr,jrs,ks->jk", relative, within, relative, optimize=True)
            log_determinant = (
                np.log(noise).sum(axis=1) + np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(within)[1]
            )
            log_weight = log_prior + log_width - 0.5 * (log_determinant + solved @ surprise)
            parts.append((log_weight, within, shifts, solved / diagonal, 1 / diagonal))
        joined = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
        self._log_weight, self._within, self._shifts, self._errors, self._variances = joined

    @property
    def log_evidence(self) -> float:
        """Logarithm of the probability of the measurements."""
        highest = float(self._log_weight.max())
        return highest + math.log(np.exp(self._log_weight - highest).sum())

    @property
    def left_out(self) -> tuple[FloatArray, FloatArray]:
        """For each measurement: log evidence of the others, float64[k], and its error when predicted from them.

        What a term says of a measurement given the others is taken off its weight, which is exact.
        """
        errors, variances = self._errors, self._variances
        log_weight = self._log_weight[:, None] + 0.5 * (np.log(2 * np.pi * variances) + errors**2 / variances)
        highest = log_weight.max(axis=0)
        weight = np.exp(log_weight - highest)
        total = weight.sum(axis=0)
        return highest + np.log(total), (weight * errors).sum(axis=0) / total

    def hypothesis(self, mode: Mode) -> Hypothesis:
        """All terms joined, of weight 1."""
        weight = _normalised(self._log_weight)
        shift = weight @ self._shifts
        spread = self._shifts - shift
        covariance = np.einsum("j,jrs->rs", weight, self._within) + (weight[:, None] * spread).T @ spread
        levels = np.resize(np.repeat(_NOISE_LEVELS, len(weight) // len(_WIDTHS) // len(_NOISE_LEVELS)), len(weight))
        relative_std = float(np.sqrt(weight @ levels**2))
        return Hypothesis(mode, 1.0, self.mean + shift, (covariance + covariance.T) / 2, relative_std)


def _normalised(log_weights: FloatArray) -> FloatArray:
    """Weights that sum to 1 over the first axis."""
    weights = np.exp(log_weights - log_weights.max(axis=0))
    result: FloatArray = weights / weights.sum(axis=0)
    return result


def found_step(ms: FloatArray) -> float:
    """The step in ms of which all values are multiples, if it is coarse enough to matter; 0 else."""
    for exponent in range(6, -7, -1):
        for digit in (5.0, 2.0, 1.0):
            step = digit * 10.0**exponent
            if step < _FINEST_STEP * float(np.median(ms)):
                return 0.0
            if np.allclose(ms / step, np.round(ms / step), rtol=0, atol=1e-6) and step <= float(ms.min()):
                return step
    return 0.0


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


@dataclass(frozen=True, slots=True)
class FewShotContent:
    """What a file holds of a ``FewShotModel``.

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
        """Raises ValueError if shapes differ or no hypothesis has a weight."""
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
        """Expected cost float32[n] of relaxed architectures float32[n, f]: work adds up over blocks where all that is
        executed is live; else what networks take is looked up."""
        from fleetfront.predictors.relaxed import by_look_up, relaxed_sums

        work, basis = self._work, self.content.basis
        slopes = [_slope(basis, h.coefficients) for h in self._hypotheses]
        blocks = np.hstack([work.blocks, work.kernels])
        is_live = all(h.mode is Mode.LIVE for h in self._hypotheses)
        sums = relaxed_sums(work.space, [blocks @ s for _, s in slopes], choice_probabilities) if is_live else None
        if sums is None:
            return by_look_up(work.space, lambda rows: self.predict(rows).mean, choice_probabilities)
        least = self.content.least_ms
        means = [(part + constant).clamp(min=least) for part, (constant, _) in zip(sums, slopes, strict=True)]
        weighted = [h.weight * mean for h, mean in zip(self._hypotheses, means, strict=True)]
        return functools.reduce(operator.add, weighted)

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: every architecture of the space."""
        return covers_all(genotypes)


def _slope(basis: WorkBasis, coefficients: FloatArray) -> tuple[float, FloatArray]:
    """A constant and the cost of a unit of each column of work, float64[w], that coefficients of coordinates are."""
    direction = basis.directions @ coefficients
    slope = direction[1:] / basis.scale
    return float(direction[0] - basis.centre @ direction[1:]), slope
