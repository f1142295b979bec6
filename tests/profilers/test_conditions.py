from __future__ import annotations

import os

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.profilers.conditions import (
    Conditions,
    choose_cores,
    describe_machine,
    peak_resident_bytes,
    reset_peak,
    resident_bytes,
)


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
    conditions = Conditions(tuple(os.sched_getaffinity(0)))
    first, second = conditions.read(), conditions.read()
    assert first["resident_bytes"] > 1_000_000
    for counter in ("waited_ns", "stolen_ticks", "throttles"):
        assert second.get(counter, 0) >= first.get(counter, 0)


def test_the_peak_can_be_counted_anew() -> None:
    large = np.ones(8_000_000)
    if not reset_peak():
        pytest.skip("this system cannot reset the peak of memory")
    del large
    baseline = resident_bytes()
    assert reset_peak()
    block = np.ones(4_000_000)
    block_bytes = block.nbytes
    del block
    assert peak_resident_bytes() - baseline >= 0.9 * block_bytes
    assert peak_resident_bytes() - baseline < 2 * block_bytes


def test_a_machine_describes_itself() -> None:
    facts = describe_machine()
    assert facts["cores"] >= 1
    assert facts["cpu"]
