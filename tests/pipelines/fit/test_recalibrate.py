from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.fit.drift import fit_drift, predicted_by_others, spread_here
from fleetfront.pipelines.fit.fit import fit_target
from fleetfront.pipelines.fit.recalibrate import end_long_profile, recalibrate
from fleetfront.pipelines.measure.profile import Budget, profile_space
from fleetfront.pipelines.measure.verify import DeviceVerifier
from fleetfront.predictors.table.calibrated import CalibratedTable, FittedModel
from fleetfront.predictors.table.fit_files import load_fit
from fleetfront.predictors.table.fitting import fit_model
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.reading.rows import preferred_campaign
from fleetfront.profilers.reading.sittings import SittingRatio
from fleetfront.profilers.store.store import Store
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.targets import Target
from fleetfront.workspace import Workspace
from tests.predictors.synthetic_device import SyntheticDevice

TARGET = Target("cpu", "onnxruntime")


@pytest.fixture(scope="module")
def fitted() -> FittedModel:
    space = ofa_mbv3_mini()
    return fit_model(space, SyntheticDevice(space).observe()).model


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1.08, 0.0), (0.9, 0.0), (1.6, 0.0)])
def test_a_level_is_followed(scale: float, shift: float) -> None:
    predicted = np.linspace(5.0, 20.0, 10)
    measured = (scale * predicted + shift) * np.exp(0.01 * np.random.default_rng(0).normal(size=10))
    found = fit_drift(predicted, measured)
    np.testing.assert_allclose(found[0] * predicted + found[1], scale * predicted + shift, rtol=0.012)


def test_many_networks_tell_a_shift() -> None:
    predicted = np.tile(np.linspace(0.01, 0.05, 20), 5)
    scale, shift = fit_drift(predicted, predicted + 0.002)
    assert scale == pytest.approx(1.0, abs=0.02)
    assert shift == pytest.approx(0.002, rel=0.2)


def test_an_error_after_is_of_networks_that_did_not_teach_it() -> None:
    predicted = np.linspace(5.0, 20.0, 10)
    measured = predicted * np.where(np.arange(10) == 9, 1.5, 1.0)
    scale, shift = fit_drift(predicted, measured)
    left_out = predicted_by_others(predicted, measured)
    assert left_out[9] == pytest.approx(20.0, rel=1e-6)
    assert abs(scale * predicted[9] + shift - 30.0) < abs(left_out[9] - 30.0)


def test_a_model_brought_to_another_machine_says_how_far_off_it_is_there(fitted: FittedModel) -> None:
    rng = np.random.default_rng(0)
    like_before = fitted.relative_std * rng.standard_normal(10)
    assert spread_here(fitted, like_before) == fitted.relative_std
    far_off = 0.15 * rng.standard_normal(10)
    assert spread_here(fitted, far_off) > 0.08


def test_ten_networks_bring_a_model_to_this_sitting(tmp_path: Path) -> None:
    space, workspace = ofa_mbv3_mini(), Workspace(tmp_path)
    options = PlanOptions(calibration=12, validation=0)
    with Store(workspace.store) as store:
        profile_space(
            space, TARGET, store=store, budget=Budget("test", 60.0), rounds=2, options=options, workspace=workspace
        )
        fit = fit_target(store, TARGET, space, workspace=workspace).chosen
        profiled = preferred_campaign(store, TARGET, space.name)
        found = recalibrate(store, space, fit.fitted.model, workspace)
        assert load_fit(fit.path).fitted_ns == found.model.fitted_ns
        # The profile stays the campaign that fits are made of.
        assert preferred_campaign(store, TARGET, space.name) == profiled
    assert found.networks == 10
    assert found.model.fitted_ns > fit.fitted.model.fitted_ns
    assert 0.2 < found.level < 5.0
    assert min(found.error_before, found.error_after) > 0.0


def test_later_sittings_teach_how_far_they_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long profile ends with a second sitting; bringing a model up, too, learns from every other one."""
    # Whatever else runs beside the tests.
    monkeypatch.setattr(SittingRatio, "is_busy", False)
    ahead, clock = [0.0], time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: clock() + int(ahead[0] * 3600e9))
    space, workspace = ofa_mbv3_mini(), Workspace(tmp_path)
    options = PlanOptions(calibration=12, validation=0)
    with Store(workspace.store) as store:
        profiled = profile_space(
            space, TARGET, store=store, budget=Budget("test", 60.0), rounds=1, options=options, workspace=workspace
        ).observations
        assert not end_long_profile(store, space, profiled, workspace=workspace)
        model = fit_target(store, TARGET, space, workspace=workspace).chosen.fitted.model
        at_once = recalibrate(store, space, model, workspace)
        assert at_once.model.between_sittings.sittings == 0, "a minute later is the same sitting"
        ahead[0] = 2.0
        assert end_long_profile(store, space, profiled, workspace=workspace)
        model = fit_target(store, TARGET, space, workspace=workspace).chosen.fitted.model
        assert model.between_sittings.sittings == 1
        # A search that measures its front's best goes on with what is known.
        target = ProblemTarget("cpu", CalibratedTable(space, model), str(TARGET))
        best = space.sample(2, np.random.default_rng(1))
        checked = DeviceVerifier(space, store, workspace, rounds=1).verify(target, best)
        assert isinstance(checked.refitted, CalibratedTable)
        assert checked.refitted.model.between_sittings.sittings == 1
        ahead[0] = 4.0
        found = recalibrate(store, space, model, workspace)
    # The profile, what followed it at once, and its end.
    assert found.model.between_sittings.sittings == 3
    assert found.model.between_sittings.level == 0.0, "it is of today"
    assert (found.unpromised, found.to_json()["not_promised"]) == ("", None)


def test_a_store_without_the_profile_cannot_recalibrate(tmp_path: Path) -> None:
    space, workspace = ofa_mbv3_mini(), Workspace(tmp_path)
    with Store(workspace.store) as store:
        profile_space(
            space,
            TARGET,
            store=store,
            budget=Budget("test", 60.0),
            rounds=1,
            options=PlanOptions(calibration=0, validation=0),
            workspace=workspace,
        )
        model = fit_target(store, TARGET, space, workspace=workspace).chosen.fitted.model
        with pytest.raises(InputError, match="was calibrated on"):
            recalibrate(store, space, model, workspace)
