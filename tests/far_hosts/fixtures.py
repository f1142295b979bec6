"""Fixtures for every test room that measures on other hosts; a room's conftest imports those that it needs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fleetfront.testing.pipe_ssh import HOSTS

AGENT = f"{sys.executable} -m fleetfront agent --stdio"


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hosts of any name behind a pipe in ssh's place: the folder of their workspaces. They have simulated devices."""
    site = tmp_path / "site"
    install_simulated(site)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", ":".join(entry for entry in sys.path if entry))
    monkeypatch.setenv("FLEETFRONT_SSH", f"{sys.executable} -m fleetfront.testing.pipe_ssh")
    monkeypatch.setenv("FLEETFRONT_AGENT", AGENT)
    folder = tmp_path / "hosts"
    monkeypatch.setenv(HOSTS, str(folder))
    return folder


def install_simulated(site: Path) -> None:
    """Leave in ``site`` what pip leaves of a package with simulated devices."""
    info = site / "simulated_devices-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: simulated-devices\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[fleetfront.devices]\nsimulated = fleetfront.testing.simulated_kind:SimulatedKind\n"
    )
