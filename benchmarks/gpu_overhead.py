"""Measure what the discipline of a timed visit adds to a network's time on a CUDA GPU, against a bare loop of events.

Part of ``gpu.py``, which runs it for every batch.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fleetfront.graphs.batch import with_batch
from fleetfront.profilers.gpu.programs.torch import TorchOpener
from fleetfront.profilers.gpu.stopwatch import CudaStopwatch, HostStopwatch, Stopwatch, Work
from fleetfront.profilers.gpu.visit_timing import FIRST_WARM_UP, network_replays, time_program, warm_until_steady
from fleetfront.runtimes.cuda_device import cuda_index
from fleetfront.spaces.base import SearchSpace
from fleetfront.targets import Target

#: Samples of each kind.
OVERHEAD_SAMPLES = 200


def bare_ns(watch: Stopwatch, replays: Sequence[Work], count: int) -> list[int]:
    """What anybody would write: an event before and after each replay, read at the end."""
    turns = [replays[number % len(replays)] for number in range(count)]
    if not isinstance(watch, CudaStopwatch):
        laps = []
        for replay in turns:
            begun = time.perf_counter_ns()
            replay()
            laps.append(time.perf_counter_ns() - begun)
        return laps
    import torch

    cuda: Any = torch.cuda
    events = [[cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(count)]
    with cuda.stream(watch.stream):
        for replay, (begin, end) in zip(turns, events, strict=True):
            begin.record(watch.stream)
            replay()
            end.record(watch.stream)
    watch.stream.synchronize()
    return [round(begin.elapsed_time(end) * 1e6) for begin, end in events]


def overhead(space: SearchSpace, target: Target, rehearse: bool, folder: Path) -> dict[str, Any]:
    """What a timed visit says of one network, against a bare loop of events around replays of the same work.

    Both take turns, so that both meet the same clocks.
    """
    device = "cpu" if rehearse else target.device
    watch: Stopwatch = HostStopwatch() if rehearse else CudaStopwatch(cuda_index(target.device))
    graph = next(iter(space.subnet_graphs(space.sample(1, np.random.default_rng(0))[0]).values()))[0]
    path = folder / "overhead.graph"
    path.write_bytes(with_batch(graph, target.batch).to_bytes())
    opener = TorchOpener(device, target.precision)
    program = opener.open(path, 4)
    samples = 4 if rehearse else OVERHEAD_SAMPLES // 10
    timed: list[int] = []
    bare: list[int] = []
    try:
        timing = time_program(program, watch, warm_runs=3, timed_runs=2, is_block=False)
        replays = network_replays(program, watch)
        if not rehearse:
            warm_until_steady(lambda: sum(watch.laps_ns(replays)), FIRST_WARM_UP, watch.now_ns)
        for _ in range(2 if rehearse else 10):
            timing = time_program(program, watch, warm_runs=3, timed_runs=samples, is_block=False)
            timed += timing.device_ns
            bare_ns(watch, replays, 8)
            bare += bare_ns(watch, replays, samples + 1)[1:]
    finally:
        program.close()
        opener.close()
    percent = 100 * (float(np.median(timed)) / float(np.median(bare)) - 1)
    return {
        "percent": percent,
        "timed_ms": float(np.median(timed)) / 1e6,
        "bare_ms": float(np.median(bare)) / 1e6,
        "eager_ms": min(timing.wall_ns) / 1e6,
    }
