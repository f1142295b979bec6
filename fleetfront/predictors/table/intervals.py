"""Centre and size 90 % intervals: within a sitting by errors on few networks, beyond it by how sittings differ."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge

from fleetfront.errors import missing
from fleetfront.predictors.scores import Z90

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleetfront.quantities import FloatArray

#: Relative error of the plain sum of isolated blocks: sums were 10 to 17 % off on the CPUs where we looked.
UNCALIBRATED_STD = 0.15
#: Root mean square error of calibrated sums on networks: 0.4 to 5.2 % in fifteen profiles, half of them below 1.6 %
#: (six spaces, two runtimes, fp32, int8 and w8, one machine). They differ so much that they say little of a new space.
#: This counts as so many degrees of freedom beside a profile's own (variance shrinkage; Smyth, "Linear models and
#: empirical Bayes methods for assessing differential expression", SAGMB 3, 2004). Each of the fifteen was divided 200
#: times at random: from twenty networks, nominal 90 % covered 88 to 94 % of the others, depending on the profile; from
#: ten 85 to 97 %, from five 83 to 99 %. With six degrees, as it was before, 86 to 100, 79 to 100 and 66 to 100 %.
#: Interval scores (Gneiting and Raftery, JASA 102, 2007) were best with a half, too, from six networks on.
TYPICAL_STD, TYPICAL_DEGREES = 0.017, 0.5
#: Standard deviation of the difference of two sittings before a machine has shown its own, for networks whose weights
#: outgrow the caches: root mean square over 30 sittings of two runtimes on one shared machine (networks of 14 to 27
#: MiB; 18 of them within 3.5 %, the farthest 12 %, two and a half hours after its profile). The state of its memory
#: moves it from minute to minute, also where this machine's own cores are idle.
TYPICAL_BETWEEN = 0.047
#: Half of that variance is the earlier sitting's own: how far one sitting lies from the mean of all.
_TYPICAL_LEVEL = TYPICAL_BETWEEN / math.sqrt(2)
#: As so many sittings what is typical counts beside a machine's own.
_TYPICAL_SITTINGS = 6
#: Of that, the share that moves networks of few weights, which the caches hold. Those of 0.2 to 0.5 MiB moved by 0.8
#: and 0.6 % in the same 30 sittings (root mean square), but a minute after a profile on another day those of 0.1 to 4.5
#: MiB by 2.8 to 3.1 % in 110 sittings, all together whatever their size and runtime. Both days count alike.
_CACHED_SHARE = 0.45
#: Weights in bytes up to which that share holds, and from which on everything moves; between them nobody looked, and
#: the share grows with the logarithm.
_CACHED_BYTES, _UNCACHED_BYTES = 2 * 2**20, 12 * 2**20
#: What is added to that where other programs kept the device busy during the profile itself: its level is then that of
#: no sitting to come. Files timed alone after such profiles were 7.4 % off in the median and 12 % at the 95th
#: percentile, those timed beside like load 2.0 and 6.0 %.
BUSY_STD = 0.05
#: Under this many degrees of freedom a Student interval is wider than knowing nothing.
_FEWEST_DEGREES = 2
#: Sittings that began within so much of each other count as one between them: of closer ones nearly none was looked at.
APART_NS = 10 * 60 * 10**9
#: A sitting counts half as much as one that is so much newer: sittings differ from day to day hardly more than from
#: hour to hour; in a week much may have changed.
_HALVED_AFTER_NS = 7 * 24 * 3600 * 10**9


@dataclass(frozen=True, slots=True)
class SittingSpread:
    """How far numbers wander from one sitting to another, for a target.

    Attributes:
        relative: standard deviation around ``level`` of a sitting to come, for which +- 1.645 of it covers 90 % of
            sittings; of networks whose weights outgrow the caches.
        absolute_ms: standard deviation that is the same for small and large files.
        sittings: other sittings that it was learned from; 0 for what is typical.
        level: mean logarithm of a sitting's latency over the model's own, of networks whose weights outgrow the caches.
    """

    relative: Annotated[float, Ge(0)]
    absolute_ms: Annotated[float, Ge(0)]
    sittings: Annotated[int, Ge(0)]
    # Older fits are centred on their own sitting.
    level: float = 0.0

    def at_level(self, weight_bytes: FloatArray) -> FloatArray:
        """Latency in the mean of sittings over that in the model's own, float64[n], for networks of so many bytes."""
        return np.asarray(np.exp(self.level * moving_share(weight_bytes)), np.float64)

    def of_another_sitting(self) -> SittingSpread:
        """The same around a single sitting, which is itself as far from the mean as others are.

        Without a level it is around one already: that of the model.
        """
        if not self.level:
            return self
        known = self.sittings + 1
        return replace(self, relative=self.relative * math.sqrt(2 / (1 + 1 / known)), level=0.0)

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
    """Share of a machine's wandering that reaches networks of so many bytes of weights, float64[n], 0.45 to 1."""
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


def spread_between(moves: Sequence[FloatArray], counts: FloatArray | None = None) -> SittingSpread:
    """The level and spread to expect of the next sitting, from the ``moves`` of s others against the model's own.

    Each of ``moves`` holds log(there / here) of networks, divided by their ``moving_share``. The model's own sitting is
    one more, at 0: so the level is their mean, drawn to the model's own where others are few, and the spread holds how
    far networks were from that mean, what is typical (as in ``relative_std``), and that the mean of few is uncertain.
    ``counts`` float64[1 + s] says how much each sitting counts, the model's own first; by default all alike.
    """
    if not moves:
        return TYPICAL_SPREAD
    shares = np.ones(len(moves) + 1) if counts is None else counts
    shares = shares / shares.sum()
    number = float(1 / (shares**2).sum())
    level = float(shares[1:] @ np.array([np.median(one) for one in moves]))
    squares = np.array([level**2, *(np.mean((one - level) ** 2) for one in moves)])
    degrees = number - 1 + _TYPICAL_SITTINGS
    variance = (number * float(shares @ squares) + _TYPICAL_SITTINGS * _TYPICAL_LEVEL**2) / degrees
    relative = math.sqrt(variance * (1 + 1 / number)) * student_95(degrees) / Z90
    return SittingSpread(relative, TYPICAL_SPREAD.absolute_ms, len(moves), level)


def count_by_age(started_ns: FloatArray) -> FloatArray:
    """How much sittings count that began then (nanoseconds since 1970; 0 if nobody says), float64[s] up to 1.

    Those within ``APART_NS`` of each other share what one counts.
    """
    age = np.where(started_ns > 0, started_ns.max() - started_ns, 0.0)
    is_near = (np.abs(started_ns[:, None] - started_ns[None, :]) < APART_NS) & (started_ns > 0)
    alike = np.maximum(is_near.sum(axis=1), 1)
    return np.asarray(0.5 ** (age / _HALVED_AFTER_NS) / alike, np.float64)


def student_95(degrees: float) -> float:
    """The 95 % point of Student's t distribution with ``degrees`` of freedom.

    Raises MissingDependency without scipy.
    """
    try:
        from scipy.special import stdtrit
    except ImportError as error:
        raise missing("scipy", "models", "Fitting a model") from error
    return float(stdtrit(degrees, 0.95))
