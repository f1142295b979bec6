"""Leave visits out of statistics in which the machine was not itself, by rules on recorded facts alone.

The rules are conservative: a low quantile over visits already forgives the odd slow one, so only visits that the
conditions or the anchors around them speak against are dropped, and never so many of one thing that little is left.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.profilers.records import Measurement, Role
from fleetfront.quantities import Clock, FloatArray

#: Flag of a row whose visit was made once more because the device was throttled: whatever is left, it never counts.
REPEATED = "repeated"

#: A core that runs below this share of the clock it had in most visits was held back.
_SLOW_CLOCK = 0.75
#: A wall-clock visit whose thread stood waiting for a core this much of its timed runs cannot be trusted.
_WAITING_SHARE = 0.5
#: Visits between two anchors that are both this much above the anchor's lower quartile were taken in a slow phase.
_SLOW_PHASE = 1.3
#: With fewer anchors there is no telling what is typical.
_FEWEST_ANCHORS = 6
#: No counter reaches it in this world.
_BEYOND = 2.0**63
#: At least this share of the visits of each thing stays.
_KEPT_SHARE = 0.5


def discard_reasons(measurements: Sequence[Measurement]) -> list[str]:
    """For each measurement (without error, in the order taken) why it is left out, or an empty string.

    ``slept``: the machine was suspended in it; ``throttled``: a thermal event was counted or flagged; ``slow clock``:
    the cores ran far below their usual clock; ``preempted``: the thread waited for a core, wall clock only; ``slow
    phase``: the anchors around it were slow.
    """
    before, after = [m.before for m in measurements], [m.after for m in measurements]
    khz = numbers_in(after, "frequency_khz")
    usual_khz = float(np.median(khz[khz != 0])) if khz.any() else 0.0
    timed = np.array([sum(m.samples) if m.clock == Clock.WALL else math.inf for m in measurements], dtype=np.float64)
    # The first that holds of a visit is its reason.
    rules = {
        "slept": _grown(before, after, "suspended_ns") > 0.1e9,
        "throttled": are_throttled(measurements),
        "slow clock": numbers_in(after, "frequency_khz", usual_khz) < _SLOW_CLOCK * usual_khz,
        "preempted": _grown(before, after, "waited_ns") > _WAITING_SHARE * timed,
        "slow phase": _slow_phases(measurements),
    }
    reasons = np.select(list(rules.values()), list(rules), default="").tolist()
    return _with_enough_left(measurements, reasons)


def are_throttled(measurements: Sequence[Measurement]) -> NDArray[np.bool_]:
    """Tell of each visit whether the device slowed itself down, by its flag or the machine's own counter."""
    flagged = np.array(["throttled" in m.flags for m in measurements], dtype=np.bool_)
    counted = _grown([m.before for m in measurements], [m.after for m in measurements], "throttles") > 0
    both: NDArray[np.bool_] = flagged | counted
    return both


def _grown(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], counter: str) -> FloatArray:
    return numbers_in(after, counter) - numbers_in(before, counter)


def numbers_in(facts: Sequence[Mapping[str, Any]], name: str, default: float = 0.0) -> FloatArray:
    """``number_in`` of each, float64[n]; the same numbers, without a call for each where all are plain."""
    found = [one.get(name, default) for one in facts]
    if set(map(type, found)) <= {int, float}:
        try:
            values = np.array(found, dtype=np.float64)
        except OverflowError:
            pass
        else:
            return np.where(np.abs(values) < _BEYOND, values, default)
    return np.array([number_in(one, name, default) for one in facts], dtype=np.float64)


def number_in(facts: Mapping[str, Any], name: str, default: float = 0.0) -> float:
    """A finite number among conditions; ``default`` for one that is missing or damaged."""
    value = facts.get(name)
    # Not a number and infinity are not within bounds either.
    return float(value) if isinstance(value, int | float) and abs(value) < _BEYOND else default


def _slow_phases(measurements: Sequence[Measurement]) -> NDArray[np.bool_]:
    """bool[measurements]: whether both anchors around a visit of the same campaign are slow. Never of anchors."""
    slow = np.zeros(len(measurements), dtype=np.bool_)
    for campaign in {m.campaign for m in measurements}:
        members = [i for i, m in enumerate(measurements) if m.campaign == campaign]
        series: dict[str, list[int]] = defaultdict(list)
        for i in members:
            if measurements[i].role == Role.ANCHOR:
                series[measurements[i].key].append(i)
        above: dict[int, bool] = {}
        for visits in series.values():
            if len(visits) >= _FEWEST_ANCHORS:
                fastest = np.asarray([min(measurements[i].samples) for i in visits], dtype=np.float64)
                above.update(zip(visits, fastest > _SLOW_PHASE * np.quantile(fastest, 0.25), strict=True))
        if not above:
            continue
        anchors = sorted(above)
        is_slow = np.array([above[i] for i in anchors])
        others = np.asarray([i for i in members if measurements[i].role != Role.ANCHOR], dtype=np.intp)
        following = np.searchsorted(anchors, others)
        between = (following > 0) & (following < len(anchors))
        clipped = np.clip(following, 1, len(anchors) - 1)
        slow[others] = between & is_slow[clipped - 1] & is_slow[clipped]
    return slow


def _with_enough_left(measurements: Sequence[Measurement], reasons: list[str]) -> list[str]:
    """Reasons taken back for everything that would lose more than its share of visits."""
    visits: dict[tuple[Role, str], list[int]] = defaultdict(list)
    for index, measurement in enumerate(measurements):
        if REPEATED not in measurement.flags:
            visits[measurement.role, measurement.key].append(index)
    kept = list(reasons)
    for indices in visits.values():
        left = sum(not reasons[index] for index in indices)
        if left < max(1.0, _KEPT_SHARE * len(indices)):
            for index in indices:
                kept[index] = ""
    return kept
