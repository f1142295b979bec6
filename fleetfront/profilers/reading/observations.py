"""Read raw samples of one target, space and metric, and say what they tell of each block, network and file.

This is the only reader. Which visits are left out is decided in ``filters``; whether the whole is worth trusting in
``verdict``.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import unknown
from fleetfront.profilers.parts import Seen, join_parts, network_of
from fleetfront.profilers.plan import TaskList
from fleetfront.profilers.reading.breaks import Breaks, find_breaks
from fleetfront.profilers.reading.columns import Visits, collect_visits
from fleetfront.profilers.reading.filters import are_throttled, discard_reasons
from fleetfront.profilers.reading.other_programs import OtherPrograms, find_other_programs
from fleetfront.profilers.reading.rows import CampaignRows, gather_rows, rows_under
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import CampaignRow, Store
from fleetfront.quantities import LATENCY, Aggregation, Clock, FloatArray, Metric
from fleetfront.targets import Target

#: Ways to make one number of a thing's visits, each already the minimum of its runs; the first wins ties.
STATISTICS = ("p25", "min", "median")

_QUANTILES = {"min": 0.0, "p25": 0.25, "median": 0.5}

#: Random halvings that a statistic is judged by, besides first against second half.
_HALVINGS = 20

#: Error of a number made of all visits, as a share of the difference between its halves: half of it where errors shrink
#: with the root of the visits; 1 / sqrt(8) for the minimum of an exponential tail, which shrinks with the visits
#: themselves. On simulated noise of four shapes the share was 0.2 to 0.6, 0.4 to 0.55 and 0.45 to 0.55.
_NUMBER_OF_HALVES = {"min": 0.35, "p25": 0.45, "median": 0.5}


@dataclass(frozen=True, slots=True)
class Observations:
    """Measurements of one space, or of files, on one target under one clock.

    Attributes:
        visits: role -> key -> [visits]: one number of each accepted visit's samples, in the unit of ``metric`` and in
            the order taken: their minimum, or their maximum for a metric whose parts do not add up.
        errors: key -> the last error of a key that has no accepted visit.
        discarded: reason -> number of visits left out.
        hot: role -> key -> visits that count although the device slowed itself down in them, for lack of others.
        seconds: time the measuring took.
        role_seconds: role -> seconds spent in its visits, files opened and failed visits included; empty where the
            agent does not tell.
        environment: what the agent said of the device when it measured.
        metric: what was measured.
        breaks: whether the device slept meanwhile, or its clock was set.
        others: what other programs of the device did meanwhile; None where nobody tells.
        campaign: the one that it is of; empty for several or none.
        started_ns: when that began, nanoseconds since 1970; 0 for several or none.
        planned: role -> number of things that it was to measure; empty for several or none.
    """

    target: Target
    space: str
    clock: Clock
    visits: Mapping[Role, Mapping[str, FloatArray]]
    errors: Mapping[str, str] = field(default_factory=dict)
    discarded: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    role_seconds: Mapping[Role, float] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    hot: Mapping[Role, Mapping[str, int]] = field(default_factory=dict)
    metric: Metric = LATENCY
    campaign: str = ""
    started_ns: int = 0
    others: OtherPrograms | None = None
    breaks: Breaks = field(default_factory=Breaks)
    planned: Mapping[Role, int] = field(default_factory=dict)

    @property
    def hot_visits(self) -> int:
        """All of ``hot`` together."""
        return sum(count for keys in self.hot.values() for count in keys.values())

    def is_hot(self, role: Role, key: str) -> bool:
        """Tell whether every visit that counts was made while the device slowed itself down."""
        visits = self.visits.get(role, {}).get(key)
        return visits is not None and self.hot.get(role, {}).get(key, 0) == visits.size


@dataclass(frozen=True, slots=True)
class Floor:
    """How noisy measured numbers are: no model is nearer to them than they are to what endless visits would give.

    Attributes:
        networks: how many things have enough visits to be split.
        mape: mean absolute error in percent.
        within_5, within_10: share within 5 and 10 percent, 0 to 1.
    """

    networks: int
    mape: float
    within_5: float
    within_10: float


@dataclass(frozen=True, slots=True)
class Drift:
    """The machine over time, as the anchor tells it.

    Attributes:
        visits: how often the anchor was visited.
        percent: how much slower the second half of these visits is than the first.
        spread_percent: how far the upper quartile lies above the lower one.
    """

    visits: int
    percent: float
    spread_percent: float


def read_observations(
    store: Store,
    target: Target,
    space: str,
    clock: Clock | None,
    campaigns: Sequence[str] | None = None,
    *,
    metric: Metric = LATENCY,
) -> Observations:
    """The measurements of one target, space and metric under one clock; None takes that of the newest row.

    Without ``campaigns``, of one campaign alone, since whole sessions drift against each other: the newest that
    measured blocks and got beyond its first round, else the newest that measured any block, else the newest of all.
    Imported numbers (clock ``unknown``) belong to no campaign and are taken together.

    Raises:
        InputError: if there is nothing under this clock.
    """
    return _observed(rows_under(gather_rows(store, target, space, clock, campaigns, metric), clock))


def read_clocks(
    store: Store,
    target: Target,
    space: str,
    clocks: Sequence[Clock],
    campaigns: Sequence[str] | None = None,
    *,
    metric: Metric = LATENCY,
) -> Iterator[Observations]:
    """``read_observations`` under one clock after the other; what a campaign measured is read once for all of them."""
    gathered = None
    for clock in clocks:
        if gathered is None or clock == Clock.UNKNOWN:
            gathered = gather_rows(store, target, space, clock, campaigns, metric)
        yield _observed(rows_under(gathered, clock))


def _observed(read: CampaignRows) -> Observations:
    metric = read.metric
    visits, errors, discarded, hot = _accepted(read.observed, metric)
    return Observations(
        target=read.target,
        space=read.space,
        clock=read.clock,
        visits=visits,
        errors=errors,
        discarded=discarded,
        seconds=sum(row.seconds for row in read.campaigns),
        role_seconds=_role_seconds(read.observed),
        environment=read.campaigns[0].environment if read.campaigns else {},
        hot=hot,
        metric=metric,
        campaign=read.campaigns[0].id if len(read.campaigns) == 1 else "",
        started_ns=read.campaigns[0].started_ns if len(read.campaigns) == 1 else 0,
        others=find_other_programs(read.observed),
        breaks=find_breaks(read.observed) if len(read.campaigns) == 1 else Breaks(),
        planned=_planned(read.campaigns[0]) if len(read.campaigns) == 1 else {},
    )


def _planned(campaign: CampaignRow) -> Counter[Role]:
    """How many things of each role were to be measured; nothing where the stored plan is damaged."""
    tasks = TaskList.from_store(campaign.plan)
    whole = set() if tasks is None else {(task.role, network_of(task.key)) for task in tasks.tasks}
    return Counter(role for role, _ in whole)


def count_discards(store: Store, target: Target, space: str) -> dict[str, int]:
    """Reason -> rows of latency that statistics leave out, of each campaign and clock by itself, as readers do."""
    clocks = [h.clock for h in store.holdings(target, space) if h.metric == LATENCY.name and not h.is_imported]
    found: Counter[str] = Counter()
    for row in store.campaigns(target=target, space=space):
        gathered = gather_rows(store, target, space, None, [row.id], LATENCY)
        held = {one.clock for one in gathered.observed.series}
        for clock in held.intersection(clocks):
            found.update(_observed(rows_under(gathered, clock)).discarded)
    return dict(found)


def read_runs(
    store: Store, target: Target, space: str, clock: Clock, campaigns: Sequence[str], role: Role
) -> dict[str, FloatArray]:
    """Key -> ms[runs]: every run of the visits that ``read_observations`` accepts, not one number a visit.

    Raises InputError as it does.
    """
    read = rows_under(gather_rows(store, target, space, clock, campaigns, LATENCY), clock)
    good, reasons = _judged(read.observed)
    good = good.rows((reasons == "") & good.are(lambda one: one.role == role))
    ms = good.samples / np.repeat(good.by_series(lambda one: LATENCY.divisor(one.unit)), good.count)
    of = np.repeat(good.of, good.count)
    runs: dict[str, list[FloatArray]] = defaultdict(list)
    for series in dict.fromkeys(good.of.tolist()):
        runs[good.series[series].key].append(ms[of == series])
    return {key: np.concatenate(parts) for key, parts in runs.items()}


def accepted_rows(
    store: Store, target: Target, space: str, clock: Clock, campaign: str, role: Role
) -> list[Measurement]:
    """Rows of latency of the visits that ``read_observations`` accepts, with all that they tell, in the order taken."""
    taken = store.measurements(target=target, space=space, clock=clock, campaigns=[campaign])
    good = [row for row in taken if row.samples and row.error is None]
    reasons = discard_reasons(collect_visits(good))
    return [row for row, reason in zip(good, reasons, strict=True) if not reason and row.role == role]


def summarise(visits: FloatArray, statistic: str) -> float:
    """One number for [visits]: ``min``, ``p25`` (linear between visits) or ``median``."""
    if statistic not in _QUANTILES:
        raise unknown("statistic", statistic, STATISTICS)
    return _quantile(visits, _QUANTILES[statistic])


def _quantile(values: FloatArray, share: float) -> float:
    """``numpy.quantile`` of a few numbers, to the last bit, in a tenth of the time: a table of blocks asks often."""
    place = share * (values.size - 1)
    lower = int(place)
    upper, part = min(lower + 1, values.size - 1), place - lower
    ordered = np.partition(values, (lower, upper))
    least, most = float(ordered[lower]), float(ordered[upper])
    return least + (most - least) * part if part < 0.5 else most - (most - least) * (1 - part)


def summaries(observations: Observations, role: Role, statistic: str) -> dict[str, float]:
    """``summarise`` of everything that was measured for one role, by key."""
    return {key: summarise(visits, statistic) for key, visits in observations.visits.get(role, {}).items()}


def choose_statistic(observations: Observations) -> str:
    """The statistic under which halves of the visits of the calibration networks agree best.

    Looks at calibration networks alone, so that blocks and validation networks stay out of every choice. Halves are the
    first and second half in time and some random ones, all of equal size; with fewer than four visits a network all
    statistics of single visits are the same, and the first of STATISTICS is taken.
    """
    networks = [visits for visits in observations.visits.get(Role.CALIBRATION, {}).values() if visits.size >= 4]
    if not networks:
        return STATISTICS[0]
    errors = dict.fromkeys(STATISTICS, 0.0)
    for visits in networks:
        half = visits.size // 2
        rng = np.random.default_rng(0)
        orders = [np.arange(visits.size), *(rng.permutation(visits.size) for _ in range(_HALVINGS))]
        first = np.stack([visits[order[:half]] for order in orders])
        second = np.stack([visits[order[-half:]] for order in orders])
        for statistic in STATISTICS:
            quantile = _QUANTILES[statistic]
            ratios = np.quantile(first, quantile, axis=1) / np.quantile(second, quantile, axis=1)
            # The halving in time holds the drift, so it counts as much as all random ones together.
            absolute = np.abs(np.log(ratios))
            errors[statistic] += absolute[0] + absolute[1:].mean()
    return min(STATISTICS, key=lambda statistic: errors[statistic])


def noise_floor(observations: Observations, role: Role, statistic: str) -> Floor:
    """How far the numbers of a role lie from what endless visits would give; things with one visit are left out.

    Told from halves of each thing's visits. What shifts everything alike, as moods of the machine do, is no part of it:
    calibration follows that. So of two neighbouring visits one goes into each half, and what the halves of most things
    differ by is taken off.
    """
    share = _NUMBER_OF_HALVES[statistic]
    errors = []
    for visits in observations.visits.get(role, {}).values():
        half = visits.size // 2
        if not half:
            continue
        pairs = visits[-2 * half :].reshape(half, 2)
        swaps = np.random.default_rng(0).integers(0, 2, (_HALVINGS, half))
        quantile = _QUANTILES[statistic]
        first = np.quantile(pairs[np.arange(half), swaps], quantile, axis=1)
        second = np.quantile(pairs[np.arange(half), 1 - swaps], quantile, axis=1)
        errors.append(share * np.log(first / second))
    if not errors:
        return Floor(0, float("nan"), float("nan"), float("nan"))
    absolute = np.abs(np.stack(errors) - np.median(errors, axis=0))
    return Floor(
        len(errors),
        float(100 * absolute.mean()),
        float((absolute <= 0.05).mean()),
        float((absolute <= 0.1).mean()),
    )


def anchor_drift(observations: Observations, statistic: str) -> Drift:
    """Second half of the anchor's visits against the first, and their spread; NaN with fewer than four visits."""
    anchors = sorted(observations.visits.get(Role.ANCHOR, {}).values(), key=lambda visits: visits.size)
    if not anchors or anchors[-1].size < 4:
        return Drift(anchors[-1].size if anchors else 0, float("nan"), float("nan"))
    visits = anchors[-1]
    half = visits.size // 2
    change = summarise(visits[-half:], statistic) / summarise(visits[:half], statistic) - 1
    lower, upper = np.quantile(visits, (0.25, 0.75))
    return Drift(int(visits.size), 100 * change, float(100 * (upper / lower - 1)))


def _role_seconds(visits: Visits) -> dict[Role, float]:
    spent = np.bincount(visits.of, visits.after("visit_ns") / 1e9, minlength=len(visits.series))
    seconds: dict[Role, float] = defaultdict(float)
    for series in dict.fromkeys(visits.of.tolist()):
        seconds[visits.series[series].role] += float(spent[series])
    return {role: total for role, total in seconds.items() if total}


def mean_run_ns(measurement: Measurement) -> float:
    """The mean of a visit's runs: of its samples, or as printed where a program told only statistics."""
    printed = measurement.after.get("printed")
    if printed:
        return float(printed.get("avg", printed.get("curr"))) * 1000
    return statistics.fmean(measurement.samples)


def printed_ms(measurements: Sequence[Measurement]) -> dict[str, float]:
    """Statistics of the runs that a program printed instead of samples, by its names, in ms: the median over visits."""
    printed = [m.after["printed"] for m in measurements if m.after.get("printed")]
    names = [name for name in ("median", "p5", "p95", "std", "max") if all(name in one for one in printed)]
    return {name: statistics.median(float(one[name]) for one in printed) / 1000 for name in names} if printed else {}


def _judged(visits: Visits) -> tuple[Visits, NDArray[np.str_]]:
    """Rows with samples, and str[n]: of each the reason for which it is left out, or an empty string."""
    good = visits.rows(visits.is_good)
    return good, discard_reasons(good)


def _accepted(
    visits: Visits, metric: Metric
) -> tuple[dict[Role, dict[str, FloatArray]], dict[str, str], dict[str, int], dict[Role, dict[str, int]]]:
    judged, reasons = _judged(visits)
    good = judged.rows(reasons == "")
    least = np.minimum if metric.aggregation == Aggregation.SUM else np.maximum
    values = good.reduced(least) / good.by_series(lambda one: metric.divisor(one.unit))
    is_hot = are_throttled(good)
    found: dict[Role, dict[str, FloatArray]] = defaultdict(dict)
    hot: dict[Role, dict[str, int]] = defaultdict(dict)
    for role, things in _rows_by_thing(good).items():
        parts = {key: rows for key, rows in things.items() if network_of(key) != key}
        joined = join_parts({key: _seen(good, rows, values, is_hot) for key, rows in parts.items()}, metric)
        for key, rows in things.items():
            if key not in parts:
                found[role][key], count = values[rows], int(is_hot[rows].sum())
                hot[role] |= {key: count} if count else {}
        for key, seen in joined.items():
            found[role][key], count = np.array([s.value for s in seen]), sum(s.is_hot for s in seen)
            hot[role] |= {key: count} if count else {}
    accepted = {key for keys in found.values() for key in keys}
    failed = np.flatnonzero(visits.has_error)
    errors = {visits.series[visits.of[row]].key: str(visits.errors[row]) for row in failed}
    errors = {key: error for key, error in errors.items() if network_of(key) not in accepted}
    discarded = Counter(reason for reason in reasons.tolist() if reason)
    return dict(found), errors, dict(discarded), dict(hot)


def _rows_by_thing(visits: Visits) -> dict[Role, dict[str, NDArray[np.intp]]]:
    """Role -> key -> its rows, in the order taken; what was seen first comes first."""
    order = np.argsort(visits.of, kind="stable")
    pieces = np.split(order, np.flatnonzero(np.diff(visits.of[order])) + 1) if len(visits) else []
    things: dict[Role, dict[str, NDArray[np.intp]]] = defaultdict(dict)
    for rows in sorted(pieces, key=lambda rows: int(rows[0])):
        series = visits.series[visits.of[rows[0]]]
        known = things[series.role].get(series.key)
        things[series.role][series.key] = rows if known is None else np.sort(np.concatenate([known, rows]))
    return things


def _seen(visits: Visits, rows: NDArray[np.intp], values: FloatArray, is_hot: NDArray[np.bool_]) -> list[Seen]:
    return [
        Seen(visits.campaigns[visits.campaign[row]], int(visits.round[row]), float(values[row]), bool(is_hot[row]))
        for row in rows
    ]
