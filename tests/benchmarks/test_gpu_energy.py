"""The figures of ``benchmarks/gpu_energy.py``, from readings and a counter that are written down here."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from fleetfront.profilers.gpu.energy import EnergyReading

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu_energy.py"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    specification = importlib.util.spec_from_file_location("gpu_energy_benchmark", PROGRAM)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_spread_and_longer_runs_are_told_over_the_networks_that_were_read(program: ModuleType) -> None:
    short = [[EnergyReading(mj * 1000, 10, 0.5), None] for mj in (99, 100, 101)]
    found = program.summary(short, [EnergyReading(110_000, 2000, 2.0), EnergyReading(1, 1, 1.0)])
    assert found["networks"] == 1
    assert found["mj"] == [[99.0, 100.0, 101.0]]
    assert found["repeat_percent"] == pytest.approx(1.0)
    assert found["long_over_short_percent"] == [10.0]
    assert found["watts"][0] == pytest.approx(110.0)


def test_no_reading_is_said(program: ModuleType) -> None:
    assert "absent" in program.summary([[None]], [None])


def test_idle_power_runs_from_step_to_step(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(program.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(program.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    # 75 W, in steps of a tenth of a second.
    assert program.idle_watts(lambda: 7500 * int(now[0] / 0.1 + 1e-9), 2.0) == pytest.approx(75.0, rel=0.01)
    assert program.idle_watts(lambda: 5, 2.0) is None
    assert program.idle_watts(lambda: None, 2.0) is None
