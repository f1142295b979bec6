from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from fleetfront.profilers.reading.observations import Observations
from fleetfront.profilers.reading.other_programs import OtherPrograms
from fleetfront.profilers.reading.sittings import compare_sittings
from fleetfront.profilers.records import Role
from fleetfront.quantities import Clock, FloatArray
from fleetfront.targets import Target


def seen(roles: Mapping[Role, Mapping[str, FloatArray]]) -> Observations:
    return Observations(Target("cpu", "litert"), "space", Clock.WALL, roles)


def sitting(level: float, small: float, noise: float = 0.0) -> Observations:
    """Networks of 10 to 20 ms run ``level`` times as long as at first, blocks of 0.1 ms ``small`` times."""
    rng = np.random.default_rng(0)
    networks = {str(i): (10.0 + i) * level * np.exp(noise * rng.normal(size=4)) for i in range(10)}
    blocks = {f"b{i}": (0.1 + 0.01 * i) * small * np.exp(noise * rng.normal(size=4)) for i in range(10)}
    return seen({Role.CALIBRATION: networks, Role.BLOCK: blocks})


def test_a_later_sitting_is_told_by_size() -> None:
    found = compare_sittings(sitting(1.0, 1.0), sitting(1.04, 1.2), "median")
    assert found is not None
    small, large = found.at(np.array([0.15, 15.0]))
    assert small == pytest.approx(1.2, rel=0.01)
    assert large == pytest.approx(1.04, rel=0.01)


def test_a_size_without_neighbours_gets_the_level_of_all() -> None:
    found = compare_sittings(sitting(1.0, 1.0), sitting(1.04, 1.04), "median")
    assert found is not None
    assert found.level == pytest.approx(1.04)
    assert found.at(np.array([1e4, 1e-4])) == pytest.approx(1.04)


def test_things_count_under_any_role() -> None:
    first = seen({Role.CALIBRATION: {str(i): np.full(2, 1.0 + i) for i in range(3)}})
    later = seen({Role.FILE: {str(i): np.full(2, 1.1 * (1 + i)) for i in range(3)}})
    found = compare_sittings(first, later, "min")
    assert found is not None
    assert found.level == pytest.approx(1.1)


def test_too_little_in_common_tells_nothing() -> None:
    first = seen({Role.CALIBRATION: {"a": np.ones(2), "b": np.ones(2), "c": np.ones(2)}})
    later = seen({Role.CALIBRATION: {"a": np.ones(2), "b": np.ones(2), "d": np.ones(2)}})
    assert compare_sittings(first, later, "min") is None


def test_a_busy_sitting_has_no_level() -> None:
    quiet = compare_sittings(sitting(1.0, 1.0), sitting(1.04, 1.03, noise=0.01), "median")
    busy = compare_sittings(sitting(1.0, 1.0), sitting(1.3, 1.3, noise=0.4), "median")
    assert quiet is not None
    assert busy is not None
    assert (quiet.is_restless, busy.is_restless) == (False, True)
    assert (quiet.is_busy, busy.is_busy) == (False, True)


def test_a_sitting_beside_other_programs_is_busy_whatever_the_clock_shows() -> None:
    for others, is_busy in ((OtherPrograms(1.0, 2), True), (OtherPrograms(0.1, 2), False)):
        later = replace(sitting(1.0, 1.0), others=others)
        found = compare_sittings(sitting(1.0, 1.0), later, "median")
        assert found is not None
        assert found.is_busy is is_busy
