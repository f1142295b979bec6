from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.pipelines.measure.company import BLOCKS, NETWORKS, find_company
from fleetfront.pipelines.measure.files import measure_files
from fleetfront.pipelines.measure.profile import Budget, profile_space
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.reading.observations import read_observations
from fleetfront.profilers.reading.rows import preferred_campaign
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

TARGET = Target("cpu", "onnxruntime")


class Told:
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def start(self, *_: object) -> None: ...

    def advance(self, *_: object) -> None: ...

    def finish(self) -> None: ...


def test_files_are_timed_among_a_profiles_networks(tmp_path: Path) -> None:
    space, workspace = ofa_mbv3_mini(), Workspace(tmp_path)
    options = PlanOptions(calibration=6, validation=1)
    (network,) = space.sample(1, np.random.default_rng(5))
    path = tmp_path / "net.onnx"
    path.write_bytes(write_onnx(space.subnet_graphs(network)["network"][0]))
    with Store(workspace.store) as store:
        assert find_company(store, space.name, TARGET, Clock.WALL, workspace.cache, ".onnx") is None
        profile_space(
            space, TARGET, store=store, budget=Budget("test", 60.0), rounds=2, options=options, workspace=workspace
        )
        profiled = preferred_campaign(store, TARGET, space.name)
        company = find_company(store, space.name, TARGET, Clock.WALL, workspace.cache, ".onnx")
        assert company is not None
        found = measure_files(
            {"net": path}, TARGET, store, clock=Clock.WALL, rounds=3, company=company, workspace=workspace
        )
        moved = replace(company, reference=replace(company.reference, environment={"cpu": "Abacus"}))
        told = Told()
        measure_files(
            {"net": path},
            TARGET,
            store,
            clock=Clock.WALL,
            rounds=1,
            company=moved,
            workspace=workspace,
            progress=told,  # type: ignore[arg-type]
        )
        assert any("the processor changed from Abacus" in note for note in told.notes)
        # What kept the file company makes no table, so the profile stays what fits are made of.
        assert preferred_campaign(store, TARGET, space.name) == profiled
        seen = read_observations(store, TARGET, space.name, Clock.WALL, [found.campaign])
    roles = [task.role for task in company.tasks]
    assert (roles.count(Role.CALIBRATION), roles.count(Role.ANCHOR)) == (NETWORKS, BLOCKS)
    assert {role: len(things) for role, things in seen.visits.items()} == {
        Role.FILE: 1,
        Role.CALIBRATION: NETWORKS,
        Role.ANCHOR: BLOCKS,
    }
    latency = found.latencies["net"]
    assert latency.ms is not None
    assert latency.sitting is not None
    assert latency.profile_ms == latency.ms / latency.sitting
