"""Find Google's ``benchmark_model``, start it on the device, and keep what it prints.

It prints statistics, not samples. They are kept exactly as printed in the conditions after the visit (``printed``); the
row's one sample is the minimum, which is a real run and what statistics across visits are made of, and its flag is
``summary``. What the text means is written in ``benchmark_model_output``. LiteRT 2.x ships another program of the same
name with other flags, which its help tells.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.adb.facts.device import Device
from fleetfront.profilers.adb.link.connection import Connection
from fleetfront.profilers.adb.runners.base import SUMMARY_FLAG, Timings, check_program
from fleetfront.profilers.adb.runners.benchmark_model_output import parse_report
from fleetfront.profilers.adb.runners.operator_table import parse_operators
from fleetfront.quantities import Clock
from fleetfront.runtimes.catalogue import place_of
from fleetfront.targets import Target

_NS_PER_US = 1000
_NAME = "benchmark_model"
#: Where people put it by hand, after Google's own guide.
_ON_DEVICE = (f"/data/local/tmp/{_NAME}",)

#: What LiteRT's log calls an NPU here, and where Google's guide has people put its vendor's libraries.
_NPU, _NPU_LIBRARIES = "NPU", "/data/local/tmp"

#: ABI -> name of Google's build for it.
OFFICIAL_BUILDS = {
    "arm64-v8a": "android_aarch64_benchmark_model",
    "armeabi-v7a": "android_arm_benchmark_model",
}

REMEDY = (
    "Run: fleetfront doctor --fetch-benchmark-model (downloads Google's build for the phone), "
    "or give --benchmark-model PATH."
)
_NO_BUILD = "Google has no build for it: build one from TensorFlow's sources and give --benchmark-model PATH."


@dataclass(frozen=True, slots=True)
class Found:
    """A program to measure with: on this machine (``local``) or on the device (``remote``), and its SHA-256."""

    local: Path | None
    remote: str | None
    sha256: str


def cached_program(cache: Path, abi: str) -> Path:
    """Where the program for an ABI is kept once it was fetched."""
    return cache / _NAME / abi / _NAME


def find_benchmark_model(connection: Connection, device: Device, cache: Path, given: Path | None = None) -> Found:
    """The program given by the user, else one on the device, else the fetched one.

    Raises:
        InputError: there is none, or the one found is not for the device.
    """
    if given is not None:
        return Found(given, None, check_program(given, device, REMEDY))
    there = connection.hashes(_on_device(connection))
    for path, sha256 in there.items():
        return Found(None, path, sha256)
    for abi in device.abis:
        if cached_program(cache, abi).exists():
            local = cached_program(cache, abi)
            return Found(local, None, check_program(local, device, REMEDY))
    remedy = REMEDY if device.abis[0] in OFFICIAL_BUILDS else _NO_BUILD
    raise InputError(f"There is no benchmark_model for {device.model} ({device.abis[0]}).", remedy)


class BenchmarkModelRunner:
    """Times files with ``benchmark_model``."""

    clocks = (Clock.WALL,)

    def __init__(self, found: Found, *, npu_libraries: str = "", with_operators: bool = False) -> None:
        """``npu_libraries``: folder on the device with the vendor's dispatch library; ``with_operators``: have it
        profile operators, which disturbs what it times.
        """
        self._found, self._with_operators = found, with_operators
        self._npu_libraries = npu_libraries or _NPU_LIBRARIES
        self._is_litert_2 = False

    def install(self, connection: Connection, folder: str) -> None:
        """Push or copy it, and see that it starts."""
        place = f"{folder}/{_NAME}"
        if self._found.local is not None:
            connection.push({place: self._found.local}, mode=0o755)
        else:
            source = shlex.quote(str(self._found.remote))
            connection.shell(f"cp {source} {shlex.quote(place)} && chmod 755 {shlex.quote(place)}", timeout_s=60)
        result = connection.shell(f"{shlex.quote(place)} --help 2>&1")
        # Every version's help names this flag, whatever its exit code.
        if "--graph" not in result.out:
            raise DeviceError(
                f"benchmark_model does not start on {connection.serial} (exit code {result.code}: "
                f"{result.out.strip()[:200] or 'no output'}).",
                REMEDY,
            )
        self._is_litert_2 = "--use_cpu" in result.out or (
            "--allow_fp16" in result.out and "--gpu_precision_loss_allowed" not in result.out
        )

    def command(self, target: Target, mask: int) -> str:
        """See ``runners.Runner``. Versions only warn of flags that they do not know: ``read`` looks for that."""
        flags = [
            '--graph="$model"',
            '--num_runs="$timed"',
            '--warmup_runs="$warm"',
            "--min_secs=0",
            "--warmup_min_secs=0",
            f"--num_threads={target.threads}",
        ]
        if self._with_operators:
            flags.append("--enable_op_profiling=true")
        delegate = place_of("adb", target.runtime).delegate
        if delegate:
            flags += self._delegate_flags(delegate, "true" if target.precision == "fp16" else "false")
        pinned = f"taskset {mask:x} " if mask else ""
        if delegate == _NPU:
            # Vendors' libraries load others of theirs, also onto their own processor.
            folder = shlex.quote(self._npu_libraries)
            pinned = f"LD_LIBRARY_PATH={folder} ADSP_LIBRARY_PATH={folder} {pinned}"
        return f"{pinned}./{_NAME} {' '.join(flags)}"

    def _delegate_flags(self, delegate: str, allow_half: str) -> list[str]:
        if self._is_litert_2:
            if delegate == "NNAPI":
                raise InputError(
                    "This benchmark_model is LiteRT 2.x's, which has no NNAPI (deprecated since Android 15).",
                    "Use --runtime tflite-gpu, or give an older build: --benchmark-model PATH.",
                )
            if delegate == _NPU:
                folder = shlex.quote(self._npu_libraries)
                return [
                    "--use_cpu=false",
                    "--use_npu=true",
                    "--require_full_delegation=true",
                    f"--dispatch_library_path={folder}",
                    f"--compiler_plugin_library_path={folder}",
                ]
            # Half precision is its default.
            return [
                "--use_cpu=false",
                f"--use_{delegate.lower()}=true",
                "--require_full_delegation=true",
                f"--allow_fp16={allow_half}",
            ]
        if delegate == _NPU:
            raise InputError(
                "This benchmark_model is no LiteRT 2.x, which alone reaches an NPU through its vendor's library.",
                "Run: fleetfront doctor --fetch-benchmark-model arm64-v8a@VERSION, e.g. 2.1.5.",
            )
        if delegate == "NNAPI":
            # NNAPI's own CPU implementation would otherwise take what no accelerator can.
            return ["--use_nnapi=true", "--disable_nnapi_cpu=true", f"--nnapi_allow_fp16={allow_half}"]
        return [f"--use_{delegate.lower()}=true", f"--gpu_precision_loss_allowed={allow_half}"]

    def read(self, text: str, exit_code: int, target: Target) -> Timings:
        """See ``runners.Runner``."""
        report = parse_report(text, exit_code, target.runtime)
        facts: dict[str, Any] = {"delegation": list(report.delegation)} if report.delegation else {}
        if report.init_us is not None:
            facts["open_ns"] = round(report.init_us * _NS_PER_US)
        if report.measured is None:
            return Timings(facts=facts, error=report.error)
        facts["printed"] = dict(report.measured.printed)
        facts["printed_unit"] = "us"
        if report.memory_mb:
            facts["printed_memory_mb"] = report.memory_mb
        if self._with_operators:
            facts["operators"] = [[row.name, row.kind, row.ms] for row in parse_operators(text)]
        peak_bytes = round(report.memory_mb.get("overall", 0.0) * 2**20)
        threads = re.search(r"[Nn]um threads: \[(\d+)\]", text)
        if threads and int(threads.group(1)) != target.threads:
            return Timings(facts=facts, error=f"benchmark_model used {threads.group(1)} threads, not {target.threads}")
        sample = round(report.measured.min_us * _NS_PER_US)
        return Timings({Clock.WALL: (sample,)}, facts, (SUMMARY_FLAG,), peak_bytes=peak_bytes)

    def describe(self) -> dict[str, Any]:
        """See ``runners.Runner``."""
        return {
            "runner": _NAME,
            "runner_sha256": self._found.sha256,
            "runtime_version": f"{_NAME} {self._found.sha256[:12]}",
        }


def _on_device(connection: Connection) -> list[str]:
    named = connection.shell(f"command -v {_NAME}").out.strip()
    return [*_ON_DEVICE, *([named] if named.startswith("/") and named not in _ON_DEVICE else [])]
