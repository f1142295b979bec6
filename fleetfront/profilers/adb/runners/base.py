"""Declare what times a model file on the device, and check programs for it.

``runners.native`` and ``runners.benchmark_model`` implement it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fleetfront.errors import InputError
from fleetfront.profilers.adb.facts.device import Device
from fleetfront.profilers.adb.link.connection import Connection
from fleetfront.quantities import Clock
from fleetfront.targets import Target

#: Marks rows whose samples are only the extremes that a runner printed, see ``runners.benchmark_model``.
SUMMARY_FLAG = "summary"

#: ``e_machine`` of an ELF file -> ABI: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
_MACHINES = {183: "arm64-v8a", 40: "armeabi-v7a", 62: "x86_64", 3: "x86", 243: "riscv64"}


@dataclass(frozen=True, slots=True)
class Timings:
    """Numbers of one visit, or why there are none.

    Attributes:
        samples_ns: clock -> nanoseconds of the timed runs.
        facts: what else it said, for the conditions after the visit.
        flags: words for the row.
        error: why there are no samples, or None.
        peak_bytes: the most memory that the file took; 0 if not told.
    """

    samples_ns: Mapping[Clock, tuple[int, ...]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    error: str | None = None
    peak_bytes: int = 0


class Runner(Protocol):
    """A program that times one file."""

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """The clocks that it can read for one thread, steadiest first."""

    def install(self, connection: Connection, folder: str) -> None:
        """Put it into ``folder`` on the device and make sure that it starts. Raises DeviceError with the remedy."""

    def command(self, target: Target, mask: int) -> str:
        """The shell command that times ``$model`` with ``$warm`` and ``$timed`` runs, from inside ``folder``."""

    def read(self, text: str, exit_code: int, target: Target) -> Timings:
        """Make numbers of what it printed."""

    def describe(self) -> dict[str, Any]:
        """Name, version and SHA-256 of what measures."""


def elf_abi(data: bytes) -> str | None:
    """The ABI that an ELF program is for, by Android's names; None if it is no ELF program."""
    if len(data) < 20 or data[:4] != b"\x7fELF":
        return None
    order = "<" if data[5] == 1 else ">"
    (machine,) = struct.unpack_from(f"{order}H", data, 18)
    return _MACHINES.get(machine, f"machine {machine}")


def check_program(path: Path, device: Device, remedy: str) -> str:
    """The SHA-256 of the program at ``path``. Raises InputError if it is missing, no program, or for another ABI."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).", remedy) from error
    abi = elf_abi(data)
    if abi is None:
        raise InputError(f"{path} is not a program for Android or Linux.", remedy)
    if abi not in device.abis:
        raise InputError(f"{path} is built for {abi}, but {device.model} runs {', '.join(device.abis)}.", remedy)
    return hashlib.sha256(data).hexdigest()
