"""Simulate a device with a clock of its own, so that campaigns of hours run in milliseconds.

The idea of a back-end whose clock moves by the simulated work alone is that of Syne Tune's simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fleetfront.errors import DeviceError
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.records import Measurement
from fleetfront.quantities import Clock


@dataclass(frozen=True, slots=True)
class Heat:
    """The rates at which a device warms with work and cools with time.

    Attributes:
        ambient_c: where it starts, and what it cools to.
        warms_c_per_s: while it works.
        cooling_s: time in which the distance to ``ambient_c`` falls to 1/e.
        limit_c: above it everything takes ``slowdown`` times as long and the throttle counter grows.
    """

    ambient_c: float = 25.0
    warms_c_per_s: float = 2.0
    cooling_s: float = 60.0
    limit_c: float = 45.0
    slowdown: float = 2.0


@dataclass
class SimulatedDevice:
    """An agent whose latencies follow a table, drift, heat, noise and losses. Seconds pass as it works or rests.

    Attributes:
        latency_ms: key -> true latency of a run, ms.
        drift_per_s: relative growth of all latencies with each simulated second.
        throttled_s: interval in which everything takes twice as long and the throttle counter grows.
        heat: how it warms, and when that slows it down; None never does.
        noise: relative standard deviation of a run, one-sided.
        watts: power while it works; each visit then tells the energy of a run, too, or its battery does.
        gauge_uah: step of the gauge of its battery of 4 V, which tells the energy then; 0 without a battery.
        broken: keys that always fail.
        lost_at: numbers of the visits at which the device disappears, each once: the next batch finds it back.
        before_visit: called with the number of each visit.
        clocks: see ``Agent``.
        facts: what ``describe`` says.
        clock_s: simulated seconds since the device was made.
        visits: round and key of every visit made.
    """

    latency_ms: Mapping[str, float]
    drift_per_s: float = 0.0
    throttled_s: tuple[float, float] | None = None
    heat: Heat | None = None
    noise: float = 0.0
    watts: float | None = None
    gauge_uah: int = 0
    broken: frozenset[str] = frozenset()
    lost_at: frozenset[int] = frozenset()
    before_visit: Callable[[int], None] = lambda _number: None
    clocks: tuple[Clock, ...] = (Clock.WALL, Clock.THREAD_CPU)
    facts: dict[str, Any] = field(default_factory=lambda: {"cpu": "simulated"})
    clock_s: float = 0.0
    visits: list[tuple[int, str]] = field(default_factory=list)
    is_closed: bool = False

    def __post_init__(self) -> None:
        """Start cool, with a generator of a fixed seed."""
        self._rng = np.random.default_rng(0)
        self._throttles = 0
        self._drawn_uah = 0.0
        self.temperature_c = self.heat.ambient_c if self.heat else 25.0

    def now(self) -> float:
        """The simulated time in seconds; give it to ``Campaign`` as its clock."""
        return self.clock_s

    def rest(self, seconds: float) -> None:
        """Let time pass without work; a warm device cools."""
        self.clock_s += seconds
        if self.heat:
            above = self.temperature_c - self.heat.ambient_c
            self.temperature_c = self.heat.ambient_c + above * float(np.exp(-seconds / self.heat.cooling_s))

    def describe(self) -> dict[str, Any]:
        """See ``Agent``."""
        return self.facts

    def close(self) -> None:
        """See ``Agent``."""
        self.is_closed = True

    def run(self, batch: VisitBatch) -> Generator[tuple[Measurement, ...], None, None]:
        """See ``Agent``."""
        for visit in batch.visits:
            number = len(self.visits)
            self.before_visit(number)
            if number in self.lost_at:
                self.lost_at -= {number}
                raise DeviceError("The simulated device is gone.", "Plug it in.")
            self.visits.append((batch.round, visit.key))
            yield self._visit(batch, visit)

    def _visit(self, batch: VisitBatch, visit: Visit) -> tuple[Measurement, ...]:
        started_ns, before = int(self.clock_s * 1e9), self._conditions()
        error = self._refusal(batch, visit)
        if error:
            return (batch.row(visit, self.clocks[0], (), started_ns=started_ns, before=before, error=error),)
        samples = [self._time_run(visit.key) for _ in range(visit.timed_runs)]
        after = self._conditions() | {"visit_ns": int(self.clock_s * 1e9) - started_ns}
        facts: dict[str, Any] = {"started_ns": started_ns, "before": before, "after": after}
        rows = [batch.row(visit, clock, samples, **facts) for clock in self.clocks]
        if self.watts is not None and not self.gauge_uah:
            microjoules = [round(self.watts * ns / 1e3) for ns in samples]
            rows.append(batch.row(visit, Clock.DEVICE, microjoules, metric="energy", unit="uJ", **facts))
        return tuple(rows)

    def _refusal(self, batch: VisitBatch, visit: Visit) -> str | None:
        if visit.file not in batch.files:
            return f"the batch brings no file {visit.file}"
        return "the runtime refuses it" if visit.key in self.broken or visit.key not in self.latency_ms else None

    def _conditions(self) -> dict[str, Any]:
        seen: dict[str, Any] = {"throttles": self._throttles}
        if self.gauge_uah:
            charge_uah = 3_000_000 - self.gauge_uah * int(self._drawn_uah / self.gauge_uah)
            seen |= {"charge_uah": charge_uah, "battery_mv": 4000, "is_charging": False}
        return seen | {"temperature_c": round(self.temperature_c, 3)} if self.heat else seen

    def _time_run(self, key: str) -> int:
        ms = self.latency_ms[key] * (1 + self.drift_per_s * self.clock_s) * (1 + self.noise * abs(self._rng.normal()))
        slowdown = self._slowdown()
        if slowdown > 1:
            ms *= slowdown
            self._throttles += 1
        self.rest(ms / 1e3)
        # At 4 V, 1 W for 1 s takes 1e6 / (4 * 3600) uAh.
        self._drawn_uah += (self.watts or 0.0) * ms / 1e3 * 1e6 / 14_400
        if self.heat:
            self.temperature_c += self.heat.warms_c_per_s * ms / 1e3
        return round(ms * 1e6)

    def _slowdown(self) -> float:
        if self.throttled_s and self.throttled_s[0] <= self.clock_s < self.throttled_s[1]:
            return 2.0
        return self.heat.slowdown if self.heat and self.temperature_c > self.heat.limit_c else 1.0
