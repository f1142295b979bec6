"""Warm up and time one opened program on whatever device: a stopwatch is all that is asked of it.

The device time of an inference is that of a replayed CUDA graph, without the launches. A block is too short to be timed
alone: its graph holds several inferences in turn over the program's inputs, as a network holds several blocks. The wall
time is that of one inference launched operator by operator (eagerly) and waited for; where it is much longer, the
network is bound by launches rather than by the GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from fleetfront.profilers.gpu.programs.base import Program
from fleetfront.profilers.gpu.stopwatch import Stopwatch, Work

#: Runs before a capture: libraries choose kernels and take their workspaces in the first ones.
_RUNS_BEFORE_CAPTURE = 3
#: Eager wall time over device time from which a network is called launch-bound: a third of the time the GPU waits.
LAUNCH_BOUND_RATIO = 1.5
LAUNCH_BOUND = "launch-bound"


@dataclass(frozen=True, slots=True)
class SteadyRule:
    """When warming up ends: the medians of two windows of runs in a row are alike, and so are the clocks.

    Attributes:
        window: laps a window.
        tolerance: largest relative difference between the medians, and between the clock rates, of two windows.
        most_s: warming up ends after so many seconds in any case, but not before two windows.
        least_s: nor before so many: clocks that have not begun to rise are steady, too.
    """

    window: int = 5
    tolerance: float = 0.02
    most_s: float = 0.05
    least_s: float = 0.0


#: Before the first visit: a GPU that slept takes seconds to reach its clocks.
FIRST_WARM_UP = SteadyRule(window=20, tolerance=0.01, most_s=10.0, least_s=1.0)


@dataclass(frozen=True, slots=True)
class TimingOptions:
    """Settings of a visit.

    Attributes:
        buffers: sets of inputs that runs take in turn.
        sample_ns: a graph of a block holds as many inferences as take about so long, at least ``buffers``.
        most_copies: and at most so many.
        steady: when warming up ends.
        flush_l2: empty the L2 cache before every sample; a graph then holds one inference.
    """

    buffers: int = 4
    sample_ns: int = 200_000
    most_copies: int = 64
    steady: SteadyRule = field(default_factory=SteadyRule)
    flush_l2: bool = False


@dataclass(frozen=True, slots=True)
class WarmUp:
    """The end of warming up: laps made, seconds, and whether it ended because the device was steady."""

    laps: int
    seconds: float
    is_steady: bool


@dataclass(frozen=True, slots=True)
class ProgramTiming:
    """The numbers of a visit.

    Attributes:
        device_ns: nanoseconds of an inference on the device, one a sample; empty where the runtime cannot tell.
        wall_ns: nanoseconds of one inference launched and waited for.
        copies: inferences in one sample of ``device_ns``, which is their mean.
        warm_up: before the samples.
    """

    device_ns: tuple[int, ...]
    wall_ns: tuple[int, ...]
    copies: int
    warm_up: WarmUp

    @property
    def eager_ratio(self) -> float | None:
        """Fastest wall time over fastest device time; None without both."""
        if not self.device_ns or not self.wall_ns or min(self.device_ns) <= 0:
            return None
        return min(self.wall_ns) / min(self.device_ns)

    @property
    def is_launch_bound(self) -> bool:
        """True if the GPU waits for launches most of the time if the network is run eagerly."""
        ratio = self.eager_ratio
        return ratio is not None and ratio >= LAUNCH_BOUND_RATIO


def warm_until_steady(
    lap: Callable[[], float],
    rule: SteadyRule,
    now_ns: Callable[[], int],
    clock_mhz: Callable[[], float | None] = lambda: None,
) -> WarmUp:
    """Make laps until two windows in a row agree in their median and the clock rates around them, or time is up.

    Args:
        lap: makes one lap and says how long it took, in any unit.
        rule: windows, tolerance and limit.
        now_ns: clock of the limit.
        clock_mhz: rate of the device, read after each window; None if it is not told.
    """
    begun = now_ns()
    laps = 0
    previous: tuple[float, float | None] | None = None
    while True:
        window = median(lap() for _ in range(rule.window))
        laps += rule.window
        current = (window, clock_mhz())
        seconds = (now_ns() - begun) / 1e9
        is_steady = previous is not None and seconds >= rule.least_s and _alike(previous, current, rule.tolerance)
        if is_steady or (previous is not None and seconds >= rule.most_s):
            return WarmUp(laps, seconds, is_steady)
        previous = current


def _alike(first: tuple[float, float | None], second: tuple[float, float | None], tolerance: float) -> bool:
    for before, after in zip(first, second, strict=True):
        if before is not None and after is not None and abs(after - before) > tolerance * abs(before):
            return False
    return True


def time_program(
    program: Program,
    stopwatch: Stopwatch,
    *,
    warm_runs: int,
    timed_runs: int,
    is_block: bool,
    options: TimingOptions | None = None,
) -> ProgramTiming:
    """Warm up, then take ``timed_runs`` wall times and ``timed_runs`` device times of one inference.

    Args:
        program: opened on the stopwatch's device.
        stopwatch: of that device.
        warm_runs: eager inferences on each set of inputs before anything is timed, at least as many as captures need.
        timed_runs: samples of each clock.
        is_block: put several inferences into one graph.
        options: sizes of samples and limits on warming up.
    """
    chosen = options or TimingOptions()
    for index in range(max(warm_runs, _RUNS_BEFORE_CAPTURE)):
        stopwatch.run(lambda index=index: program.enqueue(index % program.buffers))  # type: ignore[misc]
    stopwatch.synchronize()
    if not program.can_be_captured:
        return _wall_only(program, stopwatch, timed_runs, chosen)
    wall_ns = _wall_ns(program, stopwatch, timed_runs)
    replays, copies = _captured(program, stopwatch, is_block, chosen)
    turn = _Turns(replays)
    warm_up = warm_until_steady(lambda: stopwatch.laps_ns([turn.next()])[0], chosen.steady, stopwatch.now_ns)
    between = stopwatch.flush if chosen.flush_l2 else None
    # The first lap of a queue begins on an idle device and so holds a launch; it is not kept.
    laps = stopwatch.laps_ns([turn.next() for _ in range(timed_runs + 1)], between)[1:]
    return ProgramTiming(tuple(max(1, round(lap / copies)) for lap in laps), wall_ns, copies, warm_up)


class _Turns:
    """Graphs of one inference each take turns, so that inputs rotate; a graph of several rotates inside."""

    def __init__(self, replays: tuple[Work, ...]) -> None:
        self._replays = replays
        self._made = 0

    def next(self) -> Work:
        self._made += 1
        return self._replays[self._made % len(self._replays)]


def _captured(
    program: Program, stopwatch: Stopwatch, is_block: bool, options: TimingOptions
) -> tuple[tuple[Work, ...], int]:
    if not is_block or options.flush_l2:
        return network_replays(program, stopwatch), 1
    replay = stopwatch.capture(_inferences(program, program.buffers))
    # The first replay uploads the graph.
    one_ns = stopwatch.laps_ns([replay, replay])[1] / program.buffers
    wanted = min(options.most_copies, int(options.sample_ns / max(one_ns, 1.0)) + 1)
    turns = max(1, round(wanted / program.buffers))
    if turns > 1:
        replay = stopwatch.capture(_inferences(program, turns * program.buffers))
    return (replay,), turns * program.buffers


def network_replays(program: Program, stopwatch: Stopwatch) -> tuple[Work, ...]:
    """One inference on each set of inputs, captured. They share their activations' memory, as eager runs do.

    Memory of its own for each would take several times what the network needs, and rotate what no user rotates.
    """
    replays: list[Work] = []
    for index in range(program.buffers):
        first = replays[0] if replays else None
        replays.append(stopwatch.capture(lambda index=index: program.enqueue(index), first))  # type: ignore[misc]
    return tuple(replays)


def _inferences(program: Program, count: int) -> Work:
    def work() -> None:
        for index in range(count):
            program.enqueue(index % program.buffers)

    return work


def _wall_ns(program: Program, stopwatch: Stopwatch, timed_runs: int) -> tuple[int, ...]:
    samples = []
    for run in range(timed_runs):
        stopwatch.synchronize()
        begun = stopwatch.now_ns()
        stopwatch.run(lambda run=run: program.enqueue(run % program.buffers))  # type: ignore[misc]
        stopwatch.synchronize()
        samples.append(stopwatch.now_ns() - begun)
    return tuple(samples)


def _wall_only(program: Program, stopwatch: Stopwatch, timed_runs: int, options: TimingOptions) -> ProgramTiming:
    warm_up = warm_until_steady(lambda: _wall_ns(program, stopwatch, 1)[0], options.steady, stopwatch.now_ns)
    return ProgramTiming((), _wall_ns(program, stopwatch, timed_runs), 1, warm_up)
