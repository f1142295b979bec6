"""Fixtures for every test room that talks to devices over ADB; a room's conftest imports those that it needs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleetfront.profilers.adb.link.faults import ServerSilent
from fleetfront.profilers.adb.link.server import AdbServer
from tests.adbd import daemon as adbd

#: Turns the device into an Android phone as far as the profiler can tell: real words, scripted values in /data/state.
GETPROP = """#!/bin/sh
case $1 in
  ro.build.version.sdk) echo 33 ;; ro.build.version.release) echo 13 ;; ro.product.cpu.abilist) echo x86_64 ;;
  ro.product.manufacturer) echo Fake ;; ro.product.model) echo Phone ;; ro.soc.model) echo SoC ;;
esac
"""
DUMPSYS = """#!/bin/sh
case $1 in
  thermalservice)
    echo $((1 + $(cat /data/looks 2>/dev/null || echo 0))) > /data/looks
    status=0
    [ -f /data/statuses ] && { read -r status < /data/statuses; sed -i 1d /data/statuses; }
    printf 'Thermal Status: %s\\nCached temperatures:\\n    Temperature{mValue=90, mType=3, mName=old, mStatus=0}\\n' \\
      ${status:-0}
    printf 'Current temperatures from HAL:\\n\\tTemperature{mValue=31.5, mType=3, mName=skin, mStatus=0}\\n' ;;
  battery) printf '  USB powered: true\\n  level: 87\\n  temperature: 312\\n' ;;
  deviceidle) echo true ;;
  power) echo "  mWakefulness=$(cat /data/screen 2>/dev/null || echo Asleep)" ;;
esac
"""
SETTINGS = """#!/bin/sh
case $1 in
  get) cat /data/stay_on ;; put) echo $4 > /data/stay_on ;; delete) echo null > /data/stay_on ;;
esac
"""
INPUT = """#!/bin/sh
echo $2 >> /data/keys
"""
#: Prints what /data/output holds, and ends as /data/code says.
BENCHMARK_MODEL = """#!/bin/sh
for word in "$@"; do case $word in --help) echo '--graph=...'; exit 1 ;; esac; done
echo "$@" >> /data/asked
cat /data/output
exit $(cat /data/code 2>/dev/null || echo 0)
"""


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


@pytest.fixture
def no_adb_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests never talk to an adb server of the user's, and have a key of their own."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adbd.free_port()))
    monkeypatch.delenv("ADB_SERVER_SOCKET", raising=False)
    monkeypatch.setenv("ANDROID_USER_HOME", str(tmp_path / "android"))


@pytest.fixture
def adb_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[int]:
    """A real adb server on a port of its own."""
    if shutil.which("adb") is None:
        pytest.skip("the adb server needs the Debian package adb")
    environment = {**os.environ, "HOME": str(tmp_path)}
    process, port = start_server(environment)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def start_server(environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], int]:
    """An adb server that answers, and its port."""
    port: int = adbd.free_port()
    process = subprocess.Popen(
        ["adb", "-P", str(port), "nodaemon", "server"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_server(process, port)
    return process, port


def wait_for_server(process: subprocess.Popen[bytes], port: int) -> None:
    """Return once an adb server answers; end it and raise RuntimeError if it never does."""
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        # On a busy machine it may listen long before it answers.
        with contextlib.suppress(ServerSilent):
            if AdbServer(port=port).is_running():
                return
        time.sleep(0.02)
    process.kill()
    process.wait()
    raise RuntimeError("no adb server could be started")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """SHA-256 -> path of three small TFLite files that differ in size."""
    from fleetfront.deploy.writers.tflite.writer import write_tflite
    from fleetfront.graphs.graph import GraphBuilder

    folder = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(0)
    found = {}
    for channels in (4, 8, 16):
        builder = GraphBuilder(f"conv{channels}")
        image = builder.input("image", (1, channels, 14, 14), layout="NCHW")
        weight = builder.weight("weight", rng.standard_normal((channels, channels, 3, 3)).astype(np.float32))
        output = builder.conv2d(image, weight, padding=1, name="out")
        data = write_tflite(builder.build([output]))
        sha256 = hashlib.sha256(data).hexdigest()
        found[sha256] = folder / f"{sha256}.tflite"
        found[sha256].write_bytes(data)
    return found


def as_phone(daemon: Any) -> None:
    for name, text in (("getprop", GETPROP), ("dumpsys", DUMPSYS), ("settings", SETTINGS), ("input", INPUT)):
        daemon.install(name, text)
    (daemon.data / "stay_on").write_text("0\n")


@pytest.fixture
def phone(daemon: Any, shared_data: Path) -> Any:
    """A daemon that passes for an Android phone with Google's program, which takes 140 ms whatever it is asked."""
    as_phone(daemon)
    daemon.install("benchmark_model", BENCHMARK_MODEL)
    source = shared_data / "benchmark_model" / "public_litert2025_logcat_percentiles.txt"
    text = source.read_text().replace("Num threads: [4]", "Num threads: [1]")
    (daemon.data / "output").write_text(text)
    return daemon
