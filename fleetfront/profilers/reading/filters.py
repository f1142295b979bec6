"""Leave visits out of statistics in which the machine was not itself, by rules on recorded facts alone.

The rules are conservative: a low quantile over visits already forgives the odd slow one, so only visits that the
conditions or the anchors around them speak against are dropped, and never so many of one thing that little is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.profilers.reading.columns import Visits
from fleetfront.profilers.records import Role
from fleetfront.quantities import Clock, FloatArray

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


def discard_reasons(visits: Visits) -> NDArray[np.str_]:
    """str[n]: for each row (with samples, in the order taken) why it is left out, or an empty string.

    ``slept``: the machine was suspended in it; ``throttled``: a thermal event was counted or flagged; ``slow clock``:
    the cores ran far below their usual clock; ``preempted``: the thread waited for a core, wall clock only; ``slow
    phase``: the anchors around it were slow.
    """
    khz = visits.after("frequency_khz")
    usual_khz = float(np.median(khz[khz != 0])) if khz.any() else 0.0
    is_wall = visits.are(lambda one: one.clock == Clock.WALL)
    timed: FloatArray = np.where(is_wall, visits.reduced(np.add), np.inf)
    # The first that holds of a visit is its reason.
    rules = {
        "slept": visits.grown("suspended_ns") > 0.1e9,
        "throttled": are_throttled(visits),
        "slow clock": visits.after("frequency_khz", usual_khz) < _SLOW_CLOCK * usual_khz,
        "preempted": visits.grown("waited_ns") > _WAITING_SHARE * timed,
        "slow phase": _slow_phases(visits),
    }
    return _with_enough_left(visits, np.select(list(rules.values()), list(rules), default=""))


def are_throttled(visits: Visits) -> NDArray[np.bool_]:
    """bool[n]: whether the device slowed itself down, by a row's flag or the machine's own counter."""
    both: NDArray[np.bool_] = visits.is_throttled | (visits.grown("throttles") > 0)
    return both


def number_in(facts: Mapping[str, Any], name: str, default: float = 0.0) -> float:
    """A finite number among conditions; ``default`` for one that is missing or damaged."""
    value = facts.get(name)
    # Not a number and infinity are not within bounds either.
    return float(value) if isinstance(value, int | float) and abs(value) < _BEYOND else default


def _slow_phases(visits: Visits) -> NDArray[np.bool_]:
    """bool[n]: whether both anchors around a visit of the same campaign are slow. Never of anchors."""
    slow = np.zeros(len(visits), dtype=np.bool_)
    is_anchor = visits.are(lambda one: one.role == Role.ANCHOR)
    keys = {key: place for place, key in enumerate(dict.fromkeys(one.key for one in visits.series))}
    key = visits.by_series(lambda one: keys[one.key]).astype(np.intp)
    fastest = visits.reduced(np.minimum).astype(np.float64)
    for campaign in range(len(visits.campaigns)):
        is_member = visits.campaign == campaign
        above: dict[int, bool] = {}
        for one in np.unique(key[is_member & is_anchor]):
            rows = np.flatnonzero(is_member & is_anchor & (key == one))
            if rows.size >= _FEWEST_ANCHORS:
                is_above = fastest[rows] > _SLOW_PHASE * np.quantile(fastest[rows], 0.25)
                above.update(zip(rows.tolist(), is_above.tolist(), strict=True))
        if not above:
            continue
        anchors = sorted(above)
        is_slow = np.array([above[row] for row in anchors])
        others = np.flatnonzero(is_member & ~is_anchor)
        following = np.searchsorted(anchors, others)
        between = (following > 0) & (following < len(anchors))
        clipped = np.clip(following, 1, len(anchors) - 1)
        slow[others] = between & is_slow[clipped - 1] & is_slow[clipped]
    return slow


def _with_enough_left(visits: Visits, reasons: NDArray[np.str_]) -> NDArray[np.str_]:
    """Reasons taken back for everything that would lose more than its share of visits."""
    things = {one: place for place, one in enumerate(dict.fromkeys((one.role, one.key) for one in visits.series))}
    thing = visits.by_series(lambda one: things[one.role, one.key]).astype(np.intp)
    counts = ~visits.is_repeated
    total = np.bincount(thing[counts], minlength=len(things))
    left = np.bincount(thing[counts & (reasons == "")], minlength=len(things))
    has_enough = left >= np.maximum(1.0, _KEPT_SHARE * total)
    return np.where(counts & ~has_enough[thing], "", reasons)
