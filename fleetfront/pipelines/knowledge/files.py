"""Tell what was measured of one model file, by the SHA-256 of its bytes: a number for each target, metric and clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.errors import InputError
from fleetfront.profilers.reading.observations import choose_statistic, read_observations, summarise
from fleetfront.profilers.records import Measurement, Role
from fleetfront.quantities import FILE_METRICS, LATENCY, Aggregation, Clock, Estimate, Metric, Tier
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.profilers.store.store import Store


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file as the newest campaign on a target measured it under one clock.

    Attributes:
        estimate: of one thing, in the unit of ``metric``, made of visits as ``profile --file`` does, the most of what
            does not add up; its std is half the distance of the halves of the visits.
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


def known_of_file(
    store: Store,
    sha256: str,
    metric: Metric | None = LATENCY,
    clock: Clock | None = None,
    *,
    counts: Callable[[Measurement], bool] = lambda _: True,
) -> list[KnownFile]:
    """Everything known of the file with these bytes under one metric or (None) load, cold start, memory and all others.

    Newest first; targets differ in device, runtime, precision, threads or batch. Of visits that failed, or that a hot
    device made, nothing is known: the newest campaign that has others tells. Rows of metrics that nobody here knows are
    left out, and those that ``counts`` refuses, such as rows of inputs of other shapes.
    """
    campaigns: dict[tuple[Target, str, Clock], dict[tuple[str, str], int]] = {}
    name = None if metric is None else metric.name
    for row in store.measurements(role=Role.FILE, key=sha256, metric=name, clock=clock):
        if row.samples and row.metric in FILE_METRICS and counts(row):
            thing = row.target, row.metric, row.clock
            # What was seen last stands last.
            told = campaigns[thing] = campaigns.pop(thing, {})
            told.pop((row.space, row.campaign), None)
            told[row.space, row.campaign] = row.started_ns
    found = []
    for (target, name, under), told in reversed(campaigns.items()):
        for (space, campaign), when_ns in reversed(told.items()):
            known = _known(store, sha256, target, FILE_METRICS[name], under, space, campaign)
            if known is not None:
                found.append(replace(known, when_ns=when_ns))
                break
    return sorted(found, key=lambda known: -known.when_ns)


def _known(
    store: Store, sha256: str, target: Target, metric: Metric, clock: Clock, space: str, campaign: str
) -> KnownFile | None:
    try:
        seen = read_observations(store, target, space, clock, [campaign], metric=metric)
    except InputError:
        return None
    visits = seen.visits.get(Role.FILE, {}).get(sha256)
    if visits is None or seen.is_hot(Role.FILE, sha256):
        return None
    is_sum, statistic = metric.aggregation == Aggregation.SUM, choose_statistic(seen)
    halves = (visits, *np.array_split(visits, 2))
    numbers = [summarise(half, statistic) if is_sum else float(half.max()) for half in halves if half.size]
    estimate = Estimate(np.array(numbers[:1]), np.array([abs(numbers[1] - numbers[-1]) / 2]), Tier.MEASURED)
    return KnownFile(target, metric, clock, estimate, visits.size, 0, campaign)
