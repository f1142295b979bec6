"""Take the rows of campaigns out of a store, and of those under one clock what clocks and other threads added."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from fleetfront.errors import InputError
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
    observed: list[Measurement]
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
        found = store.measurements(target=target, space=space, campaigns=campaigns, metric=metric.name)
        measurements = list(found)
    return CampaignRows(
        target, space, metric, measurements, [row for row in rows if campaigns is not None and row.id in campaigns]
    )


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
    measurements = read.observed
    if clock is None:
        clock = measurements[-1].clock if measurements else Clock.UNKNOWN
    observed = [m for m in measurements if m.clock == clock or m.error is not None]
    if not observed:
        clocks = sorted({m.clock.value for m in measurements})
        metric, target = read.metric, read.target
        what = "measurements" if metric == LATENCY else f"measurements of {metric.name.replace('_', ' ')}"
        raise InputError(
            f"{target} has no {what} of {read.space!r} under the clock {clock.value!r}"
            + (f", only under {', '.join(clocks)}." if clocks else "."),
            f"Run: fleetfront profile {target.options} --space {read.space}",
        )
    with collector_at_rest():
        if clock == Clock.THREAD_CPU:
            observed = without_interrupted_runs(observed, measurements)
        return replace(read, observed=[without_clock_cost(measurement) for measurement in observed], clock=clock)


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


def without_interrupted_runs(cpu: Sequence[Measurement], all_clocks: Sequence[Measurement]) -> list[Measurement]:
    """Thread-CPU visits without the runs in which another thread got the core, as far as any run is left.

    On virtual machines the CPU time of such a run may be counted too low, up to several times, and the minimum of a
    visit would find just that run. They show in the wall time of the same run.
    """
    walls = {_visit(m): m.samples for m in all_clocks if m.clock == Clock.WALL and m.samples}
    found = []
    for m in cpu:
        kept = _uninterrupted(m.samples, walls.get(_visit(m), ()))
        found.append(m if len(kept) == len(m.samples) else with_samples(m, kept))
    return found


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


def _visit(measurement: Measurement) -> tuple[str, int, str, int]:
    return measurement.campaign, measurement.round, measurement.key, measurement.started_ns


def _uninterrupted(cpu_ns: tuple[int, ...], wall_ns: tuple[int, ...]) -> tuple[int, ...]:
    if len(cpu_ns) != len(wall_ns):
        return cpu_ns
    kept = tuple(cpu for cpu, wall in zip(cpu_ns, wall_ns, strict=True) if wall <= _INTERRUPTED * cpu)
    return kept or cpu_ns
