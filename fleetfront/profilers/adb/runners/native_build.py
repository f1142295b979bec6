"""Builds ``runner.c`` for a target and finds the LiteRT library that goes with it. Nothing is downloaded here."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from fleetfront.errors import InputError, MissingDependency, missing
from fleetfront.files import write_whole

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


@dataclass(frozen=True, slots=True)
class NativeRunner:
    """The built program, the library it loads, and what they were made of."""

    program: Path
    library: Path
    version: str
    source: bytes


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
    program.parent.mkdir(parents=True, exist_ok=True)
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
