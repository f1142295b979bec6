"""Say how far off a few-shot model is on its device: from its measurements, its intervals and the known devices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetfront.predictors.few_shot.posterior import MEAN_OF_NORMAL, Posterior
from fleetfront.predictors.scores import Z90
from fleetfront.predictors.table.intervals import student_95
from fleetfront.quantities import FloatArray, Metric

#: Bounds of the factor on intervals: trials on a few devices must not make them absurd.
_FACTOR_BOUNDS = (0.5, 4.0)
#: Steps above this share of a typical latency are said; from so many measurements on, so is a wrong order.
_COARSE = 0.05
_FEWEST_FOR_ORDER = 6
UNRELIABLE = ("equal", "order")
#: Own estimates are off by less: three deviations of the level of CPUs and phones, 0.49 in logarithms, are 4.3.
_FAR_FROM_ESTIMATE = 5.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One known device, treated as unknown.

    Attributes:
        transfer_mape: mean absolute error of the operator costs, percent.
        trees_mape: the same of the trees, None if they were not tried.
        ratios: float64[n]: errors divided by their standard deviations, before these are widened.
        implied_mape: what the standard deviations said of the error, percent.
        shown_mape: what the measurements themselves said of it, percent.
        surprise: how far off these were when left out, beside how far off they were expected to be.
    """

    device: str
    transfer_mape: float
    trees_mape: float | None
    ratios: FloatArray
    implied_mape: float
    shown_mape: float
    surprise: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How what intervals and measurements say of a device relates to the truth, learnt on known devices.

    ``width * surprise^width_exponent`` widens intervals; an error is the geometric mean of what intervals and
    measurements say, the latter weighing ``error_exponent``, times ``error_level``.
    """

    width: float
    width_exponent: float
    error_level: float
    error_exponent: float

    def stretch(self, surprise: float) -> float:
        """The factor on standard deviations."""
        return float(np.clip(self.width * surprise**self.width_exponent, *_FACTOR_BOUNDS))

    def error(self, implied: float, shown: float) -> float:
        """The mean absolute error to be expected, percent."""
        return float(self.error_level * implied ** (1 - self.error_exponent) * shown**self.error_exponent)


def calibrate(trials: Sequence[Trial]) -> Calibration:
    """Learn both exponents by least squares of logarithms, between 0 (believe the model) and 1 (the measurements).

    With the width, 90 % intervals would have covered 90 % over all trials; how much wider the next device needs them is
    told by as few devices as were tried, so that Student's factor widens them as a prediction from that many (Geisser
    1993, section 2.2). The level is the mean one: an expected error is a mean.
    """
    surprise = np.log([trial.surprise for trial in trials])
    needed = np.log([max(float(np.quantile(trial.ratios, 0.9)), 1e-6) / Z90 for trial in trials])
    width_exponent = _slope(surprise, needed)
    factors = np.exp(width_exponent * surprise)
    ratios = np.concatenate([t.ratios / factor for t, factor in zip(trials, factors, strict=True)])
    implied, shown, true = (
        np.log([max(value, 1e-6) for value in column])
        for column in zip(*((t.implied_mape, t.shown_mape, t.transfer_mape) for t in trials), strict=True)
    )
    error_exponent = _slope(shown - implied, true - implied)
    level = float(np.mean(np.exp(true - implied - error_exponent * (shown - implied))))
    width = float(np.quantile(ratios, 0.9)) / Z90 * _of_the_next(len({trial.device for trial in trials}))
    return Calibration(width, width_exponent, level, error_exponent)


def _of_the_next(devices: int) -> float:
    """By what 90 % intervals known from n devices widen to hold for one more."""
    return student_95(max(devices - 1, 1)) * math.sqrt(1 + 1 / devices) / Z90


def _slope(x: FloatArray, y: FloatArray) -> float:
    """Of the least-squares line, between 0 and 1."""
    away = x - x.mean()
    square = float(away @ away)
    return float(np.clip(away @ (y - y.mean()) / square, 0.0, 1.0)) if square > 0 else 0.0


def implied_error(mean: FloatArray, std: FloatArray) -> float:
    """The mean absolute error in percent that standard deviations of n networks say."""
    return float(100 * MEAN_OF_NORMAL * np.mean(std / mean))


def spread_of_networks(tables: Sequence[FloatArray]) -> tuple[float, float]:
    """How far networks lie from their device's median latency: percent, on average over devices; and the relative
    standard deviation with which intervals would hold 90 % of them on the device where they lie furthest.
    """
    away = [np.abs(ms / np.median(ms) - 1) for ms in tables]
    return float(100 * np.mean([share.mean() for share in away])), max(float(np.quantile(a, 0.9)) / Z90 for a in away)


def reasons_to_doubt(
    ms: FloatArray, posterior: Posterior, step_ms: float, of_equals: float, metric: Metric
) -> dict[str, str]:
    """Doubts about k measurements in the unit of ``metric``, by a code: all equal, coarse, drifting, or in an order
    that no device has.

    That is where they are likelier if all networks take the same (``evidence_of_equals``, of which ``of_equals`` is the
    result) than if networks take what they compute.
    """
    found = {}
    typical, unit = float(np.median(ms)), metric.unit
    if len(ms) > 1 and np.ptp(ms) == 0:
        found["equal"] = f"All {len(ms)} measurements are {ms[0]:g} {unit}: they say nothing of how networks differ."
    elif step_ms > _COARSE * typical:
        found["coarse"] = (
            f"Measurements come in steps of {step_ms:g} {unit}, {100 * step_ms / typical:.0f} % of a typical one."
        )
    if posterior.drift:
        rose, share = "rose" if posterior.drift > 0 else "fell", abs(posterior.drift)
        found["drift"] = (
            f"{metric.title.capitalize()} {rose} by {100 * share:.0f} % from the first of the {len(ms)} measurements "
            "to the last: let the device settle, and measure again."
        )
    if len(ms) >= _FEWEST_FOR_ORDER and np.ptp(ms) > 0 and posterior.log_evidence < of_equals:
        found["order"] = (
            "The measurements fit better to networks that all take the same than to what theirs compute: check that "
            "each belongs to its network."
        )
    return found


def reasons_to_doubt_level(ms: FloatArray, estimated: FloatArray, device: str, metric: Metric) -> dict[str, str]:
    """A doubt about k measurements that lie together far from what the device's own estimate says of them."""
    ratio = float(np.exp(np.median(np.log(ms / np.maximum(estimated, 1e-12)))))
    if 1 / _FAR_FROM_ESTIMATE < ratio < _FAR_FROM_ESTIMATE:
        return {}
    said = f"{ratio:.2g} times" if ratio > 1 else f"1/{1 / ratio:.2g} of"
    return {
        "level": f"The measurements are {said} what the estimate of {device} says: check that they are in "
        f"{metric.unit}, and of this device."
    }
