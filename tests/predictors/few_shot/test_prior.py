"""Known devices are pooled into a prior, and what is not said of a new one counts as exact."""

import numpy as np
import pytest

from fleetfront.predictors.few_shot.posterior import Posterior, evidence_of_equals, fit_posterior
from fleetfront.predictors.few_shot.prior import KnownDevice, learn_prior
from fleetfront.predictors.operators.work import Mode


def test_the_noise_of_devices_spreads_as_that_of_a_sample() -> None:
    rng = np.random.default_rng(0)
    noises = [0.005, 0.02, 0.3]
    devices = [KnownDevice(f"d{i}", Mode.LIVE, rng.normal([1, 0.3], 0.1), noise) for i, noise in enumerate(noises)]
    mean, spread = learn_prior(devices, (Mode.LIVE,)).log_noise
    assert mean == pytest.approx(np.mean(np.log(noises)))
    assert spread == pytest.approx(np.std(np.log(noises)) * np.sqrt(3 / 2))


def test_measurements_too_few_to_be_left_out_surprise_nobody() -> None:
    assert Posterior((), np.array([0.5, 0.5]), np.array([0.01, 0.01])).surprise == 1.0


def test_values_are_exact_unless_a_step_is_given() -> None:
    rng = np.random.default_rng(0)
    prior = learn_prior(
        [KnownDevice(f"d{i}", Mode.LIVE, rng.normal([1, 0.3], 0.1), 0.03) for i in range(6)], [Mode.LIVE]
    )
    design = np.column_stack([np.ones(10), rng.normal(size=10)])
    ms = design @ np.array([1.0, 0.3])
    plain, exact = fit_posterior(prior, {Mode.LIVE: design}, ms), fit_posterior(prior, {Mode.LIVE: design}, ms, 0.0)
    coarse = fit_posterior(prior, {Mode.LIVE: design}, ms, 1.0)
    assert plain.log_evidence == exact.log_evidence != coarse.log_evidence
    of_mean = evidence_of_equals(prior, {Mode.LIVE: design}, ms)
    assert of_mean == evidence_of_equals(prior, {Mode.LIVE: design}, ms, 0.0)
