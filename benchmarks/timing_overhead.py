"""Measure what the timing discipline adds to a runtime call of about 0.1 ms, on this machine, for both clocks.

Bare calls and timed calls alternate in small blocks, so that both meet the same machine; the bar is 2 %.

    python benchmarks/timing_overhead.py [--blocks 400]
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import machine
import numpy as np

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.profilers.cpu.timing import time_runs
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.runtimes.feeds import random_feeds

BAR_PERCENT = 2.0
RUNS_A_BLOCK = 20


def convolution(channels: int) -> Graph:
    builder = GraphBuilder("convolution")
    data = builder.input("x", (1, channels, 14, 14), layout="NCHW")
    rng = np.random.default_rng(0)
    weight = builder.weight("w", rng.normal(size=(channels, channels, 3, 3)).astype(np.float32))
    return builder.build([builder.conv2d(data, weight, padding=1)])


def opened(runtime: str, channels: int) -> Callable[[], object]:
    write = {"onnxruntime": write_onnx, "litert": write_tflite}[runtime]
    session = load_runtime(runtime).open(write(convolution(channels)))
    return session.bind(random_feeds(session, np.random.default_rng(0)))


def near_100_us(runtime: str) -> tuple[int, Callable[[], object]]:
    """The smallest convolution that takes 0.1 ms here, and the call that runs it."""
    for channels in (16, 24, 32, 48, 64, 80, 96, 128):
        call = opened(runtime, channels)
        if min(time_runs(call, warm_runs=20, timed_runs=50).thread_cpu_ns) >= 100_000:
            return channels, call
    return channels, call


def measure(runtime: str, blocks: int) -> dict[str, Any]:
    channels, call = near_100_us(runtime)
    bare_ns, timed_ns, wall_ns, cpu_ns = [], [], [], []
    gc.disable()
    for _ in range(blocks):
        begun = time.thread_time_ns()
        for _ in range(RUNS_A_BLOCK):
            call()
        bare_ns.append((time.thread_time_ns() - begun) / RUNS_A_BLOCK)
        begun = time.thread_time_ns()
        timing = time_runs(call, warm_runs=0, timed_runs=RUNS_A_BLOCK)
        timed_ns.append((time.thread_time_ns() - begun) / RUNS_A_BLOCK)
        wall_ns.append(min(timing.wall_ns))
        cpu_ns.append(min(timing.thread_cpu_ns))
    gc.enable()
    bare, timed = min(bare_ns), min(timed_ns)
    overheads = [100 * (b / a - 1) for a, b in zip(bare_ns, timed_ns, strict=True)]
    return {
        "channels": channels,
        "call_us": bare / 1e3,
        "added_ns_a_run": timed - bare,
        "added_percent": 100 * (timed / bare - 1),
        "added_percent_median_of_pairs": statistics.median(overheads),
        "fastest_wall_us": min(wall_ns) / 1e3,
        "fastest_thread_cpu_us": min(cpu_ns) / 1e3,
    }


def empty_call_ns() -> float:
    """What a run of nothing costs under the discipline: the whole overhead, free of the noise of a runtime."""

    def nothing() -> None:
        return None

    def bare(runs: int) -> float:
        begun = time.thread_time_ns()
        for _ in range(runs):
            nothing()
        return (time.thread_time_ns() - begun) / runs

    def timed(runs: int) -> float:
        begun = time.thread_time_ns()
        time_runs(nothing, warm_runs=0, timed_runs=runs)
        return (time.thread_time_ns() - begun) / runs

    return min(timed(2000) for _ in range(50)) - min(bare(2000) for _ in range(50))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=400)
    blocks = parser.parse_args().blocks
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    begun = machine.describe()
    empty_ns = empty_call_ns()
    print(f"empty call: {empty_ns:.0f} ns a run = {empty_ns / 1e3:.2f} % of 0.1 ms (bar {BAR_PERCENT:g} %)")
    results = {runtime: measure(runtime, blocks) for runtime in ("onnxruntime", "litert")}
    for runtime, found in results.items():
        print(
            f"{runtime:12} call {found['call_us']:7.1f} us, added {found['added_percent']:5.2f} % "
            f"(median of pairs {found['added_percent_median_of_pairs']:5.2f} %)"
        )
    payload = {
        "bar_percent": BAR_PERCENT,
        "empty_call_added_ns": empty_ns,
        "added_percent_of_0.1_ms": empty_ns / 1e3,
        "runtimes": results,
    }
    print(machine.write("timing_overhead", payload, begun))


if __name__ == "__main__":
    main()
