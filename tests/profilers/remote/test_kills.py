"""Kill agents, links and controllers at random while devices of two hosts are measured: no row is lost or doubled."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.far_hosts.fixtures import install_simulated

ROOT = Path(__file__).resolve().parents[3]


def test_no_row_is_lost_or_doubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import fleet_kills

    site = tmp_path / "site"
    install_simulated(site)
    for name, value in fleet_kills.environment(tmp_path, site).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(fleet_kills, "LONGEST_PEACE_S", 0.2)
    (tmp_path / "model.tflite").write_bytes(b"no file is opened")
    devices = tuple(f"ssh:host{n % 2}/simulated:{n}" for n in range(3))
    experiment = fleet_kills.Experiment(tmp_path, devices, (tmp_path / "model.tflite",), keys=40, rounds=10, kills=20)
    outcome = fleet_kills.run(experiment)
    found = fleet_kills.as_json(experiment, outcome)
    log = (tmp_path / "controllers.log").read_text()
    assert sum(outcome.kills.values()) == 20, (found, log)
    assert {name: found[name] for name in ("lost", "doubled", "failed", "wrong")} == dict.fromkeys(
        ("lost", "doubled", "failed", "wrong"), 0
    ), log
    assert found["rows"] == found["expected"] == 3 * 40 * 10 * 2
    assert found["campaigns"] == 3
    assert outcome.exit_codes[0] == 3
    assert sys.modules.pop("fleet_kills") is fleet_kills
