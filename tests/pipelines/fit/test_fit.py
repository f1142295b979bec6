"""From a store to models, scores and the JSON that outsiders rely on."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.fit.fit import fit_report, fit_target, other_metrics, quick_error
from fleetfront.pipelines.knowledge.cost_models import device_models, newest_fit
from fleetfront.pipelines.knowledge.device_model import DeviceModel, ModelOpener, present_environment
from fleetfront.pipelines.knowledge.known import list_known
from fleetfront.pipelines.measure.profile import profile_space
from fleetfront.predictors.table.fit_files import load_fit, model_to_json, read_report
from fleetfront.predictors.table.lookup import Filled
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.reading.observations import Observations, read_observations
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import ENERGY, LATENCY, PEAK_MEMORY, Clock
from fleetfront.spaces.ofa_mbv3.space import OfaMbv3Space, ofa_mbv3_mini, ofa_mbv3_w10
from fleetfront.targets import Target
from fleetfront.workspace import Workspace
from tests.predictors.synthetic_device import TARGET, SyntheticDevice, keep


def serving(workspace: Workspace, space: OfaMbv3Space, **narrow: str) -> DeviceModel:
    """The newest fit, ready to predict."""
    newest = newest_fit(list_known(workspace, None, space.name), space.name, **narrow)
    return ModelOpener(space, workspace.root.parent / "store.sqlite").open(newest)


@pytest.fixture(scope="module")
def space() -> OfaMbv3Space:
    return ofa_mbv3_w10()


@pytest.fixture(scope="module")
def wall(space: OfaMbv3Space) -> Observations:
    return SyntheticDevice(space, noise=0.04).observe(clock=Clock.WALL)


@pytest.fixture(scope="module")
def cpu(space: OfaMbv3Space) -> Observations:
    return SyntheticDevice(space, noise=0.01).observe(clock=Clock.THREAD_CPU)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "home")


def test_both_clocks_are_fitted_and_the_steadier_chosen(
    space: OfaMbv3Space, wall: Observations, cpu: Observations, store: Store, workspace: Workspace
) -> None:
    keep(store, wall)
    keep(store, cpu)
    outcome = fit_target(store, TARGET, space, workspace=workspace)
    assert [fit.fitted.model.clock for fit in outcome.fits] == [Clock.THREAD_CPU, Clock.WALL]
    chosen, other = outcome.fits
    assert chosen.scores is not None
    assert other.scores is not None
    assert chosen.scores.mape < other.scores.mape < 5
    assert chosen.plain_scores is not None
    assert chosen.plain_scores.mape > 5
    assert chosen.floor.networks == 100
    assert [abs(network.error) for network in chosen.worst_networks] == sorted(
        (abs(network.error) for network in chosen.worst_networks), reverse=True
    )
    assert abs(chosen.worst_networks[0].error) >= chosen.scores.mape / 100
    found = serving(workspace, space, device="synthetic")
    model = found.model
    assert model.clock == Clock.THREAD_CPU
    (one_sitting,) = found.warnings
    assert "no interval is promised for when you run them" in one_sitting
    genotypes = space.sample(10, np.random.default_rng(0))
    np.testing.assert_array_equal(model.predict(genotypes).mean, chosen.table.predict(genotypes).mean)
    preferred = fit_target(store, TARGET, space, Clock.WALL, workspace).chosen
    assert preferred.fitted.model.clock == Clock.WALL
    assert serving(workspace, space).model.clock == Clock.WALL


def test_report_is_what_was_promised(
    space: OfaMbv3Space, wall: Observations, cpu: Observations, store: Store, workspace: Workspace
) -> None:
    keep(store, wall)
    keep(store, cpu)
    outcome = fit_target(store, TARGET, space, workspace=workspace)
    report = json.loads(json.dumps(fit_report(outcome), allow_nan=False))
    assert report["schema"] == "fleetfront.fit/1"
    assert report["space"] == "ofa-mbv3-w1.0"
    assert report["target"] == str(TARGET)
    assert (report["tier"], report["clock"]) == ("measured", "thread-cpu")
    held_out = report["held_out"]
    assert held_out["networks"] == 100
    for name in ("within_5", "within_10", "spearman", "coverage_90"):
        assert 0 <= held_out[name] <= 1
        low, high = held_out["intervals"][name]
        assert low <= held_out[name] <= high
    assert 0.1 < held_out["mape"] < 5
    assert set(report["floor"]) >= {"mape", "within_10"}
    assert report["profile_seconds"] >= 0
    assert sum(report["blocks"].values()) == len(space.vocabulary)
    assert len(report["worst_blocks"]) == len(report["worst_networks"]) == 5
    assert report["other_clocks"][0]["clock"] == "wall"
    for fit in outcome.fits:
        stored = read_report(fit.path)
        assert stored is not None
        assert stored["clock"] == fit.fitted.model.clock.value
        assert stored["other_clocks"] == []


def test_the_model_on_disk_does_not_depend_on_validation(
    space: OfaMbv3Space, wall: Observations, tmp_path: Path
) -> None:
    spoiled = {arch: 3 * ms[::-1] for arch, ms in wall.visits[Role.VALIDATION].items()}
    without = {role: things for role, things in wall.visits.items() if role != Role.VALIDATION}
    files, reports = [], []
    for number, visits in enumerate((wall.visits, {**wall.visits, Role.VALIDATION: spoiled}, without)):
        workspace = Workspace(tmp_path / str(number))
        with Store(workspace.store) as store:
            keep(store, replace(wall, visits=visits))
            fit = fit_target(store, TARGET, space, workspace=workspace).chosen
        files.append(replace(fit.fitted.model, fitted_ns=0))
        reports.append(fit.scores)
    texts = [json.dumps(model_to_json(model)) for model in files]
    assert texts[0] == texts[1] == texts[2]
    assert reports[0] is not None
    assert reports[1] is not None
    assert reports[1].mape > 10 * reports[0].mape
    assert reports[2] is None


def test_report_without_held_out_networks(space: OfaMbv3Space, store: Store, workspace: Workspace) -> None:
    keep(store, SyntheticDevice(space).observe(validation=0, visits=2))
    report = json.loads(json.dumps(fit_report(fit_target(store, TARGET, space, workspace=workspace)), allow_nan=False))
    assert report["held_out"]["networks"] == 0
    assert report["held_out"]["mape"] is None
    # The floor is then that of the calibration networks, as in the verdict of the profile.
    assert report["floor"]["role"] == "calibration"
    assert report["floor"]["mape"] > 0
    assert report["calibration"]["cross_validated_mape"] > 0


def test_imported_blocks_give_an_uncalibrated_model_that_says_so(store: Store, workspace: Workspace) -> None:
    space = ofa_mbv3_mini()
    keep(store, SyntheticDevice(space).observe(calibration=0, validation=0, clock=Clock.UNKNOWN))
    fit = fit_target(store, TARGET, space, workspace=workspace).chosen
    assert fit.fitted.model.clock == Clock.UNKNOWN
    assert [warning.code for warning in fit.warnings] == ["uncalibrated"]
    genotypes = space.sample(5, np.random.default_rng(0))
    np.testing.assert_array_equal(fit.table.predict(genotypes).mean, fit.table.lookup_ms(genotypes))


def test_many_threads_are_judged_by_the_wall(
    space: OfaMbv3Space, wall: Observations, cpu: Observations, store: Store, workspace: Workspace
) -> None:
    target = replace(TARGET, threads=4)
    keep(store, replace(wall, target=target))
    keep(store, replace(cpu, target=target))
    assert fit_target(store, target, space, workspace=workspace).chosen.fitted.model.clock == Clock.WALL


def test_nothing_measured_names_the_command(space: OfaMbv3Space, store: Store, workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"fleetfront profile --device cpu --runtime litert --space ofa-mbv3-w1\.0"):
        fit_target(store, Target("cpu", "litert"), space, workspace=workspace)
    with pytest.raises(InputError, match="fleetfront profile"):
        serving(workspace, space, device="cpu")


def test_a_clock_that_was_not_measured_is_refused(
    space: OfaMbv3Space, wall: Observations, store: Store, workspace: Workspace
) -> None:
    keep(store, wall)
    with pytest.raises(InputError, match="wall"):
        fit_target(store, TARGET, space, Clock.DEVICE, workspace)


def test_quick_error_reads_what_a_campaign_has_so_far(space: OfaMbv3Space, wall: Observations, store: Store) -> None:
    keep(store, wall)
    seen = read_observations(store, TARGET, space.name, Clock.WALL)
    error = quick_error(seen, space)
    assert error is not None
    assert 0.1 < error < 5


def test_environment_of_this_machine_and_of_others() -> None:
    here = present_environment(Target("cpu", "litert"))
    assert here["cores"] >= 1
    assert "runtime_version" in here
    assert present_environment(Target("pixel3", "litert")) == {}


def test_a_changed_runtime_is_told_when_the_model_is_used(store: Store, workspace: Workspace) -> None:
    space = ofa_mbv3_mini()
    target = Target("cpu", "litert")
    seen = SyntheticDevice(space).observe()
    keep(store, replace(seen, target=target, environment={"runtime_version": "0.0.1", "architecture": "z80"}))
    path = fit_target(store, target, space, workspace=workspace).chosen.path
    assert load_fit(path).environment["runtime_version"] == "0.0.1"
    (warning,) = serving(workspace, space, device="cpu").warnings
    assert "the runtime's version changed from 0.0.1" in warning


def test_a_fit_of_another_store_says_so_when_it_replaces_one_and_when_it_serves(
    store: Store, workspace: Workspace, tmp_path: Path
) -> None:
    space = ofa_mbv3_mini()
    keep(store, SyntheticDevice(space).observe())
    assert fit_target(store, TARGET, space, workspace=workspace).fits[0].warnings == ()
    assert serving(workspace, space).warnings == ()
    with Store(tmp_path / "other.sqlite") as other:
        keep(other, SyntheticDevice(space).observe())
        (warning,) = fit_target(other, TARGET, space, workspace=workspace).fits[0].warnings
        assert fit_target(other, TARGET, space, workspace=workspace).fits[0].warnings == ()
    assert f"other.sqlite replaces the one of another store, {store.path}" in warning.text
    (told,) = serving(workspace, space).warnings
    assert f"another store, {other.path}, and not to {store.path}" in told
    assert f"--store {other.path} if that is meant" in told


def test_a_workspace_that_is_moved_keeps_fit_and_store_together(tmp_path: Path) -> None:
    space, before, after = ofa_mbv3_mini(), Workspace(tmp_path / "before"), Workspace(tmp_path / "after")
    with Store(before.store) as store:
        keep(store, SyntheticDevice(space).observe())
        fit_target(store, TARGET, space, workspace=before)
    before.root.rename(after.root)
    (found,) = [known for known in list_known(after, None, space.name) if known.fit is not None]
    assert ModelOpener(space, after.store).open(found).warnings == ()
    assert len(ModelOpener(space, before.store).open(found).warnings) == 1


def test_no_prediction_is_made_from_a_fit_of_another_machine(store: Store, workspace: Workspace) -> None:
    space, target = ofa_mbv3_mini(), Target("cpu", "litert")
    seen = replace(SyntheticDevice(space).observe(), target=target)
    for name, before in (("runtime_version", "0.0.1"), ("cpu", "Abacus 1")):
        keep(store, replace(seen, environment={**present_environment(target), name: before}), f"of {name}")
        fit_target(store, target, space, workspace=workspace)
        for spelled in ("cpu", "cpu/litert", "all"):
            with pytest.raises(InputError, match=f"changed from {before}.*--recalibrate"):
                device_models([spelled], space, workspace=workspace)
    keep(store, replace(seen, environment={**present_environment(target), "system": "Linux 0.1"}), "an older kernel")
    fit_target(store, target, space, workspace=workspace)
    (found,) = device_models(["cpu"], space, workspace=workspace)
    assert any("the operating system changed" in warning for warning in found.warnings)


def test_real_measurements_of_this_machine_become_a_model(store: Store, workspace: Workspace) -> None:
    """Blocks and networks really run in LiteRT; errors are not asserted, since the machine may be busy."""
    space, target = ofa_mbv3_mini(), Target("cpu", "litert")
    options = PlanOptions(calibration=6, validation=8)
    profile_space(space, target, store=store, rounds=2, options=options, workspace=workspace)
    outcome = fit_target(store, target, space, workspace=workspace)
    assert [fit.fitted.model.clock for fit in outcome.fits] == [Clock.THREAD_CPU, Clock.WALL]
    report = json.loads(json.dumps(fit_report(outcome), allow_nan=False))
    assert report["held_out"]["networks"] == 8
    assert report["blocks"] == {"measured": len(space.vocabulary), "interpolated": 0, "modelled": 0}
    assert report["profile_seconds"] > 0
    found = serving(workspace, space, device="cpu", runtime="litert")
    few, *busy = found.warnings
    assert "whole networks calibrate" in few
    assert all("other programs used" in warning.lower() for warning in busy)
    estimate = found.model.predict(space.sample(50, np.random.default_rng(0)))
    assert np.all(estimate.mean > 0)
    assert np.all(estimate.std > 0)


HOUR_NS = 3600 * 10**9


def later_sitting(wall: Observations, level: float, environment: dict[str, object] | None = None) -> Observations:
    """The first eight calibration networks again, ``level`` times as slow."""
    again = list(wall.visits[Role.CALIBRATION].items())[:8]
    visits = {Role.CALIBRATION: {arch: level * ms for arch, ms in again}}
    return replace(wall, visits=visits, environment=environment or wall.environment)


def test_intervals_learn_from_later_sittings(space: OfaMbv3Space, wall: Observations, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "home")
    with Store(tmp_path / "store.sqlite") as store:
        began = time.time_ns() - 12 * HOUR_NS
        keep(store, wall, began_ns=began)
        alone = fit_target(store, TARGET, space, workspace=workspace).chosen
        for number, level in enumerate((1.08, 0.93, 1.1)):
            keep(store, later_sitting(wall, level), f"later-{number}", began + (number + 1) * HOUR_NS)
        # Of another machine: no sitting of this one. And one that began with the profile.
        keep(store, later_sitting(wall, 3.0, {"cpu": "Abacus 2"}), "elsewhere", began + 9 * HOUR_NS)
        keep(store, later_sitting(wall, 2.0), "at-once", began + HOUR_NS // 60)
        learnt = fit_target(store, TARGET, space, workspace=workspace).chosen
    between = [fit.fitted.model.between_sittings for fit in (alone, learnt)]
    assert [spread.sittings for spread in between] == [0, 3]
    assert 0.05 < between[1].relative < 0.1
    assert load_fit(learnt.path).between_sittings == between[1]
    assert learnt.scores == alone.scores
    genotypes = space.sample(10, np.random.default_rng(0))
    before, after = (fit.table.predict(genotypes) for fit in (alone, learnt))
    assert after.within is not None
    assert (after.std > 1.3 * before.std).all()
    assert before.unpromised.startswith("known from one sitting alone")
    assert before.promised_std == [None] * 10
    assert (after.unpromised, after.promised_std) == ("", after.std.tolist())
    # Blocks of its own sitting and of three others: the mean of log levels, that of the own one 0.
    moved = np.exp((np.log(1.08) + np.log(0.93) + np.log(1.1)) / 4)
    np.testing.assert_allclose(after.mean / before.mean, moved, rtol=1e-3)
    np.testing.assert_allclose(after.within / after.mean, before.within / before.mean)


def energy_of(latency: Observations, watts: float, roles: tuple[Role, ...]) -> Observations:
    """Microjoules at a steady power and 40 uJ a run besides, of the things of some roles alone."""
    visits = {
        role: {key: 1e3 * watts * ms + 40.0 for key, ms in keys.items()}
        for role, keys in latency.visits.items()
        if role in roles
    }
    return replace(latency, visits=visits, clock=Clock.DEVICE, metric=ENERGY)


def test_energy_of_networks_alone_is_fitted_on_the_blocks_of_the_latency(
    space: OfaMbv3Space, wall: Observations, store: Store, workspace: Workspace
) -> None:
    keep(store, wall)
    keep(store, energy_of(wall, 2.5, (Role.CALIBRATION, Role.VALIDATION)))
    assert other_metrics(store, TARGET, space) == (ENERGY,)
    fit = fit_target(store, TARGET, space, workspace=workspace, metric=ENERGY).chosen
    latency = fit_target(store, TARGET, space, workspace=workspace).chosen
    assert (fit.table.metric, latency.table.metric) == (ENERGY, LATENCY)
    assert fit.scores is not None
    assert latency.scores is not None
    assert fit.scores.mape < latency.scores.mape + 0.5
    assert [warning.code for warning in fit.warnings][:1] == ["no-blocks"]
    genotypes = space.sample(20, np.random.default_rng(1))
    watts = fit.table.predict(genotypes).mean / latency.table.predict(genotypes).mean / 1e3
    np.testing.assert_allclose(watts, 2.5, rtol=0.05)
    report = fit_report(fit_target(store, TARGET, space, workspace=workspace, metric=ENERGY))
    assert (report["metric"], report["unit"]) == ("energy", "uJ")
    assert {"measured_uJ", "predicted_uJ", "std_uJ"} <= report["worst_networks"][0].keys()
    (found,) = device_models([TARGET.device], space, workspace=workspace, store=store.path, metric=ENERGY)
    np.testing.assert_allclose(found.model.predict(genotypes).mean, fit.table.predict(genotypes).mean)


def test_energy_of_blocks_is_fitted_on_them(
    space: OfaMbv3Space, wall: Observations, store: Store, workspace: Workspace
) -> None:
    keep(store, energy_of(wall, 2.5, tuple(Role)))
    fit = fit_target(store, TARGET, space, workspace=workspace, metric=ENERGY).chosen
    assert fit.fitted.model.table.count(Filled.MEASURED)
    assert "no-blocks" not in [warning.code for warning in fit.warnings]


def test_metrics_that_no_table_of_blocks_tells_are_refused(
    space: OfaMbv3Space, wall: Observations, store: Store, workspace: Workspace
) -> None:
    keep(store, wall)
    assert other_metrics(store, TARGET, space) == ()
    with pytest.raises(InputError, match="peak memory of a network is no sum"):
        fit_target(store, TARGET, space, workspace=workspace, metric=PEAK_MEMORY)
    with pytest.raises(InputError, match="energy of no block or calibration network"):
        fit_target(store, TARGET, space, workspace=workspace, metric=ENERGY)


def test_a_key_that_spells_no_network_costs_its_own_rows(
    space: OfaMbv3Space, store: Store, workspace: Workspace
) -> None:
    device = SyntheticDevice(space)
    seen = device.observe(calibration=12, validation=6, visits=2)
    spoilt = {role: dict(things) for role, things in seen.visits.items()}
    for role in (Role.CALIBRATION, Role.VALIDATION):
        spoilt[role][f"nonsense-{role}"] = spoilt[role].pop(next(iter(spoilt[role])))
    keep(store, replace(seen, visits=spoilt))
    report = fit_report(fit_target(store, TARGET, space, workspace=workspace))
    assert (report["calibration"]["networks"], report["held_out"]["networks"]) == (11, 5)
    assert sorted(report["errors"]) == ["nonsense-calibration", "nonsense-validation"]
    assert "is not an architecture" in report["errors"]["nonsense-validation"]
