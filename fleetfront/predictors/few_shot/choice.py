"""Choose the networks to measure on a new device: those that tell most about it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.predictors.few_shot.prior import SCALE_STD, Prior
from fleetfront.predictors.operators.work import Mode
from fleetfront.quantities import FloatArray


def choose_informative(prior: Prior, coordinates: Mapping[Mode, FloatArray], k: int) -> NDArray[np.intp]:
    """Indices int[k] of the ``k`` candidates to measure, given their coordinates float64[c, r] in each mode.

    Modes disagree about latencies, and devices about coefficients; of both together, as far as mean and covariance tell
    them, the chosen networks tell most. Candidates should be drawn as the networks that will be predicted: a choice
    among all networks falls on freaks, and a model is least right there.
    """
    weights = {mode: prior.mode_weights[mode] for mode in coordinates}
    expected = {mode: design @ prior.mean for mode, design in coordinates.items()}
    typical = sum((weights[mode] * expected[mode] for mode in coordinates), np.zeros(1))
    typical = np.maximum(typical, 0.1 * np.median(typical))
    root = np.linalg.cholesky(prior.covariance)
    columns = [np.full((len(typical), 1), SCALE_STD)]
    for mode, design in coordinates.items():
        share = math.sqrt(weights[mode])
        columns += [share * (design @ root) / typical[:, None], share * (expected[mode] / typical - 1)[:, None]]
    design = np.hstack(columns)
    return choose_networks(design, np.eye(design.shape[1]), prior.typical_noise, k)


def choose_networks(design: FloatArray, covariance: FloatArray, relative_std: float, k: int) -> NDArray[np.intp]:
    """Greedy Bayesian D-optimal choice of ``k`` of c candidates: int[k], in the order of choice.

    Each network is the one that most increases log det of the posterior precision of the coefficients (Chaloner and
    Verdinelli 1995, section 2.1). Candidates that cannot be told apart from a chosen one are passed over while others
    are left: measuring the same thing twice would hide what the model cannot express.

    Args:
        design: float64[c, p]: regressors divided by the latency they are expected to give.
        covariance: float64[p, p]: of the coefficients before measuring.
        relative_std: expected relative error of model and measurement together.
        k: how many to choose.

    Raises:
        InputError: if there are fewer candidates than ``k``.
    """
    candidates = len(design)
    if not 0 < k <= candidates:
        raise InputError(f"Cannot choose {k} of {candidates} networks.", f"Ask for 1 to {candidates}.")
    _, group = np.unique(np.round(design, 9), axis=0, return_inverse=True)
    group, remaining = group.ravel(), covariance.copy()
    is_open = np.ones(candidates, dtype=np.bool_)
    chosen: list[int] = []
    for _ in range(k):
        gain = ((design @ remaining) * design).sum(axis=1)
        gain[chosen] = -np.inf
        if is_open.any():
            gain[~is_open] = -np.inf
        best = int(np.argmax(gain))
        chosen.append(best)
        is_open[group == group[best]] = False
        direction = remaining @ design[best]
        remaining -= np.outer(direction, direction) / (relative_std**2 + design[best] @ direction)
    return np.asarray(chosen, dtype=np.intp)
