from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from fleetfront.errors import InputError
from fleetfront.profilers.cpu import conditions
from fleetfront.profilers.cpu.conditions import (
    Conditions,
    _computed_ns,
    choose_cores,
    describe_machine,
)

#: To which the kernel tells of time, in nanoseconds.
TICK_NS = 10**7


def test_cores_are_as_many_as_asked_for_and_allowed() -> None:
    allowed = os.sched_getaffinity(0)
    for count in range(1, len(allowed) + 1):
        cores = choose_cores(count, watch_s=0.0)
        assert len(set(cores)) == count
        assert set(cores) <= allowed


def test_more_threads_than_cores_are_refused() -> None:
    count = len(os.sched_getaffinity(0)) + 1
    with pytest.raises(InputError, match=f"{count} threads") as caught:
        choose_cores(count, watch_s=0.0)
    assert "--threads" in caught.value.remedy


def test_counters_only_grow_and_memory_is_told() -> None:
    told = Conditions(tuple(os.sched_getaffinity(0)))
    first, second = told.read(), told.read()
    assert first["resident_bytes"] > 1_000_000
    assert abs(first["clock_ns"] - second["clock_ns"]) < 10**9
    for counter in ("waited_ns", "stolen_ticks", "throttles", "suspended_ns"):
        assert second.get(counter, 0) >= first.get(counter, 0)


def test_what_others_compute_is_told_apart_from_what_we_do() -> None:
    # Another program than this one and its parent, as a busy neighbour is.
    spin = "import time\nwhile time.process_time() < 0.5: pass\nprint(time.process_time_ns())"
    counters = Conditions(())
    before = counters.read()
    told = subprocess.run([sys.executable, "-c", spin], stdout=subprocess.PIPE, text=True, check=True)
    after = counters.read()
    assert after["others_ns"] - before["others_ns"] > int(told.stdout) - 10 * TICK_NS
    assert after["online_cores"] == os.cpu_count()


def test_a_process_is_told_what_it_computed() -> None:
    while time.process_time_ns() < 20 * TICK_NS:
        pass
    assert abs(_computed_ns(os.getpid()) - time.process_time_ns()) < 10 * TICK_NS
    assert _computed_ns(2**30) == 0


def test_the_peak_can_be_counted_anew() -> None:
    # In a process of its own: this one may hold freed memory from other tests, which a new array would reuse.
    program = """
import numpy as np
from fleetfront.profilers.cpu.conditions import peak_resident_bytes, reset_peak, resident_bytes
large = np.ones(8_000_000)
possible = reset_peak()
del large
baseline = resident_bytes()
reset_peak()
block = np.ones(4_000_000)
block_bytes = block.nbytes
del block
print(int(possible), peak_resident_bytes() - baseline, block_bytes)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    possible, grown, block_bytes = map(int, run.stdout.split())
    if not possible:
        pytest.skip("this system cannot reset the peak of memory")
    assert 0.9 * block_bytes <= grown < 2 * block_bytes


def test_a_machine_describes_itself() -> None:
    facts = describe_machine()
    assert facts["cores"] >= 1
    assert facts["cpu"]


def test_stolen_time_is_that_of_the_cores_measured_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns of /proc/stat: user nice system idle iowait irq softirq steal guest guest_nice."""
    ticks = {
        0: [1, 2, 3, 4, 5, 6, 7, 80, 9, 10],
        1: [0, 0, 0, 0, 0, 0, 0, 500, 0, 0],
        2: [0, 0, 0, 0, 0, 0, 0, 3, 0, 0],
    }
    monkeypatch.setattr(conditions, "_core_ticks", lambda: ticks)
    assert Conditions((0, 2)).read()["stolen_ticks"] == 83
    assert "stolen_ticks" not in Conditions((9,)).read()
