from __future__ import annotations

import gc
import time

import pytest

from fleetfront.profilers.cpu.timing import time_runs


def test_warm_runs_are_made_and_not_timed() -> None:
    calls: list[bool] = []
    timing = time_runs(lambda: calls.append(gc.isenabled()), warm_runs=3, timed_runs=5)
    assert len(calls) == 8
    assert not any(calls), "the garbage collector may not run inside a timed call"
    assert len(timing.wall_ns) == len(timing.thread_cpu_ns) == 5
    assert all(ns > 0 for ns in timing.wall_ns)


@pytest.mark.parametrize("was_enabled", [True, False])
def test_the_collector_is_left_as_it_was_even_after_an_error(was_enabled: bool) -> None:
    def explode() -> None:
        raise ValueError("no")

    (gc.enable if was_enabled else gc.disable)()
    try:
        with pytest.raises(ValueError, match="no"):
            time_runs(explode, warm_runs=0, timed_runs=1)
        assert gc.isenabled() == was_enabled
        time_runs(lambda: None, warm_runs=0, timed_runs=1)
        assert gc.isenabled() == was_enabled
    finally:
        gc.enable()


def test_thread_cpu_time_leaves_out_waiting_and_wall_time_does_not() -> None:
    timing = time_runs(lambda: time.sleep(0.02), warm_runs=0, timed_runs=2)
    assert all(ns >= 20_000_000 for ns in timing.wall_ns)
    assert all(cpu < wall / 2 for cpu, wall in zip(timing.thread_cpu_ns, timing.wall_ns, strict=True))


def test_both_clocks_tell_long_runs_from_short_ones() -> None:
    lengths = iter([2_000, 40_000] * 3)
    timing = time_runs(lambda: sum(range(next(lengths))), warm_runs=0, timed_runs=6)
    for samples in (timing.wall_ns, timing.thread_cpu_ns):
        assert min(samples[1::2]) > min(samples[::2])
