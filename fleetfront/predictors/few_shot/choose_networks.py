"""Choosing which few networks to measure on a new device: those that tell most given what other devices taught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray


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
