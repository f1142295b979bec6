"""Hold the phone agent against the promises of every agent, through a genuine adb daemon."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetfront.profilers.adb.agent import AdbAgent
from fleetfront.profilers.adb.open_agent import adb_target
from fleetfront.testing.agents import AGENT_CHECKS, AgentCase
from fleetfront.testing.checks import check_name


@pytest.mark.parametrize("check", AGENT_CHECKS, ids=check_name)
def test_conforms(
    daemon: Any,
    open_agent: Callable[..., AdbAgent],
    models: dict[str, Path],
    tmp_path: Path,
    check: Callable[[AgentCase], None],
) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"no model")
    files = {name: str(path) for name, path in models.items()}
    target = adb_target(f"adb:{daemon.address}")
    check(AgentCase(lambda: open_agent(daemon.address, target=target), target, files, str(damaged)))
