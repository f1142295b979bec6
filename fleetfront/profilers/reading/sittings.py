"""Compare sittings: how a machine ran in a later one against an earlier one, told by what was measured in both.

A sitting is one campaign on one device. Between sittings a machine drifts as a whole by several percent, small files
often otherwise than large ones; things that were measured in both show by how much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fleetfront.profilers.reading.observations import Observations, summaries
from fleetfront.profilers.reading.other_programs import OtherPrograms
from fleetfront.profilers.records import Role
from fleetfront.quantities import FloatArray

#: Fewer things in common say more of themselves than of the machine.
FEWEST_IN_COMMON = 3
#: Things within this factor of a latency say most about it: weights fall off with the logarithm of the ratio.
_SIZE_CLASS = math.log(3.0)
#: Half the distance between the quartiles of the ratios above which a sitting is no single level: something else ran.
RESTLESS = 0.04


@dataclass(frozen=True, slots=True)
class SittingRatio:
    """How a later sitting ran against a reference, by k things measured in both.

    Attributes:
        campaign: of the later sitting.
        reference: float64[k], what they cost in the reference, in its unit.
        log_ratio: float64[k], log(later / reference).
        others: what other programs did in the later sitting; None where nobody tells.
        keys: under which the things were measured, as long as ``reference``; empty if nobody says.
        started_ns: when the later sitting began, nanoseconds since 1970; 0 if nobody says.
    """

    campaign: str
    reference: FloatArray
    log_ratio: FloatArray
    others: OtherPrograms | None = None
    keys: tuple[str, ...] = ()
    started_ns: int = 0

    @property
    def level(self) -> float:
        """later / reference of the thing in the middle."""
        return float(np.exp(np.median(self.log_ratio)))

    @property
    def is_restless(self) -> bool:
        """True if the things disagree so much that the sitting has no level: the machine was busy in it."""
        lower, upper = np.quantile(self.log_ratio, (0.25, 0.75))
        return bool((upper - lower) / 2 > RESTLESS)

    @property
    def is_busy(self) -> bool:
        """True if something else ran that much, by counters or by its traces, that nothing is promised beside it."""
        return self.is_restless or (self.others is not None and self.others.is_much)

    def at(self, cost: FloatArray) -> FloatArray:
        """later / reference for things of ``cost`` float64[n]: of those of like size, as far as there are any."""
        distance = np.log(np.asarray(cost, np.float64)[:, None] / self.reference[None, :]) / _SIZE_CLASS
        # The farthest still count a little, so that a size without neighbours gets the level of all.
        weights = np.exp(-0.5 * distance**2) + 0.02
        ratio: FloatArray = np.exp((weights @ self.log_ratio) / weights.sum(axis=1))
        return ratio


def compare_sittings(
    reference: Observations, later: Observations, statistic: str, campaign: str = ""
) -> SittingRatio | None:
    """How ``later`` ran against ``reference`` under one statistic, None with too few things in common.

    Things are the same if they were measured under the same key, whatever their roles in the two. Validation networks
    are left out: they choose nothing.
    """
    first, second = (_by_key(observations, statistic) for observations in (reference, later))
    common = sorted(first.keys() & second.keys())
    if len(common) < FEWEST_IN_COMMON:
        return None
    cost = np.array([first[key] for key in common])
    ratios = np.log(np.array([second[key] for key in common]) / cost)
    return SittingRatio(campaign, cost, ratios, later.others, tuple(common), later.started_ns)


def _by_key(observations: Observations, statistic: str) -> dict[str, float]:
    return {
        key: value
        for role in (Role.BLOCK, Role.ANCHOR, Role.FILE, Role.CALIBRATION)
        for key, value in summaries(observations, role, statistic).items()
    }
