"""Trees in arrays give what XGBoost gives, and damaged ones are refused instead of crashing the process."""

import json
from typing import Any

import numpy as np
import pytest
import xgboost

from fleetfront.predictors.trees import Trees, grow_trees

PARAMETERS = {"max_depth": 3, "eta": 0.3}


def sample(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features = np.round(rng.normal(0, 3, (n, 6)), 1)
    return features, np.sin(features[:, 0]) * features[:, 1] + (features[:, 2] > 1) + rng.normal(0, 0.1, n)


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_predicts_what_xgboost_predicts(depth: int) -> None:
    features, target = sample()
    parameters = {"max_depth": depth, "eta": 0.3, "min_child_weight": 5}
    ours = grow_trees(features, target, parameters, 40, "This test")
    fixed = {"base_score": 0.0, "tree_method": "exact", "nthread": 1, "seed": 0}
    theirs = xgboost.train({**parameters, **fixed}, xgboost.DMatrix(features, target), num_boost_round=40)
    # Values that lie on a threshold are among them, features being rounded.
    np.testing.assert_allclose(ours.predict(features), theirs.predict(xgboost.DMatrix(features)), atol=1e-5)


def test_many_rows_are_chunked_alike() -> None:
    features, target = sample()
    trees = grow_trees(features, target, PARAMETERS, 25, "This test")
    many = np.tile(features, (40, 1))
    np.testing.assert_array_equal(trees.predict(many), np.tile(trees.predict(features), 40))
    assert trees.predict(features[:0]).shape == (0,)


def test_a_target_without_structure_gives_stumps_that_still_work() -> None:
    trees = grow_trees(np.ones((20, 2)), np.full(20, 0.5), {"max_depth": 2, "eta": 1.0, "lambda": 0.0}, 1, "This test")
    np.testing.assert_allclose(trees.predict(np.ones((3, 2))), 0.5)


def test_json_round_trip() -> None:
    features, target = sample()
    trees = grow_trees(features, target, PARAMETERS, 10, "This test")
    again = Trees.from_json(json.loads(json.dumps(trees.to_json(), allow_nan=False)))
    np.testing.assert_array_equal(again.predict(features), trees.predict(features))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("columns", 1),
        ("columns", "many"),
        ("feature", [[0, 0, -1]]),
        ("feature", [[0, 0]]),
        ("feature", [[0, 0, 40_000]]),
        ("threshold", [[0.0, float("nan"), 1.0]]),
        ("threshold", [[0.0]]),
        ("threshold", 3),
        ("leaf", [[0.0, 1.0, float("inf"), 2.0]]),
        ("leaf", [[0.0, 1.0, 2.0]]),
        ("leaf", []),
        ("leaf", [[1.0], [1.0, 2.0]]),
    ],
)
def test_damaged_trees_are_refused(name: str, value: Any) -> None:
    good: dict[str, Any] = {
        "columns": 2,
        "feature": [[0, 1, 1]],
        "threshold": [[0.5, None, 1.0]],
        "leaf": [[1.0, 2.0, 3.0, 4.0]],
    }
    assert Trees.from_json(good).predict(np.array([[0.0, 0.0], [1.0, 1.0]])).tolist() == [1.0, 4.0]
    with pytest.raises((ValueError, TypeError, OverflowError)):
        Trees.from_json({**good, name: value})
