"""Heat, lost links, ended scripts and retries, decided in milliseconds on a played phone with a clock of its own."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.adb import kind
from fleetfront.profilers.adb.facts.conditions import Cooling, read_state
from fleetfront.profilers.adb.facts.device import Device
from fleetfront.profilers.adb.heat import Wait
from fleetfront.profilers.adb.link.faults import ConnectionLost, DeviceReplaced
from fleetfront.profilers.adb.machine import (
    Abandoned,
    Push,
)
from fleetfront.profilers.adb.runners.base import Timings
from fleetfront.profilers.adb.runners.script import FILE_MISSING
from fleetfront.profilers.adb.runners.session import ScriptEnded, Visited
from fleetfront.profilers.adb.visit_rows import VisitRows
from fleetfront.profilers.kinds.base import Choices
from fleetfront.profilers.records import measurement_uuid
from fleetfront.quantities import Clock
from fleetfront.targets import Target
from tests.profilers.adb.played_phone import DEVICE, TARGET, PlayedPhone, kinds, lost, make_batch, raise_on


def test_a_cool_phone_is_looked_at_around_stretches_of_visits() -> None:
    phone = PlayedPhone()
    batch = make_batch(10)
    rows = list(phone.run(batch))
    assert [row.uuid for (row,) in rows] == [measurement_uuid(visit.uuid, Clock.WALL) for visit in batch.visits]
    # Seven visits of 0.3 s fit into a stretch; the look after it serves as the look before the next.
    assert kinds(phone) == ["Prepare", "Push", "Look", "MakeVisits", "Look", "MakeVisits", "Look"]
    assert rows[0][0].before["thermal_status"] == rows[0][0].after["thermal_status"] == 0


def test_a_device_that_tells_no_heat_is_not_looked_at_afterwards() -> None:
    phone = PlayedPhone(tells_heat=False)
    rows = list(phone.run(make_batch(3)))
    assert [row.samples for (row,) in rows] == [(1000,)] * 3
    assert kinds(phone) == ["Prepare", "Push", "Look", "MakeVisits"]


def test_what_is_there_is_not_pushed_again() -> None:
    phone = PlayedPhone()
    list(phone.run(make_batch(2)))
    phone.done.clear()
    list(phone.run(make_batch(3, round=1)))
    assert [one.files for one in phone.done if isinstance(one, Push)] == [("f2",)]
    assert "Prepare" not in kinds(phone)


def test_throttled_visits_are_flagged_kept_and_repeated() -> None:
    # Cool at first, throttled at the look after the visits, still so at the next look, then cool again.
    phone = PlayedPhone(statuses=[0, 2, 2, 0, 0])
    batch = make_batch(3)
    for visit, (hot, cool) in zip(batch.visits, phone.run(batch), strict=True):
        assert {"throttled", "repeated"} <= set(hot.flags)
        assert hot.after["thermal_status"] == 2
        assert "throttled" not in cool.flags
        assert cool.uuid == measurement_uuid(visit.uuid, Clock.WALL) != hot.uuid
    assert [one.seconds for one in phone.done if isinstance(one, Wait)] == [5.0]


def test_a_phone_that_stays_hot_is_waited_for_once_a_round_then_measured_and_flagged() -> None:
    phone = PlayedPhone(Cooling(limit_s=60.0, poll_s=5.0), status_at=lambda now: 3)
    for number in range(2):
        begun = phone.now
        rows = list(phone.run(make_batch(2, round=number)))
        assert [len(row) for row in rows] == [1, 1]
        assert all("throttled" in row.flags and row.error is None for (row,) in rows)
        assert 60 < phone.now - begun < 70
    assert sum("did not cool down" in note for note in phone.notes) == 2
    begun = phone.now
    list(phone.run(make_batch(2, round=1)))
    assert phone.now - begun < 2


def test_a_phone_that_cools_down_is_waited_for_no_longer() -> None:
    phone = PlayedPhone(status_at=lambda now: 3 if now < 130 else 0)
    rows = list(phone.run(make_batch(2)))
    assert all(row.flags == () for (row,) in rows)
    assert 130 <= phone.now < 137


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 20.0])
def test_a_hot_phone_is_not_waited_for_beyond_the_budget(seconds: float) -> None:
    phone = PlayedPhone(Cooling(pause_s=1e6, limit_s=1e6, poll_s=1e6), status_at=lambda now: 3)
    for number in range(2):
        begun = phone.now
        rows = list(phone.run(make_batch(2, round=number, seconds_left=seconds)))
        # Nothing is repeated, either: there is no time for it.
        assert [len(row) for row in rows] == [1, 1]
        assert phone.now - begun <= max(seconds, 0) + 2


def test_rounds_are_rested_between() -> None:
    phone = PlayedPhone(Cooling(pause_s=30.0))
    list(phone.run(make_batch(1)))
    assert not any(isinstance(one, Wait) for one in phone.done)
    list(phone.run(make_batch(1)))
    assert not any(isinstance(one, Wait) for one in phone.done)
    list(phone.run(make_batch(1, round=1)))
    assert [one.seconds for one in phone.done if isinstance(one, Wait)] == [30.0]


def test_a_lost_link_is_connected_again_and_nothing_that_arrived_is_lost() -> None:
    phone = PlayedPhone(fails=raise_on(5, lost()))
    batch = make_batch(8)
    rows = list(phone.run(batch))
    assert [row.uuid for (row,) in rows] == [measurement_uuid(visit.uuid, Clock.WALL) for visit in batch.visits]
    # What the heat was when it was lost stays unknown.
    assert ["thermal_status" in row.after for (row,) in rows] == [False] * 4 + [True] * 4
    assert kinds(phone)[4:8] == ["Connect", "Prepare", "Push", "Look"]
    assert any("Waiting up to 10 s" in note for note in phone.notes)


def test_a_link_lost_at_the_look_afterwards_keeps_the_visits() -> None:
    looks = iter(range(100))
    phone = PlayedPhone(fails=lambda number: raise_on(0, lost())(0) if number == 0 and next(looks) == 1 else None)
    assert len(list(phone.run(make_batch(4)))) == 4
    assert phone.made == 4


def test_a_device_that_does_not_come_back_is_given_up_with_the_reason() -> None:
    def fail(number: int) -> None:
        if number == 2:
            raise lost()
        if number == -1:
            raise DeviceError("It is unauthorized.", "Accept the key.")

    phone = PlayedPhone(fails=fail)
    rows = phone.run(make_batch(4))
    assert len(next(rows)) == 1
    with pytest.raises(ConnectionLost) as caught:
        list(rows)
    assert caught.value.remedy == "It is unauthorized. Accept the key."
    assert 10 < phone.now - 100 < 13
    # The next batch asks once, and does not wait.
    begun = phone.now
    with pytest.raises(DeviceError, match="unauthorized"):
        list(phone.run(make_batch(1)))
    assert phone.now - begun < 1


def test_a_device_that_is_lost_again_and_again_is_given_up() -> None:
    def fail(number: int) -> None:
        if number > 0:
            raise lost()

    phone = PlayedPhone(fails=fail)
    with pytest.raises(ConnectionLost):
        list(phone.run(make_batch(4)))
    assert kinds(phone).count("Connect") == 3


@pytest.mark.parametrize(
    ("other", "is_refused"),
    [
        (replace(DEVICE, unit="B2"), True),
        (replace(DEVICE, model="Other Phone"), True),
        (replace(DEVICE, soc="SoC 2"), True),
        (replace(DEVICE, system="Android 14", folder="/tmp"), False),
        (replace(DEVICE, unit=""), False),
    ],
)
def test_another_phone_at_the_same_address_is_refused(other: Device, is_refused: bool) -> None:
    phone = PlayedPhone(fails=raise_on(3, lost()), answers=other)
    rows = phone.run(make_batch(5))
    if not is_refused:
        assert len(list(rows)) == 5
        return
    arrived = [next(rows), next(rows)]
    with pytest.raises(DeviceReplaced, match="Another device answers") as caught:
        list(rows)
    assert len(arrived) == phone.made - 1 == 2
    assert "Fake Phone" in caught.value.message
    assert caught.value.remedy


def test_a_visit_that_ends_the_script_twice_costs_its_own_row() -> None:
    def fail(number: int) -> None:
        if number in (3, 4):
            raise ScriptEnded("adb:x", "killed")

    phone = PlayedPhone(fails=fail)
    batch = make_batch(5)
    rows = {row.uuid: row for (row,) in phone.run(batch)}
    bad = rows[measurement_uuid(batch.visits[2].uuid, Clock.WALL)]
    assert "ended by itself" in str(bad.error)
    assert (bad.samples, bad.started_ns, len(rows)) == ((), 7, 5)
    assert "Connect" not in kinds(phone)


def test_a_script_that_always_ends_is_given_up() -> None:
    phone = PlayedPhone(fails=lambda number: raise_on(0, ScriptEnded("adb:x", "no"))(number))
    with pytest.raises(ScriptEnded):
        list(phone.run(make_batch(5)))


def test_a_runner_that_is_gone_is_installed_again() -> None:
    phone = PlayedPhone(says=lambda number: ("not found", 127) if number == 3 else ("1000", 0))
    rows = list(phone.run(make_batch(5)))
    assert [row.error for (row,) in rows] == [None] * 5
    assert kinds(phone).count("EndScript") == 1
    assert kinds(phone).count("Prepare") == 2


def test_a_script_that_was_ended_from_here_is_started_again() -> None:
    phone = PlayedPhone(is_ended=True)
    assert len(list(phone.run(make_batch(3)))) == 3
    assert kinds(phone).count("MakeVisits") == 2


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("benchmark_model printed no timings: taskset: failed to set affinity: Invalid argument", "--cores all"),
        ('CANNOT LINK EXECUTABLE "x": library "libOpenCL.so" not found', "needs a library"),
        ("benchmark_model printed no timings: hello", "not what benchmark_model prints"),
        ("the visit took longer than 120 s and was ended", "hangs"),
        ("nothing in the log says that the GPU delegate was applied", "--runtime"),
        ("./benchmark_model: not executable: 64-bit ELF file", "no program for it"),
        ("some news", ""),
    ],
)
def test_a_failure_has_the_remedy_that_its_words_name(error: str, remedy: str) -> None:
    ((row,),) = PlayedPhone(says=lambda number: (error, 1)).run(make_batch(1))
    assert row.error == error
    assert remedy in row.after.get("remedy", "")
    assert ("remedy" in row.after) == bool(remedy)


def test_three_visits_that_had_to_be_ended_end_it() -> None:
    phone = PlayedPhone(says=lambda number: ("took longer than 9 s", 137) if number > 4 else ("1000", 0))
    running = phone.run(make_batch(30))
    with pytest.raises(DeviceError, match="3 visits in a row had to be ended") as caught:
        list(running)
    assert phone.made == 7
    assert "hangs" in caught.value.remedy
    # One that does not is no such row.
    phone = PlayedPhone(says=lambda number: ("took longer than 9 s", 137) if number % 3 else ("1000", 0))
    assert len(list(phone.run(make_batch(9)))) == 9


def test_failures_need_no_look_afterwards() -> None:
    phone = PlayedPhone(says=lambda number: ("Could not open", 1))
    assert len(list(phone.run(make_batch(4)))) == 4
    assert kinds(phone) == ["Prepare", "Push", "Look", "MakeVisits"]


def test_a_file_that_somebody_removed_is_pushed_again() -> None:
    phone = PlayedPhone(says=lambda number: ("", FILE_MISSING) if number == 3 else ("1000", 0))
    rows = list(phone.run(make_batch(5)))
    assert [row.error for (row,) in rows] == [None] * 5
    assert [len(one.files) for one in phone.done if isinstance(one, Push)] == [3, 3]
    phone = PlayedPhone(says=lambda number: ("", FILE_MISSING))
    with pytest.raises(DeviceError, match="files vanish from its folder"):
        list(phone.run(make_batch(5)))


def test_a_batch_that_was_abandoned_leaves_nothing_behind() -> None:
    phone = PlayedPhone()
    running = phone.run(make_batch(9))
    next(running)
    running.close()
    phone.machine.handle(Abandoned(is_lost=True), phone.now)
    phone.done.clear()
    assert len(list(phone.run(make_batch(2, round=1)))) == 2
    assert kinds(phone)[:3] == ["Connect", "Prepare", "Push"]


def test_a_visit_takes_at_least_as_long_as_its_runs() -> None:
    """A busy computer takes the words of two visits at once; the second seemed to take no time."""
    timings = Timings({Clock.WALL: (300, 200)}, {"open_ns": 5, "first_ns": 7})

    class Said:
        def read(self, text: str, exit_code: int, target: Target) -> Timings:
            return timings

    rows = VisitRows(Said(), TARGET, (), 0, lambda state: None)  # type: ignore[arg-type]
    batch, opening = make_batch(1), read_state("", "")
    for elapsed_ns, took_ns in ((0, 512), (9_000, 9_000)):
        (row,) = rows.of(batch, batch.visits[0], Visited("v", "", 0, 0, elapsed_ns, "", ""), opening, None)
        assert row.after["visit_ns"] == took_ns


@pytest.mark.parametrize("limit", [0.0, -1.0, 150.5, math.nan, math.inf])
def test_a_limit_that_no_device_could_keep_is_refused(limit: float) -> None:
    choices = Choices(settings={"max_temp": limit})
    with pytest.raises(InputError, match="no limit that a device could keep"):
        kind._options(choices)
    assert kind._options(Choices(settings={"max_temp": 150.0})).cooling.max_temp_c == 150.0
