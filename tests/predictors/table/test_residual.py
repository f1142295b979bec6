"""Trees are used where they help on unseen calibration networks, and stay out where there is nothing to learn."""

import numpy as np
import pytest

from fleetfront.predictors.table.residual import residual_features, try_residual
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_w10


def sample(n: int, structure: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Networks that take ``structure`` longer at high resolution than their sums say, with 1 % of noise."""
    space = ofa_mbv3_w10()
    rng = np.random.default_rng(0)
    genotypes = space.sample(n, rng)
    lookup = space.macs(genotypes) / 2e7
    steps = 1 + structure * (genotypes[:, -1] > 12)
    measured = 1.1 * lookup * steps * (1 + rng.normal(0, 0.01, n))
    return residual_features(space, genotypes, lookup), lookup, space.params(genotypes).astype(np.float64), measured


def test_wins_where_there_is_structure() -> None:
    features, lookup, params, measured = sample(80, 0.15)
    trial = try_residual(features, lookup, params, measured)
    assert trial.mape_with < 0.7 * trial.mape_without
    # 15 % between two halves of the networks leave about half of that to a calibration that cannot tell them apart.
    assert 2 < trial.mape_without < 10
    assert trial.residual is not None
    assert np.mean(np.abs(trial.out_of_sample)) * 100 == pytest.approx(trial.mape_with, rel=0.1)


def test_stays_out_where_there_is_none() -> None:
    assert try_residual(*sample(80, 0.0)).residual is None


def test_same_data_same_trees() -> None:
    data = sample(60, 0.2)
    first, second = try_residual(*data).residual, try_residual(*data).residual
    assert first is not None
    assert second is not None
    assert first.to_json() == second.to_json()
