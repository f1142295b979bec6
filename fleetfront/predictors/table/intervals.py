"""How wide a 90 % interval has to be, from errors out of sample on few networks (``calibration`` makes those)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.predictors.scores import Z90

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Relative error of the plain sum of isolated blocks: sums were 10 to 17 % off on the CPUs where we looked.
UNCALIBRATED_STD = 0.15
#: Root mean square error of calibrated sums on networks, noise apart: 1 to 3 % in the profiles that we took, half of
#: them below 1.8 % (two runtimes, two spaces, one machine). Twenty networks alone tell the spread to 17 %, and now and
#: then to 50 %; this counts as so many degrees of freedom beside theirs (variance shrinkage; Smyth, "Linear models and
#: empirical Bayes methods for assessing differential expression", SAGMB 3, 2004).
TYPICAL_STD, TYPICAL_DEGREES = 0.017, 6
#: Under this many degrees of freedom a Student interval is wider than knowing nothing.
_FEWEST_DEGREES = 2


def relative_std(errors: FloatArray, terms: int, noise: float = 0.0) -> float:
    """Standard deviation, relative to the prediction, for which mean +- 1.645 std covers 90 % of unseen networks.

    The root mean square of ``errors`` float64[n] (scaled residuals, or errors out of sample) estimates the spread of a
    new network's error, calibration and measurement included, with n - ``terms`` degrees of freedom. It is drawn
    towards ``TYPICAL_STD`` and the measurement's own ``noise`` (relative standard deviation, which many more visits
    tell), which also bounds it from below. The half-width is that times Student's 95 % point (Geisser 1993, section
    2.2).
    """
    errors = np.asarray(errors, np.float64)
    degrees = errors.size - terms
    if degrees < _FEWEST_DEGREES:
        return max(UNCALIBRATED_STD, noise)
    variance = degrees * float(np.mean(errors**2)) + TYPICAL_DEGREES * (TYPICAL_STD**2 + noise**2)
    spread = np.sqrt(variance / (degrees + TYPICAL_DEGREES))
    return float(max(spread * student_95(degrees + TYPICAL_DEGREES) / Z90, noise))


@lru_cache(maxsize=256)
def student_95(degrees: float) -> float:
    """The 95 % point of Student's t distribution with ``degrees`` of freedom, at least 1.

    With t = sqrt(n) tan(a) the distribution is 1/2 + G((n+1)/2) / (sqrt(pi) G(n/2)) times the integral of cos(x)^(n-1)
    from 0 to a (Abramowitz and Stegun 26.7), which is found by quadrature, so that machines without scipy can fit.
    """
    factor = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(math.pi)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        share = factor * angle / 2 * float(weights @ np.cos(angle / 2 * (nodes + 1)) ** (degrees - 1))
        low, high = (angle, high) if share < 0.45 else (low, angle)
    return math.sqrt(degrees) * math.tan((low + high) / 2)
