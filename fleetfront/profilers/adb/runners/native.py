"""Time files on Linux targets with our own runner, raw nanoseconds of every run, and build it from ``runner.c``.

A Python worker over the link was measured beside it: its runs take the same (1224 us against 1221 us), but each visit
takes 0.37 s longer, and the board would need pip, numpy and ai-edge-litert (104 MB), where this brings 8 MB along.
Nothing is downloaded here.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from fleetfront.errors import DeviceError, InputError, MissingDependency, missing
from fleetfront.files import one_at_a_time, write_whole
from fleetfront.profilers.adb.link.connection import Connection
from fleetfront.profilers.adb.runners.base import Timings
from fleetfront.quantities import Clock
from fleetfront.runtimes.catalogue import place_of
from fleetfront.targets import Target

#: Versions of the wheel whose library was tested with the prototypes in ``runner.c``; others are refused.
TESTED_VERSIONS = ("2.3.0",)

#: ABI -> (the machine in a wheel's name, compilers that build for it, best first).
_TOOLCHAINS = {
    "x86_64": ("x86_64", ("x86_64-linux-gnu-gcc", "cc")),
    "arm64-v8a": ("aarch64", ("aarch64-linux-gnu-gcc", "cc")),
}
_FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror")
_LIBRARY = "ai_edge_litert/libLiteRt.so"
_SOURCE = Path(__file__).with_name("runner.c")
_PROGRAM, _PUSHED_LIBRARY = "fleetfront-runner", "libLiteRt.so"
_LINE = re.compile(
    r"^fleetfront-runner/1 open_ns=(?P<open>\d{1,18}) first_ns=(?P<first>\d{1,18}) mask=(?P<mask>[0-9a-f]+)"
    r" peak_kb=(?P<peak>\d{1,15}) wall_ns=(?P<wall>\d{1,18}(?:,\d{1,18})*) cpu_ns=(?P<cpu>\d{1,18}(?:,\d{1,18})*)$",
    re.MULTILINE,
)
_ERROR = re.compile(r"^fleetfront-runner/1 error=(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class NativeRunner:
    """The built program, the library it loads, and what they were made of."""

    program: Path
    library: Path
    version: str
    source: bytes


class LiteRtRunner:
    """Times files with ``fleetfront-runner``."""

    clocks = (Clock.THREAD_CPU, Clock.WALL)

    def __init__(self, built: NativeRunner) -> None:
        self._built = built

    def install(self, connection: Connection, folder: str) -> None:
        """Push program and library, and let the program load the library."""
        connection.push({f"{folder}/{_PROGRAM}": self._built.program}, mode=0o755)
        connection.push({f"{folder}/{_PUSHED_LIBRARY}": self._built.library})
        result = connection.shell(f"cd {shlex.quote(folder)} && ./{_PROGRAM} ./{_PUSHED_LIBRARY} 2>&1")
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
        return f'./{_PROGRAM} ./{_PUSHED_LIBRARY} "$model" {target.threads} {mask:x} "$warm" "$timed"'

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


def build_runner(abi: str, cache: Path, wheel: Path | None = None) -> NativeRunner:
    """Program and library for ``abi`` (Android's names: ``x86_64``, ``arm64-v8a``), made once and kept in ``cache``.

    Args:
        abi: what the target runs.
        cache: folder for the program and for what is taken out of ``wheel``.
        wheel: an ``ai-edge-litert`` wheel for that machine; None takes the installed package, if it is for it.

    Raises:
        InputError: an ABI or a version of the wheel that was never tested.
        MissingDependency: there is no library or no compiler for the ABI.
    """
    if abi not in _TOOLCHAINS:
        raise InputError(f"Our runner was never built for {abi}.", f"It runs on {', '.join(_TOOLCHAINS)}.")
    version, library = _from_wheel(wheel, abi, cache) if wheel else _installed(abi)
    source = _SOURCE.read_bytes()
    name = hashlib.sha256(source + " ".join((abi, *_FLAGS)).encode()).hexdigest()[:16]
    program = cache / f"fleetfront-runner-{abi}-{name}"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(cache):
            if not program.exists():
                _compile(_compiler(abi), program)
    return NativeRunner(program, library, version, source)


def check_version(version: str) -> None:
    """Raises InputError for a version of ai-edge-litert whose C interface was not tested."""
    if version not in TESTED_VERSIONS:
        raise InputError(
            f"Our runner was not tested with ai-edge-litert {version}, whose C interface may differ.",
            f"Run: pip install ai-edge-litert=={TESTED_VERSIONS[-1]}",
        )


def _installed(abi: str) -> tuple[str, Path]:
    machine = _TOOLCHAINS[abi][0]
    try:
        package = metadata.distribution("ai-edge-litert")
    except metadata.PackageNotFoundError as error:
        raise missing("ai-edge-litert", "cpu", "Our runner for Linux targets") from error
    check_version(package.version)
    if platform.machine() != machine:
        raise MissingDependency(
            f"The installed ai-edge-litert is for {platform.machine()}, the device is {machine}.",
            "Run: pip download --no-deps --only-binary=:all: --python-version 3.11 --platform "
            f"manylinux_2_27_{machine} ai-edge-litert=={TESTED_VERSIONS[-1]}, and give the file with --litert-wheel.",
        )
    return package.version, Path(str(package.locate_file(_LIBRARY)))


def _from_wheel(wheel: Path, abi: str, cache: Path) -> tuple[str, Path]:
    machine = _TOOLCHAINS[abi][0]
    parts = wheel.name.removesuffix(".whl").split("-")
    if len(parts) < 5 or parts[0] != "ai_edge_litert" or not parts[-1].endswith(f"_{machine}"):
        raise InputError(f"{wheel} is not a wheel of ai-edge-litert for {machine}.", "Give the downloaded .whl file.")
    check_version(parts[1])
    library = cache / f"libLiteRt-{parts[1]}-{machine}.so"
    if not library.exists():
        try:
            with zipfile.ZipFile(wheel) as archive:
                data = archive.read(_LIBRARY)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{wheel} cannot be read ({error}).", "Download it again.") from error
        cache.mkdir(parents=True, exist_ok=True)
        write_whole(library, data)
    return parts[1], library


def _compiler(abi: str) -> str:
    machine, names = _TOOLCHAINS[abi]
    for name in names:
        if (name != "cc" or platform.machine() == machine) and shutil.which(name):
            return name
    raise MissingDependency(
        f"Building our runner for {abi} needs a C compiler.",
        "On Debian run: apt install "
        + ("gcc libc6-dev" if platform.machine() == machine else f"gcc-{machine.replace('_', '-')}-linux-gnu"),
    )


def _compile(compiler: str, program: Path) -> None:
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        built = Path(folder) / program.name
        result = subprocess.run(
            [compiler, *_FLAGS, "-o", str(built), str(_SOURCE), "-ldl"], capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise MissingDependency(
                f"Our runner cannot be built ({result.stderr.strip()[:300]}).",
                "On Debian run: apt install gcc libc6-dev",
            )
        os.replace(built, program)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _signal(exit_code: int) -> str:
    return f" (signal {exit_code - 128})" if 128 < exit_code < 160 else ""
