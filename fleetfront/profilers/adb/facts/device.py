"""Read what a device is: model, system, ABI, cores, tools. Its state right now is read in ``thermal`` and ``cores``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetfront.errors import DeviceError
from fleetfront.profilers.adb.facts.cores import Core, clusters, parse_cores
from fleetfront.profilers.adb.link.connection import Connection
from fleetfront.profilers.adb.runners.script import FACTS

#: ``uname -m`` -> Android's name of the ABI.
_ABIS = {
    "aarch64": "arm64-v8a",
    "armv7l": "armeabi-v7a",
    "armv8l": "armeabi-v7a",
    "x86_64": "x86_64",
    "i686": "x86",
    "riscv64": "riscv64",
}


@dataclass(frozen=True, slots=True)
class Device:
    """Facts that stay the same while the device is on.

    Attributes:
        abis: names of the ABIs that it runs, best first.
        properties: Android's system properties that were asked for; empty on plain Linux.
        tools: which of the programs that the profiler can use are there.
        folder: where files can be put.
        identity: the same however the device is reached, until it restarts; empty if it does not tell.
        unit: which of the devices of its model it is, also after it restarts; empty if it does not tell.
        boot: another one each time that it starts.
    """

    model: str
    soc: str
    system: str
    abis: tuple[str, ...]
    cores: tuple[Core, ...]
    tools: frozenset[str]
    folder: str
    properties: Mapping[str, str]
    identity: str = ""
    unit: str = ""
    boot: str = ""

    def is_same_unit(self, other: Device) -> bool:
        """Tell whether ``other`` is of the same model and, where both tell, the same unit. Addresses are given anew."""
        if (self.model, self.soc, self.abis) != (other.model, other.soc, other.abis):
            return False
        if self.boot and self.boot == other.boot:
            # Containers of one machine differ in their folders alone.
            return self.identity == other.identity
        return not self.unit or not other.unit or self.unit == other.unit

    def name_unit(self) -> str:
        """Model and unit, for people."""
        return f"{self.model} ({self.unit or self.system.split(' (')[0]})"

    @property
    def is_android(self) -> bool:
        """True if it runs Android rather than plain Linux."""
        return bool(self.properties.get("ro.build.version.sdk"))

    def describe(self) -> dict[str, Any]:
        """Plain values of what decides whether old numbers still hold."""
        return {
            "model": self.model,
            # A digest: serial numbers are nobody else's business.
            **({"unit": hashlib.sha256(self.unit.encode()).hexdigest()[:12]} if self.unit else {}),
            "soc": self.soc,
            "system": self.system,
            "abi": self.abis[0],
            "clusters": [list(cluster) for cluster in clusters(self.cores)],
            "max_khz": [core.max_khz for core in self.cores],
            "governors": sorted({core.governor for core in self.cores if core.governor}),
        }


def read_device(connection: Connection) -> Device:
    """Ask the device what it is. Raises DeviceError if it does not answer as a Linux shell would."""
    result = connection.shell(FACTS)
    return parse_facts(result.out, connection.serial)


def parse_facts(text: str, serial: str) -> Device:
    """Read what ``script.FACTS`` printed. Raises DeviceError if the essentials are missing."""
    uname = re.search(r"^uname (\S+) (\S+) (\S+)", text, re.MULTILINE)
    folder = re.search(r"^folder (\S+)", text, re.MULTILINE)
    if uname is None:
        raise DeviceError(
            f"{serial} did not say what it is ({text.strip()[:80] or 'no output'}).",
            "Check that `adb shell uname` works on it.",
        )
    if folder is None:
        raise DeviceError(f"{serial} has no folder to write to.", "Make /data/local/tmp or /tmp writable.")
    properties = dict(re.findall(r"^prop ([\w.]+)=(.*?)\r?$", text, re.MULTILINE))
    board = re.search(r"^(?:board |model name\s*: |Hardware\s*: )(.+)$", text, re.MULTILINE)
    board_name = board.group(1).strip() if board else ""
    machine, kernel, release = uname.groups()
    abis = [abi for abi in properties.get("ro.product.cpu.abilist", "").split(",") if abi]
    return Device(
        model=_joined(properties, ("ro.product.manufacturer", "ro.product.model")) or board_name or machine,
        soc=_joined(properties, ("ro.soc.manufacturer", "ro.soc.model"))
        or properties.get("ro.board.platform", "")
        or properties.get("ro.hardware", "")
        or board_name,
        system=f"Android {properties['ro.build.version.release']} ({properties.get('ro.build.fingerprint', '')})"
        if properties.get("ro.build.version.release")
        else f"{kernel} {release}",
        abis=tuple(abis) or (_ABIS.get(machine, machine),),
        cores=parse_cores(text),
        tools=frozenset(re.findall(r"^tool (\w+)", text, re.MULTILINE)),
        folder=folder.group(1),
        properties=properties,
        identity=_identity(text, properties),
        unit=properties.get("ro.serialno", "") or _told(text, "unit"),
        boot=_told(text, "boot"),
    )


def _told(text: str, word: str) -> str:
    found = re.search(rf"^{word} (\S+)", text, re.MULTILINE)
    return found.group(1) if found else ""


def _identity(text: str, properties: Mapping[str, str]) -> str:
    """Serial number, boot and folder together: emulators share the first, containers of one machine the second."""
    told = [properties.get("ro.serialno", ""), _told(text, "boot"), _told(text, "inode")]
    return hashlib.sha256("|".join(told).encode()).hexdigest()[:16] if told[0] or told[1] else ""


def _joined(properties: Mapping[str, str], names: Sequence[str]) -> str:
    return " ".join(value for name in names if (value := properties.get(name, "").strip()) and value != "unknown")
