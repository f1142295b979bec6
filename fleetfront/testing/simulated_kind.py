"""Offer simulated devices as a kind, ``simulated:NAME``, for tests of whatever stands between a command and a device.

A package that is made for a test names it as an entry point of ``fleetfront.devices``; no installation has it.
"""

from __future__ import annotations

import os
import signal
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Unpack

from fleetfront.profilers.base import Agent
from fleetfront.profilers.kinds.base import Capability, Choices, HeldAgent, Refine, check_own, refined
from fleetfront.progress import Progress
from fleetfront.targets import Target
from fleetfront.testing.simulated_device import SimulatedDevice

_PREFIX = "simulated:"
#: Real seconds of a visit: as long as one of a small block.
VISIT_S = 0.005
#: Key of what ends the process that measures it, as a file that crashes its runtime.
KILLS_ITS_AGENT = "kills its agent"


class TrueLatencies(Mapping[str, float]):
    """Milliseconds of every key there could be, drawn from the names of device and key alone."""

    def __init__(self, device: str) -> None:
        self._device = device

    def __getitem__(self, key: str) -> float:
        if key == KILLS_ITS_AGENT:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0.1 + zlib.crc32(f"{self._device} {key}".encode()) % 1000 / 500

    def __contains__(self, key: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class SimulatedKind:
    """Devices called ``simulated:NAME``. A ``DeviceKind``."""

    name = "simulated"
    can = frozenset({Capability.BLOCKS, Capability.FILES, Capability.FEW_SHOT, Capability.VERIFY})
    settings: frozenset[str] = frozenset()

    def matches(self, name: str) -> bool:
        """``simulated:`` and a name."""
        return name.startswith(_PREFIX) and len(name) > len(_PREFIX)

    def target(self, name: str, **refine: Unpack[Refine]) -> Target:
        """LiteRT unless the user says otherwise: files are not opened."""
        target = Target(name, refine.get("runtime") or "litert", threads=refine.get("threads", 1))
        return refined(self.name, target, refine)

    def open(self, target: Target, choices: Choices, progress: Progress) -> Agent:
        """An agent that holds the device; its visits take ``VISIT_S`` of everybody's time."""
        check_own(self, target, choices)
        return HeldAgent(choices, target.device, lambda: _device(target.device))

    def preview(self, target: Target, choices: Choices, progress: Progress) -> dict[str, Any]:
        """Measuring changes nothing."""
        return {}


def _device(name: str) -> Agent:
    return SimulatedDevice(TrueLatencies(name), before_visit=lambda _: time.sleep(VISIT_S), facts={"cpu": name})
