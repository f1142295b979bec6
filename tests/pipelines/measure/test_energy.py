"""Energy from a battery's gauge, all the way: a profile's networks, fit, prediction, search, report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.errors import DeviceError, InputError
from fleetfront.pipelines.fit.fit import fit_all, fit_target
from fleetfront.pipelines.knowledge.cost_models import device_models
from fleetfront.pipelines.measure.energy import measure_energy
from fleetfront.profilers.adb import kind
from fleetfront.profilers.campaign import Campaign, Limits, begin_campaign
from fleetfront.profilers.model_files import FileCache
from fleetfront.profilers.plan import PlanOptions, TaskList, make_plan
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import ENERGY, Clock, Tier
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.testing.simulated_device import SimulatedDevice
from fleetfront.workspace import Workspace

TARGET = Target("adb:sim", "tflite-cpu")
SPACE: Any = load_space("ofa-mbv3-mini")
WATTS = 3.0


def network_ms(genotypes: Any) -> Any:
    """Milliseconds of networks: their blocks' and a bit."""
    values = np.append(10 + SPACE.block_macs(SPACE.vocabulary) / 1e5, 0.0)
    return 1.05 * values[SPACE.block_indices(genotypes)].sum(axis=1) + 2.0


def true_ms(tasks: TaskList) -> Mapping[str, float]:
    """Key or file -> milliseconds of a run."""
    blocks = dict(zip((b.key for b in SPACE.vocabulary), 10 + SPACE.block_macs(SPACE.vocabulary) / 1e5, strict=True))
    found: dict[str, float] = {}
    for task in (*tasks.tasks, *([tasks.anchor] if tasks.anchor else [])):
        ms = blocks[task.key] if task.key in blocks else float(network_ms(SPACE.parse([task.key]))[0])
        found |= {task.key: ms, task.file: ms}
    return found


@pytest.fixture
def profiled() -> Iterator[tuple[Store, SimulatedDevice]]:
    """A profile of a phone on its battery, in the user's own workspace."""
    place = Workspace.default()
    cache = FileCache(place.cache / "files", ".tflite")
    tasks = make_plan(SPACE, PlanOptions(calibration=10, validation=0)).written(
        lambda graph, _: cache.put(graph.content_hash.encode())
    )
    device = SimulatedDevice(true_ms(tasks), watts=WATTS, gauge_uah=100, clocks=(Clock.WALL,))
    with Store(place.store) as store:
        row = begin_campaign(store, TARGET, SPACE.name, "identity", tasks, {"model": "simulated"})
        files = {file: str(cache.path(file)) for file in tasks.files}
        Campaign(store, device, row, PlanOptions().rounds, files, clock=Clock.WALL, now=device.now).run(Limits(1e9, 2))
        yield store, device


def measured(store: Store, device: SimulatedDevice, seconds: float = 600.0, **more: Any) -> Any:
    return measure_energy(SPACE, TARGET, seconds, store=store, open_agent=lambda _: device, now=device.now, **more)


def test_the_gauge_of_a_battery_reaches_fits(profiled: tuple[Store, SimulatedDevice]) -> None:
    store, device = profiled
    first = measured(store, device, count=4)
    assert len(first.microjoules) == 4
    begun_s = device.clock_s
    rest = measured(store, device)
    assert (rest.known_before, len(rest.microjoules), rest.why_not) == (4, 6, {})
    assert device.clock_s - begun_s < 6 * 120, "each ends as soon as the gauge has told enough"
    found = {**first.microjoules, **rest.microjoules}
    wanted = 1e3 * WATTS * network_ms(SPACE.parse(list(found)))
    np.testing.assert_allclose(list(found.values()), wanted, rtol=0.1)
    rows = list(store.measurements(target=TARGET, space=SPACE.name, metric="energy"))
    assert {(row.role, row.clock, row.campaign) for row in rows} == {(Role.CALIBRATION, Clock.DEVICE, first.campaign)}
    latency = store.measurements(target=TARGET, space=SPACE.name, campaigns=[first.campaign])
    assert not any("sustained" in row.flags for row in latency), "heat is no part of the profile"
    report = fit_all(store, TARGET, SPACE)
    (energy,) = report["other_metrics"]
    assert (energy["metric"], energy["unit"], energy["clock"]) == ("energy", "uJ", "device")
    (model,) = device_models(["adb:sim"], SPACE, metric=ENERGY)
    genotypes = SPACE.canonical(SPACE.sample(30, np.random.default_rng(7)))
    estimate = model.model.predict(genotypes)
    wanted = 1e3 * WATTS * network_ms(genotypes)
    assert model.model.tier is Tier.MEASURED
    np.testing.assert_allclose(estimate.mean, wanted, rtol=0.1)
    assert (np.abs(estimate.mean - wanted) <= 1.645 * estimate.std).mean() >= 0.8


def test_searches_and_reports_know_the_energy(
    profiled: tuple[Store, SimulatedDevice],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store, device = profiled
    store.close()
    monkeypatch.setattr(kind.AdbKind, "target", lambda _self, _name, **_: TARGET)
    monkeypatch.setattr(kind.AdbKind, "open", lambda _self, _target, _choices, _progress: device)
    monkeypatch.setattr(measure_energy, "__kwdefaults__", {**measure_energy.__kwdefaults__, "now": device.now})
    space = ("--space", SPACE.name)
    assert main(["profile", "--device", "adb:sim", *space, "--energy", "5m", "--json", "-q"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["fit"]["metric"], len(found["energy_uJ"])) == (
        "fleetfront.energy-profile/1",
        "energy",
        10,
    )
    arch = next(iter(found["energy_uJ"]))
    assert main(["predict", "--device", "adb:sim", *space, "--metric", "energy", "--json", arch]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["energy_uJ"] == pytest.approx(found["energy_uJ"][arch], rel=0.1)
    assert (row["tier"], row["energy_std_uJ"] > 0) == ("measured", True)
    genotypes = SPACE.canonical(SPACE.sample(200, np.random.default_rng(1)))
    scores = 50 + network_ms(genotypes) / 100
    lines = {f"{arch},{score}" for arch, score in zip(SPACE.arch_ids(genotypes), scores, strict=True)}
    (tmp_path / "table.csv").write_text("\n".join(["arch,accuracy", *sorted(lines)]))
    assert main(["fit", *space, "--device", "adb:sim", "--json"]) == 0
    asked = ("--accuracy", f"csv:{tmp_path / 'table.csv'}", "-q")
    out = str(tmp_path / "fronts")
    limit = 1.05e-3 * sorted(found["energy_uJ"].values())[5] * 1e3
    searched = ["search", "--device", "adb:sim", *space, *asked, "--objective", "energy", "--out", out]
    assert main([*searched, "--limit", f"adb:sim:energy={limit:.0f}"]) == 0
    (front,) = json.loads((Path(out) / "fronts.json").read_text())["devices"].values()
    assert front["points"]
    assert all(0 < point["energy_uJ"] <= limit for point in front["points"])
    page = tmp_path / "page.html"
    assert main(["report", "--front", out, "--random-seeds", "0", "--out", str(page), "-q"]) == 0
    assert "energy" in page.read_text()


def test_a_device_that_tells_no_energy_is_said(
    profiled: tuple[Store, SimulatedDevice], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, device = profiled
    with pytest.raises(DeviceError, match=r"gauge made \d+ steps") as caught:
        measured(store, device, seconds=8.0)
    assert "adb tcpip" in caught.value.remedy
    device.gauge_uah = 0
    with pytest.raises(DeviceError, match="tells no charge of a battery"):
        measured(store, device)
    with pytest.raises(InputError, match="energy of no block or calibration network"):
        fit_target(store, TARGET, SPACE, metric=ENERGY)


def test_networks_come_from_a_profile(tmp_path: Path) -> None:
    def never(_: Target) -> Any:
        pytest.fail("no device is opened")

    with Store(tmp_path / "store.sqlite") as store, pytest.raises(InputError, match="No calibration network") as caught:
        measure_energy(SPACE, TARGET, 60.0, store=store, open_agent=never)
    assert "fleetfront profile --device adb:sim --runtime tflite-cpu --space ofa-mbv3-mini" in caught.value.remedy
