"""Leave visits out of statistics in which the machine was not itself, by rules on recorded facts alone.

The rules are conservative: a low quantile over visits already forgives the odd slow one, so only visits that the
conditions or the anchors around them speak against are dropped, and never so many of one thing that little is left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.profilers.records import Measurement, Role
from fleetfront.quantities import Clock

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
    usual_khz = _usual_frequency(measurements)
    in_slow_phase = _slow_phases(measurements)
    reasons = []
    for measurement, is_slow in zip(measurements, in_slow_phase, strict=True):
        if _grown(measurement, "suspended_ns") > 0.1e9:
            reasons.append("slept")
        elif is_throttled(measurement):
            reasons.append("throttled")
        elif number_in(measurement.after, "frequency_khz", usual_khz) < _SLOW_CLOCK * usual_khz:
            reasons.append("slow clock")
        elif measurement.clock == Clock.WALL and _grown(measurement, "waited_ns") > _WAITING_SHARE * sum(
            measurement.samples
        ):
            reasons.append("preempted")
        elif is_slow:
            reasons.append("slow phase")
        else:
            reasons.append("")
    return _with_enough_left(measurements, reasons)


def is_throttled(measurement: Measurement) -> bool:
    """Tell whether the device slowed itself down during a visit, by its flag or the machine's own counter."""
    return "throttled" in measurement.flags or _grown(measurement, "throttles") > 0


def _grown(measurement: Measurement, counter: str) -> float:
    # Imported tables have many rows and no conditions.
    if not measurement.after and not measurement.before:
        return 0.0
    return number_in(measurement.after, counter) - number_in(measurement.before, counter)


def number_in(facts: Mapping[str, Any], name: str, default: float = 0.0) -> float:
    """A finite number among conditions; ``default`` for one that is missing or damaged."""
    value = facts.get(name)
    # Not a number and infinity are not within bounds either.
    return float(value) if isinstance(value, int | float) and abs(value) < _BEYOND else default


def _usual_frequency(measurements: Sequence[Measurement]) -> float:
    known = [khz for m in measurements if (khz := number_in(m.after, "frequency_khz"))]
    return float(np.median(known)) if known else 0.0


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
