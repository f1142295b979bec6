"""Our own runner for Linux targets: raw nanoseconds of every run. It is built in ``profilers.native_runner``."""

from __future__ import annotations

import hashlib
import re
import shlex
from typing import Any

from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.adb.link.connection import Connection
from fleetfront.profilers.adb.runners.base import Timings
from fleetfront.profilers.adb.runners.native_build import NativeRunner
from fleetfront.quantities import Clock
from fleetfront.runtimes.catalogue import place_of
from fleetfront.targets import Target

_PROGRAM, _LIBRARY = "fleetfront-runner", "libLiteRt.so"
_LINE = re.compile(
    r"^fleetfront-runner/1 open_ns=(?P<open>\d+) first_ns=(?P<first>\d+) mask=(?P<mask>[0-9a-f]+) peak_kb=(?P<peak>\d+)"
    r" wall_ns=(?P<wall>\d+(?:,\d+)*) cpu_ns=(?P<cpu>\d+(?:,\d+)*)$",
    re.MULTILINE,
)
_ERROR = re.compile(r"^fleetfront-runner/1 error=(.+)$", re.MULTILINE)


class LiteRtRunner:
    """Times files with ``fleetfront-runner``."""

    clocks = (Clock.THREAD_CPU, Clock.WALL)

    def __init__(self, built: NativeRunner) -> None:
        self._built = built

    def install(self, connection: Connection, folder: str) -> None:
        """Push program and library, and let the program load the library."""
        connection.push({f"{folder}/{_PROGRAM}": self._built.program}, mode=0o755)
        connection.push({f"{folder}/{_LIBRARY}": self._built.library})
        result = connection.shell(f"cd {shlex.quote(folder)} && ./{_PROGRAM} ./{_LIBRARY} 2>&1")
        if "fleetfront-runner/1 ready" not in result.out:
            error = _ERROR.search(result.out)
            said = (error.group(1) if error else result.out.strip()) or "no output"
            raise DeviceError(
                f"Our runner does not start on {connection.serial} (exit code {result.code}: {said[:300]}).",
                "The device needs Linux with glibc 2.34 and libstdc++ (Debian: apt install libstdc++6), or newer; "
                "for Android give --benchmark-model PATH.",
            )

    def command(self, target: Target, mask: int) -> str:
        """See ``runners.Runner``."""
        if place_of("adb", target.runtime).delegate:
            raise InputError(
                f"Our runner measures on the CPU only, not {target.runtime}.",
                "Use --runtime tflite-cpu, or give --benchmark-model PATH.",
            )
        return f'./{_PROGRAM} ./{_LIBRARY} "$model" {target.threads} {mask:x} "$warm" "$timed"'

    def read(self, text: str, exit_code: int, target: Target) -> Timings:
        """See ``runners.Runner``."""
        error = _ERROR.search(text)
        if error:
            return Timings(error=error.group(1).strip())
        if exit_code:
            return Timings(error=f"the runner ended with exit code {exit_code}{_signal(exit_code)}")
        found = _LINE.findall(text)
        if len(found) != 1:
            return Timings(error=f"the runner printed {len(found)} results: {text.strip()[:200] or 'nothing'}")
        opened, first, mask, peak, wall, cpu = found[0]
        samples = {Clock.WALL: _numbers(wall)}
        if not all(samples[Clock.WALL]):
            return Timings(error="the runner printed a run of 0 ns")
        facts: dict[str, Any] = {
            "open_ns": int(opened),
            "first_ns": int(first),
            "mask": mask,
            "peak_bytes": int(peak) * 1024,
        }
        if target.threads == 1 and all(_numbers(cpu)):
            samples[Clock.THREAD_CPU] = _numbers(cpu)
        elif target.threads == 1:
            # Some kernels account for a thread in steps longer than a run of a few microseconds.
            facts["thread_cpu"] = "left out: a run of 0 ns"
        return Timings(samples, facts)

    def describe(self) -> dict[str, Any]:
        """See ``runners.Runner``."""
        return {
            "runner": "fleetfront-runner",
            "runner_sha256": hashlib.sha256(self._built.source).hexdigest(),
            "runtime_version": f"ai-edge-litert {self._built.version}",
        }


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _signal(exit_code: int) -> str:
    return f" (signal {exit_code - 128})" if 128 < exit_code < 160 else ""
