"""Learn OperatorCosts from measured samples: each kind by roofline or trees, then rules, then scales of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import missing
from fleetfront.predictors.operators.costs import KindCosts, roofline_design, surface_design, tree_design
from fleetfront.predictors.operators.kernels import FEATURES
from fleetfront.predictors.operators.scales import (
    SCALES,
    ColdWeights,
    NetworkScales,
    from_memory,
    scale_of,
    thin_share,
)
from fleetfront.predictors.operators.surfaces import Surface, learn_surface
from fleetfront.predictors.table.intervals import TYPICAL_SPREAD
from fleetfront.predictors.trees import grow_trees
from fleetfront.quantities import FloatArray

#: Trees need as many samples to say more than a roofline.
_FEWEST_FOR_TREES, _FOLDS = 20, 5
#: A surface says more than the mean of few as soon as there are some.
_FEWEST_FOR_SURFACES = 5
#: Ways to tell an operator, with the part that a surface has in them.
_ROOFLINE = "roofline"
_SMOOTHED = {_ROOFLINE: 0.0, "trees": 0.0, "surface": 1.0, "trees and surface": 0.5}
#: No surface is trusted more than this share of what it says itself.
_LEAST_DOUBT = 0.7
#: The share of operators at either end of a size that tells how far a surface reaches; what lies nearer to the others
#: than by this logarithm tells nothing; fewer than so many neither: then outside a factor of e is a half.
_END_SHARE, _NEAR, _FEWEST_FAR, _USUAL_FAR, _LEAST_FAR = 0.15, 0.1, 5, 0.4, 0.1
_TREES = {"max_depth": 4, "eta": 0.08, "lambda": 1.0, "subsample": 0.8, "colsample_bytree": 0.7}
_TREE_ROUNDS = 150
#: How far scales may lie from 1 before networks say so: as in the first version's fits, warm sums are 0 to 20 % off.
_SCALE_PULL = 0.15
_LEAST_MS = 1e-5
#: No operator's error counts more.
_WORST = 3.0
_MMACS, _PADDED = FEATURES.index("mmacs"), FEATURES.index("padded")
#: Relative error that a network keeps whatever its scales are.
_NOISE = 0.08
#: Networks of less time, ms, have less say: what a few microseconds are made of is another thing.
_LITTLE_MS = 0.02
#: Millions of weights of four bytes that caches may keep: from half a megabyte to 64 MB.
_CACHES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
#: The same where few rows are multiplied.
_THIN_CACHES, _RESULTS_SHARES = tuple(0.25 * 2 ** (step / 4) for step in range(29)), (0.0, 0.25, 0.5, 0.75, 1.0)
#: Fewer products behind other work than this tell nothing; the column of their weights.
_FEWEST_COLD, _THIN = 4, len(SCALES) + 1
#: Of what chains say that products of one row wait for, networks pay one of these parts; to believe in another than all
#: costs as much as this root mean square error for each factor of e.
_PAID, _PAID_PULL = (1.0, 0.75, 0.5, 0.35, 1.25), 0.01
#: How far the difference of two visits to files may be off: as a share of their time, and in ms.
_DIFFERENCE, _DIFFERENCE_MS = 0.03, 0.01
#: The share of strangers that intervals are to hold, how many standard deviations they reach, and what no spread is
#: below: clocks and moods.
_HELD, _REACH, _LEAST_SPREAD = 0.9, 1.645, 0.01
#: The share of single operators that lie within two standard deviations.
_NEARLY_ALL = 0.975


def learn_kind(kind: str, features: FloatArray, ms: FloatArray) -> KindCosts:
    """Costs of one kind from n operators alone in a file: features float64[n, len(FEATURES)], ms float64[n].

    What the time is beyond a roofline is said by trees, by a surface or by both, whichever tells operators left out
    best; how far the surface can be trusted is what those were off by.

    Raises MissingDependency if scipy or xgboost is not installed.
    """
    ms = np.maximum(ms, _LEAST_MS)
    folds = np.array_split(np.random.default_rng(0).permutation(len(ms)), min(_FOLDS, len(ms)))
    folds = [np.sort(fold) for fold in folds if len(fold) < len(ms)]
    surface = _surface(kind, features, ms) if len(ms) >= _FEWEST_FOR_SURFACES else None
    told = [_told_without(kind, features, ms, fold, surface) for fold in folds]
    order = np.concatenate(folds) if folds else np.zeros(0, np.intp)
    errors = {name: np.concatenate([one.errors[name] for one in told]) for name in (told[0].errors if told else ())}
    best = min(errors, key=lambda name: _missed(errors[name], ms[order])) if told else _ROOFLINE
    left = np.expm1(errors[best]) if told else np.array([1.0])
    mape = 100 * float(np.mean(np.abs(np.minimum(left, _WORST))))
    # Deviations are stated as shares of what is told, and what is told three times too low is off by two of them.
    off = np.minimum(np.maximum(np.abs(left), np.abs(1 / np.maximum(1 + left, 1e-3) - 1)), _WORST)
    # The grain of clocks is most of what the smallest take, and an absolute deviation is stated for it.
    say = _say(ms[order]) if told else np.ones(1)
    rms = float(np.sqrt(np.average(off**2, weights=say)))
    final = _learnt(kind, features, ms, "trees" in best)
    final = replace(final, mape=mape, rms=rms)
    if surface is None:
        return final
    doubt = max(_held(np.abs(errors[best]) * say / np.concatenate([one.std for one in told])), _LEAST_DOUBT)
    far = _far(kind, features, ms, surface, doubt)
    return replace(final, surface=surface, smoothed=_SMOOTHED[best], doubt=doubt, far=far)


@dataclass(frozen=True, slots=True)
class _Told:
    """Operators left out: logarithms of told over measured by each way to tell, float64[n]; the standard deviations
    that a surface says, and how far they lie outside of the others.
    """

    errors: Mapping[str, FloatArray]
    std: FloatArray
    outside: FloatArray


def _told_without(
    kind: str,
    features: FloatArray,
    ms: FloatArray,
    left_out: NDArray[np.intp],
    surface: Surface | None,
    *,
    with_trees: bool = True,
) -> _Told:
    """Tell operators by all others; a surface keeps what was learnt of its shape from all."""
    rest = np.setdiff1d(np.arange(len(ms)), left_out)
    plain = _learnt(kind, features[rest], ms[rest], is_tree=False)
    errors = {_ROOFLINE: np.log(plain.ms(features[left_out]) / ms[left_out])}
    std = outside = np.zeros(len(left_out))
    if with_trees and len(ms) >= _FEWEST_FOR_TREES:
        trees = _learnt(kind, features[rest], ms[rest], is_tree=True)
        errors["trees"] = np.log(trees.ms(features[left_out]) / ms[left_out])
    if surface is not None:
        mean, std, outside = surface.held_out(left_out, np.log(ms[rest] / plain.ms(features[rest])))
        errors["surface"] = errors[_ROOFLINE] + mean
    if "trees" in errors and surface is not None:
        errors["trees and surface"] = (errors["trees"] + errors["surface"]) / 2
    return _Told(errors, std, outside)


def _surface(kind: str, features: FloatArray, ms: FloatArray) -> Surface:
    roofline = _learnt(kind, features, ms, is_tree=False)
    return learn_surface(surface_design(kind, features), np.log(ms / roofline.ms(features)), ms)


def _far(kind: str, features: FloatArray, ms: FloatArray, surface: Surface, doubt: float) -> float:
    """Standard deviation for each factor of e outside: of operators at the ends of sizes, told without those ends."""
    found = []
    for end in surface.ends(_END_SHARE):
        told = _told_without(kind, features, ms, end, surface, with_trees=False)
        missed = np.maximum((told.errors["surface"] * _say(ms[end])) ** 2 - (_REACH * doubt * told.std) ** 2, 0.0)
        is_far = told.outside > _NEAR
        found += (np.sqrt(missed[is_far]) / told.outside[is_far]).tolist()
    return max(_held(np.array(found)), _LEAST_FAR) if len(found) >= _FEWEST_FAR else _USUAL_FAR


def _held(needed: FloatArray) -> float:
    """The standard deviation with which intervals hold nine of ten strangers, and two of it nearly all: tails of
    operators are heavier than normal ones (split conformal prediction, Vovk et al. 2005).
    """
    ordered = np.sort(needed)
    places = (min(len(needed), int(np.ceil(share * (len(needed) + 1)))) for share in (_HELD, _NEARLY_ALL))
    often, nearly = (float(ordered[place - 1]) for place in places)
    return max(often / _REACH, nearly / 2.0)


def _missed(errors: FloatArray, ms: FloatArray) -> float:
    """Mean factor by which operators are told too high or too low, as a logarithm."""
    return float(np.average(np.abs(errors), weights=_say(ms)))


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
        trees = grow_trees(tree_design(kind, features, floor), beyond, _TREES, _TREE_ROUNDS, "Learning operator costs")
    return KindCosts(kind, roofline, trees, features.min(axis=0), features.max(axis=0), len(ms), 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class MeasuredNetwork:
    """A whole network.

    Attributes:
        asked: float64[groups, columns], as ``costs.demands``.
        spread: what the errors of its operators' kinds make of its sum, as a share.
        ms: what it took.
        drift: what it took in a second campaign, as a share of the first, less 1; 0 where there was none.
    """

    family: str
    asked: FloatArray
    spread: float
    ms: float
    drift: float = 0.0


@dataclass(frozen=True, slots=True)
class ColdProduct:
    """A product of one row behind other work, whose weights come from where that left them.

    Attributes:
        alone_ms, more_ms: what it took alone in a file, and what more than that.
        mweights: millions of weights of its own.
        all_mweights, written: millions of weights and of results in the whole file.
        whole_ms: what the whole took: a difference to a long body is known less surely.
    """

    alone_ms: float
    more_ms: float
    mweights: float
    all_mweights: float
    written: float
    whole_ms: float = 0.0


def learn_cold(products: Sequence[ColdProduct]) -> ColdWeights | None:
    """The cache and the cost of memory under which products behind other work are told best; None of too few."""
    if len(products) < _FEWEST_COLD:
        return None
    rows = [(one.alone_ms, one.more_ms, one.mweights) for one in products]
    alone, more, own = np.array(rows).T
    unsure = _DIFFERENCE * np.array([one.whole_ms for one in products]) + _DIFFERENCE_MS
    found = []
    for cache, share in product(_THIN_CACHES, _RESULTS_SHARES):
        held = ColdWeights(0.0, cache, share)
        read = thin_share(own, np.array([held.passing(one.all_mweights, one.written) for one in products]), held)
        is_read = read > 0
        # Single visits may have met another state of memory: a median, weighed by what is read, and roots of errors.
        costs = ((more / np.where(is_read, read, 1.0) + alone) / own)[is_read]
        cost = max(_weighed_median(costs, (read * own / unsure)[is_read]), 0.0) if is_read.any() else 0.0
        missed = more - read * np.maximum(cost * own - alone, 0.0)
        # Rounding, which Pythons do differently, is no difference: of equals the cheapest memory is taken.
        found.append((round(float(np.sqrt(np.abs(missed) / unsure).sum()), 3), cost, cache, share))
    _, cost, cache, share = min(found)
    return ColdWeights(cost, cache, share)


def _weighed_median(numbers: FloatArray, weights: FloatArray) -> float:
    order = np.argsort(numbers)
    upto = np.cumsum(weights[order])
    return float(numbers[order][np.searchsorted(upto, upto[-1] / 2)])


def learn_scales(networks: Sequence[MeasuredNetwork], idle_ms: float, cold: ColdWeights | None = None) -> NetworkScales:
    """Ridge regression of relative errors towards plain sums; the error is that of families left out.

    The cache is the one of ``_CACHES`` under which networks left out are told best. What memory costs is the device's,
    and some families alone can tell it: they are left out of the scales only. What ``cold`` says is known already.
    """
    thin, *held = (cold.per_mweight, cold.cache_melements, cold.results_share) if cold else (0.0, 0.0, 0.0)
    if not networks:
        return NetworkScales(np.ones(len(SCALES)), 0.0, 0.0, idle_ms, 0.25, 0, thin, 0.0, 0.0, *held)
    measured = np.array([network.ms for network in networks])
    sums = {cache: np.array([from_memory(one.asked, cache, cold).sum(axis=0) for one in networks]) for cache in _CACHES}
    waited = thin * sums[_CACHES[0]][:, _THIN]
    if cold:
        for of_cache in sums.values():
            of_cache[:, _THIN] = 0.0
    # What is made of doubtful operators tells little of what networks add.
    say = _say(measured) * _NOISE / np.hypot(_NOISE, [network.spread for network in networks])

    def missed(of: tuple[float, float]) -> float:
        error = _left_out_error(sums[of[0]], measured, idle_ms + of[1] * waited, say)
        return error + (_PAID_PULL * float(np.log(of[1]))) ** 2

    # The state of memory may have been another one when chains were measured: networks say how much of it they pay.
    best, paid = min(product(_CACHES, _PAID if waited.any() else (1.0,)), key=missed)
    thin, known = paid * thin, idle_ms + paid * waited
    found = _ridge(sums[best], measured, known, say)
    memory = sums[best][:, len(SCALES) :] @ found[len(SCALES) :] + known
    families = np.array([network.family for network in networks])
    errors = _errors(families, sums[best][:, : len(SCALES)], measured, memory, say)
    spread = _beyond_kinds(networks, errors) if len(errors) else 0.25
    drift = float(np.sqrt(np.mean([network.drift**2 for network in networks])))
    per_mweight, per_thin, per_group, per_melement = found[len(SCALES) :].tolist()
    rms = max(float(np.hypot(spread, drift)), _LEAST_SPREAD)
    more = (thin if cold else per_thin, per_melement, best, *held)
    return NetworkScales(found[: len(SCALES)], per_mweight, per_group, idle_ms, rms, len(networks), *more)


def _left_out_error(sums: FloatArray, measured: FloatArray, known_ms: FloatArray, say: FloatArray) -> float:
    """Mean square relative error of networks told by all others, by how much say each has, float64[n]."""
    errors = _errors(np.arange(len(measured)), sums, measured, known_ms, say)
    return float(np.mean(np.square(say * errors))) if len(errors) else 0.0


def _say(measured: FloatArray) -> FloatArray:
    """The weight of each network's relative error, float64[n] of ms."""
    return measured / (measured + _LITTLE_MS)


def _errors(
    groups: NDArray[np.generic], sums: FloatArray, measured: FloatArray, known_ms: FloatArray, say: FloatArray
) -> FloatArray:
    """Relative error of each network, float64[n], told by those of other groups; empty if there is one group alone.

    Of what it was measured, ``known_ms`` float64[n] is no sum of ``sums`` float64[n, columns].
    """
    errors = np.zeros(len(measured))
    for group in np.unique(groups):
        left_out = groups == group
        if left_out.all():
            return np.zeros(0)
        coefficients = _ridge(sums[~left_out], measured[~left_out], known_ms[~left_out], say[~left_out])
        errors[left_out] = measured[left_out] / (sums[left_out] @ coefficients + known_ms[left_out]) - 1
    return errors


def _beyond_kinds(networks: Sequence[MeasuredNetwork], errors: FloatArray) -> float:
    """The share that must join the spread of kinds, so that nine of ten strangers' intervals of 90 % hold them.

    Of n strangers the ceil(0.9 (n + 1))-th must still be held (split conformal prediction, Vovk et al. 2005).
    """
    spreads = np.array([np.hypot(network.spread, TYPICAL_SPREAD.absolute_ms / network.ms) for network in networks])
    needed = np.sqrt(np.maximum((np.abs(errors) / _REACH) ** 2 - spreads**2, 0.0))
    place = min(len(needed), int(np.ceil(_HELD * (len(needed) + 1))))
    return float(np.sort(needed)[place - 1])


def _ridge(sums: FloatArray, measured: FloatArray, known_ms: FloatArray, say: FloatArray) -> FloatArray:
    from scipy.optimize import nnls

    # The pull of a scale is that of one network with the error _SCALE_PULL; what joins them starts from nothing.
    more = sums.shape[1] - len(SCALES)
    units = np.mean(measured) / np.maximum(np.mean(sums[:, len(SCALES) :], axis=0), 1e-9)
    pulls = np.diag([*np.ones(len(SCALES)), *(1 / units)]) / _SCALE_PULL * _NOISE
    design = np.vstack([say[:, None] * sums / measured[:, None], pulls])
    target = np.concatenate(
        [say * (1 - known_ms / measured), np.full(len(SCALES), _NOISE / _SCALE_PULL), np.zeros(more)]
    )
    solution, _ = nnls(design, target)
    return np.asarray(solution)


def _counts_runs(costs: KindCosts) -> bool:
    return scale_of(costs.kind) == len(SCALES) - 1 and bool(costs.highest[_PADDED] != costs.highest[_MMACS])


def learn_allowance(kinds: Mapping[str, KindCosts]) -> FloatArray:
    """Of kinds that nobody measured: no arithmetic is free, so each term is the upper quartile of the kinds'.

    Runs of those that are worked through run by run are no arithmetic.
    """
    found = np.array([costs.roofline for costs in kinds.values() if not _counts_runs(costs)])
    return np.quantile(found, 0.75, axis=0) if len(found) else np.zeros(1)
