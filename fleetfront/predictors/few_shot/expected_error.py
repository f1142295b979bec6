"""Say how far off a few-shot model is on its device: from its measurements, its intervals and the known devices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetfront.predictors.scores import Z90, weighted_spearman
from fleetfront.quantities import FloatArray

#: Bounds of the factor on intervals, of what a device's own measurements change of it, and of the ratio of true to
#: implied errors: a trial on a few devices must not make them absurd.
_FACTOR_BOUNDS = (0.7, 3.0)
_STRETCH_BOUNDS = (0.5, 2.0)
_LEVEL_BOUNDS = (0.5, 2.0)
#: Steps above this share of a typical latency, and rank correlations below that, are said.
_COARSE = 0.05
_FEWEST_FOR_ORDER, _LEAST_ORDER = 6, 0.3
UNRELIABLE = ("equal", "order")


@dataclass(frozen=True, slots=True)
class Trial:
    """One known device, treated as unknown.

    Attributes:
        transfer_mape: mean absolute error of the operator costs, percent.
        trees_mape: the same of the trees, None if they were not tried.
        ratios: float64[n]: errors divided by what their intervals said, before these are widened for all devices.
        implied_mape: what the intervals and the measurements themselves said of the error, percent.
    """

    device: str
    transfer_mape: float
    trees_mape: float | None
    ratios: FloatArray
    implied_mape: float


def interval_factor(trials: Sequence[Trial]) -> float:
    """The factor on standard deviations with which 90 % intervals would have covered 90 % over all trials."""
    ratios = np.concatenate([trial.ratios for trial in trials])
    low, high = _FACTOR_BOUNDS
    return float(np.clip(np.quantile(ratios, 0.9) / Z90, low, high))


def implied_error(mean: FloatArray, std: FloatArray, stretch: float) -> float:
    """The mean absolute error in percent that intervals of n networks say, widened by ``stretch``."""
    return float(100 * math.sqrt(2 / math.pi) * stretch * np.mean(std / mean))


def own_stretch(left_out: FloatArray, mean: FloatArray, std: FloatArray) -> float:
    """By how much to widen intervals for what the measurements, each left out in turn, show beside what they say.

    The square root: on public devices both tell the error equally well, and their geometric mean better than either.
    """
    shown = 100 * float(np.mean(np.abs(left_out)))
    low, high = _STRETCH_BOUNDS
    return float(np.clip(math.sqrt(shown / implied_error(mean, std, 1.0)), low, high))


def error_level(trials: Sequence[Trial]) -> float:
    """The mean ratio of a known device's true error to what was said of it when it was left out."""
    ratios = [trial.transfer_mape / trial.implied_mape for trial in trials]
    low, high = _LEVEL_BOUNDS
    return float(np.clip(np.mean(ratios), low, high))


def spread_of_networks(tables: Sequence[FloatArray]) -> float:
    """How far networks lie from their device's mean latency, percent, on average over devices."""
    return float(100 * np.mean([np.mean(np.abs(ms / ms.mean() - 1)) for ms in tables]))


def reasons_to_doubt(ms: FloatArray, left_out: FloatArray, step_ms: float) -> dict[str, str]:
    """What speaks against k measurements, by a code: all equal, in coarse steps, or in an order that no device has."""
    found = {}
    if len(ms) > 1 and np.ptp(ms) == 0:
        found["equal"] = f"All {len(ms)} measurements are {ms[0]:g} ms: they say nothing of how networks differ."
    elif step_ms > _COARSE * float(np.median(ms)):
        share = 100 * step_ms / float(np.median(ms))
        found["coarse"] = f"Measurements come in steps of {step_ms:g} ms, {share:.0f} % of a typical one."
    predicted = ms * (1 - left_out)
    if len(ms) >= _FEWEST_FOR_ORDER and np.ptp(ms) > 0:
        order = float(weighted_spearman(predicted, ms, np.ones((1, len(ms))))[0])
        if not order > _LEAST_ORDER:
            found["order"] = (
                f"What each measurement should be by the others ranks them otherwise (rank correlation {order:.2f}): "
                "check that each belongs to its network."
            )
    return found
