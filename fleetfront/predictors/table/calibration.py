"""From sums of isolated blocks to whole networks: ``a * L + b + c * params``. The sums come from ``table.lookup``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from fleetfront.errors import InputError
from fleetfront.predictors.table.lookup import MOST_COST
from fleetfront.quantities import FloatArray

#: Under this many networks the coefficient of the parameters is noise.
FEWEST_FOR_PARAMS = 10
#: Under this many networks the constant is noise, too.
FEWEST_FOR_CONSTANT = 4
#: Condition number of the scaled design above which its last column is dropped: beyond it, measurement noise of 1 %
#: moves the coefficients by more than their own size.
WORST_CONDITION = 100.0
#: Lowest prediction, as a share of the smallest block sum among the calibration networks: keeps logarithms finite.
_LOWEST = 0.05


@dataclass(frozen=True, slots=True)
class Calibration:
    """``a * lookup_ms + b + c * params``; ``b`` in ms, ``c`` in ms per parameter.

    Attributes:
        terms: how many of the three were fitted (0: the plain sum).
        networks: how many networks they were fitted on.
        floor_ms: no prediction is lower, whatever the three say of a network far from those they were fitted on.
        out_of_sample: for each of these networks, measured / predicted - 1 by a fit without it, float64[networks].
        scaled: residuals of these networks (measured / predicted - 1), scaled so that their root mean square is the
            standard deviation of a new network's error, the coefficients' uncertainty included, float64[networks].
    """

    a: Annotated[float, Gt(0), Lt(MOST_COST)]
    b: Annotated[float, Gt(-MOST_COST), Lt(MOST_COST)]
    c: Annotated[float, Gt(-MOST_COST), Lt(MOST_COST)]
    terms: Annotated[int, Ge(0), Le(3)]
    networks: Annotated[int, Ge(0)]
    floor_ms: Annotated[float, Ge(0), Lt(MOST_COST)]
    out_of_sample: FloatArray
    # Files of version 0.1 lack it, and need it no more.
    scaled: FloatArray = field(default_factory=lambda: np.empty(0))

    def apply(self, lookup_ms: FloatArray, params: FloatArray) -> FloatArray:
        """Milliseconds of n whole networks."""
        return np.maximum(self.a * lookup_ms + self.b + self.c * params, self.floor_ms)


def fit_calibration(lookup_ms: FloatArray, params: FloatArray, measured_ms: FloatArray) -> Calibration:
    """Least squares of relative errors (weights 1/measured^2) over float64[n] networks.

    Terms are dropped where there are too few networks for them or where the design cannot tell them apart (all networks
    alike). Errors out of sample are exact leave-one-out errors from the hat matrix (Allen's PRESS, 1974).

    Raises:
        InputError: on arrays that are unlike in shape or hold anything but finite numbers, positive for milliseconds.
    """
    lookup_ms, params, measured_ms = (np.asarray(x, np.float64) for x in (lookup_ms, params, measured_ms))
    if not lookup_ms.shape == params.shape == measured_ms.shape or lookup_ms.ndim != 1:
        raise InputError("The calibration arrays differ in shape.", "Give one value for each network.")
    if not all(np.all(np.isfinite(x)) for x in (lookup_ms, params, measured_ms)) or np.any(
        np.minimum(lookup_ms, measured_ms) <= 0
    ):
        raise InputError(
            "A calibration network has a latency that is not a positive number.", "Leave it out or measure it again."
        )
    n = measured_ms.size
    if n == 0:
        return Calibration(1.0, 0.0, 0.0, 0, 0, 0.0, np.empty(0), np.empty(0))
    columns = np.stack([lookup_ms, np.ones(n), params], axis=1)
    scale = np.where(np.abs(columns).mean(axis=0) > 0, np.abs(columns).mean(axis=0), 1.0)
    design = columns / scale / measured_ms[:, None]
    for terms in range(_most_terms(n), 0, -1):
        coefficients, out_of_sample, scaled = _solve(design[:, :terms])
        # A network that takes longer the faster its blocks are is an artefact of the draw.
        if terms == 1 or (coefficients[0] > 0 and _is_well_conditioned(columns[:, :terms] / scale[:terms])):
            break
    a, b, c = (*(coefficients / scale[:terms]), 0.0, 0.0)[:3]
    return Calibration(float(a), float(b), float(c), terms, n, float(_LOWEST * lookup_ms.min()), out_of_sample, scaled)


def _most_terms(n: int) -> int:
    if n >= FEWEST_FOR_PARAMS:
        return 3
    return 2 if n >= FEWEST_FOR_CONSTANT else 1


def _is_well_conditioned(scaled: FloatArray) -> bool:
    singular = np.linalg.svd(scaled, compute_uv=False)
    return bool(singular[-1] > 0 and singular[0] / singular[-1] <= WORST_CONDITION)


def _solve(design: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Coefficients for which design @ coefficients is nearest 1; leave-one-out and scaled residuals of each row.

    Scaled by sqrt(n / (n - k)) for k coefficients, and sqrt(1 + k / n) for the average leverage of a new network: the
    terms of the classical prediction interval. Leave-one-out errors would widen intervals where calibration networks
    lie at the ends of the range, as those of a profile do: by 2 points of coverage on 120 networks of two profiles.
    """
    left, singular, right = np.linalg.svd(design, full_matrices=False)
    kept = singular > singular[0] * 1e-10
    left, singular, right = left[:, kept], singular[kept], right[kept]
    coefficients = right.T @ ((left.T @ np.ones(len(design))) / singular)
    leverage = np.minimum((left**2).sum(axis=1), 1 - 1e-6)
    residual = 1 - design @ coefficients
    n, k = design.shape
    factor = np.sqrt(n / max(n - k, 1) * (1 + k / n))
    return coefficients, _of_predicted(residual / (1 - leverage)), _of_predicted(residual * factor)


def _of_predicted(error: FloatArray) -> FloatArray:
    """1 - predicted / measured as measured / predicted - 1."""
    return 1 / np.maximum(1 - error, 0.1) - 1
