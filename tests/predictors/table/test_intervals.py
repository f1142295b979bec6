"""Intervals sized on few networks cover what they promise."""

import numpy as np
import pytest
from scipy.stats import t

from fleetfront.predictors.scores import Z90
from fleetfront.predictors.table.calibration import fit_calibration
from fleetfront.predictors.table.intervals import TYPICAL_STD, UNCALIBRATED_STD, relative_std, student_95


@pytest.mark.parametrize("degrees", [1, 2, 3, 4.5, 17, 77, 400])
def test_student_points(degrees: float) -> None:
    assert student_95(degrees) == pytest.approx(t.ppf(0.95, degrees), rel=1e-9)


def test_hand_computed() -> None:
    errors = np.array([0.03, -0.03, 0.03, -0.03])
    spread = np.sqrt((3 * 0.03**2 + 6 * TYPICAL_STD**2) / 9)
    assert relative_std(errors, 1) == pytest.approx(spread * t.ppf(0.95, 9) / Z90)


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
