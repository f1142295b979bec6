"""Tell what was measured of one model file, by the SHA-256 of its bytes: a number for each target, metric and clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.errors import InputError
from fleetfront.profilers.reading.observations import read_observations, summarise
from fleetfront.profilers.records import Role
from fleetfront.quantities import FILE_METRICS, LATENCY, Aggregation, Clock, Estimate, Metric, Tier
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.profilers.store.store import Store

#: How visits become one number, as in ``profile --file`` and bundles; of what does not add up, the most is told.
_STATISTIC = "p25"


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file as the newest campaign on a target measured it under one clock.

    Attributes:
        estimate: of one thing, in the unit of ``metric``; its std is half the distance of the halves of the visits.
        visits: that were accepted.
        when_ns: when the last was made, nanoseconds since 1970.
        campaign: which it is; empty for imported numbers.
    """

    target: Target
    metric: Metric
    clock: Clock
    estimate: Estimate
    visits: int
    when_ns: int
    campaign: str


def known_of_file(store: Store, sha256: str, metric: Metric | None = LATENCY) -> list[KnownFile]:
    """Everything known of the file with these bytes under one metric or (None) load, cold start, memory and all others.

    Newest first; targets differ in device, runtime, precision, threads or batch. Of visits that failed, or that a hot
    device made, nothing is known. Rows of metrics that nobody here knows are left out.
    """
    newest: dict[tuple[Target, str, Clock], tuple[str, str, int]] = {}
    name = None if metric is None else metric.name
    for row in store.measurements(role=Role.FILE, key=sha256, metric=name):
        if row.samples:
            newest[row.target, row.metric, row.clock] = row.space, row.campaign, row.started_ns
    found = []
    for (target, name, clock), (space, campaign, when_ns) in newest.items():
        if (wanted := FILE_METRICS.get(name)) is None:
            continue
        try:
            seen = read_observations(store, target, space, clock, [campaign], metric=wanted)
        except InputError:
            continue
        visits = seen.visits.get(Role.FILE, {}).get(sha256)
        if visits is None or seen.is_hot(Role.FILE, sha256):
            continue
        numbers = [_number(half, wanted) for half in (visits, *np.array_split(visits, 2)) if half.size]
        std = abs(numbers[1] - numbers[-1]) / 2
        estimate = Estimate(np.array(numbers[:1]), np.array([std]), Tier.MEASURED)
        found.append(KnownFile(target, wanted, clock, estimate, visits.size, when_ns, campaign))
    return sorted(found, key=lambda known: -known.when_ns)


def _number(visits: np.ndarray, metric: Metric) -> float:
    return summarise(visits, _STATISTIC) if metric.aggregation == Aggregation.SUM else float(visits.max())
