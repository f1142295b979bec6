"""Scores against hand-computed values and against scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from fleetfront.errors import InputError
from fleetfront.predictors.scores import Z90, relative_errors, score, weighted_spearman


def test_hand_computed() -> None:
    measured = np.array([10.0, 20.0, 40.0, 50.0])
    predicted = np.array([10.4, 18.2, 40.0, 60.0])
    scores = score(predicted, measured, np.array([1.0, 1.0, 1.0, 1.0]))
    assert scores.networks == 4
    assert scores.mape == pytest.approx((4 + 9 + 0 + 20) / 4)
    assert scores.within_5 == 0.5
    assert scores.within_10 == 0.75
    assert scores.spearman == 1.0
    # The second is 1.8 and the last 10 away; 1.645 is what one standard deviation of 1 allows.
    assert scores.coverage_90 == 0.5
    assert set(scores.intervals) == {"mape", "within_5", "within_10", "spearman", "coverage_90"}


def test_intervals_hold_the_score_and_shrink_with_networks() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for n in (40, 640):
        measured = rng.uniform(5, 50, n)
        predicted = measured * (1 + rng.normal(0, 0.03, n))
        scores = score(predicted, measured, 0.03 * predicted)
        for name, (low, high) in scores.intervals.items():
            assert low <= getattr(scores, name) <= high
        low, high = scores.intervals["mape"]
        widths.append(high - low)
    # The width falls with the square root of the number of networks: to a quarter here.
    assert 0.15 < widths[1] / widths[0] < 0.4


def test_bootstrap_intervals_cover_the_truth() -> None:
    # The mean absolute value of a normal variable is sqrt(2 / pi) of its standard deviation.
    truth, inside = 2 * np.sqrt(2 / np.pi), 0
    for seed in range(200):
        error = np.random.default_rng(seed).normal(0, 0.02, 80)
        low, high = score(1 + error, np.ones(80), resamples=400).intervals["mape"]
        inside += low <= truth <= high
    assert 0.89 <= inside / 200 <= 0.99


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=30), st.integers(0, 10**6))
def test_weighted_spearman_is_scipys_on_repeated_pairs(pairs: list[tuple[int, int]], seed: int) -> None:
    left, right = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
    counts = np.random.default_rng(seed).integers(0, 3, (4, len(pairs)))
    for row, ours in zip(counts, weighted_spearman(left, right, counts.astype(np.float64)), strict=True):
        a, b = np.repeat(left, row), np.repeat(right, row)
        if np.count_nonzero(row) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
            assert np.isnan(ours)
        else:
            assert ours == pytest.approx(spearmanr(a, b).statistic, abs=1e-9)


def test_ranks_of_constant_predictions_are_not_a_number_but_none() -> None:
    scores = score(np.full(5, 3.0), np.arange(1.0, 6.0))
    assert scores.spearman is None
    assert "spearman" not in scores.intervals
    assert scores.coverage_90 is None


def test_z90() -> None:
    from scipy.stats import norm

    assert pytest.approx(norm.ppf(0.95), abs=1e-12) == Z90


@pytest.mark.parametrize(
    ("predicted", "measured"),
    [([1.0], [1.0, 2.0]), ([], []), ([np.nan], [1.0]), ([1.0], [0.0]), ([1.0], [np.inf])],
)
def test_what_cannot_be_compared_is_refused(predicted: list[float], measured: list[float]) -> None:
    with pytest.raises(InputError):
        relative_errors(np.array(predicted), np.array(measured))
