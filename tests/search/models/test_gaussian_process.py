"""The Gaussian process against what it must know: its own data, a smooth function, and its uncertainty."""

import numpy as np
import pytest
from scipy.optimize import check_grad

from fleetfront.search.models import gaussian_process
from fleetfront.search.models.gaussian_process import GaussianProcess


@pytest.fixture
def smooth():
    """Two groups of features of 120 networks; the value depends on both, with noise of 0.05."""
    rng = np.random.default_rng(2)
    groups = rng.uniform(-1, 1, (120, 2)), rng.integers(0, 3, (120, 4)).astype(float)
    truth = np.sin(2 * groups[0][:, 0]) + 0.3 * groups[1].sum(axis=1) * groups[0][:, 1]
    return groups, truth, truth + rng.normal(0, 0.05, 120)


def part(groups, rows):
    return [group[rows] for group in groups]


def test_it_predicts_what_it_has_not_seen_and_knows_how_well(smooth):
    groups, truth, noisy = smooth
    model = GaussianProcess.fit(part(groups, slice(80)), noisy[:80])
    mean, std = model.predict(part(groups, slice(80, None)))
    assert np.corrcoef(mean, truth[80:])[0, 1] > 0.95
    off = np.abs(mean - noisy[80:]) / np.hypot(std, model.noise_std)
    assert 0.75 < np.mean(off < 1.645) <= 1.0
    assert 0.5 * 0.05 < model.noise_std < 3 * 0.05


def test_far_from_everything_it_falls_back_on_the_mean_and_is_unsure(smooth):
    groups, _, noisy = smooth
    model = GaussianProcess.fit(groups, noisy)
    mean, std = model.predict([group[:1] + 1e3 for group in groups])
    assert mean[0] == pytest.approx(noisy.mean())
    assert std[0] > 3 * model.predict(groups)[1].max()


def test_searching_hyperparameters_makes_the_data_likelier_and_no_steps_keep_them(smooth):
    groups, _, noisy = smooth
    first = GaussianProcess.fit(groups, noisy, steps=0)
    found = GaussianProcess.fit(groups, noisy, first.believed)
    kept = GaussianProcess.fit(groups, noisy, found.believed, steps=0)
    distances = [gaussian_process._squared_distances(group, group) for group in groups]
    values = (noisy - noisy.mean()) / noisy.std()

    def cost(model):
        return gaussian_process._negative_log_posterior(model.believed.logs, distances, values, model.believed.start)[0]

    assert np.array_equal(first.believed.logs, first.believed.start)
    assert cost(found) < cost(first) - 1
    assert np.array_equal(kept.believed.logs, found.believed.logs)


def test_the_gradient_is_that_of_the_likelihood(smooth):
    groups, _, noisy = smooth
    distances = [gaussian_process._squared_distances(group, group) for group in groups]
    start = gaussian_process._start(distances)

    def likelihood(logs):
        return gaussian_process._negative_log_posterior(logs, distances, noisy, start)

    for seed in range(3):
        logs = start + np.random.default_rng(seed).normal(0, 0.7, len(start))
        size = np.linalg.norm(likelihood(logs)[1])
        assert check_grad(lambda x: likelihood(x)[0], lambda x: likelihood(x)[1], logs) < 1e-4 * size


def test_equal_values_are_no_division_by_zero():
    groups = [np.arange(5.0)[:, None]]
    mean, std = GaussianProcess.fit(groups, np.full(5, 3.0)).predict(groups)
    assert np.allclose(mean, 3.0)
    assert np.all(np.isfinite(std))
