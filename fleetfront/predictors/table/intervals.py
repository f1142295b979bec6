"""Size 90 % intervals: within a sitting from errors on few networks, beyond it from how sittings differ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge

from fleetfront.errors import missing
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
#: Standard deviation of a machine's level between sittings before it has shown its own, for networks whose weights
#: outgrow the caches: root mean square over 30 sittings of two runtimes on one shared machine (networks of 14 to 27
#: MiB; 18 of them within 3.5 %, the farthest 12 %, two and a half hours after its profile). The state of its memory
#: moves it from minute to minute, also where this machine's own cores are idle.
TYPICAL_BETWEEN = 0.047
#: Of that, the share that moves networks of few weights, which the caches hold: networks of 0.2 to 0.5 MiB moved by
#: 0.8 and 0.6 % (root mean square, the same sittings), blocks of up to 3 MiB by 0.4 %.
_CACHED_SHARE = 0.2
#: Weights in bytes up to which that share holds, and from which on everything moves; between them nobody looked, and
#: the share grows with the logarithm.
_CACHED_BYTES, _UNCACHED_BYTES = 2 * 2**20, 12 * 2**20
#: What is added to that where other programs kept the device busy during the profile itself: its level is then that of
#: no sitting to come. Files timed alone after such profiles were 7.4 % off in the median and 12 % at the 95th
#: percentile, those timed beside like load 2.0 and 6.0 %.
BUSY_STD = 0.05
#: Under this many degrees of freedom a Student interval is wider than knowing nothing.
_FEWEST_DEGREES = 2


@dataclass(frozen=True, slots=True)
class SittingSpread:
    """How far numbers wander from one sitting to another, for a target.

    Attributes:
        relative: standard deviation of a sitting's level, for which +- 1.645 of it covers 90 % of sittings; of networks
            whose weights outgrow the caches.
        absolute_ms: standard deviation that is the same for small and large files.
        sittings: later sittings that it was learned from; 0 for what is typical.
    """

    relative: Annotated[float, Ge(0)]
    absolute_ms: Annotated[float, Ge(0)]
    sittings: Annotated[int, Ge(0)]

    def widen(
        self, mean: FloatArray, within: FloatArray, weight_bytes: FloatArray, is_busy: bool = False
    ) -> FloatArray:
        """Standard deviation in any sitting, float64[n], for means and standard deviations within one, in ms.

        ``weight_bytes`` float64[n] are the networks', or float64[] for all. ``is_busy``: the sitting that they are of
        was made beside other programs.
        """
        relative = np.hypot(self.relative * moving_share(weight_bytes), BUSY_STD if is_busy else 0.0)
        return np.sqrt(within**2 + (relative * mean) ** 2 + self.absolute_ms**2)


#: That of a target without later sittings: ``TYPICAL_BETWEEN``, widened for being known from 30; and what timer, launch
#: and caches add to any file, since files of 12 to 40 microseconds took 1 to 2 more some minutes later.
TYPICAL_SPREAD = SittingSpread(0.049, 0.0012, 0)


def moving_share(weight_bytes: FloatArray) -> FloatArray:
    """Share of a machine's wandering that reaches networks of so many bytes of weights, float64[n], a fifth to 1."""
    scale = math.log(_UNCACHED_BYTES / _CACHED_BYTES)
    grown = np.clip(np.log(np.maximum(weight_bytes, 1.0) / _CACHED_BYTES) / scale, 0.0, 1.0)
    return np.asarray(_CACHED_SHARE + (1 - _CACHED_SHARE) * grown, np.float64)


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


def spread_between(levels: FloatArray, weight_bytes: float) -> SittingSpread:
    """The difference to expect of the next sitting, from the ``levels`` float64[s] of later sittings against the
    model's own.

    The levels are of networks of ``weight_bytes``. The mean square of their logarithms is drawn towards what is typical
    and widened as in ``relative_std``.
    """
    if not levels.size:
        return TYPICAL_SPREAD
    degrees = levels.size + TYPICAL_DEGREES
    logs = np.log(levels) / moving_share(np.array([weight_bytes]))
    variance = (float((logs**2).sum()) + TYPICAL_DEGREES * TYPICAL_BETWEEN**2) / degrees
    return SittingSpread(math.sqrt(variance) * student_95(degrees) / Z90, TYPICAL_SPREAD.absolute_ms, int(levels.size))


def student_95(degrees: float) -> float:
    """The 95 % point of Student's t distribution with ``degrees`` of freedom.

    Raises MissingDependency without scipy.
    """
    try:
        from scipy.special import stdtrit
    except ImportError as error:
        raise missing("scipy", "models", "Fitting a model") from error
    return float(stdtrit(degrees, 0.95))
