"""A device for the tests of this room: Android's own adb daemon on loopback, and model files small enough for it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetfront.profilers.adb.agent import AdbAgent, AgentOptions
from fleetfront.profilers.adb.link.connection import Heartbeat
from fleetfront.profilers.adb.open_agent import adb_target, open_adb_agent
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.records import Role
from fleetfront.workspace import Workspace
from tests.adbd.fixtures import adb_server, adbd_root, daemon, make_daemon, models, no_adb_server, phone

__all__ = ["adb_server", "adbd_root", "daemon", "make_daemon", "models", "no_adb_server", "phone"]

#: Tests wait for nothing longer than they must.
QUICK = Heartbeat(idle_s=0.2, answer_s=0.8)


@pytest.fixture(autouse=True)
def _never_the_users_server(no_adb_server: None) -> None:
    """In every test of this room."""


@pytest.fixture
def make_batch(models: dict[str, Path]) -> Callable[..., VisitBatch]:
    """A batch of visits, in turn to each of the models."""

    def make(target: Any, count: int, *, round: int = 0, timed_runs: int = 3) -> VisitBatch:
        files = list(models)
        visits = tuple(
            Visit(uuid.uuid4().hex, Role.BLOCK, f"block{i}", files[i % len(files)], 1, timed_runs) for i in range(count)
        )
        return VisitBatch(target, "space", "campaign", round, visits, {k: str(v) for k, v in models.items()})

    return make


@pytest.fixture(scope="session")
def tool_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the native runner is built, once."""
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture
def open_agent(tool_cache: Path) -> Iterator[Callable[..., AdbAgent]]:
    """Open agents for a daemon; all are closed afterwards."""
    opened: list[AdbAgent] = []

    def make(address: str, *, target: Any = None, reconnect_s: float = 10.0, **options: Any) -> AdbAgent:
        settings = options.pop("options", AgentOptions(reconnect_s=reconnect_s))
        agent = open_adb_agent(
            f"adb:{address}",
            target or adb_target(f"adb:{address}"),
            cores=options.pop("cores", "all"),
            workspace=options.pop("workspace", Workspace(tool_cache)),
            heartbeat=QUICK,
            options=settings,
            **options,
        )
        opened.append(agent)
        return agent

    yield make
    for agent in opened:
        agent.close()
