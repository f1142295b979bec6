"""Fixtures for every test room that measures on other hosts; a room's conftest imports those that it needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetfront.testing.pipe_ssh import HOSTS
from tests.far_hosts.sshd import Sshd, why_not

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


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """A host behind a real sshd on loopback: ``ssh:desk/...``, with a workspace of its own."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    path = ":".join(entry for entry in sys.path if entry)
    sshd = Sshd(tmp_path / "desk", {"FLEETFRONT_HOME": str(tmp_path / "desk" / "home"), "PYTHONPATH": path})
    monkeypatch.setenv("FLEETFRONT_SSH", sshd.ssh)
    monkeypatch.setenv("FLEETFRONT_AGENT", AGENT)
    yield sshd
    sshd.stop()
