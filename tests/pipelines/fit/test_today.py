"""Files are promised for any sitting, and for the one that they are timed in, by networks measured beside them."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from fleetfront.pipelines.fit.today import bring_up, company_of, is_past, with_promises
from fleetfront.pipelines.measure.company import NETWORKS
from fleetfront.pipelines.measure.files import FileLatency
from fleetfront.pipelines.measure.promised import Promise, Promises
from fleetfront.predictors.table.calibrated import CalibratedTable, FittedModel
from fleetfront.predictors.table.fitting import fit_model
from fleetfront.profilers.reading.observations import Observations
from fleetfront.profilers.records import Role
from fleetfront.quantities import Clock
from fleetfront.spaces.ofa_mbv3.space import OfaMbv3Space, ofa_mbv3_w10
from fleetfront.targets import Target
from tests.predictors.synthetic_device import SyntheticDevice

HERE = Target("cpu", "litert")
HOUR_NS = 3600 * 10**9


@pytest.fixture(scope="module")
def space() -> OfaMbv3Space:
    return ofa_mbv3_w10()


@pytest.fixture(scope="module")
def profile(space: OfaMbv3Space) -> Observations:
    return SyntheticDevice(space).observe()


@pytest.fixture(scope="module")
def alone(space: OfaMbv3Space, profile: Observations) -> FittedModel:
    """Known from one sitting."""
    return fit_model(space, profile).model


@pytest.fixture(scope="module")
def model(alone: FittedModel) -> FittedModel:
    return replace(alone, between_sittings=replace(alone.between_sittings, sittings=3))


def later(profile: Observations, level: float, networks: int = 10) -> Observations:
    again = list(profile.visits[Role.CALIBRATION].items())[:networks]
    return replace(profile, visits={Role.CALIBRATION: {arch: level * ms for arch, ms in again}}, started_ns=7)


def timed(profile: Observations, level: float, is_busy: bool = False) -> dict[str, FileLatency]:
    """Networks that no fit has seen, in a sitting of that level; one could not be run."""
    held_out = list(profile.visits[Role.VALIDATION].items())[:20]
    found = {
        arch: FileLatency(profile.target, Clock.WALL, "min", level * float(ms.min()), 0.0, 6, is_busy=is_busy)
        for arch, ms in held_out
    }
    last = next(reversed(found))
    return {**found, last: replace(found[last], ms=None, error="it crashed")}


def held(found: dict[str, FileLatency]) -> tuple[list[bool | None], list[bool | None]]:
    promises = [latency.promises for latency in found.values() if latency.promises is not None]
    this = [p.verdict(p.this_sitting) for p in promises if p.this_sitting is not None]
    return [p.verdict(p.any_sitting) for p in promises if p.any_sitting is not None], this


def test_a_machine_that_runs_otherwise_today_keeps_todays_promise(
    space: OfaMbv3Space, profile: Observations, model: FittedModel
) -> None:
    table = CalibratedTable(space, model)
    found = with_promises(timed(profile, 0.8), later(profile, 0.8), table)
    as_profiled, today = held(found)
    assert not any(as_profiled)
    assert np.mean([bool(one) for one in today]) > 0.85
    one, *_, failed = found.values()
    assert failed.promises is None
    assert one.promises is not None
    assert one.promises.this_sitting is not None
    assert one.promises.any_sitting is not None
    ever, now = one.promises.any_sitting, one.promises.this_sitting
    assert now.std_ms / now.ms < 0.5 * ever.std_ms / ever.ms
    plain = one.promises.to_json()
    assert (plain["as_profiled"]["holds"], plain["today"]["holds"], plain["today"]["networks"]) == (False, True, 10)
    assert plain["today"]["low_ms"] < one.ms < plain["today"]["high_ms"] < plain["as_profiled"]["low_ms"]  # type: ignore[operator]


def test_one_sitting_promises_today_alone(space: OfaMbv3Space, profile: Observations, alone: FittedModel) -> None:
    found = with_promises(timed(profile, 0.8), later(profile, 0.8), CalibratedTable(space, alone))
    as_profiled, today = held(found)
    assert (as_profiled, len(today)) == ([], 19)
    promises = next(iter(found.values())).promises
    assert promises is not None
    plain = promises.to_json()
    assert (plain["as_profiled"], plain["today"]["holds"]) == (None, True)
    assert plain["not_promised"].startswith("known from one sitting alone")


def test_a_promise_that_is_wrong_today_is_missed(
    space: OfaMbv3Space, profile: Observations, model: FittedModel
) -> None:
    _, today = held(with_promises(timed(profile, 0.8), later(profile, 1.0), CalibratedTable(space, model)))
    assert not any(today)


def test_nothing_is_promised_beside_other_programs_nor_by_two_networks(
    space: OfaMbv3Space, profile: Observations, model: FittedModel
) -> None:
    table = CalibratedTable(space, model)
    busy = held(with_promises(timed(profile, 1.0, is_busy=True), later(profile, 1.0), table))
    assert set(busy[0]) == set(busy[1]) == {None}
    as_profiled, today = held(with_promises(timed(profile, 1.0), later(profile, 1.0, networks=2), table))
    assert (len(as_profiled), today) == (19, [])


def test_todays_model_does_not_return_to_the_mean_of_sittings(
    space: OfaMbv3Space, profile: Observations, model: FittedModel
) -> None:
    centred = replace(model, between_sittings=replace(model.between_sittings, level=-0.1, sittings=4))
    found = bring_up(space, centred, later(profile, 1.05))
    assert found is not None
    assert (found.model.fitted_ns, found.model.between_sittings.level) == (7, 0.0)
    assert found.model.between_sittings.relative > centred.between_sittings.relative
    genotypes = space.sample(5, np.random.default_rng(0))
    ratio = (
        CalibratedTable(space, found.model).predict(genotypes).mean
        / CalibratedTable(space, model).predict(genotypes).mean
    )
    np.testing.assert_allclose(ratio, 1.05, rtol=0.01)
    assert bring_up(space, model, replace(profile, visits={})) is None


def test_files_get_twice_the_networks_where_the_sitting_has_passed(model: FittedModel) -> None:
    here = replace(model, target=HERE, fitted_ns=time.time_ns())
    assert company_of(here) == company_of(None) == NETWORKS
    old = replace(here, fitted_ns=here.fitted_ns - 2 * HOUR_NS)
    assert company_of(old) == 2 * NETWORKS


def test_a_machine_that_was_started_since_is_in_another_sitting(
    model: FittedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    recent = replace(model, target=HERE, fitted_ns=time.time_ns() - HOUR_NS // 2)
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _: HOUR_NS)
    assert not is_past(recent)
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _: HOUR_NS // 4)
    assert is_past(recent)
    # When a phone was started, nobody says.
    assert not is_past(replace(recent, target=Target("adb:phone", "litert")))


def test_an_interval_is_what_is_judged() -> None:
    promises = Promises(Promise(10.0, 1.0), Promise(8.0, 0.1), 10, 8.1)
    assert promises.any_sitting is not None
    assert promises.any_sitting.interval == pytest.approx((8.355, 11.645), abs=1e-3)
    assert [promises.verdict(p) for p in (promises.any_sitting, promises.this_sitting) if p] == [False, True]
