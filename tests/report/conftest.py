"""Reports that the tests of this room and of ``tests/pages`` share; made once a process, for making them measures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetfront.report.gather import gather_report
from fleetfront.report.section import Report
from fleetfront.workspace import Workspace
from tests.report.fleet import Made, make_fleet, make_measured, make_public

_made: dict[str, Any] = {}


def once(name: str, make: Callable[[], Any]) -> Any:
    if name not in _made:
        _made[name] = make()
    return _made[name]


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made: Made = once("fleet", lambda: make_fleet(tmp_path_factory.mktemp("fleet")))
    return made


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made: Made = once("measured", lambda: make_measured(tmp_path_factory.mktemp("measured")))
    return made


@pytest.fixture(scope="session")
def public(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Made:
    made: Made = once("public", lambda: make_public(tmp_path_factory.mktemp("public"), shared_data))
    return made


@pytest.fixture(scope="session")
def public_report(public: Made) -> Report:
    report: Report = once("public report", lambda: gather_report(public.workspace, fronts=public.fronts))
    return report


@pytest.fixture(scope="session")
def fleet_report(fleet: Made) -> Report:
    report: Report = once("fleet report", lambda: gather_report(fleet.workspace, fronts=fleet.fronts))
    return report


@pytest.fixture(scope="session")
def measured_report(measured: Made) -> Report:
    made = measured
    report: Report = once(
        "measured report", lambda: gather_report(made.workspace, fronts=made.fronts, bundles=made.bundles)
    )
    return report


@pytest.fixture(scope="session")
def empty_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return gather_report(Workspace(tmp_path_factory.mktemp("empty")))
