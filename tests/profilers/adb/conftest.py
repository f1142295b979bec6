"""A device for the tests of this room: Android's own adb daemon on loopback, and model files small enough for it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fleetfront.profilers.adb.agent import AdbAgent, AgentOptions
from fleetfront.profilers.adb.connection import Heartbeat
from fleetfront.profilers.adb.opening import adb_target, open_adb_agent
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.records import Role
from fleetfront.workspace import Workspace

#: Tests wait for nothing longer than they must.
QUICK = Heartbeat(idle_s=0.2, answer_s=0.8)


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fleetfront_tests_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


adbd = _load(Path(__file__).resolve().parents[2] / "adbd" / "daemon.py")


@pytest.fixture(scope="session")
def adbd_root() -> Path:
    """The chroot of the adb daemon."""
    reason = adbd.why_not()
    if reason:
        pytest.skip(reason)
    root: Path = adbd.build()
    return root


@pytest.fixture
def make_daemon(adbd_root: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start daemons with the given options; all are ended afterwards."""
    started: list[Any] = []

    def make(**options: Any) -> Any:
        daemon = adbd.Daemon(adbd_root, tmp_path / f"device{len(started)}", **options)
        started.append(daemon)
        return daemon.start()

    yield make
    for daemon in started:
        daemon.stop()


@pytest.fixture
def daemon(make_daemon: Callable[..., Any]) -> Any:
    """One running daemon."""
    return make_daemon()


@pytest.fixture(autouse=True)
def _no_adb_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests never talk to an adb server of the user's, and have a key of their own."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adbd.free_port()))
    monkeypatch.delenv("ADB_SERVER_SOCKET", raising=False)
    monkeypatch.setenv("ANDROID_USER_HOME", str(tmp_path / "android"))


@pytest.fixture
def adb_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[int]:
    """A real adb server on a port of its own."""
    if shutil.which("adb") is None:
        pytest.skip("the adb server needs the Debian package adb")
    port: int = adbd.free_port()
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    environment = {**os.environ, "HOME": str(tmp_path)}
    process = subprocess.Popen(
        ["adb", "-P", str(port), "nodaemon", "server"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """SHA-256 -> path of three small TFLite files that differ in size."""
    from fleetfront.deploy.tflite_writer import write_tflite
    from fleetfront.spaces.graph import GraphBuilder

    folder = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(0)
    found = {}
    for channels in (4, 8, 16):
        builder = GraphBuilder(f"conv{channels}")
        image = builder.input("image", (1, channels, 14, 14))
        weight = builder.weight("weight", rng.standard_normal((channels, channels, 3, 3)).astype(np.float32))
        output = builder.conv2d(image, weight, padding=1, name="out")
        data = write_tflite(builder.build([output]))
        sha256 = hashlib.sha256(data).hexdigest()
        found[sha256] = folder / f"{sha256}.tflite"
        found[sha256].write_bytes(data)
    return found


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
