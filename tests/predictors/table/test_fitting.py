"""Fitting a synthetic device whose truth is known, through the real spaces."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.predictors.base import CostModel
from fleetfront.predictors.scores import score
from fleetfront.predictors.table import fitting
from fleetfront.predictors.table.calibrated import CalibratedTable, block_params, block_sum
from fleetfront.predictors.table.fit_files import model_to_json
from fleetfront.predictors.table.fitting import (
    calibrated_by,
    fit_model,
    learn_spread,
    measured_networks,
    quick_error,
)
from fleetfront.predictors.table.intervals import SittingSpread
from fleetfront.predictors.table.lookup import Filled
from fleetfront.predictors.table.measured_blocks import (
    NOISE_OF_ONE_VISIT,
    half_variances,
    measured_blocks,
    typical_variance,
    vocabulary_of,
)
from fleetfront.predictors.table.warnings import fit_warnings, stale_warnings
from fleetfront.profilers.reading.observations import Observations
from fleetfront.profilers.reading.other_programs import OtherPrograms
from fleetfront.profilers.reading.sittings import SittingRatio
from fleetfront.profilers.records import Role
from fleetfront.quantities import Clock
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.nasbench201.space import NasBench201Space
from fleetfront.spaces.ofa_mbv3.space import OfaMbv3Space, ofa_mbv3_mini, ofa_mbv3_w10, ofa_mbv3_w12
from tests.predictors.synthetic_device import SyntheticDevice


@pytest.fixture(scope="module")
def space() -> OfaMbv3Space:
    return ofa_mbv3_w10()


@pytest.fixture(scope="module")
def observations(space: OfaMbv3Space) -> Observations:
    return SyntheticDevice(space).observe()


class OnlyTheProtocol:
    """A space without any of the optional fast paths."""

    def __init__(self, inner: SearchSpace) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        if name in ("additive", "block_params", "block_features", "interpolation_groups"):
            raise AttributeError(name)
        return getattr(self._inner, name)


def test_held_out_networks_are_predicted_within_noise(space: OfaMbv3Space, observations: Observations) -> None:
    fitted = fit_model(space, observations)
    held_out = measured_networks(observations, space, Role.VALIDATION, fitted.model.statistic)
    table = CalibratedTable(space, fitted.model)
    assert isinstance(table, CostModel)
    estimate = table.predict(held_out.genotypes)
    scores = score(estimate.mean, held_out.ms, estimate.std)
    assert scores.mape < 2.0
    assert scores.within_10 >= 0.99
    plain = score(table.lookup_ms(held_out.genotypes), held_out.ms)
    assert plain.mape > 3 * scores.mape
    assert fitted.cross_validated_mape == pytest.approx(scores.mape, rel=0.5)
    assert fitted.trial is None


def test_intervals_cover_as_promised_over_devices(space: OfaMbv3Space) -> None:
    covered = []
    for seed in range(12):
        seen = SyntheticDevice(space, seed=seed).observe(visits=4)
        fitted = fit_model(space, seen)
        held_out = measured_networks(seen, space, Role.VALIDATION, fitted.model.statistic)
        estimate = CalibratedTable(space, fitted.model).predict(held_out.genotypes)
        covered.append(score(estimate.mean, held_out.ms, estimate.within, resamples=0).coverage_90)
    assert 0.85 <= np.mean(covered) <= 0.95


def test_sittings_are_judged_at_the_size_of_networks(space: OfaMbv3Space, observations: Observations) -> None:
    """Blocks stay in the caches and hardly move between sittings in which whole networks do."""
    networks = np.array([float(visits.min()) for visits in observations.visits[Role.CALIBRATION].values()])
    blocks = np.array([float(visits.min()) for visits in observations.visits[Role.BLOCK].values()])[:30]
    cost = np.concatenate([blocks, networks[:5]])
    keys = (*list(observations.visits[Role.BLOCK])[:30], *list(observations.visits[Role.CALIBRATION])[:5])

    def between(networks_moved: float, others: OtherPrograms | None = None) -> SittingSpread:
        moved = np.log(np.concatenate([np.ones(blocks.size), np.full(5, networks_moved)]))
        ratio = SittingRatio("later", cost, moved, others, keys)
        return fit_model(space, observations, sittings=[ratio] * 8).model.between_sittings

    assert between(1.06).level == pytest.approx(np.log(1.06) * 8 / 9)
    assert (between(1.0).level, between(1.06).sittings) == (0.0, 8)
    busy = between(1.06, OtherPrograms(1.0, 2))
    assert (busy.sittings, busy.relative) == (0, fit_model(space, observations).model.between_sittings.relative)


def test_one_sitting_promises_nothing_of_others_to_large_networks(
    space: OfaMbv3Space, observations: Observations
) -> None:
    def promised(family: OfaMbv3Space, seen: Observations, sittings: Sequence[SittingRatio] = ()) -> tuple[bool, bool]:
        """Whether an interval is, and whether it is said that none is."""
        model = fit_model(family, seen, sittings=sittings).model
        estimate = CalibratedTable(family, model).predict(family.sample(5, np.random.default_rng(0)))
        assert (None in estimate.promised_std) == bool(estimate.unpromised)
        return not estimate.unpromised, "one-sitting" in [warning.code for warning in fit_warnings(model, family)]

    began = 10**18
    seen, keys = replace(observations, started_ns=began), list(observations.visits[Role.CALIBRATION])[:5]

    def sitting(minutes: int, others: OtherPrograms | None = None) -> SittingRatio:
        return SittingRatio("c", np.full(5, 10.0), np.zeros(5), others, tuple(keys), began + minutes * 60 * 10**9)

    assert promised(space, seen) == (False, True)
    assert promised(space, seen, [sitting(3)]) == (False, True), "it is the same sitting"
    assert promised(space, seen, [sitting(30, OtherPrograms(1.0, 2))]) == (False, True), "that one was busy"
    assert promised(space, seen, [sitting(30)]) == (True, False)
    assert promised(space, replace(seen, clock=Clock.UNKNOWN)) == (True, False), "an imported table is of its source"
    small = ofa_mbv3_mini()
    assert promised(small, SyntheticDevice(small).observe()) == (True, False), "what the caches hold hardly moves"


def test_a_model_of_a_busy_sitting_promises_less_and_says_so(space: OfaMbv3Space, observations: Observations) -> None:
    genotypes = space.sample(20, np.random.default_rng(1))
    quiet = fit_model(space, observations).model
    busy = fit_model(space, replace(observations, others=OtherPrograms(1.0, 2))).model
    estimates = [CalibratedTable(space, model).predict(genotypes) for model in (quiet, busy)]
    assert np.all(estimates[1].std > 1.2 * estimates[0].std)
    np.testing.assert_array_equal(estimates[1].mean, estimates[0].mean)
    np.testing.assert_array_equal(estimates[1].same_sitting, estimates[0].same_sitting)
    (warning,) = set(fit_warnings(busy)) - set(fit_warnings(quiet))
    assert "used 1.0 of 2 cores" in warning.text
    assert "--recalibrate" in warning.remedy


def test_folded_table_equals_the_formula(space: OfaMbv3Space, observations: Observations) -> None:
    model = fit_model(space, observations).model
    genotypes = space.sample(500, np.random.default_rng(1))
    table = CalibratedTable(space, model)
    lookup = table.lookup_ms(genotypes)
    indices = space.block_indices(genotypes)
    np.testing.assert_allclose(lookup, np.where(indices >= 0, model.table.ms[indices], 0).sum(axis=1))
    expected = model.calibration.apply(lookup, space.params(genotypes).astype(np.float64))
    estimate = table.predict(genotypes)
    np.testing.assert_allclose(estimate.mean, expected, rtol=1e-12)
    np.testing.assert_allclose(estimate.within, expected * model.relative_std, rtol=1e-12)
    between = model.between_sittings
    variance = (expected * np.hypot(model.relative_std, between.relative)) ** 2 + between.absolute_ms**2
    np.testing.assert_allclose(estimate.std, np.sqrt(variance), rtol=1e-12)
    assert estimate.mean.dtype == np.float64


def test_validation_networks_choose_nothing(space: OfaMbv3Space, observations: Observations) -> None:
    rng = np.random.default_rng(0)
    spoiled = {arch: ms * rng.uniform(0.2, 5, ms.size) for arch, ms in observations.visits[Role.VALIDATION].items()}
    models = [
        json.dumps(model_to_json(fit_model(space, replace(observations, visits=visits)).model), sort_keys=True)
        for visits in (
            observations.visits,
            {**observations.visits, Role.VALIDATION: spoiled},
            {role: found for role, found in observations.visits.items() if role != Role.VALIDATION},
        )
    ]
    assert models[0] == models[1] == models[2]
    # The comparison can fail: calibration networks do choose.
    calibration = {arch: 1.01 * ms for arch, ms in observations.visits[Role.CALIBRATION].items()}
    changed = replace(observations, visits={**observations.visits, Role.CALIBRATION: calibration})
    assert json.dumps(model_to_json(fit_model(space, changed).model), sort_keys=True) != models[0]


def test_guessed_blocks_widen_the_intervals_of_networks_that_use_them(space: OfaMbv3Space) -> None:
    device = SyntheticDevice(space)
    absent = [block.key for block in space.vocabulary if "k=7" in block.key and "out=160" in block.key]
    seen = device.observe(without=absent)
    model = fit_model(space, seen).model
    assert model.table.count(Filled.MODELLED) == len(absent)
    genotypes = space.sample(2000, np.random.default_rng(0))
    indices = space.block_indices(genotypes)
    is_guessed = np.append(np.array([how == Filled.MODELLED for how in model.table.filled]), False)
    guesses = is_guessed[indices].sum(axis=1)
    estimate = CalibratedTable(space, model).predict(genotypes)
    relative = estimate.std / estimate.mean
    assert relative[guesses >= 3].mean() > relative[guesses == 0].mean()
    assert relative.min() >= model.relative_std * (1 - 1e-12)
    assert {warning.code for warning in fit_warnings(model)} == {"modelled-blocks"}


def test_trees_enter_with_many_networks_that_need_them(space: OfaMbv3Space) -> None:
    device = SyntheticDevice(space, network_whim=0.002, noise=0.005)
    seen = device.observe(calibration=100, validation=0)
    archs = list(seen.visits[Role.CALIBRATION])
    slow = space.parse(archs)[:, -1] > 12
    calibration = {
        arch: ms * (1.2 if is_slow else 1.0)
        for (arch, ms), is_slow in zip(seen.visits[Role.CALIBRATION].items(), slow, strict=True)
    }
    stepped = replace(seen, visits={**seen.visits, Role.CALIBRATION: calibration})
    plain, corrected = fit_model(space, seen), fit_model(space, stepped)
    assert plain.trial is not None
    assert corrected.trial is not None
    assert corrected.model.residual is not None
    # The error is that of what is used: with the trees where they won, without them where they did not.
    assert corrected.cross_validated_mape == pytest.approx(corrected.trial.mape_with)
    assert plain.model.residual is None
    assert plain.cross_validated_mape != pytest.approx(plain.trial.mape_with)
    fresh = space.sample(200, np.random.default_rng(9))
    truth = device.network_ms(fresh) * np.where(fresh[:, -1] > 12, 1.2, 1.0)
    with_trees = CalibratedTable(space, corrected.model).predict(fresh).mean
    without = CalibratedTable(space, replace(corrected.model, residual=None)).predict(fresh).mean
    assert np.abs(with_trees / truth - 1).mean() < 0.7 * np.abs(without / truth - 1).mean()


@pytest.mark.parametrize("calibration", [0, 2, 6])
def test_little_calibration_still_gives_a_model_and_says_so(space: OfaMbv3Space, calibration: int) -> None:
    seen = SyntheticDevice(space).observe(calibration=calibration)
    model = fit_model(space, seen).model
    held_out = measured_networks(seen, space, Role.VALIDATION, model.statistic)
    estimate = CalibratedTable(space, model).predict(held_out.genotypes)
    assert score(estimate.mean, held_out.ms, estimate.std).coverage_90 >= 0.8
    expected = "few-calibration-networks" if calibration else "uncalibrated"
    assert [warning.code for warning in fit_warnings(model)] == [expected]


@pytest.mark.parametrize("other", [ofa_mbv3_w12(), ofa_mbv3_mini()], ids=lambda space: space.name)
def test_other_spaces(other: OfaMbv3Space) -> None:
    error = fit_model(other, SyntheticDevice(other).observe()).cross_validated_mape
    assert error is not None
    assert error < 3


def test_spaces_without_fast_paths() -> None:
    space = ofa_mbv3_mini()
    bare, genotypes = OnlyTheProtocol(space), space.sample(50, np.random.default_rng(0))
    values = np.random.default_rng(0).random(len(space.vocabulary))
    np.testing.assert_allclose(block_sum(bare, values)(genotypes), block_sum(space, values)(genotypes))
    assert vocabulary_of(bare).keys == vocabulary_of(space).keys
    np.testing.assert_array_equal(vocabulary_of(bare).groups, vocabulary_of(space).groups)
    seen = SyntheticDevice(space).observe()
    ours, theirs = (
        CalibratedTable(each, fit_model(each, seen).model).predict(genotypes).mean for each in (bare, space)
    )
    # Folded blocks have one bias where batch-norm has scale and shift, so parameters differ by a little.
    np.testing.assert_allclose(ours, theirs, rtol=0.02)


def test_cells_that_repeat_a_block() -> None:
    space = NasBench201Space()
    values = np.random.default_rng(0).random(len(space.vocabulary))
    genotypes = space.sample(100, np.random.default_rng(1))
    slow = block_sum(OnlyTheProtocol(space), values)(genotypes)
    np.testing.assert_allclose(block_sum(space, values)(genotypes), slow)
    assert block_params(space).sum() > 0


def test_quick_error_is_the_cross_validated_error_and_abstains_early(
    space: OfaMbv3Space, observations: Observations
) -> None:
    assert quick_error(observations, space) == pytest.approx(fit_model(space, observations).cross_validated_mape)
    assert quick_error(replace(observations, visits={}), space) is None
    few = dict(list(observations.visits[Role.CALIBRATION].items())[:4])
    assert quick_error(replace(observations, visits={**observations.visits, Role.CALIBRATION: few}), space) is None
    half = dict(list(observations.visits[Role.BLOCK].items())[:40])
    assert quick_error(replace(observations, visits={**observations.visits, Role.BLOCK: half}), space) > 2


def test_unmeasured_space_is_refused(space: OfaMbv3Space, observations: Observations) -> None:
    nothing = {role: found for role, found in observations.visits.items() if role != Role.BLOCK}
    with pytest.raises(InputError, match="fleetfront profile"):
        fit_model(space, replace(observations, visits=nothing))


def test_noise_of_blocks_is_what_was_put_in(space: OfaMbv3Space) -> None:
    rng = np.random.default_rng(0)
    visits = {str(i): 5 * (1 + rng.normal(0, 0.04, 8)) for i in range(400)}
    # The median of 8 normal visits has a standard error of about 1.2 / sqrt(8) of one visit's.
    assert np.sqrt(typical_variance(half_variances(visits, "median"))) == pytest.approx(0.04 * 1.2 / 8**0.5, rel=0.2)
    once = {key: ms[:1] for key, ms in visits.items()}
    assert np.isnan(half_variances(once, "min")).all()
    noisy = SyntheticDevice(space).observe()
    wild = dict(noisy.visits[Role.BLOCK])
    key = next(iter(wild))
    wild[key] = wild[key] * np.array([1, 2, 1, 2, 1, 2])
    blocks = measured_blocks(replace(noisy, visits={Role.BLOCK: wild}), "min")
    assert blocks[key].relative_std == max(block.relative_std for block in blocks.values())


def test_changes_since_the_fit_are_told(space: OfaMbv3Space, observations: Observations) -> None:
    model = fit_model(space, observations).model
    same = {"cpu": "Abacus 1", "runtime_version": "2.3.0", "load": 3}
    assert stale_warnings(model, space, same) == ()
    day_ns = 24 * 3600 * 10**9
    ages = (20, 1, 0.02, -1)
    old, past, fresh, ahead = (replace(model, fitted_ns=50 * day_ns - int(age * day_ns)) for age in ages)
    assert [[c.code for c in stale_warnings(m, space, same, 50 * day_ns)] for m in (old, past, fresh, ahead)] == [
        ["old-sitting"],
        [],
        [],
        ["clock-set-back"],
    ]
    # Of one sitting nothing is promised; of several, the interval is said.
    known = replace(past, between_sittings=replace(past.between_sittings, sittings=3))
    (passed,) = stale_warnings(known, space, same, 50 * day_ns)
    assert passed.code == "past-sitting"
    assert "over 24 h old" in passed.text
    assert "+-8 % wide" in passed.text
    assert passed.remedy.endswith("--recalibrate")
    # Networks that the caches hold hardly move.
    small = fit_model(ofa_mbv3_mini(), SyntheticDevice(ofa_mbv3_mini()).observe()).model
    assert stale_warnings(replace(small, fitted_ns=49 * day_ns), ofa_mbv3_mini(), now_ns=50 * day_ns) == ()
    assert "--recalibrate" in stale_warnings(old, now_ns=50 * day_ns)[0].remedy
    found = stale_warnings(model, ofa_mbv3_w12(), {"cpu": "Abacus 2", "runtime_version": "2.4.0"})
    assert [warning.code for warning in found] == ["changed-runtime-version", "changed-cpu", "changed-space"]
    assert "2.3.0" in str(found[0])
    assert "--recalibrate" in found[0].remedy
    assert "fleetfront profile" in found[-1].remedy
    limited = replace(model, environment={**model.environment, "clock_limit_khz": "4000000", "boost": "1"})
    slower = stale_warnings(limited, environment={"clock_limit_khz": "1200000", "boost": "0"})
    assert [warning.code for warning in slower] == ["changed-clock-limit-khz", "changed-boost"]
    assert "the highest clock allowed changed from 4000000 to 1200000" in slower[0].text
    # Phones tell of several clusters of cores.
    phone = replace(model, environment={"governors": ["schedutil"], "max_khz": [1800000, 2800000]})
    saving = stale_warnings(phone, environment={"governors": ["powersave"], "max_khz": [1800000, 2100000]})
    assert [warning.code for warning in saving] == ["changed-governors", "changed-max-khz"]


def test_a_sitting_dated_by_a_clock_that_was_set_back_since_outweighs_nothing(
    space: OfaMbv3Space, observations: Observations
) -> None:
    now, hour = time.time_ns(), 3600 * 10**9
    seen, keys = replace(observations, started_ns=now - 50 * hour), list(observations.visits[Role.CALIBRATION])[:5]

    def level(later_ns: int) -> float:
        began = (now - 30 * hour, later_ns)
        ratios = [
            SittingRatio("c", np.full(5, 10.0), np.full(5, move), None, tuple(keys), at)
            for move, at in ((0.0, began[0]), (0.1, began[1]))
        ]
        return learn_spread(space, seen, "min", ratios).level

    assert level(now + 10_000 * hour) == pytest.approx(level(now), rel=1e-3)


def test_formula_for_people(space: OfaMbv3Space, observations: Observations) -> None:
    calibration = fit_model(space, observations).model.calibration
    assert calibrated_by(calibration).endswith("params")
    assert calibrated_by(replace(calibration, terms=0)) == "block sum"


def test_noise_where_nothing_was_visited_twice_is_that_of_one_visit() -> None:
    assert typical_variance(half_variances({"a": np.array([5.0])}, "min")) == NOISE_OF_ONE_VISIT**2
    known = half_variances({"a": np.array([5.0, 5.5])}, "min")
    assert typical_variance(known) == pytest.approx(np.log(1.1) ** 2 / 4)


@pytest.mark.parametrize("steady", ["min", "median"])
def test_the_statistic_whose_calibration_is_clearly_nearer_is_taken(
    steady: str, space: OfaMbv3Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every visit but a few is far off; which few are right, one statistic alone sees."""
    seen = SyntheticDevice(space).observe(calibration=20)
    rng = np.random.default_rng(0)

    def spoil(visits: np.ndarray) -> np.ndarray:
        right = np.full(9, visits.min())
        if steady == "min":
            return np.concatenate([right[:1], right[1:] * (1.2 + 0.5 * rng.random(8))])
        return np.concatenate([right[:4], right[4:7] * (0.3 + 0.4 * rng.random(3)), right[7:] * (1.5 + rng.random(2))])

    spoilt = {role: {key: spoil(visits) for key, visits in keys.items()} for role, keys in seen.visits.items()}
    monkeypatch.setattr(fitting, "choose_statistic", lambda _: {"min": "median", "median": "min"}[steady])
    assert fitting.best_statistic(space, replace(seen, visits=spoilt)) == steady


def test_a_remedy_names_the_precision_of_its_model(space: OfaMbv3Space, observations: Observations) -> None:
    fitted = fit_model(space, observations).model
    model = replace(fitted, target=replace(fitted.target, precision="fp16"))
    (warning,) = [one for one in fit_warnings(model, space) if one.code == "one-sitting"]
    assert "--precision fp16" in warning.remedy
