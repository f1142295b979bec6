"""Time files as an app runs them: the first inference after opening, then run after run, all under the wall clock.

A campaign's number is the least that a file takes, visited among others. This is what a user of an app waits for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fleetfront.errors import InputError
from fleetfront.profilers.kinds.base import Capability
from fleetfront.profilers.kinds.catalogue import find_kind
from fleetfront.profilers.plan import RoundOptions
from fleetfront.profilers.reading.filters import number_in
from fleetfront.profilers.reading.observations import accepted_rows, read_observations, read_runs
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import COLD_START, NS_PER_MS, Clock, format_number
from fleetfront.targets import Target

#: Fresh processes that a cold start is the median of, and the least runs in each.
COLD_STARTS, COLD_RUNS = 3, 20


@dataclass(frozen=True, slots=True)
class AppTimes:
    """Times that an app feels of one file, in ms of the wall clock.

    Attributes:
        cold_ms: opening the file and its first run, the median over visits; None where the device does not tell.
        median_ms, p90_ms, mean_ms, fastest_ms: of ``runs`` warm runs; the mean is what a stream of inputs sustains.
        is_back_to_back: the runs followed each other in processes of their own; else a few at a time, among other
            files, which leaves the caches colder.
    """

    cold_ms: float | None
    median_ms: float
    p90_ms: float
    mean_ms: float
    fastest_ms: float
    runs: int
    is_back_to_back: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values, by the names that ``profile --file --json`` has."""
        facts = asdict(self)
        return {"cold_start_ms": facts.pop("cold_ms"), "wall": facts}

    def cells(self) -> tuple[str, ...]:
        """Cold, median, p90 and mean for people."""
        return tuple(format_number(value) for value in (self.cold_ms, self.median_ms, self.p90_ms, self.mean_ms))


def can_time_cold(target: Target) -> bool:
    """Tell whether the target's device opens files in fresh processes, and tells of the first run there."""
    kind = find_kind(target.device)
    return kind is not None and Capability.MEMORY in kind.can


def cold_rounds(options: RoundOptions, seconds: float) -> RoundOptions:
    """The shape of visits that run a file back to back for ``seconds``, all ``COLD_STARTS`` together."""
    return replace(options, timed_runs=COLD_RUNS, timed_s=seconds / COLD_STARTS, is_cold=True)


def read_app_times(store: Store, target: Target, space: str, campaign: str) -> dict[str, AppTimes]:
    """SHA-256 -> times of each file of a campaign that has wall-clock runs."""
    try:
        runs = read_runs(store, target, space, Clock.WALL, [campaign], Role.FILE)
    except InputError:
        return {}
    cold, is_cold = _cold_ms(store, target, space, campaign)
    found = {}
    for key, ms in runs.items():
        median, p90 = np.quantile(ms, (0.5, 0.9)).tolist()
        first = float(np.median(cold[key])) if key in cold else None
        found[key] = AppTimes(first, median, p90, float(ms.mean()), float(ms.min()), int(ms.size), is_cold)
    return found


def _cold_ms(store: Store, target: Target, space: str, campaign: str) -> tuple[Mapping[str, list[float]], bool]:
    """Opening and the first run of each file, one entry a visit; and whether they were of fresh processes."""
    with suppress(InputError):
        seen = read_observations(store, target, space, None, [campaign], metric=COLD_START)
        return {key: visits.tolist() for key, visits in seen.visits.get(Role.FILE, {}).items()}, True
    told: dict[str, list[float]] = defaultdict(list)
    for row in accepted_rows(store, target, space, Clock.WALL, campaign, Role.FILE):
        opened, first = (number_in(row.after, name) for name in ("open_ns", "first_ns"))
        if opened and first:
            told[row.key].append((opened + first) / NS_PER_MS)
    return told, False
