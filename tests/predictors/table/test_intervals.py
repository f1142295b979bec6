"""Intervals sized on few networks cover what they promise."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from fleetfront.predictors.scores import Z90
from fleetfront.predictors.table.calibration import fit_calibration
from fleetfront.predictors.table.intervals import (
    BUSY_STD,
    TYPICAL_BETWEEN,
    TYPICAL_SPREAD,
    TYPICAL_STD,
    UNCALIBRATED_STD,
    count_by_age,
    moving_share,
    relative_std,
    spread_between,
    student_95,
)

#: Weights of networks that outgrow the caches, and of such that do not, bytes.
LARGE, SMALL = 20.0 * 2**20, 0.3 * 2**20


def test_student_point() -> None:
    assert student_95(6) == pytest.approx(1.9432, abs=1e-4)


def test_without_other_sittings_the_spread_is_typical() -> None:
    found = spread_between([])
    assert found.relative == pytest.approx(TYPICAL_SPREAD.relative, rel=1e-2)
    assert (found.absolute_ms, found.sittings) == (TYPICAL_SPREAD.absolute_ms, 0)


@pytest.mark.parametrize(("spread", "sittings"), [(0.007, 8), (0.033, 1), (0.033, 2), (0.033, 8), (0.05, 8)])
def test_nine_of_ten_next_sittings_lie_within_the_spread(spread: float, sittings: int) -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(2000):
        own, *seen, new = rng.normal(0, spread, sittings + 2)
        found = spread_between([np.full(5, one - own) for one in seen])
        covered.append(abs(new - own - found.level) <= Z90 * found.relative)
    # What is typical outweighs few sittings: a quiet machine is promised less than it could keep, never more.
    assert np.mean(covered) > 0.8
    assert spread < 0.033 or np.mean(covered) < 0.97


def test_a_profile_in_an_odd_sitting_is_centred_on_the_others() -> None:
    """Four later sittings all ran about 8 % faster than the profile."""
    moves = [np.full(5, log) for log in (-0.07, -0.08, -0.09, -0.08)]
    found = spread_between(moves)
    assert found.level == pytest.approx(-0.08 * 4 / 5)
    next_one, own = -0.08, 0.0
    off = Z90 * found.relative
    assert abs(next_one - found.level) < 0.3 * off
    assert abs(own - found.level) < off
    # One alone may be the odd one itself.
    assert spread_between(moves[:1]).level == pytest.approx(-0.035)


def test_networks_that_move_unlike_in_one_sitting_widen_it() -> None:
    alike, unlike = ([np.array([-0.05 - by, -0.05, -0.05 + by])] * 6 for by in (0.0, 0.06))
    assert spread_between(unlike).level == spread_between(alike).level
    assert spread_between(unlike).relative > 1.2 * spread_between(alike).relative


def test_newer_sittings_count_more() -> None:
    day = 24 * 3600 * 1e9
    counts = count_by_age(1e18 + day * np.array([0.0, 0.1, 27.9, 28.0]))
    np.testing.assert_allclose(counts, [1 / 16, 1 / 16, 1.0, 1.0], rtol=0.02)
    moves = [np.array([log]) for log in (0.0, 0.06, 0.06)]
    assert spread_between(moves, counts).level > 1.5 * spread_between(moves).level > 0
    np.testing.assert_array_equal(count_by_age(np.array([0.0, 0.0])), 1.0)


def test_sittings_within_minutes_count_as_one_between_them() -> None:
    minute = 60 * 10**9
    counts = count_by_age(1e18 + minute * np.array([0.0, 60.0, 63.0, 66.0]))
    np.testing.assert_allclose(counts, [1.0, 1 / 3, 1 / 3, 1 / 3], rtol=0.01)


def test_the_spread_around_one_sitting_is_that_of_two() -> None:
    learnt = spread_between([np.array([-0.05])] * 9)
    alone = learnt.of_another_sitting()
    assert alone.level == 0.0
    assert alone.relative == pytest.approx(learnt.relative * np.sqrt(2 / 1.1))
    assert TYPICAL_SPREAD.of_another_sitting() == TYPICAL_SPREAD
    assert alone.of_another_sitting() == alone, "a model may be brought up to today again and again"


def test_networks_that_caches_hold_wander_less() -> None:
    mean, sizes = np.full(5, 10.0), np.array([0.1, 2.0, 5.0, 12.0, 90.0]) * 2**20
    std = TYPICAL_SPREAD.widen(mean, np.zeros(5), sizes)
    assert std[0] == std[1] < 0.5 * std[3] < std[2] < std[3] == std[4]


def test_a_level_reaches_small_networks_as_far_as_they_move() -> None:
    sizes = np.array([SMALL, LARGE])
    np.testing.assert_allclose(moving_share(sizes), [0.45, 1.0])
    np.testing.assert_allclose(np.log(replace(TYPICAL_SPREAD, level=-0.05).at_level(sizes)), [-0.0225, -0.05])


def test_timer_and_launch_keep_tiny_files_honest() -> None:
    mean = np.array([0.012, 10.0])
    tiny, large = TYPICAL_SPREAD.widen(mean, 0.01 * mean, np.array([SMALL, LARGE])) / mean
    assert tiny > 0.1
    assert large == pytest.approx(np.hypot(0.01, TYPICAL_SPREAD.relative), rel=1e-3)


@pytest.mark.parametrize("micros", [10, 20, 50, 5000])
def test_files_of_any_size_lie_within_their_intervals_in_later_sittings(micros: int) -> None:
    """A sitting moves everything by some percent, and the timer and launch of each file by a microsecond or so."""
    rng, files, covered, without = np.random.default_rng(micros), 12, [], []
    mean = np.full(files, micros / 1e3)
    weights = np.full(files, LARGE)
    std = TYPICAL_SPREAD.widen(mean, 0.015 * mean, weights)
    percent_alone = replace(TYPICAL_SPREAD, absolute_ms=0.0).widen(mean, 0.015 * mean, weights)
    for _ in range(1000):
        level = np.exp(rng.normal(0, TYPICAL_BETWEEN))
        later = mean * level * np.exp(rng.normal(0, 0.015, files)) + rng.normal(0, 0.0012, files)
        covered.append(np.abs(later - mean) <= Z90 * std)
        without.append(np.abs(later - mean) <= Z90 * percent_alone)
    # What is typical of sittings is widened for how little is known of it.
    assert 0.88 <= np.mean(covered) <= 0.96
    assert micros > 10 or np.mean(without) < 0.6, "percent alone do not tell of a file of 10 microseconds"


def test_a_profile_beside_other_programs_promises_less() -> None:
    mean = np.array([10.0])
    quiet, busy = (TYPICAL_SPREAD.widen(mean, 0.01 * mean, np.array([LARGE]), is_busy)[0] for is_busy in (False, True))
    assert busy**2 - quiet**2 == pytest.approx((BUSY_STD * 10.0) ** 2)


def test_hand_computed() -> None:
    errors = np.array([0.03, -0.03, 0.03, -0.03])
    spread = np.sqrt((3 * 0.03**2 + 0.5 * TYPICAL_STD**2) / 3.5)
    assert relative_std(errors, 1) == pytest.approx(spread * t.ppf(0.95, 3.5) / Z90)


def test_many_networks_outweigh_what_is_typical() -> None:
    errors = np.tile([0.005, -0.005], 500)
    assert relative_std(errors, 3) == pytest.approx(0.005, rel=0.1)
    # On a noisy machine the little that few networks tell is not drawn to what a quiet one would show.
    assert relative_std(np.full(5, 0.1), 3, noise=0.1) > 0.1


def test_noise_bounds_from_below() -> None:
    assert relative_std(np.full(1000, 1e-4), 3, noise=0.5) == 0.5


@pytest.mark.parametrize(("networks", "terms"), [(0, 0), (1, 1), (2, 1)])
def test_hardly_any_network_means_hardly_any_knowledge(networks: int, terms: int) -> None:
    assert relative_std(np.zeros(networks), terms) == UNCALIBRATED_STD


@pytest.mark.parametrize("spread", [0.006, 0.05])
def test_spaces_that_are_not_typical_are_covered_as_well(spread: float) -> None:
    covered = []
    for seed in range(300):
        errors = np.random.default_rng(seed).normal(0, spread, 120)
        # Of three terms fitted on twenty networks: their residuals, scaled.
        std = relative_std(errors[:20], 3)
        covered.append(np.mean(np.abs(errors[20:]) <= Z90 * std))
    assert 0.88 <= np.mean(covered) <= 0.96


@pytest.mark.parametrize(("networks", "law"), [(20, "normal"), (20, "heavy"), (80, "normal")])
def test_nominal_90_percent_cover_about_90_percent_of_unseen_networks(networks: int, law: str) -> None:
    covered = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        n = networks + 100
        lookup, params = rng.uniform(5, 30, n), rng.uniform(3e6, 8e6, n)
        error = rng.normal(0, 0.02, n) if law == "normal" else 0.015 * rng.standard_t(4, n)
        measured = (1.15 * lookup + 0.4 + 1e-7 * params) * (1 + error)
        calibration = fit_calibration(lookup[:networks], params[:networks], measured[:networks])
        std = relative_std(calibration.scaled, calibration.terms)
        predicted = calibration.apply(lookup, params)[networks:]
        covered.append(np.mean(np.abs(predicted - measured[networks:]) <= Z90 * std * predicted))
    assert 0.88 <= np.mean(covered) <= 0.92
