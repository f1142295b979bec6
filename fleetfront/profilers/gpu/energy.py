"""Energy of one inference from a counter of the whole board, which steps so rarely that only long runs tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleetfront.profilers.gpu.programs.base import Program
from fleetfront.profilers.gpu.stopwatch import Stopwatch, Work

#: Work queued before the host looks at the counter again.
_QUEUE_NS = 20_000_000
#: Laps that say how much work that is.
_GAUGE = 5


@dataclass(frozen=True, slots=True)
class EnergyReading:
    """Microjoules of one inference, mean over ``inferences`` in ``seconds``, with the board's idle power."""

    microjoules: int
    inferences: int
    seconds: float


def measure_energy(
    program: Program, stopwatch: Stopwatch, counter_mj: Callable[[], int | None], seconds: float
) -> EnergyReading | None:
    """Run without rest for about ``seconds``, from one step of the counter to another.

    None if there is no counter, or it did not step where it should within three times as long.
    """
    if counter_mj() is None:
        return None
    work = _work(program, stopwatch)
    stopwatch.laps_ns([work])
    one_ns = max(1.0, sum(stopwatch.laps_ns([work] * _GAUGE)) / _GAUGE)
    count = max(1, int(_QUEUE_NS / one_ns))

    def queue() -> None:
        stopwatch.laps_ns([work] * count)

    deadline_ns = stopwatch.now_ns() + int(3e9 * seconds)
    first = _after_step(counter_mj, queue, stopwatch, deadline_ns)
    if first is None:
        return None
    begun, inferences, seen = stopwatch.now_ns(), 0, first
    while stopwatch.now_ns() < deadline_ns:
        queue()
        inferences += count * program.buffers
        before, seen = seen, counter_mj() or seen
        spent_ns = stopwatch.now_ns() - begun
        # Ending on a step leaves no part of one uncounted.
        if seen != before and spent_ns >= seconds * 1e9:
            return EnergyReading(round(1000 * (seen - first) / inferences), inferences, spent_ns / 1e9)
    return None


def _work(program: Program, stopwatch: Stopwatch) -> Work:
    def all_buffers() -> None:
        for index in range(program.buffers):
            program.enqueue(index)

    stopwatch.run(all_buffers)
    stopwatch.synchronize()
    return stopwatch.capture(all_buffers) if program.can_be_captured else all_buffers


def _after_step(
    counter_mj: Callable[[], int | None], queue: Callable[[], None], stopwatch: Stopwatch, deadline_ns: int
) -> int | None:
    """The counter just after it stepped, with work going on; None if it does not by the deadline."""
    before = counter_mj()
    while stopwatch.now_ns() < deadline_ns:
        queue()
        now = counter_mj()
        if now is not None and now != before:
            return now
    return None
