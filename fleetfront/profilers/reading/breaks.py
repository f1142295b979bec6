"""Find what broke a campaign in two without a trace in its samples: a machine that slept, a clock that was set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fleetfront.profilers.reading.columns import Visits
from fleetfront.quantities import FloatArray

#: Clocks are steered by milliseconds all the time; somebody who sets one means more.
_SET_S = 2.0
#: Counting and reading take less.
_SLEPT_S = 1.0


@dataclass(frozen=True, slots=True)
class Breaks:
    """Seconds that the machine slept between the first visit and the last, and the largest step of its clock, forwards
    positive; 0 for none, or where nobody tells."""

    slept_s: float = 0.0
    clock_step_s: float = 0.0


def find_breaks(visits: Visits) -> Breaks:
    """Find both in the conditions of visits, in the order taken.

    A machine that was started anew in between counts both from there: then the counter of sleep falls, and its visits
    are compared among themselves alone.
    """
    is_told = np.column_stack(visits.tells("suspended_ns")).ravel()

    def steps(name: str) -> FloatArray:
        both = np.column_stack([visits.before(name), visits.after(name)]).ravel()
        return np.diff(both[is_told] / 1e9)

    asleep, clock = steps("suspended_ns"), steps("clock_ns")
    is_same_start = asleep >= -_SLEPT_S
    slept = float(np.maximum(asleep[is_same_start], 0.0).sum())
    set_s = clock[is_same_start]
    step = float(set_s[np.abs(set_s).argmax()]) if set_s.size else 0.0
    return Breaks(slept if slept > _SLEPT_S else 0.0, step if abs(step) > _SET_S else 0.0)
