"""The agent of one GPU: makes visits in this process, keeps what fails to its own row, and records conditions.

How a visit is timed is written in ``visit_timing``; which runtime opens files is chosen in ``open_agent``.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetfront.errors import DeviceError, MissingDependency
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.gpu.energy import EnergyReading, measure_energy
from fleetfront.profilers.gpu.nvml import Nvml, is_throttling
from fleetfront.profilers.gpu.programs.base import Opener, Program
from fleetfront.profilers.gpu.stopwatch import Stopwatch
from fleetfront.profilers.gpu.visit_timing import (
    FIRST_WARM_UP,
    LAUNCH_BOUND,
    ProgramTiming,
    SteadyRule,
    TimingOptions,
    time_program,
    warm_until_steady,
)
from fleetfront.profilers.records import Measurement, Role
from fleetfront.quantities import Clock
from fleetfront.runtimes.catalogue import place_of
from fleetfront.targets import Target

#: What discards know a hot device by.
THROTTLED = "throttled"
#: These are run long enough for the energy counter, in the first round alone; it would take too long for all.
_WITH_ENERGY = frozenset({Role.CALIBRATION, Role.NETWORK, Role.FILE})
#: A lap of the first warm-up is as many inferences as take about so long, and at most so many.
_FIRST_LAP_NS = 10_000_000
_FIRST_LAP = 50


@dataclass(frozen=True, slots=True)
class GpuOptions:
    """Choices that make two campaigns different ones, besides the target.

    Attributes:
        timing: of every visit.
        energy_s: how long each calibration network runs for its energy, where the GPU has a counter; 0 for not at all.
    """

    timing: TimingOptions = field(default_factory=TimingOptions)
    energy_s: float = 0.5

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        timing = self.timing
        return {"buffers": timing.buffers, "sample_ns": timing.sample_ns, "flush_l2": timing.flush_l2}


class GpuAgent:
    """Measures on one device with one runtime."""

    def __init__(
        self,
        target: Target,
        opener: Opener,
        stopwatch: Stopwatch,
        facts: Mapping[str, Any],
        *,
        nvml: Nvml | None = None,
        options: GpuOptions | None = None,
        first_warm_up: SteadyRule = FIRST_WARM_UP,
    ) -> None:
        """Take a device that is there.

        Args:
            target: of all batches.
            opener: opens the files that batches name.
            stopwatch: of the device that ``opener`` puts programs on.
            facts: what does not change of the device.
            nvml: reads conditions; None where it cannot be had.
            options: how visits are made.
            first_warm_up: before the first visit.
        """
        self.target = target
        self._opener = opener
        self._stopwatch = stopwatch
        self._facts = dict(facts)
        self._nvml = nvml
        self._options = options or GpuOptions()
        self._first_warm_up: SteadyRule | None = first_warm_up

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """The GPU's own events where the runtime lets them be set."""
        return place_of("cuda", self.target.runtime).clocks

    def describe(self) -> dict[str, Any]:
        """The GPU, its driver and limits, the runtime and its settings, and how visits are made."""
        read = {} if self._nvml is None else self._nvml.describe()
        return {**self._facts, **read, **self._opener.describe(), **self._options.describe()}

    def run(self, batch: VisitBatch) -> Generator[tuple[Measurement, ...], None, None]:
        """Make the visits of a batch. What one program cannot do (memory full, an operator unknown) is its own error.

        Raises DeviceError if the GPU cannot be used by this process any more, after the row of the visit that did it:
        the same command then goes on behind it.
        """
        for visit in batch.visits:
            rows, lost = self._visit(batch, visit)
            yield rows
            if lost is not None:
                raise lost

    def close(self) -> None:
        """Put back what was changed in this process; nothing was changed on the device."""
        self._opener.close()

    def _visit(self, batch: VisitBatch, visit: Visit) -> tuple[tuple[Measurement, ...], DeviceError | None]:
        started_ns, begun = time.time_ns(), time.perf_counter_ns()
        before = self._conditions()
        error, timing, energy = None, None, None
        try:
            timing, energy = self._measured(batch, visit)
        except (DeviceError, MissingDependency):
            raise
        # A runtime may raise anything; whatever it is belongs to this visit alone, unless the device is gone with it.
        except Exception as raised:
            error = self._explained(raised)
        # Outside the handler, where the exception's frames no longer hold tensors.
        lost = None if error is None else self._recovered()
        after = {**self._conditions(), **_how(timing), "visit_ns": time.perf_counter_ns() - begun}
        flags = (THROTTLED,) if is_throttling(before) or is_throttling(after) else ()

        row = functools.partial(
            batch.row, visit, started_ns=started_ns, before=before, after=after, flags=flags, error=error
        )
        if timing is None:
            return (row(Clock.WALL, ()),), lost
        rows = [row(Clock.WALL, timing.wall_ns, flags=(*flags, *self._verdict(visit, timing)))]
        if timing.device_ns:
            rows.append(row(Clock.DEVICE, timing.device_ns))
        if energy is not None:
            rows.append(row(Clock.DEVICE, (energy.microjoules,), metric="energy", unit="uJ"))
        return tuple(rows), None

    def _recovered(self) -> DeviceError | None:
        """The error that keeps the device from being used any more; None if it can be."""
        try:
            self._stopwatch.recover()
        except DeviceError as lost:
            return lost
        return None

    def _measured(self, batch: VisitBatch, visit: Visit) -> tuple[ProgramTiming, EnergyReading | None]:
        program = self._opener.open(Path(batch.files[visit.file]), self._options.timing.buffers)
        try:
            self._warm_up_once(program)
            timing = time_program(
                program,
                self._stopwatch,
                warm_runs=visit.warm_runs,
                timed_runs=visit.timed_runs,
                is_block=visit.role in (Role.BLOCK, Role.ANCHOR),
                options=self._options.timing,
            )
            energy = self._energy(program) if batch.round == 0 and visit.role in _WITH_ENERGY else None
        finally:
            program.close()
        return timing, energy

    @staticmethod
    def _verdict(visit: Visit, timing: ProgramTiming) -> tuple[str, ...]:
        """Of networks alone: a block's few launches say nothing of a network's."""
        is_network = visit.role not in (Role.BLOCK, Role.ANCHOR)
        return (LAUNCH_BOUND,) if is_network and timing.is_launch_bound else ()

    def _warm_up_once(self, program: Program) -> None:
        """A GPU that slept needs seconds to reach its clocks, and then to stop getting warmer quickly."""
        rule, self._first_warm_up = self._first_warm_up, None
        if rule is None:
            return
        stopwatch = self._stopwatch

        def lap(inferences: int) -> float:
            begun = stopwatch.now_ns()
            for index in range(inferences):
                stopwatch.run(lambda index=index: program.enqueue(index % program.buffers))  # type: ignore[misc]
            stopwatch.synchronize()
            return stopwatch.now_ns() - begun

        # The first runs load libraries and kernels, which takes seconds.
        lap(program.buffers)
        count = min(_FIRST_LAP, max(1, int(_FIRST_LAP_NS * program.buffers / max(1.0, lap(program.buffers)))))
        mhz = (lambda: None) if self._nvml is None else self._nvml.sm_mhz
        warm_until_steady(lambda: lap(count), rule, stopwatch.now_ns, mhz)

    def _energy(self, program: Program) -> EnergyReading | None:
        if self._nvml is None or self._options.energy_s <= 0:
            return None
        return measure_energy(program, self._stopwatch, self._nvml.energy_mj, self._options.energy_s)

    def _conditions(self) -> dict[str, Any]:
        return {} if self._nvml is None else self._nvml.read()

    def _explained(self, raised: Exception) -> str:
        lines = str(raised).strip().splitlines()
        text = f"{type(raised).__name__}: {lines[0][:300] if lines else ''}"
        is_full = any(self._stopwatch.is_out_of_memory(error) for error in _chain(raised))
        return f"out of memory on the device ({text})" if is_full else text


def _chain(raised: Exception) -> Iterator[Exception]:
    """The exception and those during whose handling it was raised: ending a failed capture fails once more."""
    error: BaseException | None = raised
    while isinstance(error, Exception):
        yield error
        error = error.__cause__ or error.__context__


def _how(timing: ProgramTiming | None) -> dict[str, Any]:
    """The way in which samples were taken, for their reader."""
    if timing is None:
        return {}
    ratio = timing.eager_ratio
    return {
        "copies": timing.copies,
        "warm_laps": timing.warm_up.laps,
        "is_steady": timing.warm_up.is_steady,
        **({} if ratio is None else {"eager_ratio": round(ratio, 3)}),
    }
