"""Fit how far a target has drifted since its model was made, on a handful of networks measured again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fleetfront.predictors.table.calibrated import FittedModel
from fleetfront.predictors.table.calibration import Calibration
from fleetfront.predictors.table.intervals import TYPICAL_BETWEEN, relative_std
from fleetfront.quantities import FloatArray


def fit_drift(predicted: FloatArray, measured: FloatArray) -> tuple[float, float]:
    """Scale and shift (ms) for which ``scale * predicted + shift`` is nearest ``measured``, both float64[n] in ms.

    Relative least squares with a prior (ridge): scales spread by ``TYPICAL_BETWEEN`` around 1, shifts by that share of
    the median network around 0, against errors of single networks of half as much. So few networks move the level,
    which they tell well, and the shift, which they tell badly, only as far as they must.
    """
    middle = float(np.median(measured))
    design = np.stack([predicted / measured, middle / measured], axis=1)
    weight = (0.5 * TYPICAL_BETWEEN) ** 2
    # The scale's own prior is wide, ten times what is typical: a device may have changed for good.
    penalty = np.diag([weight / (10 * TYPICAL_BETWEEN) ** 2, weight / TYPICAL_BETWEEN**2])
    start = np.array([1.0, 0.0])
    step = np.linalg.solve(design.T @ design + penalty, design.T @ (1 - design @ start))
    return float(1 + step[0]), float(step[1] * middle)


def predicted_by_others(predicted: FloatArray, measured: FloatArray) -> FloatArray:
    """Each network's ms by the drift that the others show: ``fit_drift`` without it, float64[n]."""
    if predicted.size < 2:
        return predicted
    drifts = (fit_drift(np.delete(predicted, i), np.delete(measured, i)) for i in range(predicted.size))
    return np.array([scale * ms + shift for ms, (scale, shift) in zip(predicted, drifts, strict=True)])


def spread_here(model: FittedModel, errors: FloatArray) -> float:
    """``relative_std`` of the model in a sitting where ``errors`` float64[n], out of sample, were seen.

    The model's own, or theirs where chance does not explain how much wider it is: by the 95 % point of F for the two
    variances. So a model that was brought to another machine, or to a busy one, says how far off it is there.
    """
    from scipy.special import fdtri

    degrees = errors.size - 2
    before = max(model.calibration.networks - model.calibration.terms, 1)
    if degrees < 1 or np.mean(errors**2) <= model.relative_std**2 * float(fdtri(degrees, before, 0.95)):
        return model.relative_std
    return relative_std(errors, 2)


def drifted(calibration: Calibration, scale: float, shift: float) -> Calibration:
    """The calibration of a target that takes ``scale`` times as long and ``shift`` ms more."""
    return replace(
        calibration,
        a=scale * calibration.a,
        b=scale * calibration.b + shift,
        c=scale * calibration.c,
        floor_ms=scale * calibration.floor_ms,
    )
