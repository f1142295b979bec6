"""Hot devices: what is flagged, kept and repeated, and how long they are waited for. Looks: ``test_conditions``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fleetfront.profilers.adb.agent import AdbAgent, AgentOptions
from fleetfront.profilers.adb.facts.conditions import Cooling, State, read_state
from fleetfront.profilers.adb.heat import HeatWatch
from fleetfront.profilers.base import VisitBatch
from fleetfront.profilers.records import measurement_uuid
from fleetfront.progress import SILENT
from fleetfront.quantities import Clock

#: So long that a test which waited for it would not end.
_FOR_EVER_S = 1e6


def test_throttled_visits_are_flagged_kept_and_repeated(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    # Cool at first, throttled at the look after the visits, still so at the next look, then cool again.
    (phone.data / "statuses").write_text("0\n2\n2\n0\n0\n")
    options = AgentOptions(cooling=Cooling(poll_s=0.05))
    agent = open_agent(phone.address, options=options)
    batch = make_batch(agent.target, 3)
    visits = list(agent.run(batch))
    assert len(visits) == 3
    for visit, rows in zip(batch.visits, visits, strict=True):
        hot, cool = rows
        assert {"throttled", "repeated"} <= set(hot.flags)
        assert hot.after["thermal_status"] == 2
        assert "throttled" not in cool.flags
        assert cool.uuid == measurement_uuid(visit.uuid, Clock.WALL)
        assert hot.uuid != cool.uuid


def test_a_phone_that_stays_hot_is_measured_and_flagged(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    (phone.data / "statuses").write_text("3\n" * 100)
    options = AgentOptions(cooling=Cooling(limit_s=0.2, poll_s=0.05, repeats=1))
    agent = open_agent(phone.address, options=options)
    batch = make_batch(agent.target, 2)
    visits = list(agent.run(batch))
    # It was waited for once; repeating would not help.
    assert [len(rows) for rows in visits] == [1, 1]
    assert all("throttled" in row.flags and row.error is None for (row,) in visits)
    assert [row.uuid for (row,) in visits] == [measurement_uuid(visit.uuid, Clock.WALL) for visit in batch.visits]


def test_a_temperature_limit_waits(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    options = AgentOptions(cooling=Cooling(max_temp_c=30.0, limit_s=0.2, poll_s=0.05, repeats=0))
    agent = open_agent(phone.address, options=options)
    ((row,),) = agent.run(make_batch(agent.target, 1))
    assert "throttled" in row.flags
    assert int((phone.data / "looks").read_text()) > 2


def test_a_hot_phone_is_not_waited_for_beyond_the_budget(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    (phone.data / "statuses").write_text("3\n" * 100)
    cooling = Cooling(pause_s=_FOR_EVER_S, limit_s=_FOR_EVER_S, poll_s=_FOR_EVER_S)
    agent = open_agent(phone.address, options=AgentOptions(cooling=cooling))
    for number in range(2):
        batch = replace(make_batch(agent.target, 2, round=number), seconds_left=0.2)
        visits = list(agent.run(batch))
        # Nothing is repeated, either: there is no time for it.
        assert [len(rows) for rows in visits] == [1, 1]
        assert all("throttled" in row.flags and row.error is None for (row,) in visits)


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.05])
def test_waiting_ends_with_what_it_may_take(seconds: float) -> None:
    looks = 0

    def look() -> State:
        nonlocal looks
        looks += 1
        return read_state("Thermal Status: 3", "")

    watch = HeatWatch("adb:x", (), 0, Cooling(limit_s=_FOR_EVER_S, poll_s=_FOR_EVER_S), SILENT)
    watch.wait_within(seconds)
    assert watch.cooled(look).thermal.is_throttled
    assert looks == (2 if seconds > 0 else 1)
    assert watch.repeats == 0
    watch.wait_within(None)
    watch.begin_round(is_first=True)
    assert watch.repeats == 2
