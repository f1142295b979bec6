"""A device with a clock of its own: launches cost host time, work costs device time, and clocks ramp up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetfront.errors import DeviceError
from fleetfront.profilers.gpu.stopwatch import Work


class FakeOutOfMemory(RuntimeError):
    pass


@dataclass
class FakeDevice:
    """Simulated nanoseconds. A Stopwatch, and the place where ``FakeProgram`` runs.

    Attributes:
        launch_ns: host time of one launch (an eager inference has several, a replay one).
        cold_factor: how much slower the first work is than that of a warm device.
        ramp_ns: device time after which the clocks are up.
    """

    launch_ns: int = 5_000
    cold_factor: float = 1.0
    ramp_ns: int = 0
    host_ns: int = 0
    device_ns: int = 0
    worked_ns: int = 0
    captures: int = 0
    flushes: int = 0
    recovered: int = 0
    is_broken: bool = False
    _capturing: list[int] | None = None

    def now_ns(self) -> int:
        return self.host_ns

    def launch(self, work_ns: int) -> None:
        """One kernel: the host spends a launch, the device its work once it is free."""
        if self._capturing is not None:
            self._capturing.append(work_ns)
            return
        self.host_ns += self.launch_ns
        self._work([work_ns])

    def run(self, work: Work) -> None:
        work()

    def synchronize(self) -> None:
        self.host_ns = max(self.host_ns, self.device_ns)

    def capture(self, work: Work, beside: Work | None = None) -> Work:
        self.captures += 1
        kernels: list[int] = []
        self._capturing = kernels
        work()
        self._capturing = None

        def replay() -> None:
            self.host_ns += self.launch_ns
            self._work(kernels)

        return replay

    def laps_ns(self, works: Sequence[Work], between: Work | None = None) -> list[int]:
        laps = []
        begin = max(self.host_ns, self.device_ns)
        for work in works:
            if between is not None:
                between()
                begin = self.device_ns
            work()
            laps.append(self.device_ns - begin)
            begin = self.device_ns
        self.synchronize()
        return laps

    def flush(self) -> None:
        self.flushes += 1
        self.launch(50_000)

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, FakeOutOfMemory)

    def recover(self) -> None:
        if self.is_broken:
            raise DeviceError("cuda:0 cannot be used any more.", "Go on with the same command.")
        self.recovered += 1

    def _work(self, kernels: Sequence[int]) -> None:
        self.device_ns = max(self.device_ns, self.host_ns)
        for work_ns in kernels:
            slow = self.cold_factor if self.worked_ns < self.ramp_ns else 1.0
            self.device_ns += int(slow * work_ns)
            self.worked_ns += int(slow * work_ns)


@dataclass
class FakeProgram:
    """A network of ``kernels`` (ns each); remembers which inputs it was run on."""

    device: FakeDevice
    kernels: tuple[int, ...]
    buffers: int = 4
    can_be_captured: bool = True
    order: list[int] = field(default_factory=list)
    is_closed: bool = False

    def enqueue(self, index: int) -> None:
        self.order.append(index)
        for kernel in self.kernels:
            self.device.launch(kernel)
        if not self.can_be_captured:
            self.device.synchronize()

    def close(self) -> None:
        self.is_closed = True


@dataclass
class FakeOpener:
    """Files whose names say what they are: kernels in ns joined by ``-``, or ``oom`` or ``broken``."""

    device: FakeDevice
    can_be_captured: bool = True
    is_closed: bool = False
    opened: list[FakeProgram] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        return {"runtime": "fake"}

    def open(self, path: Path, buffers: int) -> FakeProgram:
        if path.name == "oom":
            raise FakeOutOfMemory("tried to allocate 20.00 GiB")
        if path.name == "broken":
            self.device.is_broken = True
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        kernels = tuple(int(part) for part in path.name.split("-"))
        self.opened.append(FakeProgram(self.device, kernels, buffers, self.can_be_captured))
        return self.opened[-1]

    def close(self) -> None:
        self.is_closed = True
