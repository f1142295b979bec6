"""Latency of blocks measured at no resolution (or at one only), learned from the features of those that were."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.predictors.trees import grow_trees

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Under this many measured blocks trees only memorise: the straight line in log space is all that is used.
FEWEST_FOR_TREES = 40
_FOLDS = 5
_RIDGE = 1e-2
_ROUNDS = 150
_PARAMETERS = {"max_depth": 4, "eta": 0.1, "min_child_weight": 2, "lambda": 1.0}


def block_model(
    features: FloatArray,
    ms: FloatArray,
    groups: NDArray[np.intp],
    wanted: FloatArray,
    wanted_groups: NDArray[np.intp],
    with_trees: bool | None = None,
) -> tuple[FloatArray, FloatArray]:
    """XGBoost on log ms beside a straight line, for blocks of unmeasured groups: (ms[j], relative_std[j]).

    The line, a ridge regression of log ms on log features, carries the scale (trees do not extrapolate), the trees what
    is left. Where its group has one measured member, the model only says how the two differ. The uncertainty is the
    error on groups left out.

    Args:
        features: float64[k, f] of measured blocks, not negative.
        ms: float64[k].
        groups: int[k]; blocks of one group differ in resolution alone.
        wanted: float64[j, f] of the missing blocks.
        wanted_groups: int[j].
        with_trees: None for trees where there are ``FEWEST_FOR_TREES`` blocks.

    Raises:
        MissingDependency: if xgboost is not installed.
    """
    if with_trees is None:
        with_trees = len(ms) >= FEWEST_FOR_TREES
    logs, target, wanted_logs = np.log1p(features), np.log(ms), np.log1p(wanted)
    out_of_fold = _out_of_fold(logs, target, groups, with_trees)
    error = target - out_of_fold
    prediction = _fit_predict(logs, target, wanted_logs, with_trees)
    std = np.full(len(wanted), _spread(error))
    own = _fit_predict(logs, target, logs, with_trees)
    sibling_std = _sibling_spread(error, groups)
    for group in np.intersect1d(groups, wanted_groups):
        here, there = groups == group, wanted_groups == group
        prediction[there] += (target[here] - own[here]).mean()
        std[there] = sibling_std
    return np.exp(prediction), std


#: A stand-in that costs under a millisecond.
linear_block_model = partial(block_model, with_trees=False)


def _fit_predict(logs: FloatArray, target: FloatArray, wanted: FloatArray, with_trees: bool) -> FloatArray:
    centre, spread = logs.mean(axis=0), logs.std(axis=0)
    varies = spread > 1e-9
    scaled = np.where(varies, (logs - centre) / np.where(varies, spread, 1.0), 0.0)
    scaled_wanted = np.where(varies, (wanted - centre) / np.where(varies, spread, 1.0), 0.0)
    penalty = _RIDGE * len(logs) * np.eye(scaled.shape[1])
    slope = np.linalg.solve(scaled.T @ scaled + penalty, scaled.T @ (target - target.mean()))
    line, line_wanted = scaled @ slope + target.mean(), scaled_wanted @ slope + target.mean()
    if not with_trees:
        return np.asarray(line_wanted, np.float64)
    trees = grow_trees(logs, target - line, _PARAMETERS, _ROUNDS, "Filling in blocks that were never measured")
    return np.asarray(line_wanted + trees.predict(wanted), np.float64)


def _out_of_fold(logs: FloatArray, target: FloatArray, groups: NDArray[np.intp], with_trees: bool) -> FloatArray:
    """Predictions of each block by a model that has seen no block of its group."""
    names = np.unique(groups)
    result = np.full(len(target), target.mean())
    if len(names) < 2:
        return result
    fold_of = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % min(_FOLDS, len(names)), strict=True))
    folds = np.array([fold_of[group] for group in groups])
    for fold in np.unique(folds):
        inside = folds == fold
        result[inside] = _fit_predict(logs[~inside], target[~inside], logs[inside], with_trees)
    return result


def _spread(error: FloatArray) -> float:
    return float(np.sqrt(np.mean(error**2)))


def _sibling_spread(error: FloatArray, groups: NDArray[np.intp]) -> float:
    """Error of telling one block from one other block of its group, both left out of the model."""
    differences = [
        error[index[0]] - error[index[1:]]
        for index in (np.flatnonzero(groups == group) for group in np.unique(groups))
        if len(index) > 1
    ]
    return _spread(np.concatenate(differences)) if differences else _spread(error)
