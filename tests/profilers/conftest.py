"""A simulated device with its own clock, so that long campaigns run in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from fleetfront.errors import DeviceError
from fleetfront.profilers.base import VisitBatch
from fleetfront.profilers.plan import Task, TaskList
from fleetfront.profilers.records import Measurement, Role, measurement_uuid
from fleetfront.quantities import Clock
from fleetfront.targets import Target


@dataclass
class SimulatedDevice:
    """An agent whose latencies follow a table, a drift, throttling, noise and losses; seconds pass only when it works.

    Attributes:
        latency_ms: key -> true latency of a run.
        drift_per_s: relative growth of all latencies with each simulated second.
        throttled_s: interval in which everything takes twice as long and the throttle counter grows.
        noise: relative standard deviation of a run, one-sided.
        broken: keys that always fail.
        lost_at: number of the visit at which the device disappears.
        before_visit: called with the number of each visit.
    """

    latency_ms: Mapping[str, float]
    drift_per_s: float = 0.0
    throttled_s: tuple[float, float] | None = None
    noise: float = 0.0
    broken: frozenset[str] = frozenset()
    lost_at: int | None = None
    before_visit: Callable[[int], None] = lambda _number: None
    clocks: tuple[Clock, ...] = (Clock.THREAD_CPU, Clock.WALL)
    facts: dict[str, Any] = field(default_factory=lambda: {"cpu": "simulated"})
    clock_s: float = 0.0
    visits: list[tuple[int, str]] = field(default_factory=list)
    is_closed: bool = False

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._throttles = 0

    def now(self) -> float:
        return self.clock_s

    def describe(self) -> dict[str, Any]:
        return self.facts

    def close(self) -> None:
        self.is_closed = True

    def run(self, batch: VisitBatch) -> Generator[tuple[Measurement, ...], None, None]:
        for visit in batch.visits:
            assert visit.file in batch.files
            self.before_visit(len(self.visits))
            if self.lost_at is not None and len(self.visits) >= self.lost_at:
                raise DeviceError("The simulated device is gone.", "Plug it in.")
            self.visits.append((batch.round, visit.key))
            before = {"throttles": self._throttles}
            started_ns = int(self.clock_s * 1e9)
            samples = [self._run(visit.key) for _ in range(visit.timed_runs)]
            error = "the runtime refuses it" if visit.key in self.broken else None
            yield tuple(
                Measurement(
                    target=batch.target,
                    space=batch.space,
                    role=visit.role,
                    key=visit.key,
                    clock=clock,
                    samples=() if error else tuple(samples),
                    campaign=batch.campaign,
                    round=batch.round,
                    started_ns=started_ns,
                    before=before,
                    after={"throttles": self._throttles},
                    error=error,
                    uuid=measurement_uuid(visit.uuid, clock),
                )
                for clock in ((Clock.WALL,) if error else (Clock.WALL, Clock.THREAD_CPU))
            )

    def _run(self, key: str) -> int:
        ms = self.latency_ms[key] * (1 + self.drift_per_s * self.clock_s) * (1 + self.noise * abs(self._rng.normal()))
        if self.throttled_s and self.throttled_s[0] <= self.clock_s < self.throttled_s[1]:
            ms *= 2
            self._throttles += 1
        self.clock_s += ms / 1e3
        return round(ms * 1e6)


@pytest.fixture
def simulated() -> type[SimulatedDevice]:
    return SimulatedDevice


@pytest.fixture
def target() -> Target:
    return Target("cpu", "onnxruntime")


@pytest.fixture
def tasks() -> TaskList:
    """30 blocks, 4 calibration and 6 validation networks; a file of each is named after its key."""
    blocks = [Task(Role.BLOCK, f"block{i}", f"f-block{i}") for i in range(30)]
    calibration = [Task(Role.CALIBRATION, f"calibration{i}", f"f-calibration{i}") for i in range(4)]
    validation = [Task(Role.VALIDATION, f"validation{i}", f"f-validation{i}") for i in range(6)]
    return TaskList((*blocks, *calibration, *validation), Task(Role.ANCHOR, "block7", "f-block7"))


@pytest.fixture
def latency_ms(tasks: TaskList) -> dict[str, float]:
    return {task.key: 1.0 + 0.1 * number for number, task in enumerate(tasks.tasks)}


def tiny_onnx(channels: int = 8, side: int = 16) -> bytes:
    """A real convolution, some ten microseconds long."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).normal(size=(channels, channels, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)
    shape = [1, channels, side, side]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph([node], "tiny", ports[:1], ports[1:], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    assert isinstance(model, onnx.ModelProto)
    data: bytes = model.SerializeToString()
    return data


@pytest.fixture(scope="session")
def onnx_bytes() -> bytes:
    return tiny_onnx()
