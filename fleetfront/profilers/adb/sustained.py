"""Run one file without rest for minutes: what heat leaves of its speed, and what a run takes out of the battery.

This is no campaign: rounds, anchors and rests would let the device cool, visits are made as long as the last one tells,
and half a run cannot be resumed, for its heat is gone.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.adb.agent import AgentOptions
from fleetfront.profilers.adb.facts.conditions import Cooling
from fleetfront.profilers.base import Agent, Visit, VisitBatch
from fleetfront.profilers.reading.observations import mean_run_ns
from fleetfront.profilers.records import Measurement, Role, measurement_uuid
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import ENERGY, NS_PER_MS, SAMPLES_IN, Clock, format_duration, format_number
from fleetfront.side_by_side import aside
from fleetfront.targets import Target

#: How an agent must be opened for this: it neither waits for the device to cool down nor repeats what ran hot.
SUSTAINED_OPTIONS = AgentOptions(cooling=Cooling(limit_s=0.0, repeats=0))

#: Flag of rows that were taken on purpose while the device heats up.
SUSTAINED_FLAG = "sustained"

#: What is compared at both ends: a minute, less if the whole is short.
_WINDOW_S = 60.0
_WINDOW_SHARE = 0.25
#: Long visits leave few gaps between runs, in which the device would cool.
_VISIT_S = 2.0
_MOST_RUNS = 20_000
_VISITS_A_BATCH = 4
#: What a look must tell.
_COUNTED = {"charge_uah", "battery_mv"}
#: Nanojoules of a microampere-hour at a millivolt.
_NJ_PER_UAH_MV = 3600
#: Steps of the battery's gauge that tell the energy to a tenth or better: each end is off by less than one.
_FEWEST_STEPS = 20
#: Standard deviation of a difference of two numbers, each known to a step, in steps.
_STEP_STD = math.sqrt(2 / 12)
#: Why there is no energy, whatever the time.
_NO_GAUGE = "the device tells no charge of a battery"
_POWERED = "it was powered, or does not say; over the network (adb tcpip 5555) it can run on its battery"
#: Failed visits in a row that end it; a single one may be a hiccup of the device's clock.
_MOST_FAILURES = 3


@dataclass(frozen=True, slots=True)
class Sustained:
    """The numbers of a sustained run.

    Attributes:
        seconds: how long it ran.
        first_ms, last_ms: median over visits of the mean run, in the first and the last minute.
        share_left: speed at the end over speed at the beginning; 1 means that heat took nothing.
        throttled_visits: visits during which the device said that it slows itself down.
        rows: every visit that gave numbers.
        window_s: what "first minute" and "last minute" are, if the whole was short.
        failed_visits: visits without numbers.
        longest_rest_s: the longest time that the device had no visit to make, as when it was lost and came back.
        energy_uj: microjoules that the whole device drew from its battery in the mean run; None where nothing tells.
        energy_std_uj: how well the steps of the gauge tell that, as a standard deviation.
        watts: that it drew meanwhile, screen and system included.
        why_no_energy: in words, where there is none.
    """

    seconds: float
    first_ms: float
    last_ms: float
    share_left: float
    throttled_visits: int
    rows: tuple[Measurement, ...]
    window_s: float
    failed_visits: int
    longest_rest_s: float
    energy_uj: float | None = None
    energy_std_uj: float | None = None
    watts: float | None = None
    why_no_energy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``profile --sustained --json``."""
        return {
            "seconds": self.seconds,
            "window_seconds": self.window_s,
            "first_minute_ms": self.first_ms,
            "last_minute_ms": self.last_ms,
            "share_of_speed_left": self.share_left,
            "throttled_visits": self.throttled_visits,
            "failed_visits": self.failed_visits,
            "longest_rest_seconds": self.longest_rest_s,
            "energy_uJ": self.energy_uj,
            "energy_std_uJ": self.energy_std_uj,
            "watts": self.watts,
        }

    def lines(self) -> list[tuple[str, str]]:
        """The same for people."""
        window = format_duration(self.window_s)
        energy = f"not known: {self.why_no_energy}"
        if self.energy_uj is not None and self.energy_std_uj is not None:
            energy = (
                f"{format_number(self.energy_uj / 1e3)} +-{format_number(self.energy_std_uj / 1e3, 2)} mJ a run, at "
                f"{format_number(self.watts)} W of the whole device"
            )
        return [
            ("ran for", format_duration(self.seconds)),
            (f"first {window}", f"{self.first_ms:.4g} ms (wall clock, mean run)"),
            (f"last {window}", f"{self.last_ms:.4g} ms"),
            ("speed left", f"{100 * self.share_left:.0f} %"),
            ("throttled visits", str(self.throttled_visits)),
            ("energy", energy),
        ]


@aside()
def measure_sustained(
    agent: Agent,
    target: Target,
    file: Path,
    seconds: float,
    *,
    key: str = "",
    space: str = "",
    keep: Callable[[Measurement], object] = lambda _: None,
    enough: Callable[[Sequence[Measurement]], bool] = lambda _: False,
    progress: Progress = SILENT,
    now: Callable[[], float] = time.monotonic,
) -> Sustained:
    """Run ``file`` without rest for ``seconds``.

    Args:
        agent: opened with ``SUSTAINED_OPTIONS``.
        target: of its measurements.
        file: a .tflite file.
        seconds: at least 4.
        key: name of the rows; the file's SHA-256 by default.
        space: search space of the rows, if the file is a network of one.
        keep: given every row as soon as it is there; at the end, one of the energy if it is known.
        enough: asked with all rows so far whether they suffice; the run then ends early.
        progress: told of every visit.
        now: a clock in seconds.

    Raises:
        InputError: too short a time, or no such file.
        DeviceError: the device was lost, or the file does not run on it.
    """
    check_seconds(seconds)
    try:
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}).", "Give the path of a .tflite file.") from error
    campaign = f"sustained-{uuid.uuid4().hex[:8]}"
    key = key or sha256

    def batch(count: int, runs: int) -> VisitBatch:
        visits = tuple(Visit(uuid.uuid4().hex, Role.FILE, key, sha256, 1, runs) for _ in range(count))
        return VisitBatch(target, space, campaign, 0, visits, {sha256: str(file)})

    seen = _Seen()
    runs, begun = 3, now()
    progress.start(f"Running {file.name} on {target.device} without rest", round(seconds))
    while now() - begun < seconds and not enough(seen.rows):
        for visited in agent.run(batch(_VISITS_A_BATCH if seen.rows else 1, runs)):
            wall = next(row for row in visited if row.clock == Clock.WALL)
            row = replace(wall, flags=(*wall.flags, SUSTAINED_FLAG))
            keep(row)
            seen.take(row, now() - begun)
            progress.advance(seen.steps())
        if seen.rows:
            runs = min(_MOST_RUNS, max(1, math.ceil(_VISIT_S * 1e9 / mean_run_ns(seen.rows[-1]))))
    progress.finish()
    found = _summary(seen)
    if found.energy_uj is not None:
        keep(_energy_row(found.energy_uj, seen.rows))
    return found


def check_seconds(seconds: float, seen: str = "heat", usual: str = "--sustained 10m") -> None:
    """Raises InputError for a time in which nothing can be ``seen``; ``usual`` is what is typed as a rule."""
    if seconds < 2 * _VISIT_S:
        raise InputError(f"{seconds:g} s is too short to see {seen}.", f"Use minutes, e.g. {usual}.")


@dataclass(slots=True)
class _Seen:
    """Rows that have arrived: those with numbers and when, in seconds from the beginning."""

    rows: list[Measurement] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    failed: int = 0
    failed_in_a_row: int = 0
    shown: int = 0
    ended_ns: int | None = None
    longest_rest_ns: int = 0

    def take(self, row: Measurement, at_s: float) -> None:
        if self.ended_ns is not None:
            self.longest_rest_ns = max(self.longest_rest_ns, row.started_ns - self.ended_ns)
        self.ended_ns = row.started_ns + row.after["visit_ns"]
        if row.error is None:
            self.rows.append(row)
            self.at_s.append(at_s)
            self.failed_in_a_row = 0
            return
        self.failed += 1
        self.failed_in_a_row += 1
        if not self.rows or self.failed_in_a_row >= _MOST_FAILURES:
            raise DeviceError(
                f"The file does not run on {row.target.device}: {row.error}.",
                "Check it with `fleetfront profile --device cpu --file FILE`, or choose another --runtime.",
            )

    def steps(self) -> int:
        """Whole seconds since the last call."""
        before, self.shown = self.shown, round(self.at_s[-1]) if self.at_s else 0
        return max(0, self.shown - before)


def _summary(seen: _Seen) -> Sustained:
    rows, at_s = seen.rows, seen.at_s
    total = at_s[-1]
    window = min(_WINDOW_S, _WINDOW_SHARE * total)
    first = [mean_run_ns(row) for row, at in zip(rows, at_s, strict=True) if at <= window]
    last = [mean_run_ns(row) for row, at in zip(rows, at_s, strict=True) if at >= total - window]
    first_ms = statistics.median(first or [mean_run_ns(rows[0])]) / NS_PER_MS
    last_ms = statistics.median(last) / NS_PER_MS
    throttled = sum("throttled" in row.flags for row in rows)
    rest_s = seen.longest_rest_ns / 1e9
    found = Sustained(total, first_ms, last_ms, first_ms / last_ms, throttled, tuple(rows), window, seen.failed, rest_s)
    told = _watts(rows)
    if isinstance(told, str):
        return replace(found, why_no_energy=told)
    watts, steps = told
    energy_uj = watts * statistics.fmean(map(mean_run_ns, rows)) / 1e3
    return replace(found, watts=watts, energy_uj=energy_uj, energy_std_uj=energy_uj * _STEP_STD / steps)


def has_gauged(rows: Sequence[Measurement]) -> bool:
    """Tell whether the battery's gauge has told the energy of a run, or never will."""
    return bool(rows) and (not isinstance(told := _watts(rows), str) or told in (_NO_GAUGE, _POWERED))


def _energy_row(microjoules: float, rows: Sequence[Measurement]) -> Measurement:
    """Of the whole run."""
    first, last = rows[0], rows[-1]
    return replace(
        last,
        uuid=measurement_uuid(last.uuid, Clock.DEVICE, ENERGY.name),
        clock=Clock.DEVICE,
        metric=ENERGY.name,
        unit=SAMPLES_IN[ENERGY.name],
        samples=(round(1e3 * microjoules),),
        started_ns=first.started_ns,
        before=first.before,
    )


def _watts(rows: Sequence[Measurement]) -> tuple[float, int] | str:
    """The power from the battery, between the first step of its gauge and the last, and steps; why not, if untold."""
    looks = [(row.started_ns, row.before) for row in rows]
    looks.append((rows[-1].started_ns + rows[-1].after["visit_ns"], rows[-1].after))
    told: list[tuple[int, int, int]] = [
        (when, facts["charge_uah"], facts["battery_mv"]) for when, facts in looks if facts.keys() >= _COUNTED
    ]
    if not told:
        return _NO_GAUGE
    if any(facts.get("is_charging", True) for _, facts in looks if facts.keys() >= _COUNTED):
        return _POWERED
    steps = [after for before, after in itertools.pairwise(told) if after[1] != before[1]]
    if len(steps) < _FEWEST_STEPS or any(after[1] > before[1] for before, after in itertools.pairwise(told)):
        return f"its battery's gauge made {len(steps)} steps; {_FEWEST_STEPS} downwards are needed, as in a longer run"
    nanojoules = sum(
        _NJ_PER_UAH_MV * (before[1] - after[1]) * (before[2] + after[2]) / 2
        for before, after in itertools.pairwise(steps)
    )
    return nanojoules / (steps[-1][0] - steps[0][0]), len(steps) - 1
