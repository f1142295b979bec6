"""XGBoost on what calibration leaves: ``log(measured / calibrated)``, where cross-validation says that it helps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.predictors.table.calibration import fit_calibration
from fleetfront.predictors.trees import Trees, grow_trees
from fleetfront.spaces.base import Genotypes, SearchSpace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Under this many calibration networks trees do not even get a chance: they would win by luck.
FEWEST_NETWORKS = 50
#: Trees must lower the cross-validated error by this many standard errors of the (paired) difference.
_NEEDED_ADVANTAGE = 1.0
_FOLDS = 5
#: Chosen on networks of another seed than any benchmark's: deeper, slower or more trees were no better, only costlier.
_ROUNDS = 60
_PARAMETERS = {
    "max_depth": 2,
    "eta": 0.1,
    "min_child_weight": 3,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "lambda": 2.0,
}


@dataclass(frozen=True, slots=True)
class ResidualTrial:
    """The outcome of cross-validation on the calibration networks.

    Attributes:
        mape_without, mape_with: percent, out of fold.
        residual: the correction fitted on all of them, None if it did not win.
        out_of_sample: measured / predicted - 1 out of fold with the correction, float64[n].
    """

    mape_without: float
    mape_with: float
    residual: Trees | None
    out_of_sample: FloatArray


def residual_features(space: SearchSpace, genotypes: Genotypes, lookup_ms: FloatArray) -> FloatArray:
    """float64[n, v + 3]: genes (-1 where inactive), and the logarithms of block sum, parameters and MACs."""
    genes = genotypes.shape[1]
    features = np.empty((len(genotypes), genes + 3))
    features[:, :genes] = np.where(space.active(genotypes), genotypes, np.int8(-1))
    features[:, genes] = lookup_ms
    features[:, genes + 1] = space.params(genotypes)
    features[:, genes + 2] = np.maximum(space.macs(genotypes), 1)
    np.log(features[:, genes:], out=features[:, genes:])
    return features


def try_residual(
    features: FloatArray, lookup_ms: FloatArray, params: FloatArray, measured_ms: FloatArray
) -> ResidualTrial:
    """Cross-validate calibration with and without trees on n calibration networks; both are refitted in every fold.

    Raises:
        MissingDependency: if xgboost is not installed.
    """
    n = len(measured_ms)
    folds = np.random.default_rng(0).permutation(n) % _FOLDS
    plain, corrected = np.empty(n), np.empty(n)
    for fold in range(_FOLDS):
        inside = folds == fold
        calibration = fit_calibration(lookup_ms[~inside], params[~inside], measured_ms[~inside])
        calibrated = calibration.apply(lookup_ms, params)
        plain[inside] = calibrated[inside]
        trees = _fit(features[~inside], measured_ms[~inside], calibrated[~inside])
        corrected[inside] = calibrated[inside] * np.exp(trees.predict(features[inside]))
    without, with_trees = np.abs(plain / measured_ms - 1), np.abs(corrected / measured_ms - 1)
    gain = without - with_trees
    wins = gain.mean() > _NEEDED_ADVANTAGE * gain.std(ddof=1) / np.sqrt(n)
    residual = None
    if wins:
        calibrated = fit_calibration(lookup_ms, params, measured_ms).apply(lookup_ms, params)
        residual = _fit(features, measured_ms, calibrated)
    return ResidualTrial(
        float(100 * without.mean()), float(100 * with_trees.mean()), residual, measured_ms / corrected - 1
    )


def _fit(features: FloatArray, measured_ms: FloatArray, calibrated_ms: FloatArray) -> Trees:
    return grow_trees(features, np.log(measured_ms / calibrated_ms), _PARAMETERS, _ROUNDS, "The correction by XGBoost")
