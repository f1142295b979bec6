"""Fixtures that every test room shares."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public measurements; tests that need it skip where it is missing."""
    configured = os.environ.get("FLEETFRONT_TEST_DATA")
    folder = Path(configured) if configured else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"public measurements not found at {folder}")
    return folder


@pytest.fixture(autouse=True)
def _own_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own workspace."""
    monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path / "fleetfront-home"))
