from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from fleetfront.profilers.reading.breaks import Breaks
from fleetfront.profilers.reading.observations import Observations
from fleetfront.profilers.reading.other_programs import OtherPrograms
from fleetfront.profilers.reading.verdict import Weakness, find_floor, judge
from fleetfront.profilers.records import Role
from fleetfront.quantities import Clock, FloatArray
from fleetfront.targets import Target


def observed(
    noise: float = 0.0, drift: float = 0.0, visits: int = 8, discarded: int = 0, errors: tuple[str, ...] = ()
) -> Observations:
    rng = np.random.default_rng(0)
    growth = 1 + drift * np.linspace(0, 1, visits)

    def thing(ms: float) -> FloatArray:
        values: FloatArray = ms * growth * np.exp(noise * rng.normal(size=visits))
        return values

    networks = {role: {f"{role}{i}": thing(5 + i) for i in range(12)} for role in (Role.CALIBRATION, Role.VALIDATION)}
    return Observations(
        Target("cpu", "litert"),
        "ofa-mbv3-mini",
        Clock.THREAD_CPU,
        {**networks, Role.ANCHOR: {"a": 1.0 + drift * np.linspace(0, 1, 40)}},
        errors={key: "crashed" for key in errors},
        discarded={"throttled": discarded} if discarded else {},
    )


def test_quiet_measurements_are_stable() -> None:
    verdict = judge(observed(noise=0.005))
    assert verdict.is_stable
    assert verdict.reasons == ()
    assert verdict.floor_role == Role.VALIDATION


def test_each_trouble_is_named_with_a_command_that_helps() -> None:
    troubles = {
        Weakness.FLOOR: observed(noise=0.2),
        Weakness.DRIFT: observed(drift=0.2),
        Weakness.DISCARDED: observed(discarded=60),
        Weakness.HOT: replace(observed(), hot={Role.BLOCK: {"b0": 60}}),
        Weakness.MISSING: observed(errors=("block",)),
        Weakness.BUSY: replace(observed(), others=OtherPrograms(1.0, 2)),
        Weakness.SLEPT: replace(observed(), breaks=Breaks(slept_s=600.0)),
        Weakness.CLOCK: replace(observed(), breaks=Breaks(clock_step_s=-3600.0)),
        Weakness.TOO_FEW: observed(visits=1),
    }
    for doubt, observations in troubles.items():
        verdict = judge(observations)
        assert not verdict.is_stable
        (reason,) = [reason for reason in verdict.reasons if reason.doubt == doubt]
        assert "fleetfront profile --device cpu --runtime litert --space ofa-mbv3-mini" in reason.remedy
        assert abs(reason.value) > reason.limit or doubt == Weakness.TOO_FEW


def test_few_networks_are_measured_again_as_few() -> None:
    few = observed(drift=0.2, errors=("crashed",))
    few = replace(few, visits={role: keys for role, keys in few.visits.items() if role != Role.VALIDATION})
    assert all(reason.remedy.endswith("--space ofa-mbv3-mini --few 13") for reason in judge(few).reasons)
    # A budget that ends in the first round reaches some of them alone.
    cut_short = replace(few, planned={Role.CALIBRATION: 15})
    assert all(reason.remedy.endswith("--space ofa-mbv3-mini --few 15") for reason in judge(cut_short).reasons)
    with_blocks = replace(few, visits={**few.visits, Role.BLOCK: {"b": np.ones(8)}})
    assert all(reason.remedy.endswith("--budget standard") for reason in judge(with_blocks).reasons)


def test_verdict_and_fit_say_one_floor() -> None:
    seen = observed(noise=0.02)
    for statistic in ("min", "p25", "median"):
        verdict = judge(seen, statistic)
        assert (verdict.floor_role, verdict.floor) == find_floor(seen, statistic)
        assert verdict.statistic == statistic


def test_other_programs_that_hardly_ran_are_no_reason() -> None:
    assert judge(replace(observed(), others=OtherPrograms(0.2, 2))).is_stable


def test_the_share_of_what_was_left_out_is_of_all_visits() -> None:
    visits = 24 * 8 + 40
    (reason,) = judge(observed(discarded=visits)).reasons
    assert reason.value == 0.5
    assert "50 % of the visits were left out" in reason.text


def test_a_verdict_is_plain_json() -> None:
    for observations in (observed(), observed(visits=1, errors=("x",))):
        data = json.loads(json.dumps(judge(observations).to_json(), allow_nan=False))
        assert data["stable"] == judge(observations).is_stable


def test_an_anchor_that_drifts_by_more_than_three_percent_speaks_against_the_numbers() -> None:
    """``drift`` grows along the visits, so that the halves of the anchor differ by half of it."""
    for drift, is_told in ((0.05, False), (0.075, True), (0.1, True)):
        reasons = [reason.doubt for reason in judge(observed(drift=drift)).reasons]
        assert (Weakness.DRIFT in reasons) == is_told
