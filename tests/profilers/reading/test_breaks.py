from __future__ import annotations

from collections.abc import Sequence

import pytest

from fleetfront.profilers.reading.breaks import Breaks, find_breaks
from fleetfront.profilers.reading.columns import collect_visits
from fleetfront.profilers.reading.filters import discard_reasons
from fleetfront.profilers.records import Measurement, Role
from fleetfront.quantities import Clock
from fleetfront.targets import Target

S = 10**9
#: Time of day when the machine was started.
BOOT = 1_700_000_000 * S


def visit(number: int, slept: Sequence[float], clock: Sequence[float] = (0, 0)) -> Measurement:
    """Seconds slept since its start and added to its clock, before and after a visit."""
    before, after = (
        {"suspended_ns": int(s * S), "clock_ns": BOOT + int(c * S)} for s, c in zip(slept, clock, strict=True)
    )
    return Measurement(
        Target("cpu", "litert"), "", Role.FILE, "k", Clock.WALL, (S,), "c", 0, number, before=before, after=after
    )


def reasons_of(rows: Sequence[Measurement]) -> list[str]:
    reasons: list[str] = discard_reasons(collect_visits(rows)).tolist()
    return reasons


def test_a_machine_that_is_awake_has_no_breaks() -> None:
    assert find_breaks(collect_visits([visit(i, (7.0, 7.0), (0.001 * i, 0.001 * i)) for i in range(5)])) == Breaks()
    silent = Measurement(Target("cpu", "litert"), "", Role.FILE, "k", Clock.WALL, (S,), "c", 0, 0)
    assert find_breaks(collect_visits([silent])) == Breaks()


@pytest.mark.parametrize(
    ("visits", "breaks"),
    [
        ([visit(0, (7, 7)), visit(1, (607, 607))], Breaks(slept_s=600)),
        ([visit(0, (7, 7)), visit(1, (7, 67)), visit(2, (127, 127))], Breaks(slept_s=120)),
        ([visit(0, (7, 7)), visit(1, (7, 7), (-3600, -3600))], Breaks(clock_step_s=-3600)),
        ([visit(0, (7, 7)), visit(1, (7, 7), (0, 5)), visit(2, (7, 7), (5, 5))], Breaks(clock_step_s=5)),
        # Started anew: another time of day at its start, and nothing slept since.
        ([visit(0, (7, 7)), visit(1, (0, 0), (9000, 9000)), visit(2, (30, 30), (9000, 9000))], Breaks(slept_s=30)),
    ],
    ids=["between visits", "in a visit, too", "set back", "set forwards in a visit", "started anew"],
)
def test_sleep_and_a_clock_that_was_set_are_found(visits: list[Measurement], breaks: Breaks) -> None:
    assert find_breaks(collect_visits(visits)) == breaks


def test_a_visit_that_slept_is_left_out() -> None:
    assert reasons_of([visit(0, (7, 7)), visit(1, (7, 67)), visit(2, (67, 67))]) == [
        "",
        "slept",
        "",
    ]
