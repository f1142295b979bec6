"""Find what broke a campaign in two without a trace in its samples: a machine that slept, a clock that was set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetfront.profilers.reading.filters import numbers_in
from fleetfront.profilers.records import Measurement

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


def find_breaks(measurements: Sequence[Measurement]) -> Breaks:
    """Find both in the conditions of visits, in the order taken.

    A machine that was started anew in between counts both from there: then the counter of sleep falls, and its visits
    are compared among themselves alone.
    """
    told = [facts for m in measurements for facts in (m.before, m.after) if "suspended_ns" in facts]
    asleep, clock = np.diff(numbers_in(told, "suspended_ns") / 1e9), np.diff(numbers_in(told, "clock_ns") / 1e9)
    is_same_start = asleep >= -_SLEPT_S
    slept = float(np.maximum(asleep[is_same_start], 0.0).sum())
    steps = clock[is_same_start]
    step = float(steps[np.abs(steps).argmax()]) if steps.size else 0.0
    return Breaks(slept if slept > _SLEPT_S else 0.0, step if abs(step) > _SET_S else 0.0)
