from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.profilers.reading.columns import collect_visits
from fleetfront.profilers.reading.filters import discard_reasons, number_in
from fleetfront.profilers.reading.observations import (
    Observations,
    anchor_drift,
    choose_statistic,
    noise_floor,
    read_observations,
    read_runs,
    summaries,
    summarise,
)
from fleetfront.profilers.records import CLOCK_COST, Measurement, Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock, FloatArray
from fleetfront.targets import Target


def seen(visits: dict[Role, dict[str, FloatArray]]) -> Observations:
    return Observations(Target("cpu", "litert"), "s", Clock.WALL, visits)


def visit(number: int, ms: float = 1.0, role: Role = Role.BLOCK, key: str = "k", **changes: object) -> Measurement:
    target = Target("cpu", "litert")
    ns = round(ms * 1e6)
    return Measurement(target, "s", role, key, Clock.WALL, (ns + 9, ns), "c", number, number, **changes)  # type: ignore[arg-type]


def reasons_of(rows: Sequence[Measurement]) -> list[str]:
    reasons: list[str] = discard_reasons(collect_visits(rows)).tolist()
    return reasons


def test_statistics_of_visits() -> None:
    visits = np.array([4.0, 1.0, 2.0, 3.0, 5.0])
    assert [summarise(visits, name) for name in ("min", "p25", "median")] == [1.0, 2.0, 3.0]
    with pytest.raises(InputError, match="p25"):
        summarise(visits, "p2")


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30))
def test_statistics_are_numpy_s_to_the_last_bit(values: list[float]) -> None:
    for name, share in (("min", 0.0), ("p25", 0.25), ("median", 0.5)):
        assert summarise(np.array(values), name) == np.quantile(values, share)


def _networks(rng: np.random.Generator, draw: str) -> dict[str, FloatArray]:
    """16 networks of 12 visits whose noise makes one statistic the steadiest."""
    networks = {}
    for number in range(16):
        true = 5.0 + number
        if draw == "min":  # A hard floor that is often met, and long delays otherwise.
            factor = np.where(rng.random(12) < 0.5, 1 + 0.001 * rng.random(12), 1 + rng.exponential(1.0, 12))
        else:  # Symmetric noise with freak fast visits: the minimum is the worst of all.
            factor = np.where(rng.random(12) < 0.1, 0.3 + 0.5 * rng.random(12), 1 + 0.01 * rng.normal(size=12))
        networks[str(number)] = true * factor
    return networks


@pytest.mark.parametrize("steadiest", ["min", "median"])
def test_the_steadiest_statistic_is_chosen_on_calibration_networks_alone(steadiest: str) -> None:
    rng = np.random.default_rng(0)
    other = {"min": "median", "median": "min"}[steadiest]
    roles = {
        Role.CALIBRATION: _networks(rng, steadiest),
        Role.VALIDATION: _networks(rng, other),
        Role.BLOCK: _networks(rng, other),
    }
    assert choose_statistic(seen(roles)) == steadiest


def test_too_few_visits_choose_the_default() -> None:
    few = {str(i): np.array([1.0 + i, 3.0, 2.0]) for i in range(5)}
    assert choose_statistic(seen({Role.CALIBRATION: few})) == "p25"
    assert choose_statistic(seen({})) == "p25"


def test_the_floor_is_read_from_halves_of_the_visits() -> None:
    visits = {
        "a": np.array([10.0, 11.0, 10.0, 11.0]),
        "b": np.array([2.0, 2.0]),
        "c": np.array([5.0, 5.0, 5.0]),
        "single": np.array([7.0]),
    }
    floor = noise_floor(seen({Role.VALIDATION: visits}), Role.VALIDATION, "median")
    assert floor.networks == 3
    # Of three things one has noise: its halves of two visits differ by log(11 / 10), or, if one pair swaps, not at all.
    assert 0 < floor.mape < 100 * np.log(1.1) / 2 / 3
    assert floor.within_5 == floor.within_10 == 1.0
    assert noise_floor(seen({}), Role.VALIDATION, "min").networks == 0


@pytest.mark.parametrize("statistic", ["min", "p25", "median"])
@pytest.mark.parametrize("mood", [1.0, 1.3])
def test_no_model_is_below_the_floor(statistic: str, mood: float) -> None:
    """Not even the true latencies, calibrated on what was measured, in a campaign of two moods."""
    rng = np.random.default_rng(1)
    true = np.exp(rng.normal(size=400))
    noise = 1 + 0.04 * rng.gamma(2.0, 1.0, (400, 10))
    noise[:, 5:] *= mood
    visits = {str(index): latency * runs for index, (latency, runs) in enumerate(zip(true, noise, strict=True))}
    floor = noise_floor(seen({Role.VALIDATION: visits}), Role.VALIDATION, statistic)
    measured = np.array([summarise(runs, statistic) for runs in visits.values()])
    best = true * np.median(measured / true)
    error = 100 * np.mean(np.abs(best / measured - 1))
    assert 0.5 * error < floor.mape < 1.1 * error


def test_a_lasting_mood_is_no_noise() -> None:
    visits = {str(index): np.repeat([1.0 + index, 1.3 * (1 + index)], 4) for index in range(5)}
    assert noise_floor(seen({Role.VALIDATION: visits}), Role.VALIDATION, "p25").mape == pytest.approx(0, abs=1e-12)


def test_drift_is_read_from_the_anchor() -> None:
    drifting = seen({Role.ANCHOR: {"a": np.linspace(1.0, 1.2, 40)}})
    found = anchor_drift(drifting, "median")
    assert found.visits == 40
    assert found.percent == pytest.approx(100 * (1.15 / 1.05 - 1), rel=0.05)
    assert np.isnan(anchor_drift(seen({Role.ANCHOR: {"a": np.ones(3)}}), "min").percent)


def test_a_throttled_visit_is_left_out() -> None:
    counted = visit(0, before={"throttles": 3}, after={"throttles": 4})
    flagged = visit(1, flags=("throttled",))
    slow = visit(2, after={"frequency_khz": 1_000_000})
    fine = [visit(i, before={"throttles": 4}, after={"throttles": 4, "frequency_khz": 2_000_000}) for i in range(3, 9)]
    assert reasons_of([counted, flagged, slow, *fine]) == [
        "throttled",
        "throttled",
        "slow clock",
        *[""] * 6,
    ]


def test_visits_that_were_made_again_never_count() -> None:
    hot = [visit(i, flags=("throttled", "repeated")) for i in range(2)]
    assert reasons_of([*hot, visit(2)]) == ["throttled", "throttled", ""]
    # The last try counts, for lack of another.
    assert reasons_of([*hot, visit(2, flags=("throttled",))]) == [
        "throttled",
        "throttled",
        "",
    ]


def test_waiting_for_a_core_spoils_wall_time_only() -> None:
    facts = {"before": {"waited_ns": 0}, "after": {"waited_ns": 5_000_000}}
    others = [visit(i) for i in range(1, 4)]
    assert reasons_of([visit(0, **facts), *others]) == ["preempted", "", "", ""]  # type: ignore[arg-type]
    assert reasons_of([visit(0, 100.0, **facts), *others])[0] == ""  # type: ignore[arg-type]


def test_visits_between_two_slow_anchors_are_left_out() -> None:
    rows = []
    for number in range(60):
        slow = 2.0 if 24 <= number < 36 else 1.0
        is_anchor = number % 3 == 0
        rows.append(visit(number, slow, Role.ANCHOR if is_anchor else Role.BLOCK, "a" if is_anchor else "k"))
    reasons = reasons_of(rows)
    assert {i for i, reason in enumerate(reasons) if reason} == {i for i in range(24, 33) if i % 3}
    assert set(reasons) == {"", "slow phase"}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=40))
def test_at_least_half_of_each_thing_stays(pairs: Sequence[tuple[str, bool]]) -> None:
    rows = [visit(i, key=key, flags=("throttled",) if bad else ()) for i, (key, bad) in enumerate(pairs)]
    reasons = reasons_of(rows)
    for key in "abc":
        left = [not reason for row, reason in zip(rows, reasons, strict=True) if row.key == key]
        assert not left or sum(left) >= len(left) / 2


class TestReading:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return Store(tmp_path / "store.sqlite")

    def add(self, store: Store, campaign: str, target: Target, rounds: int, ms: float, role: Role = Role.BLOCK) -> None:
        store.add_campaign(campaign, target, "s", campaign, {"tasks": {role.value: []}}, {"named": campaign})
        ns = round(ms * 1e6)
        for number in range(rounds):
            clocks = (Clock.WALL, Clock.THREAD_CPU)
            store.append(
                Measurement(
                    target, "s", role, "k", clock, (ns + 50, ns), campaign, number, number, after={"visit_ns": 10**9}
                )
                for clock in clocks
            )

    def test_the_minimum_of_each_visit_in_order(self, store: Store, target: Target) -> None:
        self.add(store, "c", target, 3, 1.5)
        found = read_observations(store, target, "s", Clock.WALL)
        assert found.visits[Role.BLOCK]["k"].tolist() == [1.5, 1.5, 1.5]
        assert summaries(found, Role.BLOCK, "min") == {"k": 1.5}
        assert found.environment == {"named": "c"}
        assert found.role_seconds == {Role.BLOCK: 3.0}

    def test_visits_that_count_although_they_are_hot_are_told(self, store: Store, target: Target) -> None:
        store.add_campaign("c", target, "s", "c", {"tasks": {"block": []}}, {})
        hot = [
            Measurement(target, "s", Role.BLOCK, key, Clock.WALL, (5,), "c", 0, number, flags=("throttled",))
            for number, key in enumerate("aab")
        ]
        store.append([*hot, replace(hot[2], uuid="other", flags=())])
        found = read_observations(store, target, "s", Clock.WALL)
        assert (found.hot_visits, found.discarded) == (2, {"throttled": 1})

    def test_the_newest_campaign_with_blocks_and_two_rounds_speaks(self, store: Store, target: Target) -> None:
        self.add(store, "old", target, 3, 1.0)
        self.add(store, "good", target, 2, 2.0)
        self.add(store, "just begun", target, 1, 3.0)
        self.add(store, "networks only", target, 5, 4.0, Role.CALIBRATION)
        assert read_observations(store, target, "s", Clock.WALL).environment == {"named": "good"}
        both = read_observations(store, target, "s", Clock.WALL, ["old", "good"])
        assert both.visits[Role.BLOCK]["k"].size == 5

    def test_networks_measured_later_do_not_hide_the_blocks_of_an_unfinished_round(
        self, store: Store, target: Target
    ) -> None:
        self.add(store, "less than a round", target, 1, 1.0)
        self.add(store, "networks only", target, 5, 4.0, Role.CALIBRATION)
        assert read_observations(store, target, "s", Clock.WALL).environment == {"named": "less than a round"}

    def test_errors_are_kept_of_what_never_worked(self, store: Store, target: Target) -> None:
        self.add(store, "c", target, 2, 1.0)
        for key in ("k", "broken"):
            store.append(
                [Measurement(target, "s", Role.BLOCK, key, Clock.WALL, (), "c", 1, 9, error="no such operator")]
            )
        for clock in (Clock.WALL, Clock.THREAD_CPU):
            assert read_observations(store, target, "s", clock).errors == {"broken": "no such operator"}

    def test_imported_numbers_are_read_under_their_clock(self, store: Store, target: Target) -> None:
        self.add(store, "c", target, 2, 1.0)
        store.append([Measurement(target, "s", Role.NETWORK, "n", Clock.UNKNOWN, (7_000_000,), "", 0, 0)])
        found = read_observations(store, target, "s", Clock.UNKNOWN)
        assert {role: dict(keys) for role, keys in found.visits.items()} == {Role.NETWORK: {"n": np.array([7.0])}}

    def test_nothing_measured_says_what_to_run(self, store: Store, target: Target) -> None:
        with pytest.raises(InputError, match="no measurements") as caught:
            read_observations(store, target, "s", Clock.WALL)
        assert "fleetfront profile --device cpu --runtime onnxruntime --space s" in caught.value.remedy


def test_runs_that_waited_for_the_core_do_not_count_as_fast(tmp_path: Path) -> None:
    """As seen on a virtual machine: the run that waited 271 us in all was said to have computed for 32 only."""
    target = Target("cpu", "onnxruntime")
    wall, cpu = (93_000, 89_000, 271_000, 90_000), (96_000, 90_000, 32_000, 91_000)
    waiting = (900_000, 800_000, 700_000, 950_000)
    rows = [
        Measurement(target, "s", Role.BLOCK, "one", Clock.WALL, wall, "c", 0, 5),
        Measurement(target, "s", Role.BLOCK, "one", Clock.THREAD_CPU, cpu, "c", 0, 5),
        Measurement(target, "s", Role.BLOCK, "busy", Clock.WALL, waiting, "c", 0, 6),
        Measurement(target, "s", Role.BLOCK, "busy", Clock.THREAD_CPU, cpu, "c", 0, 6),
    ]
    with Store(tmp_path / "s.sqlite") as store:
        store.append(rows)
        found = read_observations(store, target, "s", Clock.THREAD_CPU, ["c"]).visits[Role.BLOCK]
    assert found["one"].tolist() == [0.09]
    assert found["busy"].tolist() == [0.032], "where every run waited, none is better than another"


def test_what_reading_a_clock_costs_is_no_part_of_a_file(tmp_path: Path) -> None:
    target, told, cpu = Target("cpu", "onnxruntime"), {CLOCK_COST: {"wall": 100, "thread-cpu": 800}}, Clock.THREAD_CPU
    rows = [
        Measurement(target, "s", Role.FILE, key, clock, samples, "c", 0, started, after=after)
        for key, started, after in (("told", 5, told), ("silent", 6, {}), ("damaged", 7, {CLOCK_COST: "much"}))
        for clock, samples in ((Clock.WALL, (4_100, 5_100)), (cpu, (4_800, 5_800)))
    ]
    rows.append(Measurement(target, "s", Role.FILE, "empty", cpu, (900,), "c", 0, 8, after=told))
    with Store(tmp_path / "s.sqlite") as store:
        store.append(rows)
        found = {c: read_observations(store, target, "s", c, ["c"]).visits[Role.FILE] for c in (Clock.WALL, cpu)}
        runs = read_runs(store, target, "s", cpu, ["c"], Role.FILE)
    assert found[Clock.WALL]["told"].tolist() == found[cpu]["told"].tolist() == [0.004]
    assert runs["told"].tolist() == [0.004, 0.005]
    assert found[cpu]["silent"].tolist() == found[cpu]["damaged"].tolist() == [0.0048]
    assert found[cpu]["empty"].tolist() == [0.00045], "a run is never nothing"


@pytest.mark.parametrize("value", [None, "7", [7], {}, float("nan"), float("inf"), 10**400, -(10**400)])
def test_conditions_that_are_no_numbers_count_as_not_told(value: object) -> None:
    assert number_in({"throttles": value}, "throttles", 3.0) == 3.0
    assert number_in({"throttles": 7}, "throttles", 3.0) == 7.0


def test_things_that_were_visited_once_leave_the_others_in_the_floor() -> None:
    rng = np.random.default_rng(0)
    noisy = {str(i): 5.0 * np.exp(0.1 * rng.normal(size=8)) for i in range(6)}
    alone = noise_floor(seen({Role.VALIDATION: noisy}), Role.VALIDATION, "median")
    beside = noise_floor(seen({Role.VALIDATION: {"once": np.array([5.0]), **noisy}}), Role.VALIDATION, "median")
    assert beside == alone
    assert beside.networks == 6
