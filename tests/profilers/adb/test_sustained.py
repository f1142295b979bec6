"""Measure what heat leaves of the speed, on a device whose runner slows down on command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetfront.errors import DeviceError, InputError
from fleetfront.pipelines.knowledge.files import known_of_file
from fleetfront.profilers.adb.agent import AdbAgent
from fleetfront.profilers.adb.open_agent import adb_target
from fleetfront.profilers.adb.sustained import SUSTAINED_OPTIONS, Sustained, measure_sustained
from fleetfront.profilers.base import VisitBatch
from fleetfront.profilers.records import Measurement
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import ENERGY, Clock

# A run takes 100 us at first and 150 us from the fourth visit on; its warm-up is written like the program's own.
HEATING = """#!/bin/sh
[ "$1" = --help ] && { echo '--graph=...'; exit 1; }
echo x >> /data/visits
us=100; [ $(wc -l < /data/visits) -gt 3 ] && us=150
sleep 0.4
echo "count=1 curr=$us"
echo "count=6 first=$us curr=$us min=$us max=$us avg=$us std=0"
echo "Inference timings in us: Init: 100, First inference: $us, Warmup (avg): $us, Inference (avg): $us"
"""


def test_the_last_minute_is_compared_with_the_first(
    daemon: Any, open_agent: Callable[..., AdbAgent], models: dict[str, Path]
) -> None:
    daemon.install("benchmark_model", HEATING)
    agent = open_agent(daemon.address, runner="benchmark-model", options=SUSTAINED_OPTIONS)
    found = measure_sustained(agent, agent.target, next(iter(models.values())), 4.0)
    assert (found.first_ms, found.last_ms) == (pytest.approx(0.1), pytest.approx(0.15))
    assert found.share_left == pytest.approx(100 / 150)
    assert found.seconds >= 4.0
    assert all("sustained" in row.flags for row in found.rows)


def test_our_runner_can_be_sustained_too(
    daemon: Any, open_agent: Callable[..., AdbAgent], models: dict[str, Path]
) -> None:
    agent = open_agent(daemon.address, options=SUSTAINED_OPTIONS)
    found = measure_sustained(agent, agent.target, next(iter(models.values())), 4.0, key="network", space="s")
    assert found.rows[0].key == "network"
    assert 0 < found.share_left < 10
    assert len(found.rows[-1].samples) > 100


class Resting:
    """An agent whose device makes visits of two seconds and then was away for 30 s."""

    target = adb_target("adb:x")

    def __init__(self) -> None:
        self.now_s = 0.0

    def run(self, batch: VisitBatch) -> Iterator[tuple[Measurement, ...]]:
        for visit in batch.visits:
            started_ns = round(self.now_s * 1e9)
            self.now_s += 2.0
            yield (batch.row(visit, Clock.WALL, (1_000_000,), started_ns=started_ns, after={"visit_ns": 2 * 10**9}),)
            if self.now_s == 10.0:
                self.now_s += 30.0


def test_a_rest_in_between_is_told(models: dict[str, Path]) -> None:
    agent = Resting()
    found = measure_sustained(agent, agent.target, next(iter(models.values())), 60.0, now=lambda: agent.now_s)  # type: ignore[arg-type]
    assert found.longest_rest_s == pytest.approx(30.0)
    agent = Resting()
    found = measure_sustained(agent, agent.target, next(iter(models.values())), 8.0, now=lambda: agent.now_s)  # type: ignore[arg-type]
    assert found.longest_rest_s == 0


class Discharging:
    """An agent whose device draws 3 W at 4 V; its gauge steps by 500 uAh and is read before every fourth visit."""

    target = adb_target("adb:x")

    def __init__(self, **facts: object) -> None:
        self.now_s = 0.0
        self._facts = facts

    def look(self) -> dict[str, object]:
        drawn_uah = 3.0 * self.now_s / 4.0 / 3600 * 1e6
        charge_uah = 3_000_000 - 500 * int(drawn_uah / 500)
        return {"charge_uah": charge_uah, "battery_mv": 4000, "is_charging": False, **self._facts}

    def run(self, batch: VisitBatch) -> Iterator[tuple[Measurement, ...]]:
        before, begun_s = self.look(), self.now_s
        self.now_s += 2.0 * len(batch.visits)
        after = {**self.look(), "visit_ns": 2 * 10**9}
        for number, visit in enumerate(batch.visits):
            started_ns = round((begun_s + 2.0 * number) * 1e9)
            row = batch.row(visit, Clock.WALL, (50_000_000,), started_ns=started_ns, before=before, after=after)
            yield (row,)


def sustained_on(agent: Discharging, model: Path, seconds: float) -> tuple[Sustained, list[Measurement]]:
    kept: list[Measurement] = []
    found = measure_sustained(agent, agent.target, model, seconds, keep=kept.append, now=lambda: agent.now_s)  # type: ignore[arg-type]
    return found, kept


def test_the_gauge_of_the_battery_tells_the_energy(models: dict[str, Path], tmp_path: Path) -> None:
    model = next(iter(models.values()))
    found, kept = sustained_on(Discharging(), model, 120.0)
    assert found.energy_uj is None
    assert "steps; 20 downwards are needed" in found.why_no_energy
    found, kept = sustained_on(Discharging(), model, 600.0)
    assert found.watts == pytest.approx(3.0, rel=0.05)
    assert found.energy_uj == pytest.approx(3.0 * 50_000, rel=0.05)
    assert [row.metric for row in kept if row.metric != "latency"] == ["energy"]
    assert (kept[-1].metric, ENERGY.unit) == ("energy", "uJ")
    assert kept[-1].samples[0] / ENERGY.divisor(kept[-1].unit) == pytest.approx(found.energy_uj, rel=1e-3)
    assert found.to_json()["energy_uJ"] == found.energy_uj
    with Store(tmp_path / "store.sqlite") as store:
        store.append(kept)
        (known,) = known_of_file(store, kept[-1].key, ENERGY)
    assert known.estimate.mean[0] == pytest.approx(found.energy_uj, rel=1e-3)


def test_energy_is_not_told_of_a_device_on_the_mains_or_without_a_gauge(models: dict[str, Path]) -> None:
    model = next(iter(models.values()))
    for facts, why in (
        ({"is_charging": True}, "powered"),
        ({"charge_uah": 5}, "made 0 steps"),
    ):
        found, kept = sustained_on(Discharging(**facts), model, 300.0)
        assert (found.energy_uj, found.watts) == (None, None)
        assert why in found.why_no_energy
        assert all(row.metric == "latency" for row in kept)
    agent = Resting()
    found = measure_sustained(agent, agent.target, model, 8.0, now=lambda: agent.now_s)  # type: ignore[arg-type]
    assert found.why_no_energy == "the device tells no charge of a battery"
    assert dict(found.lines())["energy"].startswith("not known")


def test_what_cannot_be_sustained(
    daemon: Any, open_agent: Callable[..., AdbAgent], models: dict[str, Path], tmp_path: Path
) -> None:
    agent = open_agent(daemon.address, options=SUSTAINED_OPTIONS)
    with pytest.raises(InputError, match="too short"):
        measure_sustained(agent, agent.target, next(iter(models.values())), 1.0)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"TFL3")
    with pytest.raises(DeviceError, match="does not run"):
        measure_sustained(agent, agent.target, broken, 4.0)
