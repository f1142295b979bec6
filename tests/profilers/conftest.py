"""A plan on a simulated device, and a file that takes some ten microseconds."""

from __future__ import annotations

import pytest

from fleetfront.profilers.plan import Task, TaskList
from fleetfront.profilers.records import Role
from fleetfront.targets import Target
from fleetfront.testing.simulated_device import SimulatedDevice


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
