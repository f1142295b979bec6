"""Calibration recovers known coefficients, knows its leave-one-out errors and stays sane on little data."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.plain import from_plain, to_plain
from fleetfront.predictors.table.calibration import Calibration, fit_calibration

Networks = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def networks(n: int, noise: float = 0.0, seed: int = 0) -> Networks:
    rng = np.random.default_rng(seed)
    lookup, params = rng.uniform(5, 30, n), rng.uniform(3e6, 8e6, n)
    measured = (1.15 * lookup + 0.4 + 1e-7 * params) * (1 + rng.normal(0, noise, n))
    return lookup, params, measured


def test_recovers_exact_coefficients() -> None:
    found = fit_calibration(*networks(12))
    assert (found.a, found.b, found.c) == pytest.approx((1.15, 0.4, 1e-7))
    assert found.terms == 3
    assert np.abs(found.out_of_sample).max() < 1e-9


@pytest.mark.parametrize(("n", "terms"), [(0, 0), (1, 1), (3, 1), (4, 2), (9, 2), (10, 3)])
def test_terms_follow_the_number_of_networks(n: int, terms: int) -> None:
    found = fit_calibration(*networks(n, 0.02))
    assert found.terms == terms
    assert found.networks == len(found.out_of_sample) == n


def test_no_networks_leave_the_sum_as_it_is() -> None:
    lookup = np.array([3.0, 4.0])
    np.testing.assert_array_equal(fit_calibration(*networks(0)).apply(lookup, lookup), lookup)


def test_relative_errors_are_what_is_minimised() -> None:
    lookup, params, measured = networks(15, 0.05)
    found = fit_calibration(lookup, params, measured)

    def loss(a: float, b: float, c: float) -> float:
        return float(np.sum(((a * lookup + b + c * params) / measured - 1) ** 2))

    best = loss(found.a, found.b, found.c)
    for a, b, c in ((1.001, 1, 1), (1, 1.01, 1), (1, 1, 1.01), (0.999, 1, 1)):
        assert loss(found.a * a, found.b * b, found.c * c) > best


def test_out_of_sample_errors_are_those_of_refitting_without_each() -> None:
    lookup, params, measured = networks(14, 0.05)
    found = fit_calibration(lookup, params, measured)
    for left_out in range(14):
        kept = np.arange(14) != left_out
        refit = fit_calibration(lookup[kept], params[kept], measured[kept])
        predicted = refit.apply(lookup, params)[left_out]
        assert found.out_of_sample[left_out] == pytest.approx(measured[left_out] / predicted - 1, abs=1e-9)


def test_identical_networks_do_not_blow_up() -> None:
    lookup, params, measured = np.full(20, 10.0), np.full(20, 5e6), 12 + 0.1 * np.sin(np.arange(20.0))
    found = fit_calibration(lookup, params, measured)
    assert found.terms == 1
    assert found.apply(lookup, params) == pytest.approx(12.0, rel=0.01)


def test_a_slope_against_nature_is_dropped() -> None:
    lookup = np.linspace(10, 10.3, 8)
    found = fit_calibration(lookup, np.full(8, 5e6), 12 - 5 * (lookup - 10))
    assert found.a > 0


def test_predictions_stay_positive_far_from_the_data() -> None:
    calibration = Calibration(1.0, -5.0, 0.0, 2, 8, 0.1, np.zeros(8), np.zeros(8))
    np.testing.assert_array_equal(calibration.apply(np.array([1.0, 9.0]), np.zeros(2)), [0.1, 4.0])


def test_json_round_trip() -> None:
    found = fit_calibration(*networks(12, 0.03))
    again = from_plain(Calibration, json.dumps(to_plain(found)))
    assert to_plain(again) == to_plain(found)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_impossible_latencies_are_refused(bad: float) -> None:
    lookup, params, measured = networks(5)
    measured[2] = bad
    with pytest.raises(InputError, match="calibration network"):
        fit_calibration(lookup, params, measured)
