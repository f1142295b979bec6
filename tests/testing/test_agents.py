"""Agents that need no phone and no GPU conform, and each fault is found; the simulated device does what it says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.errors import DeviceError
from fleetfront.graphs.graph import GraphBuilder
from fleetfront.profilers.gpu.open_agent import rehearsal_agent
from fleetfront.profilers.kinds.base import Choices
from fleetfront.profilers.kinds.catalogue import open_device
from fleetfront.targets import Target
from fleetfront.testing.agents import AGENT_CHECKS, AGENT_FAULTS, AgentCase, faulty_agent
from fleetfront.testing.checks import check_name, failures
from fleetfront.testing.simulated_device import Heat, SimulatedDevice
from fleetfront.workspace import Workspace


def simulated() -> AgentCase:
    files = {"a": "nowhere", "b": "nowhere"}
    latency_ms = {"a": 1.0, "b": 2.0}
    return AgentCase(
        lambda: SimulatedDevice(latency_ms, noise=0.1, watts=2.0),
        Target("pretended", "litert"),
        files,
        "nowhere",
        is_real=False,
    )


@pytest.mark.parametrize("check", AGENT_CHECKS, ids=check_name)
def test_the_simulated_device_conforms(check: Callable[[AgentCase], None]) -> None:
    check(simulated())


@pytest.mark.parametrize("check", AGENT_CHECKS, ids=check_name)
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_agents_of_this_machine_conform(kind: str, check: Callable[[AgentCase], None], tmp_path: Path) -> None:
    builder = GraphBuilder("g")
    weight = builder.weight("w", np.ones((8, 8, 3, 3), np.float32))
    graph = builder.build([builder.conv2d(builder.input("x", (1, 8, 16, 16), layout="NCHW"), weight, padding=1)])
    (tmp_path / "damaged").write_bytes(b"no model")
    (tmp_path / "net").write_bytes(write_onnx(graph) if kind == "cpu" else graph.to_bytes())
    choices, target = Choices(workspace=Workspace(tmp_path / "home")), Target("cpu", "onnxruntime")
    if kind == "cuda":
        # All of the program but the GPU: in torch on the CPU, under the host's clock.
        target = Target("cuda:0", "torch")
    opened = {"cpu": lambda: open_device(target, choices), "cuda": lambda: rehearsal_agent(target)}[kind]
    check(AgentCase(opened, target, {"net": str(tmp_path / "net")}, str(tmp_path / "damaged")))


@pytest.mark.parametrize("fault", AGENT_FAULTS)
def test_each_fault_is_found(fault: str) -> None:
    assert failures(AGENT_CHECKS, faulty_agent(simulated(), fault))


def test_work_warms_a_device_until_it_slows_down_and_rest_cools_it() -> None:
    case = simulated()
    device = SimulatedDevice({"a": 100.0}, heat=Heat(warms_c_per_s=10.0, limit_c=30.0))
    case = AgentCase(lambda: device, case.target, {"a": "nowhere"}, "", timed_runs=10)
    rows = [rows[0] for rows in device.run(case.batch(["a"] * 3))]
    assert rows[0].samples[0] == 100_000_000
    assert rows[-1].samples[-1] == 200_000_000
    assert rows[-1].after["throttles"] > rows[-1].before["throttles"] >= 0
    assert rows[-1].after["temperature_c"] > 30
    device.rest(600)
    assert device.temperature_c == pytest.approx(25.0, abs=0.01)
    ((cool, *_),) = device.run(case.batch(["a"]))
    assert cool.samples[0] == 100_000_000


def test_a_device_that_was_lost_comes_back() -> None:
    case = simulated()
    device = SimulatedDevice({"a": 1.0}, lost_at=frozenset({1}))
    with pytest.raises(DeviceError, match="gone"):
        list(device.run(case.batch(["a", "a"])))
    assert len(list(device.run(case.batch(["a", "a"])))) == 2


def test_energy_is_power_times_time() -> None:
    ((wall, _cpu, energy),) = SimulatedDevice({"a": 1.5}, watts=2.0).run(simulated().batch(["a"]))
    assert (energy.metric, energy.unit) == ("energy", "uJ")
    assert energy.samples == tuple(2 * ns // 1000 for ns in wall.samples)
