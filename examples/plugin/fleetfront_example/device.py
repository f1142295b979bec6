"""Offer devices on paper: their latency follows the size of a file, so that no hardware is needed to try a plug-in.

A real kind of device differs in ``_microseconds``: it sends the file somewhere and waits for the times.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import Any, Unpack

from fleetfront.profilers.base import Agent, VisitBatch
from fleetfront.profilers.kinds.base import Capability, Choices, HeldAgent, Refine, check_own, refined
from fleetfront.profilers.records import Measurement
from fleetfront.progress import Progress
from fleetfront.quantities import Clock
from fleetfront.runtimes.catalogue import place_of
from fleetfront.targets import Target

_PREFIX = "paper:"


class PaperAgent:
    """An ``Agent``: 20 us to start, and a nanosecond for each byte of a file, more or less by the device's name."""

    clocks = (Clock.WALL,)

    def __init__(self, target: Target) -> None:
        """Nothing to connect to."""
        self._name = target.device
        self._ns_per_byte = 0.5 + zlib.crc32(target.device.encode()) / 2**32

    def run(self, batch: VisitBatch) -> Generator[tuple[Measurement, ...], None, None]:
        """A row for each visit, as soon as it is done; what goes wrong with a file is an error in its row."""
        for visit in batch.visits:
            started_ns = time.time_ns()
            try:
                samples = [self._nanoseconds(Path(batch.files[visit.file]))] * visit.timed_runs
                error = None
            except (OSError, KeyError, ValueError) as problem:
                samples, error = [], f"{type(problem).__name__}: {problem}"
            yield (batch.row(visit, Clock.WALL, samples, started_ns=started_ns, error=error),)

    def describe(self) -> dict[str, Any]:
        """Facts that decide whether a campaign may go on where an earlier one ended."""
        return {"name": self._name, "ns_per_byte": round(self._ns_per_byte, 6)}

    def close(self) -> None:
        """Nothing to leave as it was found."""

    def _nanoseconds(self, file: Path) -> int:
        data = file.read_bytes()
        if b"TFL3" not in data[:8]:
            raise ValueError("this is no TFLite file")
        return 20_000 + round(self._ns_per_byte * len(data))


class PaperKind:
    """Devices called ``paper:NAME``. A ``DeviceKind``."""

    name = "paper"
    can = frozenset({Capability.BLOCKS, Capability.FILES, Capability.FEW_SHOT, Capability.VERIFY})
    settings: frozenset[str] = frozenset()

    def matches(self, name: str) -> bool:
        """``paper:`` and a name."""
        return name.startswith(_PREFIX) and len(name) > len(_PREFIX)

    def target(self, name: str, **refine: Unpack[Refine]) -> Target:
        """LiteRT, whatever the file: paper has no other runtime."""
        runtime = place_of("cpu", refine.get("runtime") or "litert").name
        return refined(self.name, Target(name, runtime, threads=refine.get("threads", 1)), refine)

    def open(self, target: Target, choices: Choices, progress: Progress) -> Agent:
        """An agent that holds the device: nobody else may measure it meanwhile."""
        check_own(self, target, choices)
        return HeldAgent(choices, target.device, lambda: PaperAgent(target))

    def preview(self, target: Target, choices: Choices, progress: Progress) -> dict[str, Any]:
        """Measuring changes nothing."""
        return {}
