"""Profiling with real files, real runtimes and real worker processes; campaigns on simulated devices are in
``tests/profilers``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.errors import DeviceError, InputError
from fleetfront.files import device_lock
from fleetfront.pipelines.measure.files import measure_files
from fleetfront.pipelines.measure.profile import (
    BUDGETS,
    Budget,
    ProfileOutcome,
    TargetError,
    check_precision,
    measure_networks,
    parse_budget,
    profile_space,
)
from fleetfront.pipelines.measure.single_file import profile_file
from fleetfront.profilers.base import VisitBatch
from fleetfront.profilers.campaign import Campaign
from fleetfront.profilers.cpu.agent import LocalCpuAgent
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.reading.observations import Observations
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

pytest.importorskip("onnxruntime")

SPACE = load_space("ofa-mbv3-mini")
SMALL = PlanOptions(calibration=3, validation=2)
BLOCKS = len(SPACE.vocabulary)
PER_ROUND = BLOCKS + 5 + -(-(BLOCKS + 5) // 8) + 1


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "home")


@pytest.fixture
def store(workspace: Workspace) -> Iterator[Store]:
    with Store(workspace.store) as opened:
        yield opened


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_a_space_is_profiled_and_judged(runtime: str, store: Store, workspace: Workspace) -> None:
    if runtime == "litert":
        pytest.importorskip("ai_edge_litert")
    target = Target("cpu", runtime)
    outcome = profile_space(SPACE, target, store=store, rounds=2, options=SMALL, workspace=workspace)
    assert (outcome.result.ended_by, outcome.result.rounds) == ("rounds", 2)
    assert outcome.result.visits == 2 * PER_ROUND
    assert outcome.planned == {Role.BLOCK: BLOCKS, Role.CALIBRATION: 3, Role.VALIDATION: 2}
    assert {role: outcome.measured[role] for role in outcome.planned} == outcome.planned
    assert outcome.observations.errors == {}
    assert outcome.observations.clock == Clock.THREAD_CPU
    for keys in outcome.observations.visits.values():
        assert all((visits > 0).all() for visits in keys.values())
    networks = [v.min() for v in outcome.observations.visits[Role.CALIBRATION].values()]
    blocks = [v.min() for v in outcome.observations.visits[Role.BLOCK].values()]
    assert min(networks) > np.median(blocks)
    data = json.loads(json.dumps(outcome.to_json(), allow_nan=False))
    assert data["schema"] == "fleetfront.profile/1"
    assert data["target"] == str(target)
    assert data["environment"]["runtime"] == runtime
    assert sum(data["role_seconds"].values()) < data["seconds"]
    (row,) = store.campaigns(target=target, space=SPACE.name)
    assert (row.id, row.is_finished) == (outcome.result.campaign, True)


class Unplugged(LocalCpuAgent):
    """This machine, but gone after some visits."""

    left = 7

    def run(self, batch: VisitBatch) -> Generator[tuple[Measurement, ...], None, None]:
        for measurements in super().run(batch):
            if not self.left:
                raise DeviceError("It is gone.", "Plug it in.")
            self.left -= 1
            yield measurements


def test_a_lost_device_is_continued_by_the_same_call(store: Store, workspace: Workspace) -> None:
    target = Target("cpu", "onnxruntime")
    with pytest.raises(DeviceError, match="gone"):
        profile_space(SPACE, target, store=store, rounds=1, options=SMALL, workspace=workspace, open_agent=Unplugged)
    (row,) = store.campaigns()
    # Files that were swept away meanwhile are written again and must be the same.
    shutil.rmtree(workspace.cache)
    outcome = profile_space(SPACE, target, store=store, rounds=1, options=SMALL, workspace=workspace)
    assert (outcome.result.campaign, outcome.result.was_resumed) == (row.id, True)
    assert outcome.result.visits == PER_ROUND - 7
    again = profile_space(SPACE, target, store=store, rounds=1, options=SMALL, workspace=workspace)
    assert again.result.campaign != row.id, "a finished campaign is begun anew"


def test_a_budget_without_a_single_visit_is_an_error(store: Store, workspace: Workspace) -> None:
    target = Target("cpu", "onnxruntime")
    with pytest.raises(InputError, match="before the first visit"):
        profile_space(SPACE, target, store=store, budget=Budget("x", 1e-3), options=SMALL, workspace=workspace)


@pytest.mark.parametrize("flags", [("throttled",), ()])
def test_a_device_too_hot_for_the_budget_is_said_to_be_so(
    flags: tuple[str, ...], store: Store, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = [0.0]
    monkeypatch.setattr(Campaign, "seconds", property(lambda _: spent[0]))

    class Slow(LocalCpuAgent):
        """Its first visit takes the budget, as on a phone that had to be waited for."""

        def run(self, batch: VisitBatch) -> Generator[tuple[Measurement, ...], None, None]:
            for rows in super().run(batch):
                spent[0] = 60.0
                yield tuple(replace(row, flags=flags) for row in rows)

    def profile() -> ProfileOutcome:
        return profile_space(
            SPACE, Target("cpu", "onnxruntime"), store=store, options=SMALL, workspace=workspace, open_agent=Slow
        )

    if not flags:
        assert Role.BLOCK not in profile().measured
        return
    with pytest.raises(DeviceError, match="was too hot: no block or network was measured within") as caught:
        profile()
    assert "--max-temp" in caught.value.remedy
    assert "--budget" in caught.value.remedy
    (row,) = store.campaigns()
    assert row.reason == "budget"


def test_given_networks_are_measured_and_nothing_else(store: Store, workspace: Workspace) -> None:
    archs = SPACE.arch_ids(SPACE.sample(3, np.random.default_rng(3)))
    outcome = measure_networks(
        SPACE, Target("cpu", "onnxruntime"), archs, store=store, rounds=2, workspace=workspace, role=Role.VALIDATION
    )
    found = outcome.observations.visits
    assert {key: visits.size for key, visits in found[Role.VALIDATION].items()} == dict.fromkeys(archs, 2)
    assert set(found) == {Role.VALIDATION, Role.ANCHOR}


def test_what_cannot_be_profiled_is_refused(store: Store, workspace: Workspace) -> None:
    with pytest.raises(InputError, match="fp32, int8, w8 or w4 on litert") as caught:
        profile_space(SPACE, Target("cpu", "litert", "fp16"), store=store, workspace=workspace)
    assert "--file" in caught.value.remedy
    with pytest.raises(InputError, match="litert"):
        profile_space(SPACE, Target("cpu", "litterrt"), store=store, workspace=workspace)
    two = Target("cpu", "onnxruntime", threads=2)
    with pytest.raises(InputError, match="thread-CPU") as caught:
        profile_space(SPACE, two, store=store, workspace=workspace, clock=Clock.THREAD_CPU)
    assert "--clock wall" in caught.value.remedy


def test_one_coordinator_a_device_whatever_the_runtime(
    store: Store, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETFRONT_HOME", str(workspace.root))
    network = tmp_path / "network.onnx"
    network.write_bytes(write_onnx(SPACE.subnet_graphs(SPACE.sample(1, np.random.default_rng(0))[0])["network"][0]))
    busy = f"cpu is already being measured by process {os.getpid()}"
    with device_lock(workspace.root / "locks", "cpu"):
        for runtime in ("onnxruntime", "litert"):
            with pytest.raises(DeviceError, match=busy):
                profile_space(SPACE, Target("cpu", runtime), store=store, workspace=workspace)
        with pytest.raises(DeviceError, match=busy):
            measure_files({"a": network}, Target("cpu", "litert"), store, clock=Clock.WALL, workspace=workspace)
        with pytest.raises(DeviceError, match=busy):
            profile_file(network)


def test_another_device_is_never_timed_on_this_cpu(store: Store, workspace: Workspace, tmp_path: Path) -> None:
    network = tmp_path / "network.tflite"
    network.write_bytes(b"whatever")
    archs = SPACE.arch_ids(SPACE.sample(2, np.random.default_rng(0)))
    with pytest.raises(DeviceError, match="'pixel3' cannot be measured"):
        measure_networks(SPACE, Target("pixel3", "onnxruntime"), archs, store=store, workspace=workspace)
    with pytest.raises(DeviceError, match="'pixel3' cannot be measured"):
        measure_files({"a": network}, Target("pixel3", "litert"), store, clock=Clock.WALL, workspace=workspace)
    assert not store.holdings()


def test_budgets() -> None:
    assert parse_budget("quick") is BUDGETS["quick"]
    assert (parse_budget("long").calibration, parse_budget("10m").calibration) == (80, 20)
    assert parse_budget("90s").seconds == 90
    with pytest.raises(InputError, match="quick"):
        parse_budget("quik")
    with pytest.raises(InputError, match="duration"):
        parse_budget("10 parsecs")


def test_the_target_error_is_asked_for_from_the_third_round_on() -> None:
    errors = iter([None, 3.0, 1.9])
    seen = Observations(Target("cpu", "litert"), "s", Clock.WALL, {})
    rule = TargetError(lambda _observations: next(errors), 2.0)
    stops = [rule.decide(seen, rounds, 1.0) for rounds in range(1, 6)]
    assert stops[:4] == [None] * 4
    assert stops[4] is not None
    assert stops[4].error == 1.9
    with pytest.raises(InputError, match="target error"):
        TargetError(lambda _observations: None, 0.0)


COORDINATOR = """
import sys
from pathlib import Path
from fleetfront.pipelines.measure.profile import profile_space
from fleetfront.profilers.cpu.agent import LocalCpuAgent
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.store.store import Store
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

class Telling:
    def start(self, label, total=None): pass
    def advance(self, steps=1, detail=""):
        if detail: print("visit", flush=True)
    def finish(self): pass
    def note(self, text): print(text, flush=True)

def opened(target):
    agent = LocalCpuAgent(target)
    print("worker", agent._worker.pid, flush=True)
    return agent

home = Workspace(Path(sys.argv[1]))
with Store(home.store) as store:
    result = profile_space(load_space("ofa-mbv3-mini"), Target("cpu", "onnxruntime"), store=store, rounds=2,
        options=PlanOptions(calibration=3, validation=2), workspace=home, open_agent=opened, progress=Telling()).result
print("done", result.visits, result.was_resumed, flush=True)
"""


def _coordinate(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", COORDINATOR, str(home)], stdout=subprocess.PIPE, text=True)


def _signalled_after(home: Path, visits: int, what: signal.Signals) -> tuple[list[str], int]:
    """Run a coordinator, signal it after some visits; its lines and the pid of its worker."""
    coordinator = _coordinate(home)
    assert coordinator.stdout is not None
    lines: list[str] = []
    for line in coordinator.stdout:
        lines.append(line.strip())
        if lines.count("visit") == visits and lines[-1] == "visit":
            coordinator.send_signal(what)
    coordinator.wait()
    assert coordinator.returncode != 0
    worker = next(int(line.split()[1]) for line in lines if line.startswith("worker"))
    return lines, worker


def _has_ended(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_killed_at_any_moment_it_loses_at_most_the_visit_in_flight(workspace: Workspace) -> None:
    told = 0
    for visits in (1, 23, 40):
        lines, worker = _signalled_after(workspace.root, visits, signal.SIGKILL)
        told += lines.count("visit")
        with Store(workspace.store, must_exist=True) as store:
            stored = len(list(store.measurements(clock=Clock.WALL)))
            (row,) = store.campaigns()
        # A visit may be committed that the coordinator had no time to tell of.
        assert told <= stored <= told + 1
        told = stored
        assert not row.is_finished
        assert _has_ended(worker), "the worker outlived its coordinator"
    coordinator = _coordinate(workspace.root)
    output, _ = coordinator.communicate(timeout=120)
    assert output.splitlines()[-1] == f"done {2 * PER_ROUND - told} True"
    with Store(workspace.store, must_exist=True) as store:
        rows = [m for m in store.measurements(clock=Clock.THREAD_CPU) if m.role != Role.ANCHOR]
        assert len(store.campaigns()) == 1
    assert set(Counter((m.round, m.role, m.key) for m in rows).values()) == {1}
    assert len(rows) == 2 * (BLOCKS + 5)


def test_ctrl_c_commits_the_visit_in_flight_and_frees_everything(workspace: Workspace) -> None:
    lines, worker = _signalled_after(workspace.root, 10, signal.SIGINT)
    with Store(workspace.store, must_exist=True) as store:
        (row,) = store.campaigns()
        assert (row.reason, row.is_finished) == ("interrupted", False)
        assert len(list(store.measurements(clock=Clock.WALL))) == lines.count("visit") >= 10
    assert any("press Ctrl-C again" in line for line in lines)
    assert _has_ended(worker)


def test_fp16_is_refused_on_a_cpu_with_the_measured_reason() -> None:
    with pytest.raises(InputError) as raised:
        check_precision(Target("cpu", "litert", "fp16"))
    assert "compute fp16 files in float32" in raised.value.message
    with pytest.raises(InputError) as raised:
        check_precision(Target("cpu", "litert", "tf32"))
    assert "float32" not in raised.value.message
