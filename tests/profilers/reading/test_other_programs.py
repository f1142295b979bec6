from __future__ import annotations

from typing import Any

import pytest

from fleetfront.profilers.reading.columns import collect_visits
from fleetfront.profilers.reading.other_programs import OtherPrograms, find_other_programs
from fleetfront.profilers.records import Measurement, Role
from fleetfront.quantities import Clock
from fleetfront.targets import Target

MS = 10**6


def visit(took_ms: float, others_ms: float, **more: Any) -> Measurement:
    """A visit during which other programs computed for ``others_ms``."""
    before: dict[str, Any] = {"others_ns": 7 * 10**12}
    after = {"others_ns": 7 * 10**12 + int(others_ms * MS), "visit_ns": int(took_ms * MS), "online_cores": 4} | more
    return Measurement(
        Target("cpu", "litert"), "", Role.FILE, "k", Clock.WALL, (1,), "c", 0, 0, before=before, after=after
    )


def test_cores_that_others_used_are_a_mean_over_all_visits() -> None:
    found = find_other_programs(collect_visits([visit(1000, 900), visit(3000, 300)]))
    assert found == OtherPrograms(0.3, 4)
    assert str(found) == "other programs used 0.3 of 4 cores"


def test_ticks_that_count_us_too_low_make_no_negative_company() -> None:
    assert find_other_programs(collect_visits([visit(1000, -20)])) == OtherPrograms(0.0, 4)


def test_too_short_a_look_or_none_tells_nothing() -> None:
    assert find_other_programs(collect_visits([visit(5, 10)])) is None
    assert find_other_programs(collect_visits([visit(5, 5) for _ in range(400)])) == OtherPrograms(1.0, 4)
    silent = Measurement(Target("cpu", "litert"), "", Role.FILE, "k", Clock.WALL, (1,), "c", 0, 0)
    assert find_other_programs(collect_visits([silent])) is None
    assert find_other_programs(collect_visits([visit(1000, 0, others_ns="damaged")])) == OtherPrograms(0.0, 4)


@pytest.mark.parametrize(
    ("used", "cores", "is_much"), [(0.4, 2, False), (0.6, 2, True), (1.0, 8, True), (4, 64, False)]
)
def test_a_program_that_never_rests_is_much_but_where_there_are_many_cores(
    used: float, cores: int, is_much: bool
) -> None:
    assert OtherPrograms(used, cores).is_much is is_much
