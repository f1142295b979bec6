"""Learn OperatorCosts from measured samples: each kind by roofline or trees, then rules, then scales of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fleetfront.errors import missing
from fleetfront.predictors.operators.costs import (
    SCALES,
    KindCosts,
    NetworkScales,
    group_ms,
    roofline_design,
    scale_of,
    tree_design,
)
from fleetfront.predictors.operators.kernels import FEATURES, Kernel
from fleetfront.predictors.operators.rules import Rules, group_kernels
from fleetfront.predictors.trees import grow_trees
from fleetfront.quantities import FloatArray

#: Trees need as many samples to say more than a roofline.
_FEWEST_FOR_TREES, _FOLDS = 30, 5
_TREES = {"max_depth": 4, "eta": 0.08, "lambda": 1.0, "subsample": 0.8, "colsample_bytree": 0.7}
_TREE_ROUNDS = 150
#: How far scales may lie from 1 before networks say so: as in the first version's fits, warm sums are 0 to 20 % off.
_SCALE_PULL = 0.15
_LEAST_MS = 1e-5
_WEIGHTS = FEATURES.index("weights")


def learn_kind(kind: str, features: FloatArray, ms: FloatArray) -> KindCosts:
    """Costs of one kind from n operators alone in a file: features float64[n, len(FEATURES)], ms float64[n].

    Raises MissingDependency if scipy or xgboost is not installed.
    """
    ms = np.maximum(ms, _LEAST_MS)
    errors: dict[bool, list[float]] = {False: [], True: []}
    with_trees = len(ms) >= _FEWEST_FOR_TREES
    order = np.random.default_rng(0).permutation(len(ms))
    for left_out in np.array_split(order, min(_FOLDS, len(ms))):
        rest = np.setdiff1d(order, left_out)
        if not rest.size:
            continue
        for is_tree in (False, True) if with_trees else (False,):
            model = _learnt(kind, features[rest], ms[rest], is_tree)
            errors[is_tree] += (model.ms(features[left_out]) / ms[left_out] - 1).tolist()
    is_tree = with_trees and np.mean(np.abs(errors[True])) < np.mean(np.abs(errors[False]))
    final = _learnt(kind, features, ms, bool(is_tree))
    absolute = np.abs(np.minimum(errors[bool(is_tree)] or [1.0], 3.0))
    mape, rms = 100 * float(np.mean(absolute)), float(np.sqrt(np.mean(absolute**2)))
    return KindCosts(kind, final.roofline, final.trees, features.min(axis=0), features.max(axis=0), len(ms), mape, rms)


def _learnt(kind: str, features: FloatArray, ms: FloatArray, is_tree: bool) -> KindCosts:
    try:
        from scipy.optimize import nnls
    except ImportError as error:
        raise missing("scipy", "models", "Learning operator costs") from error
    # Relative errors count, so every row is divided by what was measured.
    roofline, _ = nnls(roofline_design(features) / ms[:, None], np.ones(len(ms)))
    trees = None
    if is_tree:
        floor = np.maximum(roofline_design(features) @ roofline, _LEAST_MS)
        beyond = np.log(ms / floor)
        trees = grow_trees(tree_design(features, floor), beyond, _TREES, _TREE_ROUNDS, "Learning operator costs")
    return KindCosts(kind, roofline, trees, features.min(axis=0), features.max(axis=0), len(ms), 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class MeasuredNetwork:
    """A whole network: its family, kernels with their times alone in ms, and what it took in ms."""

    family: str
    kernels: Sequence[Kernel]
    kernel_ms: FloatArray
    ms: float


def learn_scales(networks: Sequence[MeasuredNetwork], rules: Rules, idle_ms: float) -> NetworkScales:
    """Ridge regression of relative errors towards plain sums; the error is that of families left out."""
    if not networks:
        return NetworkScales(np.ones(len(SCALES)), 0.0, 0.0, idle_ms, 0.25, 0)
    sums = np.array([network_sums(network.kernels, network.kernel_ms, rules) for network in networks])
    measured = np.array([network.ms for network in networks])
    families = np.array([network.family for network in networks])
    errors = []
    for family in dict.fromkeys(families):
        left_out = families == family
        if left_out.all():
            continue
        coefficients = _ridge(sums[~left_out], measured[~left_out], idle_ms)
        errors += (measured[left_out] / _applied(sums[left_out], coefficients, idle_ms) - 1).tolist()
    coefficients = _ridge(sums, measured, idle_ms)
    rms = float(np.sqrt(np.mean(np.square(errors)))) if errors else 0.25
    scales, (per_mweight, per_group) = coefficients[:-2], coefficients[-2:].tolist()
    return NetworkScales(scales, per_mweight, per_group, idle_ms, max(rms, 0.01), len(networks))


def network_sums(kernels: Sequence[Kernel], kernel_ms: FloatArray, rules: Rules) -> FloatArray:
    """float64[len(SCALES) + 2]: ms of each group of kinds, millions of weights, and the number of fused groups."""
    totals = np.zeros(len(SCALES) + 2)
    groups = group_kernels(kernels, rules)
    for group, ms in zip(groups, group_ms(kernels, groups, kernel_ms), strict=True):
        totals[scale_of(kernels[group.members[0]].kind)] += ms
    totals[-2:] = sum(kernel.features[_WEIGHTS] for kernel in kernels), len(groups)
    return totals


def _ridge(sums: FloatArray, measured: FloatArray, idle_ms: float) -> FloatArray:
    from scipy.optimize import nnls

    # The pull of a scale is that of one network with the error _SCALE_PULL; weights and groups start from nothing.
    units = np.median(measured) / np.maximum(np.median(sums[:, -2:], axis=0), 1e-9)
    pulls = np.diag([*np.ones(len(SCALES)), *(1 / units)]) / _SCALE_PULL * _NOISE
    design = np.vstack([sums / measured[:, None], pulls])
    target = np.concatenate([1 - idle_ms / measured, np.full(len(SCALES), _NOISE / _SCALE_PULL), np.zeros(2)])
    solution, _ = nnls(design, target)
    return np.asarray(solution)


#: Relative error that a network keeps whatever its scales are.
_NOISE = 0.08


def _applied(sums: FloatArray, coefficients: FloatArray, idle_ms: float) -> FloatArray:
    return np.asarray(sums @ coefficients + idle_ms)


def learn_allowance(kinds: Mapping[str, KindCosts]) -> FloatArray:
    """Of kinds that nobody measured: no arithmetic is free, so each term is the upper quartile of the kinds'."""
    found = np.array([costs.roofline for costs in kinds.values()])
    return np.quantile(found, 0.75, axis=0) if len(found) else np.zeros(1)
