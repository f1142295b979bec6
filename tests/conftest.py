"""Fixtures that every test room shares, and the rule that CI skips nothing without a listed reason."""

import os
from pathlib import Path

import pytest

_ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")
_skipped: list[tuple[str, str]] = []


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


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append((report.nodeid, _reason(report.longrepr)))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skipped.append((report.nodeid, _reason(report.longrepr)))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI, a skip whose reason nobody listed is a failure. Workers of xdist leave this to their controller."""
    if not os.environ.get("FLEETFRONT_CI") or hasattr(session.config, "workerinput") or exitstatus != 0:
        return
    listed = [line for line in _ALLOWED_SKIPS.read_text().splitlines() if line and not line.startswith("#")]
    unlisted = [(test, reason) for test, reason in _skipped if not reason.startswith(tuple(listed))]
    for test, reason in unlisted:
        print(f"\nskipped without a listed reason: {test}: {reason}")
    if unlisted:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _reason(longrepr: object) -> str:
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return str(text).removeprefix("Skipped: ")
