"""What heat leaves of a device's speed: one file run without rest for minutes, its first minute against its last."""

from __future__ import annotations

import hashlib
import math
import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.adb.agent import AdbAgent, AgentOptions
from fleetfront.profilers.adb.conditions import Cooling
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.records import Measurement, Role
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import NS_PER_MS, Clock

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


@dataclass(frozen=True, slots=True)
class Sustained:
    """What was found.

    Attributes:
        seconds: how long it ran.
        first_ms, last_ms: median over visits of the mean run, in the first and the last minute.
        share_left: speed at the end over speed at the beginning; 1 means that heat took nothing.
        throttled_visits: visits during which the device said that it slows itself down.
        rows: every visit, for the store.
    """

    seconds: float
    first_ms: float
    last_ms: float
    share_left: float
    throttled_visits: int
    rows: tuple[Measurement, ...]


def measure_sustained(
    agent: AdbAgent,
    file: Path,
    seconds: float,
    *,
    key: str = "",
    space: str = "",
    progress: Progress = SILENT,
    now: Callable[[], float] = time.monotonic,
) -> Sustained:
    """Run ``file`` without rest for ``seconds``.

    Args:
        agent: opened with ``SUSTAINED_OPTIONS``.
        file: a .tflite file.
        seconds: at least 4.
        key: name of the rows; the file's SHA-256 by default.
        space: search space of the rows, if the file is a network of one.
        progress: told of every visit.
        now: a clock in seconds.

    Raises:
        InputError: too short a time.
        DeviceError: the device was lost, or the file does not run on it.
    """
    if seconds < 2 * _VISIT_S:
        raise InputError(f"{seconds:g} s is too short to see heat.", "Use minutes, e.g. --sustained 10m.")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    campaign = f"sustained-{uuid.uuid4().hex[:8]}"

    def batch(count: int, runs: int) -> VisitBatch:
        visits = tuple(Visit(uuid.uuid4().hex, Role.FILE, key or sha256, sha256, 1, runs) for _ in range(count))
        return VisitBatch(agent.target, space, campaign, 0, visits, {sha256: str(file)})

    rows: list[Measurement] = []
    at_s: list[float] = []
    runs, begun = 3, now()
    progress.start(f"Running {file.name} on {agent.target.device} without rest", round(seconds))
    while now() - begun < seconds:
        for visited in agent.run(batch(1 if not rows else _VISITS_A_BATCH, runs)):
            wall = next(row for row in visited if row.clock == Clock.WALL)
            if wall.error is not None:
                raise DeviceError(
                    f"{file.name} does not run on {agent.target.device}: {wall.error}.", "Fix this first."
                )
            rows.append(replace(wall, flags=(*wall.flags, SUSTAINED_FLAG)))
            at_s.append(now() - begun)
            progress.advance(max(0, round(at_s[-1]) - (round(at_s[-2]) if len(at_s) > 1 else 0)))
        runs = min(_MOST_RUNS, max(1, math.ceil(_VISIT_S * 1e9 / mean_run_ns(rows[-1]))))
    progress.finish()
    return _summary(rows, at_s)


def mean_run_ns(row: Measurement) -> float:
    """The mean of a visit's runs: of its samples, or as printed where only statistics were."""
    printed = row.after.get("printed")
    if printed:
        return float(printed.get("avg", printed.get("curr"))) * 1000
    return statistics.fmean(row.samples)


def _summary(rows: Sequence[Measurement], at_s: Sequence[float]) -> Sustained:
    total = at_s[-1]
    window = min(_WINDOW_S, _WINDOW_SHARE * total)
    first = [mean_run_ns(row) for row, at in zip(rows, at_s, strict=True) if at <= window]
    last = [mean_run_ns(row) for row, at in zip(rows, at_s, strict=True) if at >= total - window]
    first_ms = statistics.median(first or [mean_run_ns(rows[0])]) / NS_PER_MS
    last_ms = statistics.median(last) / NS_PER_MS
    throttled = sum("throttled" in row.flags for row in rows)
    return Sustained(total, first_ms, last_ms, first_ms / last_ms, throttled, tuple(rows))
