"""The GPU agent: a simulated device for what goes wrong, torch on the CPU for a real walk from file to store."""

from pathlib import Path
from typing import Any

import pytest

from fleetfront.errors import DeviceError
from fleetfront.graphs.graph import GraphBuilder
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.gpu.agent import GpuAgent, GpuOptions
from fleetfront.profilers.gpu.open_agent import rehearsal_agent
from fleetfront.profilers.gpu.visit_timing import LAUNCH_BOUND, SteadyRule
from fleetfront.profilers.records import Measurement, Role, measurement_from_json, measurement_to_json
from fleetfront.quantities import Clock
from fleetfront.targets import Target
from tests.profilers.gpu.fakes import FakeDevice, FakeOpener, FakeOutOfMemory, FakeProgram

TARGET = Target("cuda:0", "torch", "fp16", 1, 64)
AT_ONCE = SteadyRule(1, 1.0, 0.0)


def batch_of(files: list[str], role: Role = Role.BLOCK, round_: int = 0) -> VisitBatch:
    visits = tuple(Visit(f"v{i}", role, f"key-{name}", name, 2, 5) for i, name in enumerate(files))
    return VisitBatch(TARGET, "space", "campaign", round_, visits, {name: f"/files/{name}" for name in files})


def agent_of(device: FakeDevice, **more: Any) -> GpuAgent:
    opener = more.pop("opener", None) or FakeOpener(device)
    return GpuAgent(TARGET, opener, device, {"name": "simulated"}, first_warm_up=AT_ONCE, **more)


def run(agent: GpuAgent, batch: VisitBatch) -> list[tuple[Measurement, ...]]:
    return list(agent.run(batch))


class Conditions:
    """What an ``Nvml`` is asked, from a list of temperatures' worth of reasons."""

    def __init__(self, device: FakeDevice, reasons: tuple[str, ...] = (), has_counter: bool = True) -> None:
        self.device, self.reasons, self.has_counter = device, reasons, has_counter

    def describe(self) -> dict[str, Any]:
        return {"gpu": "NVIDIA Test", "driver": "570.1"}

    def read(self) -> dict[str, Any]:
        return {"frequency_khz": 1_980_000, "temperature_c": 61, "clock_reasons": list(self.reasons)}

    def sm_mhz(self) -> float:
        return 1980.0

    def energy_mj(self) -> int | None:
        return 100 * (self.device.host_ns // 50_000_000 * 50) if self.has_counter else None


def test_each_visit_gives_device_and_wall_rows_that_travel_as_json() -> None:
    device = FakeDevice()
    ((wall, events),) = run(agent_of(device), batch_of(["20000-30000"]))
    assert (wall.clock, events.clock) == (Clock.WALL, Clock.DEVICE)
    assert events.samples == (50_000,) * 5
    assert len(wall.samples) == 5
    assert wall.uuid != events.uuid
    assert (events.key, events.round) == ("key-20000-30000", 0)
    assert events.after["copies"] % 4 == 0
    assert events.after["visit_ns"] > 0
    assert measurement_from_json(measurement_to_json(events)) == events
    ((again, _),) = run(agent_of(FakeDevice()), batch_of(["20000-30000"]))
    assert again.uuid == wall.uuid


def test_out_of_memory_is_the_blocks_own_row_and_the_rest_goes_on() -> None:
    device = FakeDevice()
    opener = FakeOpener(device)
    first, full, last = run(agent_of(device, opener=opener), batch_of(["10000", "oom", "20000"]))
    (row,) = full
    assert row.error is not None
    assert row.error.startswith("out of memory on the device")
    assert "20.00 GiB" in row.error
    assert row.samples == ()
    assert row.clock == Clock.WALL
    assert device.recovered == 1
    assert all(r.error is None for r in (*first, *last))
    assert all(program.is_closed for program in opener.opened)


def test_memory_that_runs_out_in_a_capture_is_still_named() -> None:
    device = FakeDevice()

    class Failing(FakeOpener):
        def open(self, path: Path, buffers: int) -> FakeProgram:
            try:
                raise FakeOutOfMemory("tried to allocate 20.00 GiB")
            finally:
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    ((row,),) = run(agent_of(device, opener=Failing(device)), batch_of(["10000"]))
    assert row.error is not None
    assert row.error.startswith("out of memory on the device")


def test_any_other_failure_is_a_row_too_unless_the_device_is_gone_with_it() -> None:
    ((row,),) = run(agent_of(FakeDevice()), batch_of(["nonsense"]))
    assert row.error is not None
    assert "ValueError" in row.error
    agent = agent_of(FakeDevice())
    rows = agent.run(batch_of(["10000", "broken", "20000"]))
    assert next(rows)[0].error is None
    # Kept, so that the command that goes on does not begin with what has just ended it.
    assert "illegal memory access" in (next(rows)[0].error or "")
    with pytest.raises(DeviceError, match="cannot be used any more"):
        next(rows)


def test_launch_bound_is_flagged_on_the_eager_row() -> None:
    device = FakeDevice(launch_ns=8_000)
    ((wall, events),) = run(agent_of(device), batch_of(["-".join(["1000"] * 50)], Role.VALIDATION))
    assert wall.flags == (LAUNCH_BOUND,)
    assert events.flags == ()
    assert wall.after["eager_ratio"] == pytest.approx(8.0, rel=0.2)


def test_conditions_flag_heat_but_not_a_power_cap() -> None:
    device = FakeDevice()
    cool = agent_of(device, nvml=Conditions(device, ("power cap",)))
    ((wall, _),) = run(cool, batch_of(["10000"]))
    assert wall.flags == ()
    assert wall.before["temperature_c"] == 61
    assert wall.after["frequency_khz"] == 1_980_000
    hot = agent_of(device, nvml=Conditions(device, ("thermal slowdown by hardware",)))
    assert all("throttled" in row.flags for rows in run(hot, batch_of(["10000"])) for row in rows)
    assert cool.describe()["driver"] == "570.1"


def test_networks_have_their_energy_taken_once() -> None:
    device = FakeDevice()
    options = GpuOptions(energy_s=0.5)
    agent = agent_of(device, nvml=Conditions(device), options=options)
    ((_, _, energy),) = run(agent, batch_of(["1000000"], Role.CALIBRATION))
    assert (energy.metric, energy.unit) == ("energy", "uJ")
    assert energy.samples[0] == pytest.approx(100_000, rel=0.15)
    assert [len(rows) for rows in run(agent, batch_of(["1000000"], Role.CALIBRATION, 1))] == [2]
    assert [len(rows) for rows in run(agent, batch_of(["1000000"], Role.BLOCK))] == [2]
    without = agent_of(device, nvml=Conditions(device, has_counter=False), options=options)
    assert [len(rows) for rows in run(without, batch_of(["1000000"], Role.CALIBRATION))] == [2]


def test_a_runtime_without_device_clock_gives_wall_rows() -> None:
    device = FakeDevice()
    agent = agent_of(device, opener=FakeOpener(device, can_be_captured=False))
    assert [[row.clock for row in rows] for rows in run(agent, batch_of(["10000", "20000"]))] == [[Clock.WALL]] * 2


@pytest.mark.parametrize("kernel_ns", [20_000, 60_000_000])
def test_the_first_warm_up_fits_the_program(kernel_ns: int) -> None:
    device = FakeDevice(cold_factor=2.0, ramp_ns=100_000_000)
    agent = GpuAgent(TARGET, FakeOpener(device), device, {})
    ((_, events),) = run(agent, batch_of([str(kernel_ns)]))
    assert min(events.samples) == max(events.samples) == kernel_ns
    # The slow one has 40 laps of one inference, besides its visit; 50 each would have taken two minutes.
    assert device.worked_ns < 12e9


def test_closing_gives_back_what_the_opener_changed() -> None:
    device = FakeDevice()
    opener = FakeOpener(device)
    agent_of(device, opener=opener).close()
    assert opener.is_closed


def test_a_rehearsal_runs_a_real_graph_in_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import numpy as np

    builder = GraphBuilder("block")
    data = builder.input("x", (2, 8, 12, 12), layout="NCHW")
    weight = builder.weight("w", np.random.default_rng(0).normal(size=(8, 8, 3, 3)).astype(np.float32))
    path = tmp_path / "block.graph"
    path.write_bytes(builder.build([builder.conv2d(data, weight, padding=1)]).to_bytes())
    before = torch.backends.cudnn.conv.fp32_precision
    for precision in ("fp32", "fp16"):
        target = Target("cuda:0", "torch", precision, 1, 2)
        agent = rehearsal_agent(target)
        visit = Visit("v", Role.BLOCK, "block", "file", 1, 3)
        ((wall, events),) = agent.run(VisitBatch(target, "s", "c", 0, (visit,), {"file": str(path)}))
        assert (wall.error, events.error) == (None, None)
        assert len(wall.samples) == len(events.samples) == 3
        assert min(events.samples) > 0
        assert agent.describe()["matmul_fp32"] == "ieee"
        assert "rehearsed" in agent.describe()["name"]
        agent.close()
    assert torch.backends.cudnn.conv.fp32_precision == before


@pytest.mark.parametrize(("kernel_ns", "inferences"), [(1_000_000, 9), (20_000, 50), (60_000_000, 1)])
def test_a_lap_of_the_first_warm_up_takes_about_ten_milliseconds(kernel_ns: int, inferences: int) -> None:
    device = FakeDevice()
    opener = FakeOpener(device)
    agent = agent_of(device, opener=opener)
    run(agent, batch_of([str(kernel_ns)]))
    first, again = agent, agent_of(device, opener=opener)
    again._first_warm_up = None
    run(again, batch_of([str(kernel_ns)]))
    warmed, plain = (len(program.order) for program in opener.opened)
    assert first._first_warm_up is None
    # Two laps over the four buffers, then one window of one lap twice.
    assert warmed - plain == 2 * 4 + 2 * inferences
