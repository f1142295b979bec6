"""Tell how much other programs of a device computed while things were measured, from counters around each visit."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fleetfront.profilers.reading.columns import Visits

#: One program that never rests is one core; what runs on an idle desktop with a browser is a tenth of that or two.
#: Devices with many cores are shared by many programs and suffer less from each.
_MUCH, _MUCH_OF_ALL = 0.5, 0.1
#: Counters of a kernel advance by ticks of 10 ms, so a visit is told to half of one.
_TOLD_TO_NS = 5e6


@dataclass(frozen=True, slots=True)
class OtherPrograms:
    """Programs beside the measuring: ``used`` cores on average, of the ``cores`` that the device has."""

    used: float
    cores: int

    @property
    def limit(self) -> float:
        """Cores beyond which nothing is promised of what was measured beside them."""
        return max(_MUCH, _MUCH_OF_ALL * self.cores)

    @property
    def is_much(self) -> bool:
        """True if they used more than that."""
        return self.used > self.limit

    def __str__(self) -> str:
        return f"other programs used {self.used:.1f} of {self.cores} cores"

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json`` and manifests."""
        return asdict(self)


def find_other_programs(visits: Visits) -> OtherPrograms | None:
    """Find what other programs did during visits, each given once; None where a device tells nothing, or too little."""
    is_told = np.logical_and(*visits.tells("others_ns"))
    seconds = float(visits.after("visit_ns")[is_told].sum())
    if not seconds or _TOLD_TO_NS * math.sqrt(np.count_nonzero(is_told)) > _MUCH / 2 * seconds:
        return None
    grown = float(visits.grown("others_ns")[is_told].sum())
    return OtherPrograms(max(0.0, grown / seconds), int(visits.after("online_cores")[is_told].max()))
