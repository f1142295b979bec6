"""The timing of a program on a simulated device, and on this CPU in torch."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetfront.profilers.gpu.energy import measure_energy
from fleetfront.profilers.gpu.stopwatch import HostStopwatch
from fleetfront.profilers.gpu.visit_timing import (
    SteadyRule,
    TimingOptions,
    time_program,
    warm_until_steady,
)
from tests.profilers.gpu.fakes import FakeDevice, FakeProgram


@settings(max_examples=30, deadline=None)
@given(
    kernels=st.lists(st.integers(1_000, 2_000_000), min_size=1, max_size=30),
    launch_ns=st.integers(500, 20_000),
    is_block=st.booleans(),
)
def test_device_time_is_the_work_alone_whatever_a_launch_costs(
    kernels: list[int], launch_ns: int, is_block: bool
) -> None:
    device = FakeDevice(launch_ns=launch_ns)
    program = FakeProgram(device, tuple(kernels))
    timing = time_program(program, device, warm_runs=2, timed_runs=5, is_block=is_block)
    # A graph of one tiny inference may be over before the next is launched: only then does a launch show.
    shown = max(0, launch_ns - sum(kernels) * timing.copies) // timing.copies
    assert timing.device_ns == pytest.approx([sum(kernels) + shown] * 5, abs=2)
    assert min(timing.wall_ns) >= max(sum(kernels), launch_ns * len(kernels))


def test_a_block_is_timed_several_times_in_one_graph_over_rotating_inputs() -> None:
    device = FakeDevice()
    program = FakeProgram(device, (10_000,), buffers=4)
    timing = time_program(program, device, warm_runs=0, timed_runs=3, is_block=True, options=TimingOptions())
    assert timing.copies == 20  # 200 us of 10 us each, a multiple of the four buffers
    assert program.order[-20:] == [0, 1, 2, 3] * 5
    network = FakeProgram(device, (10_000,), buffers=4)
    assert time_program(network, device, warm_runs=0, timed_runs=3, is_block=False).copies == 1
    assert network.order[-4:] == [0, 1, 2, 3]  # one graph for each set of inputs


def test_copies_are_bounded() -> None:
    device = FakeDevice(launch_ns=10)
    tiny = time_program(
        FakeProgram(device, (20,)), device, warm_runs=0, timed_runs=2, is_block=True, options=TimingOptions()
    )
    assert tiny.copies == 64
    huge = time_program(FakeProgram(device, (10**9,)), device, warm_runs=0, timed_runs=2, is_block=True)
    assert huge.copies == 4


def test_launch_bound_networks_are_recognised() -> None:
    device = FakeDevice(launch_ns=6_000)
    many_small = time_program(FakeProgram(device, (2_000,) * 100), device, warm_runs=2, timed_runs=4, is_block=False)
    assert many_small.is_launch_bound
    assert many_small.eager_ratio == pytest.approx(600 / 200, rel=0.05)
    few_large = time_program(FakeProgram(device, (200_000,) * 10), device, warm_runs=2, timed_runs=4, is_block=False)
    assert not few_large.is_launch_bound


def test_flushing_happens_before_every_sample_and_outside_of_it() -> None:
    device = FakeDevice()
    options = TimingOptions(flush_l2=True)
    timing = time_program(
        FakeProgram(device, (30_000,)), device, warm_runs=2, timed_runs=5, is_block=True, options=options
    )
    assert (device.flushes, timing.copies) == (6, 1)
    assert timing.device_ns == pytest.approx([30_000] * 5, abs=5_000)


def test_programs_that_cannot_be_captured_have_wall_times_alone() -> None:
    device = FakeDevice()
    program = FakeProgram(device, (40_000, 40_000), can_be_captured=False)
    timing = time_program(program, device, warm_runs=2, timed_runs=5, is_block=True)
    assert timing.device_ns == ()
    assert device.captures == 0
    assert timing.eager_ratio is None
    assert not timing.is_launch_bound
    assert min(timing.wall_ns) >= 80_000


def test_warming_up_waits_for_the_clocks() -> None:
    device = FakeDevice(cold_factor=1.5, ramp_ns=30_000_000)
    program = FakeProgram(device, (100_000,))
    rule = SteadyRule(window=5, tolerance=0.01, most_s=10.0)
    # Two windows in a slow phase agree: only the clock rate tells that the device is still coming up.
    rates = iter([500.0, 900.0, 1400.0, 1700.0])
    last = 1980.0

    def lap() -> int:
        return sum(device.laps_ns([lambda: program.enqueue(0)] * 20))

    warm = warm_until_steady(lap, rule, device.now_ns, lambda: next(rates, last))
    assert warm.is_steady
    assert warm.laps == 5 * 6
    assert device.laps_ns([lambda: program.enqueue(0)] * 2)[1] == 100_000


@given(noise=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=50))
@settings(max_examples=30, deadline=None)
def test_warming_up_always_ends(noise: list[float]) -> None:
    def times() -> Iterator[float]:
        while True:
            yield from (1.0 + 10 * value for value in noise)

    series, ticks = times(), iter(range(0, 10**12, 10_000_000))
    warm = warm_until_steady(lambda: next(series), SteadyRule(5, 0.0001, 0.5), lambda: next(ticks))
    assert warm.is_steady or warm.seconds >= 0.5
    assert warm.laps <= 5 * 60


class Counter:
    """Millijoules at 100 W, in steps of some ms, as NVML's counter is."""

    def __init__(self, device: FakeDevice, step_ms: int) -> None:
        self.device, self.step_ms = device, step_ms

    def __call__(self) -> int:
        return 100 * (self.device.host_ns // (self.step_ms * 1_000_000) * self.step_ms)


@pytest.mark.parametrize("step_ms", [1, 50, 100, 380])
def test_energy_is_power_times_time_from_step_to_step(step_ms: int) -> None:
    device = FakeDevice()
    program = FakeProgram(device, (500_000, 500_000))
    reading = measure_energy(program, device, Counter(device, step_ms), 1.0)
    assert reading is not None
    assert reading.microjoules == pytest.approx(100_000, rel=0.05)  # 100 W for 1 ms
    assert 1.0 <= reading.seconds <= 1.0 + step_ms / 1000 + 0.05


def test_no_energy_without_a_counter_or_one_that_stands_still() -> None:
    device = FakeDevice()
    assert measure_energy(FakeProgram(device, (1_000_000,)), device, lambda: None, 0.5) is None
    assert measure_energy(FakeProgram(device, (1_000_000,)), device, lambda: 7, 0.5) is None
    assert device.host_ns < 3e9


def test_the_host_stopwatch_times_work_and_not_what_lies_between() -> None:
    watch = HostStopwatch()
    calls: list[str] = []
    laps = watch.laps_ns([lambda: calls.append("work")] * 3, lambda: calls.append("between"))
    assert calls == ["between", "work"] * 3
    assert len(laps) == 3
    assert all(lap >= 0 for lap in laps)
    assert watch.is_out_of_memory(MemoryError())
    assert not watch.is_out_of_memory(ValueError())
