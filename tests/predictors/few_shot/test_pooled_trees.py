"""A second opinion from trees over all devices: their level is that of the few networks measured on the new one."""

import numpy as np
import pytest

from fleetfront.predictors.few_shot.pooled_trees import PooledTrees, described_by
from fleetfront.predictors.trees import Trees


@pytest.mark.parametrize(("leaf", "factor"), [(0.0, 1.0), (np.log(2), 2.0), (-np.log(4), 0.25)])
def test_trees_tell_what_to_multiply_the_geometric_mean_by(leaf: float, factor: float) -> None:
    few_ms = np.array([1.0, 4.0, 16.0])
    columns = 2 + described_by(few_ms)
    leaves = np.full((1, 2), leaf, np.float32)
    trees = Trees(columns, np.zeros((1, 1), np.int16), np.full((1, 1), 0.5, np.float32), leaves)
    told = PooledTrees(trees).predict(np.array([[0.0, 1.0], [1.0, 0.0]]), few_ms, {})
    assert told == pytest.approx([4 * factor] * 2, rel=1e-6)
