"""The timing discipline: how one opened model is warmed up and timed. Which models and how often is for campaigns.

A run is read with two clocks. The wall clock encloses the call alone. The thread-CPU clock is read once a run, after
the wall clock: a run's CPU time is the step from the reading before it, so it also holds that reading, the two of the
wall clock and the loop: about 0.8 microseconds, a quarter of the smallest files. ``measure_clock_cost`` tells how much
here, readers take it off. Reading it once a *visit* would cost still less but leave only a mean, which is twice as
noisy as the minimum over runs in LiteRT (2.5 % against 1.2 % from visit to visit on a busy two-core machine) and no
steadier than a low quantile in ONNX Runtime.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns, thread_time_ns

from fleetfront.profilers.base import Visit
from fleetfront.quantities import Clock

#: A user's file may take minutes to load; beyond this it hangs.
_COLD_TIMEOUT_S = 600.0
#: More runs than this tell nothing new.
MOST_RUNS = 5000


@dataclass(frozen=True, slots=True)
class Timing:
    """Nanoseconds of each timed run in the order made: ``wall_ns[i]`` and ``thread_cpu_ns[i]`` are of the same run."""

    wall_ns: tuple[int, ...]
    thread_cpu_ns: tuple[int, ...]


def time_runs(call: Callable[[], object], *, warm_runs: int, timed_runs: int) -> Timing:
    """Call ``warm_runs + timed_runs`` times and time the last ``timed_runs``.

    The garbage collector is off meanwhile, and back to what it was afterwards. Thread-CPU time is that of the calling
    thread alone: it leaves out the work of a runtime's other threads.
    """
    wall = [0] * timed_runs
    cpu = [0] * timed_runs
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(warm_runs):
            call()
        cpu_before = thread_time_ns()
        for run in range(timed_runs):
            wall_before = perf_counter_ns()
            call()
            wall_after = perf_counter_ns()
            cpu_after = thread_time_ns()
            wall[run] = wall_after - wall_before
            cpu[run] = cpu_after - cpu_before
            cpu_before = cpu_after
    finally:
        if was_collecting:
            gc.enable()
    return Timing(tuple(wall), tuple(cpu))


def measure_clock_cost(runs: int = 300) -> dict[Clock, int]:
    """Clock -> nanoseconds that it adds to a run: the median run of nothing, in under a millisecond."""
    timing = time_runs(lambda: None, warm_runs=runs // 10, timed_runs=runs)
    return {Clock.WALL: int(median(timing.wall_ns)), Clock.THREAD_CPU: int(median(timing.thread_cpu_ns))}


def time_for(call: Callable[[], object], seconds: float, *, warm_runs: int, least_runs: int) -> Timing:
    """``time_runs`` for about ``seconds``: as many runs as they hold by the fastest of three, within bounds."""
    gauge = time_runs(call, warm_runs=warm_runs, timed_runs=3)
    runs = int(seconds * 1e9 / max(1, min(gauge.wall_ns)))
    return time_runs(call, warm_runs=0, timed_runs=max(least_runs, min(MOST_RUNS, runs)))


def longest_s(visit: Visit, usual_s: float) -> float:
    """Seconds after which a visit hangs, where others do so after ``usual_s``."""
    return max(usual_s, _COLD_TIMEOUT_S) + visit.timed_s if visit.is_cold else usual_s
