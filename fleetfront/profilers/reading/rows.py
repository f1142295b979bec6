"""Take the rows of campaigns out of a store, and of those under one clock what clocks and other threads added."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from fleetfront.errors import InputError
from fleetfront.profilers.reading.columns import Visits, collect_pieces
from fleetfront.profilers.reading.filters import number_in
from fleetfront.profilers.records import CLOCK_COST, Measurement, Role, with_samples
from fleetfront.profilers.store.store import CampaignRow, Store
from fleetfront.quantities import LATENCY, Clock, Metric
from fleetfront.targets import Target

#: A run that took this many times its CPU time waited for a core.
_INTERRUPTED = 1.5


@dataclass(frozen=True, slots=True)
class CampaignRows:
    """Rows under one clock, those of failed visits among them, or under all; and the campaigns that they are of."""

    target: Target
    space: str
    metric: Metric
    observed: Visits
    campaigns: list[CampaignRow]
    clock: Clock = Clock.UNKNOWN


def gather_rows(
    store: Store, target: Target, space: str, clock: Clock | None, campaigns: Sequence[str] | None, metric: Metric
) -> CampaignRows:
    """The rows of one target, space and metric under all clocks; which ``campaigns``, as ``read_observations`` says."""
    rows = [] if clock == Clock.UNKNOWN and campaigns is None else store.campaigns(target=target, space=space)
    if campaigns is None and rows:
        campaigns = [_preferred(store, rows).id]
    with collector_at_rest():
        found = collect_pieces(store.pieces(target, space, metric.name, campaigns))
    named = [row for row in rows if campaigns is not None and row.id in campaigns]
    return CampaignRows(target, space, metric, found, named)


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Keep the garbage collector from its work: records of rows hold no circles, and looking for some takes three times
    as long as reading them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def rows_under(read: CampaignRows, clock: Clock | None) -> CampaignRows:
    """Those under one clock, without what reading the clock and other threads added; None takes that of the newest.

    Raises InputError if there are none.
    """
    visits = read.observed
    if clock is None:
        clock = visits.series[visits.of[-1]].clock if len(visits) else Clock.UNKNOWN
    observed = visits.rows(visits.are(lambda one: one.clock == clock) | visits.has_error)
    if not len(observed):
        clocks = sorted({one.clock.value for one in visits.series})
        metric, target = read.metric, read.target
        what = "measurements" if metric == LATENCY else f"measurements of {metric.name.replace('_', ' ')}"
        raise InputError(
            f"{target} has no {what} of {read.space!r} under the clock {clock.value!r}"
            + (f", only under {', '.join(clocks)}." if clocks else "."),
            f"Run: fleetfront profile {target.options} --space {read.space}",
        )
    if clock == Clock.THREAD_CPU:
        observed = without_interrupted_runs(observed, visits)
    if read.metric == LATENCY:
        observed = _without_clock_costs(observed, clock)
    return replace(read, observed=observed, clock=clock)


def preferred_campaign(store: Store, target: Target, space: str) -> CampaignRow | None:
    """The campaign that ``read_observations`` reads unless told otherwise; None if nothing was measured here."""
    rows = store.campaigns(target=target, space=space)
    return _preferred(store, rows) if rows else None


def _preferred(store: Store, rows: Sequence[CampaignRow]) -> CampaignRow:
    def rank(row: CampaignRow) -> tuple[bool, bool, bool]:
        last_round = store.last_round(row.id)
        tasks = row.plan.get("tasks")
        has_blocks = isinstance(tasks, dict) and Role.BLOCK.value in tasks
        # Networks alone make no table: `search --verify` after a profile of less than a round must not hide its blocks.
        return has_blocks and last_round >= 1, has_blocks and last_round >= 0, last_round >= 0

    # ``max`` keeps the first of equals, and rows come newest first.
    return max(rows, key=rank)


def without_interrupted_runs(cpu: Visits, all_clocks: Visits) -> Visits:
    """Thread-CPU rows without the runs in which another thread got the core, as far as any run is left.

    On virtual machines the CPU time of such a run may be counted too low, up to several times, and the minimum of a
    visit would find just that run. They show in the wall time of the same run.
    """
    walls = all_clocks.rows(all_clocks.is_good & all_clocks.are(lambda one: one.clock == Clock.WALL))
    place = {visit: row for row, visit in enumerate(_visits(walls))}
    paired = np.array([place.get(visit, -1) for visit in _visits(cpu)], dtype=np.intp)
    count = np.append(walls.count, -1)
    paired[cpu.count != count[paired]] = -1
    wall = np.full(cpu.samples.shape, -1, dtype=np.int64)
    begins = np.cumsum(walls.count) - walls.count
    row = np.repeat(np.arange(len(cpu)), cpu.count)
    has_pair = paired[row] >= 0
    within = np.arange(row.size) - np.repeat(np.cumsum(cpu.count) - cpu.count, cpu.count)
    wall[has_pair] = walls.samples[begins[paired[row[has_pair]]] + within[has_pair]]
    is_kept = wall <= _INTERRUPTED * cpu.samples
    has_any = np.bincount(row[is_kept], minlength=len(cpu)) > 0
    return cpu.with_runs(is_kept | ~has_any[row])


def _visits(visits: Visits) -> Iterator[tuple[int, int, str, int]]:
    """The cells that the rows of one visit have in common."""
    keys = [one.key for one in visits.series]
    columns = (visits.campaign, visits.round, visits.of, visits.started_ns)
    for campaign, round_, of, started_ns in zip(*(column.tolist() for column in columns), strict=True):
        yield campaign, round_, keys[of], started_ns


def _without_clock_costs(visits: Visits, clock: Clock) -> Visits:
    """``without_clock_cost`` of all rows under one clock."""
    cost = visits.after(clock.value).astype(np.int64)
    cost[visits.are(lambda one: one.unit != "ns" or one.clock != clock)] = 0
    each = np.repeat(np.maximum(cost, 0), visits.count)
    return replace(visits, samples=visits.samples - np.minimum(each, visits.samples // 2))


def without_clock_cost(measurement: Measurement) -> Measurement:
    """The same with samples of the run alone, where the agent told what reading the clock added to each.

    Without that, a file of 4 microseconds took a quarter longer under the thread-CPU clock than under the wall clock.
    Never more than half a sample is taken off.
    """
    told = measurement.after.get(CLOCK_COST)
    cost = int(number_in(told, measurement.clock.value)) if isinstance(told, dict) else 0
    if cost <= 0 or measurement.unit != "ns" or measurement.metric != LATENCY.name:
        return measurement
    samples = measurement.samples
    if samples and min(samples) >= 2 * cost:
        return with_samples(measurement, tuple([ns - cost for ns in samples]))
    return with_samples(measurement, tuple([ns - min(cost, ns // 2) for ns in samples]))
