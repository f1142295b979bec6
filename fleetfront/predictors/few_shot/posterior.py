"""Move what is expected of a device by a handful of measurements, some of which may be disturbed.

Latency is linear in operator work (``few_shot.basis``) with coefficients around those of known devices
(``few_shot.prior``). Errors of its logarithm are Student's t, whose scale and tails are not known either, and whose
tails may differ: what disturbs a measurement prolongs it. By Bayes' rule the measurements decide between kinds of
device, execution modes, scales and tails, and move the coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from fleetfront.errors import InputError
from fleetfront.predictors.few_shot.prior import Component, Prior
from fleetfront.predictors.operators.work import Mode
from fleetfront.predictors.scores import Z90
from fleetfront.quantities import FloatArray

#: Noise that is weighed against other noise: the standard deviation of normal errors of which as many lie within
#: 1.645 of it, 90 %.
_LEVELS = np.geomspace(0.0015, 0.4, 11)
#: Degrees of freedom of Student's t below and above a prediction, and within how many scales 90 % of the errors lie
#: that are not disturbances. One degree lets a fifth of the measurements be off by any factor; ten are nearly normal.
_FREEDOM = np.array([[1.0, 1.0], [3.0, 3.0], [10.0, 10.0], [10.0, 1.0]])
_WITHIN_90 = np.array([6.3138, 2.3534, 1.8125, 1.8125])
#: Newton steps at each level, which begins where the next coarser one ended.
_STEPS = 4
#: A prediction is at least this share of the smallest measurement.
_LEAST_SHARE = 0.05
#: Errors of logarithms beyond tell nothing more.
_MOST_LEFT_OUT = 1.5
_MOST_LEVERAGE = 0.99
#: The scale of a device is taken from the median measurement, which one of two would tell.
FEWEST_LEFT_OUT = 3
_LEAST_SURPRISE = 0.01
#: The mean absolute value of a standard normal variable.
MEAN_OF_NORMAL = math.sqrt(2 / math.pi)
#: Latency may drift by this share (one standard deviation) over the measurements, if there are enough to see it; it did
#: if they are this many times likelier so (a natural logarithm; "strong" by Kass and Raftery 1995).
_DRIFT_STD, _FEWEST_FOR_DRIFT, _SURELY = 0.3, 6, 3.0
#: Steps finer than this share of the median measurement drown in other noise.
_FINEST_STEP = 0.01
#: Remainders below this share of the finest step are none.
_SAME_STEP = 1e-3


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
    """The belief after few measurements.

    Attributes:
        hypotheses: one an execution mode; their weights sum to 1.
        left_out: float64[k]: log(measured / predicted) of each measurement, predicted from the others.
        left_out_std: float64[k]: how far off these were expected to be.
        drift: by which share latency rose from the first measurement to the last; 0 unless it surely did.
        log_evidence: logarithm of the probability of the measurements, up to a constant that all models of them share.
    """

    hypotheses: tuple[Hypothesis, ...]
    left_out: FloatArray
    left_out_std: FloatArray
    drift: float = 0.0
    log_evidence: float = 0.0

    @property
    def surprise(self) -> float:
        """How far off measurements were when left out, beside how far off they were expected to be: about 1, as for
        measurements too few to be left out.
        """
        if len(self.left_out) < FEWEST_LEFT_OUT:
            return 1.0
        return max(float(np.mean(np.abs(self.left_out) / self.left_out_std) / MEAN_OF_NORMAL), _LEAST_SURPRISE)

    @property
    def shown_mape(self) -> float:
        """Mean absolute error of the measurements, each left out in turn, percent."""
        return 100 * float(np.mean(np.minimum(np.abs(self.left_out), 1.0)))


def fit_posterior(
    prior: Prior, coordinates: Mapping[Mode, FloatArray], ms: FloatArray, step_ms: float = 0.0, *, in_order: bool = True
) -> Posterior:
    """The posterior after measuring k networks: coordinates float64[k, r] in each mode, milliseconds float64[k].

    ``step_ms`` is what the values were rounded to: a normal part of the noise that is the same for all networks. A
    drift is looked for if networks were measured ``in_order``, one after another.

    Raises:
        InputError: if a latency is not positive.
    """
    ms = np.asarray(ms, np.float64)
    if not (ms.size and np.all(np.isfinite(ms)) and np.all(ms > 0)):
        raise InputError("A measured latency is not a positive number.", "Leave that network out or measure again.")
    terms = _Terms(prior, coordinates, ms, step_ms)
    posterior = Posterior(_by_mode(terms, coordinates), *terms.left_out(), log_evidence=terms.log_evidence)
    if len(ms) < _FEWEST_FOR_DRIFT or not in_order:
        return posterior
    drifting = _Terms(*_with_drift(prior, coordinates, ms), ms, step_ms)
    if drifting.log_evidence - posterior.log_evidence < _SURELY:
        return posterior
    hypotheses = _by_mode(drifting, coordinates)
    drift = sum(h.weight * float(h.coefficients[-1]) for h in hypotheses) / float(np.median(ms))
    settled = tuple(_without_drift(h, drift) for h in hypotheses)
    return Posterior(settled, *drifting.left_out(), drift, drifting.log_evidence)


def evidence_of_equals(
    prior: Prior, coordinates: Mapping[Mode, FloatArray], ms: FloatArray, step_ms: float = 0.0
) -> float:
    """``Posterior.log_evidence`` as it would be if all networks took as long as their mean would."""
    mean = {mode: np.broadcast_to(design.mean(axis=0), design.shape) for mode, design in coordinates.items()}
    return _Terms(prior, mean, np.asarray(ms, np.float64), step_ms).log_evidence


def _with_drift(
    prior: Prior, coordinates: Mapping[Mode, FloatArray], ms: FloatArray
) -> tuple[Prior, dict[Mode, FloatArray]]:
    """One more coordinate: the place of each measurement in their order, from -1/2 to 1/2."""
    place = (np.linspace(-0.5, 0.5, len(ms)) * ms / np.median(ms))[:, None]

    def widened(component: Component) -> Component:
        r = len(component.mean)
        covariance = np.zeros((r + 1, r + 1))
        covariance[:r, :r], covariance[r, r] = component.covariance, _DRIFT_STD**2
        return replace(component, mean=np.append(component.mean, 0.0), covariance=covariance)

    components = tuple(widened(component) for component in prior.components)
    return replace(prior, components=components), {m: np.hstack([c, place]) for m, c in coordinates.items()}


def _without_drift(hypothesis: Hypothesis, drift: float) -> Hypothesis:
    """At the middle of the measurements; when a prediction will be compared, nobody knows."""
    return replace(
        hypothesis,
        coefficients=hypothesis.coefficients[:-1],
        covariance=hypothesis.covariance[:-1, :-1],
        relative_std=math.hypot(hypothesis.relative_std, drift / math.sqrt(12)),
    )


def _by_mode(terms: _Terms, modes: Collection[Mode]) -> tuple[Hypothesis, ...]:
    weights = _normalised(terms.log_weight)
    found = [_joined(mode, terms, np.where(terms.modes == mode, weights, 0.0)) for mode in modes]
    return tuple(hypothesis for hypothesis in found if hypothesis.weight > 0)


class _Terms:
    """The mixture: one term for each component of the prior, tail and level of noise.

    Each is normal around its most probable coefficients (Laplace's method; Rasmussen and Williams 2006, section 3.4),
    found by reweighted least squares from the coarsest level down, so that outliers lose their say one after another.

    Attributes:
        log_weight: float64[j]: of each term, up to a constant.
        modes: of each term.
        coefficients: float64[j, r], in ms.
        covariance: float64[j, r, r].
        relative_std: float64[j]: noise, as in ``_LEVELS``.
    """

    def __init__(self, prior: Prior, coordinates: Mapping[Mode, FloatArray], ms: FloatArray, step_ms: float) -> None:
        self._log_ms, self._step = np.log(ms), step_ms
        self._least = least_latency(ms)
        components = [c for c in prior.components if c.mode in coordinates]
        self._design = np.stack([coordinates[c.mode] for c in components])[:, None]
        self._start(components)
        position = self._centre
        parts = []
        for level in _LEVELS[::-1]:
            scale = (level / (_WITHIN_90 / Z90))[:, None]
            for _ in range(_STEPS):
                position = self._step_from(position, scale)
            expected = -0.5 * ((np.log(level) - prior.log_noise[0]) / prior.log_noise[1]) ** 2
            parts.append((*self._term(position, scale, expected), np.full(position.shape[:2], level)))
        log_weight, coefficients, covariance, errors, scales, densities, levels = (
            np.stack(columns, axis=2) for columns in zip(*parts, strict=True)
        )
        k, r = len(ms), position.shape[-1]
        self.log_weight = log_weight.ravel()
        self.modes = np.repeat([c.mode for c in components], len(_FREEDOM) * len(_LEVELS))
        self.coefficients, self.covariance = coefficients.reshape(-1, r), covariance.reshape(-1, r, r)
        self.relative_std = levels.ravel()
        self._errors, self._scales, self._densities = (a.reshape(-1, k) for a in (errors, scales, densities))

    def _start(self, components: list[Component]) -> None:
        """Scale the components to the measurements."""
        means = np.stack([c.mean for c in components])
        expected = np.einsum("ckr,cr->ck", self._design[:, 0], means)
        expected = np.maximum(expected, 0.1 * np.median(np.abs(expected), axis=1, keepdims=True))
        scale = np.exp(np.median(self._log_ms - np.log(expected), axis=1))
        covariance = scale[:, None, None] ** 2 * np.stack([c.covariance for c in components])
        self._centre = np.repeat((scale[:, None] * means)[:, None], len(_FREEDOM), axis=1)
        self._precision = np.linalg.inv(covariance)[:, None]
        self._log_prior = np.log([c.weight for c in components]) - 0.5 * np.linalg.slogdet(covariance)[1]

    def _at(self, position: FloatArray, scale: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Errors [c, f, k], their squared scales, weights, and the gradient of log latency [c, f, k, r]."""
        predicted = np.maximum((self._design @ position[..., None])[..., 0], self._least)
        errors = self._log_ms - np.log(predicted)
        squared = scale**2 + self._step**2 / 12 / predicted**2
        freedom = _freedom_at(errors)
        return errors, squared, (freedom + 1) / (freedom * squared + errors**2), self._design / predicted[..., None]

    def _step_from(self, position: FloatArray, scale: FloatArray) -> FloatArray:
        errors, _, weights, gradient = self._at(position, scale)
        weighted = np.swapaxes(gradient * weights[..., None], -1, -2)
        pull = weighted @ errors[..., None] - self._precision @ (position - self._centre)[..., None]
        moved: FloatArray = position + np.linalg.solve(self._precision + weighted @ gradient, pull)[..., 0]
        return moved

    def _term(self, position: FloatArray, scale: FloatArray, expected: float) -> tuple[FloatArray, ...]:
        """Log weight, coefficients and covariance of each term; and of each measurement, predicted without it: error,
        squared scale, and logarithm of its probability.
        """
        errors, squared, weights, gradient = self._at(position, scale)
        precision = self._precision + np.swapaxes(gradient * weights[..., None], -1, -2) @ gradient
        covariance = np.asarray(np.linalg.inv(precision), np.float64)
        away = (position - self._centre)[..., None]
        log_weight: FloatArray = (
            _log_student(errors, squared).sum(axis=-1)
            - 0.5 * (np.swapaxes(away, -1, -2) @ self._precision @ away)[..., 0, 0]
            - 0.5 * np.linalg.slogdet(precision)[1]
            + self._log_prior[:, None]
            + expected
        )
        spread = ((gradient @ covariance) * gradient).sum(axis=-1)
        leverage = np.clip(weights * spread, 0, _MOST_LEVERAGE)
        left_out = np.clip(errors / (1 - leverage), -_MOST_LEFT_OUT, _MOST_LEFT_OUT)
        variance = spread / (1 - leverage) + squared
        return log_weight, position, covariance, left_out, variance, _log_student(left_out, variance)

    @property
    def log_evidence(self) -> float:
        """Logarithm of the probability of the measurements, up to a constant."""
        highest = float(self.log_weight.max())
        return highest + math.log(float(np.exp(self.log_weight - highest).sum()))

    def left_out(self) -> tuple[FloatArray, FloatArray]:
        """Error float64[k] of each measurement when predicted from the others, and how far off it was expected to be.

        What a term says of a measurement given the others is taken off its weight.
        """
        weight = _normalised(self.log_weight[:, None] - self._densities)
        mean = (weight * self._errors).sum(axis=0)
        square = (weight * (self._scales + self._errors**2)).sum(axis=0)
        return mean, np.sqrt(np.maximum(square - mean**2, 1e-12))


def _log_student(errors: FloatArray, squared_scale: FloatArray) -> FloatArray:
    """Logarithm of the density of Student's t, tails along the last axis but one.

    Where they differ, halves of two densities meet at zero, scaled to be as high there.
    """
    heights = [[_height(freedom) for freedom in tails] for tails in _FREEDOM]
    freedom = _freedom_at(errors)
    density: FloatArray = (
        np.log([2 / (1 / below + 1 / above) for below, above in heights])[:, None]
        - 0.5 * np.log(squared_scale)
        - (freedom + 1) / 2 * np.log1p(errors**2 / (freedom * squared_scale))
    )
    return density


def _freedom_at(errors: FloatArray) -> FloatArray:
    """Degrees of freedom of the tail in which each error lies."""
    return np.where(errors > 0, _FREEDOM[:, 1:], _FREEDOM[:, :1])


def _height(freedom: float) -> float:
    """The density of Student's t at zero."""
    return math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)


def _joined(mode: Mode, terms: _Terms, weights: FloatArray) -> Hypothesis:
    """The terms of one mode as one."""
    total = float(weights.sum())
    rows = weights > 0
    share = weights[rows] / max(total, np.finfo(float).tiny)
    coefficients = share @ terms.coefficients[rows]
    away = terms.coefficients[rows] - coefficients
    covariance = np.einsum("j,jrs->rs", share, terms.covariance[rows]) + (share[:, None] * away).T @ away
    return Hypothesis(
        mode, min(total, 1.0), coefficients, (covariance + covariance.T) / 2, float(share @ terms.relative_std[rows])
    )


def _normalised(log_weights: FloatArray) -> FloatArray:
    """Weights that sum to 1 over the first axis."""
    weights = np.exp(log_weights - log_weights.max(axis=0))
    result: FloatArray = weights / weights.sum(axis=0)
    return result


def found_step(ms: FloatArray) -> float:
    """The step in ms of which all values are multiples, if it is coarse enough to matter; 0 else, or if all agree."""
    values = np.unique(ms)
    finest = _FINEST_STEP * float(np.median(ms))
    step = float(values[0]) if len(values) > 1 else 0.0
    for value in values[1:]:
        # Euclid's algorithm, on numbers that are printed with a few digits.
        rest, step = step, float(value)
        while rest > _SAME_STEP * finest:
            rest, step = step % rest, rest
            rest = min(rest, step - rest) if step - rest < _SAME_STEP * finest else rest
            if step < finest:
                return 0.0
    return step


def least_latency(ms: FloatArray) -> float:
    """No prediction is lower than this after measuring ``ms``."""
    return _LEAST_SHARE * float(np.min(ms))
