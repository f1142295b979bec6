"""The devices over ADB that commands are tried on, and a way to run a command in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleetfront.cli.main import main
from fleetfront.pipelines.measure import single_file
from tests.adbd.fixtures import adb_server, adbd_root, daemon, make_daemon, models, no_adb_server, phone
from tests.far_hosts.fixtures import hosts

__all__ = ["adb_server", "adbd_root", "daemon", "hosts", "make_daemon", "models", "no_adb_server", "phone"]


@pytest.fixture(autouse=True)
def _short_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are timed for a moment: what commands say of their times is looked at, not how good these are."""
    monkeypatch.setattr(single_file, "FILE_SECONDS", 0.2)


@pytest.fixture
def model(models: dict[str, Path]) -> str:
    """A TensorFlow Lite file."""
    return str(next(iter(models.values())))


@pytest.fixture
def told(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command here; its exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(list(arguments))
        out, err = capfd.readouterr()
        return code, out, err

    return run
