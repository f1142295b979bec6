"""OperatorCosts estimates any graph on one target from what its operators cost there, kind by kind.

A network's time is ``base + sum over kernels``, less what neighbours save by the target's ``rules``, calibrated on a
few whole networks: times of one operator in a file of its own are warm, and in a network they are less so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from fleetfront.graphs.graph import Graph
from fleetfront.predictors.operators.estimates import GraphEstimate, OperatorPart, joined_parts, unknown_spread
from fleetfront.predictors.operators.kernels import FEATURES, Kernel, kernels_on
from fleetfront.predictors.operators.rules import Group, Rules, group_kernels
from fleetfront.predictors.operators.scales import (
    MOST_MS,
    SCALES,
    NetworkScales,
    check_costs,
    demands,
    four_byte_weights,
    from_memory,
    is_thin,
    scale_of,
)
from fleetfront.predictors.operators.surfaces import Surface
from fleetfront.predictors.table.intervals import TYPICAL_SPREAD
from fleetfront.predictors.trees import Trees
from fleetfront.quantities import Clock, FloatArray
from fleetfront.targets import Target

#: Columns of a kind's roofline: a constant, then features.
TERMS = ("mmacs", "padded", "read", "written", "weights")
_TERM_COLUMNS = [FEATURES.index(name) for name in TERMS]
_WEIGHTS, _ROWS, _READ, _WRITTEN = (FEATURES.index(name) for name in ("weights", "rows", "read", "written"))
_MMACS, _PADDED, _WINDOW, _COLUMNS, _WIDTH = (
    FEATURES.index(name) for name in ("mmacs", "padded", "window", "columns", "width")
)
#: Sizes that tell one algorithm from another, and with them the sets of caches that walks meet.
_SIZES = [FEATURES.index(name) for name in ("rows", "inner", "columns", "width")]
_WALKED, _CROWDED = [FEATURES.index("stride"), *_SIZES], [FEATURES.index("groups"), *_SIZES]
#: Words of kinds whose sizes are those that loops run over; of others that move data they are a file's dimensions.
_WALKING = ("reduce", "transpose", "softmax", "slice", "gather", "expand", "arithmetic")
#: Floats that vectors hold at most, and what a surface is told of them beside the features.
_VECTOR, _VAIN = 16, 3
#: Rows and columns of the tiles that products are computed in: 7 by 16 or 32 under XNNPACK with vectors of sixteen, 6
#: pixels by 64 and 12 by 32 under ONNX Runtime. Surfaces are told of them so many times larger, as they change fast.
_TILE_ROWS, _TILE_COLUMNS, _OF_TILES = (6, 7, 12, 16), (32, 64), 3.0
_TILES = len(_TILE_ROWS) + len(_TILE_COLUMNS)
_TILED = ("1d", "conv", "pointwise", "grouped", "linear", "matmul")
#: A doubt beyond this, as a logarithm, is told no larger.
_MOST_DOUBT = 5.0
#: No kernel takes less, ms: below is the grain of clocks.
_LEAST_MS = 1e-5
#: Keeps logarithms of absent quantities finite; far below any that occur.
_GRAIN = 1e-6
#: Millions of anything that are little work for every device.
_SMALL = 0.1
#: Beyond the sizes that a kind was measured at by more than this factor, it is not known; if it only moves data, by
#: more than the second factor: caches end somewhere. Up to there the error grows with the logarithm: softmax that was
#: twice as large as any measured took 1.5 times as long as told, comparisons three times as large 2.4 times, and joined
#: maps of 1.7 times as much four times as long.
REACH, _REACH_MOVED, _FURTHER = 4.0, 1.5, 0.5
#: A kind that was measured less often, or is told worse than this by all others of its kind, is not known.
_FEWEST_KNOWN, _WORST_KNOWN = 3, 0.75
#: If the weights of products of few rows outgrow a second cache (millions of elements of four bytes), what they take
#: moves with the state of the next, all of them together: the same files took 0.05 to 0.12 ms a million weights alone,
#: and behind other work 0.02 to 0.4 ms more.
_SECOND_CACHE, _THIN_SPREAD = 0.25, 0.4
#: What operators may take of which only an allowance is known, as factors of its terms. Of forty kinds under ONNX
#: Runtime those that ``_SIMPLE`` names stay within the allowance, most others within 10 times what it says of data that
#: is moved, softplus, mish and softmax across rows within 30, those that sort or look around within 100. Arithmetic is
#: allowed for amply. Known kinds beyond their sizes grow at most with how often windows look at each element.
_MOST, _MOST_SIMPLE = np.array([3.0, 3.0, 3.0, 30.0, 30.0, 3.0]), 2.0
_SIMPLE = frozenset(
    {"quantise", "dequantise", "cast", "abs", "neg", "floor", "ceil", "round", "max", "min", "clip", "prelu", "expand"}
    | {"tile", "slice", "concat", "split", "pad", "greater", "less", "equal", "add", "sub", "relu", "relu6", "cumsum"}
)
_SORTING, _SORTING_MORE, _BEYOND = ("topk", "unique", "nonmaxsuppression", "local_response_norm"), 100 / 30, 3.0
#: What a cache leaves for weights moves with everything else that the machine does: networks of 2 to 3.4 million
#: weights took 0 to 30 % less in another sitting, as if it held twice as many.
_CACHE_MOVES = 2.0
#: How far off what running anything costs may be, as a share: it was taken off each operator's file, so that chains of
#: a hundred tiny ones are off by as much a hundred times. Two ways to tell it differed by a tenth to a quarter.
_IDLE_UNSURE = 0.1


def roofline_design(features: FloatArray) -> FloatArray:
    """float64[n, 1 + len(TERMS)] of features float64[n, len(FEATURES)]; the constant counts microseconds."""
    return np.column_stack([np.full(len(features), 1e-3), features[:, _TERM_COLUMNS]])


def tree_design(kind: str, features: FloatArray, roofline_ms: FloatArray) -> FloatArray:
    """The features of trees, float64[n, len(FEATURES) + 1 + _TILES]: logarithms of all features, and of the roofline;
    what tiles hold in vain.
    """
    return np.hstack([np.log(features + _GRAIN), np.log(roofline_ms)[:, None], _in_vain(kind, features)])


def surface_design(kind: str, features: FloatArray) -> FloatArray:
    """The places of operators on a surface, float64[n, len(FEATURES) + _VAIN + _TILES]: logarithms of all features, and
    of what vectors of sixteen compute for nothing: of all, of the last dimension, and of columns; what tiles do.
    """
    vain = np.log((features[:, [_PADDED]] + _GRAIN) / (features[:, [_MMACS]] + _GRAIN))
    last = np.maximum(features[:, [_WIDTH, _COLUMNS]], 1.0)
    lanes = np.log(np.ceil(last / _VECTOR) * _VECTOR / last)
    return np.hstack([np.log(features + _GRAIN), vain, lanes, _OF_TILES * _in_vain(kind, features)])


def _in_vain(kind: str, features: FloatArray) -> FloatArray:
    """The work of products that tiles hold for nothing, float64[n, _TILES]: by rows its logarithm, and of the last
    tile's columns the share, as runtimes choose their code by it. Other kinds have none.
    """
    if kind.split(" ")[0] not in _TILED:
        return np.zeros((len(features), _TILES))
    rows, columns = (np.maximum(features[:, one], 1.0) for one in (_ROWS, _COLUMNS))
    found = [np.log(np.ceil(rows / tile) * tile / rows) for tile in _TILE_ROWS]
    found += [np.ceil(columns / tile) - columns / tile for tile in _TILE_COLUMNS]
    return np.column_stack(found)


@dataclass(frozen=True, slots=True)
class KindCosts:
    """The costs of operators of one kind, ms.

    Attributes:
        roofline: float64[1 + len(TERMS)], ms per unit of each column of ``roofline_design``.
        trees: what the logarithm of the time is beyond the roofline; None where others were no worse.
        lowest, highest: float64[len(FEATURES)], of those measured.
        samples: how many were measured.
        mape, rms: relative errors of operators left out, percent and as a share.
        surface: the same as ``trees`` near what was measured, and how far that can be trusted; None of too few.
        smoothed: the part of the logarithm that the surface says, the rest is the trees'.
        doubt: how many of the surface's standard deviations make one, as operators left out were told.
        far: standard deviation of the logarithm for each factor of e outside of what was measured, as those at the ends
            of sizes were told by all others.
    """

    kind: str
    roofline: FloatArray
    trees: Trees | None
    lowest: FloatArray
    highest: FloatArray
    samples: Annotated[int, Ge(1)]
    mape: Annotated[float, Ge(0)]
    rms: Annotated[float, Ge(0)]
    # Older costs have none.
    surface: Surface | None = None
    smoothed: Annotated[float, Ge(0), Le(1)] = 0.0
    doubt: Annotated[float, Ge(0), Le(MOST_MS)] = 1.0
    far: Annotated[float, Ge(0), Le(MOST_MS)] = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError if arrays have other shapes than this version's, or costs are beyond all devices'."""
        check_costs(self.roofline, 1 + len(TERMS), f"costs of {self.kind}")
        if self.lowest.shape != (len(FEATURES),) or self.highest.shape != (len(FEATURES),):
            raise ValueError(f"the sizes of {self.kind} have the wrong shape")
        if self.trees is not None and self.trees.columns != len(FEATURES) + 1 + _TILES:
            raise ValueError(f"the trees of {self.kind} look at other columns")
        if self.surface is not None and len(self.surface.lengths) != len(FEATURES) + _VAIN + _TILES:
            raise ValueError(f"the surface of {self.kind} looks at other columns")
        if self.rms > MOST_MS:
            raise ValueError(f"the error of {self.kind} is beyond all numbers")

    def ms(self, features: FloatArray) -> FloatArray:
        """Milliseconds alone in a file, float64[n], of features float64[n, len(FEATURES)]."""
        floor = np.maximum(roofline_design(features) @ self.roofline, _LEAST_MS)
        beyond = np.zeros(len(features))
        if self.trees is not None:
            beyond += (1.0 - self.smoothed) * self.trees.predict(tree_design(self.kind, features, floor))
        if self.surface is not None and self.smoothed:
            beyond += self.smoothed * self.surface.predict(surface_design(self.kind, features))[0]
        return np.asarray(floor * np.exp(beyond))

    @property
    def is_priced(self) -> bool:
        """Tell whether enough were measured, and told by each other: all of them, or those that are near others."""
        is_near = self.surface is not None and math.expm1(self.doubt * self.surface.noise) <= _WORST_KNOWN / 2
        return self.samples >= _FEWEST_KNOWN and (is_near or self.rms <= _WORST_KNOWN)

    def doubts(self, features: FloatArray) -> float:
        """Standard deviation of one operator's time as a share: of its neighbours, and as far as it lies outside of all
        that was measured, if a surface knows them; else of the kind.
        """
        if self.surface is None:
            return self.rms
        places = surface_design(self.kind, features[None])
        near, outside = float(self.surface.predict(places)[1][0]), float(self.surface.overshoot(places)[0])
        return math.expm1(min(math.hypot(self.doubt * near, self.far * outside), _MOST_DOUBT))

    def reaches(self, features: FloatArray) -> bool:
        """Tell whether one operator's work and sizes are near what was measured of the kind, and no window looks around
        more.

        Less work is no other thing, fewer rows or a narrower matrix may be; more groups or products are more of the
        same, as are larger windows of products; windows of pools that overlap run on other code. Where every element is
        for itself, dimensions are of no account. Nothing is near kinds that cannot be priced.
        """
        if not self.is_priced:
            return False
        work = slice(0, len(TERMS))
        is_moved = scale_of(self.kind) == len(SCALES) - 1
        reach = _REACH_MOVED if is_moved else REACH
        if (
            not np.all(features[work] <= np.maximum(reach * self.highest[work], _SMALL))
            or self._overlap(features) > 1.0
            or self.doubts(features) > _WORST_KNOWN
        ):
            return False
        if is_moved and self.kind.split(" ")[0] not in _WALKING and not self.kind.endswith(" rows"):
            return True
        is_small = np.any(features[_WALKED] * REACH < self.lowest[_WALKED])
        return not is_small and bool(np.all(features[_CROWDED] <= REACH * self.highest[_CROWDED]))

    def error(self, features: FloatArray) -> float:
        """Standard deviation of one operator's time, as a share: more the further its work, or its window, is beyond
        what was measured, or its result below.

        What was measured in caches may have to come from memory, and what only large ones pay is no part of small ones.
        """
        work = slice(0, _WINDOW + 1)
        most = np.maximum(self.highest[work], [_SMALL] * len(TERMS) + [1.0])
        larger = float(np.max(features[work] / most, initial=1.0))
        smaller = max(1.0, float(self.lowest[_WRITTEN]) / max(float(features[_WRITTEN]), _GRAIN))
        return math.hypot(self.doubts(features), _FURTHER * math.log(larger), _FURTHER * math.log(smaller))

    def most_ms(self, features: FloatArray) -> float:
        """The most that one operator may take alone that is not reached."""
        unsure = 1.0 + _BEYOND * max(self.rms * (not self.is_priced), self.doubts(features) - _WORST_KNOWN)
        return float(self.ms(features[None])[0]) * max(_BEYOND, unsure, self._overlap(features))

    def _overlap(self, features: FloatArray) -> float:
        """How often a wider window than was measured looks at each element, in windows that were; else 0."""
        widest = max(float(self.highest[_WINDOW]) * (1.0 if scale_of(self.kind) == len(SCALES) - 1 else REACH), 1.0)
        if features[_WINDOW] <= widest:
            return 0.0
        return float(features[_MMACS] / max(features[_READ], _GRAIN)) / widest


@dataclass(frozen=True, slots=True)
class OperatorCosts:
    """The costs of operators on one target.

    Attributes:
        clock, statistic: of the measured numbers.
        idle_ms: what a file of next to nothing takes; taken off every operator's time.
        kinds: by name.
        allowance: of operators of unknown kinds, float64[1 + len(TERMS)]: the dearest of kinds that move data alike.
        environment: what the agent said of the device when it measured.
        started_ns: when that began, nanoseconds since 1970.
        seconds: what measuring and fitting took.
    """

    target: Target
    clock: Clock
    statistic: str
    idle_ms: float
    kinds: Mapping[str, KindCosts]
    allowance: FloatArray
    rules: Rules
    scales: NetworkScales
    environment: Mapping[str, Any] = field(default_factory=dict)
    started_ns: int = 0
    seconds: float = 0.0
    created_with: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError if the allowance is none."""
        check_costs(self.allowance, 1 + len(TERMS), "allowance")

    def kernel_ms(self, kernels: Sequence[Kernel]) -> tuple[FloatArray, list[bool]]:
        """Milliseconds of each kernel alone, float64[k], and whether it is known."""
        ms, known = np.zeros(len(kernels)), [False] * len(kernels)
        features = np.array([kernel.features for kernel in kernels]).reshape(len(kernels), len(FEATURES))
        for kind in {kernel.kind for kernel in kernels}:
            places = [place for place, kernel in enumerate(kernels) if kernel.kind == kind]
            costs = self.kinds.get(kind)
            if costs is None:
                ms[places] = np.maximum(roofline_design(features[places]) @ self.allowance, _LEAST_MS)
                continue
            ms[places] = costs.ms(features[places])
            for place in places:
                known[place] = costs.reaches(features[place])
        return ms, known

    def estimate(self, graph: Graph) -> GraphEstimate:
        """One inference of ``graph``. Raises InputError on operators whose work cannot be counted."""
        kernels = kernels_on(self.target, graph)
        ms, known = self.kernel_ms(kernels)
        groups = group_kernels(kernels, self.rules)
        asked = demands(kernels, groups, group_ms(kernels, groups, ms))
        each = self._in_caches(asked)
        parts = tuple(
            self._part(kernels, group, float(own), is_known=known[group.members[0]])
            for group, own in zip(groups, each, strict=True)
        )
        mean = self.scales.base_ms + sum(part.ms for part in parts)
        firsts = [kernels[group.members[0]] for group in groups]
        spread = self.kind_spread((one, part.ms) for one, part in zip(firsts, parts, strict=True) if part.is_known)
        less, more = (float(self._in_caches(asked, factor).sum()) for factor in (1 / _CACHE_MOVES, _CACHE_MOVES))
        moved = abs(less - more) / 2
        within = float(np.linalg.norm((spread, moved, self.scales.rms * mean, unknown_spread(mean, parts))))
        weight_bytes = 4e6 * sum(map(four_byte_weights, kernels))
        (std,) = TYPICAL_SPREAD.widen(np.array([mean]), np.array([within]), np.array([weight_bytes]))
        return GraphEstimate(mean, float(std), joined_parts(groups, parts))

    def _in_caches(self, asked: FloatArray, factor: float = 1.0) -> FloatArray:
        """Milliseconds of groups, float64[groups], if the cache of weights holds so many times what it was told to."""
        read = from_memory(asked, factor * self.scales.cache_mweights, self.scales.cold)
        return np.asarray(read @ self.scales.coefficients)

    def _part(self, kernels: Sequence[Kernel], group: Group, ms: float, *, is_known: bool) -> OperatorPart:
        first, fused = kernels[group.members[0]], tuple(kernels[place].name for place in group.members[1:])
        if is_known:
            return OperatorPart(first.name, first.kind, ms, True, fused)
        costs = self.kinds.get(first.kind)
        if not first.is_bounded:
            most = math.inf
        elif costs is not None:
            most = costs.most_ms(first.features)
        else:
            most = float((roofline_design(first.features[None]) @ (_most_of(first.kind) * self.allowance))[0])
        return OperatorPart(first.name, first.kind, ms, False, fused, max(most, ms), costs is not None)

    def kind_spread(self, parts: Iterable[tuple[Kernel, float]]) -> float:
        """Standard deviation in ms of a sum of parts, each with its kernel and ms: their errors are independent, but
        for the state of the memory that weights come from, and what was taken off each for running anything.
        """
        known = [(kernel, ms) for kernel, ms in parts if kernel.kind in self.kinds]
        waiting = sum(ms for kernel, ms in known if _waits_for_memory(kernel))
        errors = [self.kinds[kernel.kind].error(kernel.features) * ms for kernel, ms in known]
        return math.hypot(*errors, _THIN_SPREAD * waiting, _IDLE_UNSURE * self.idle_ms * len(known))


def _waits_for_memory(kernel: Kernel) -> bool:
    """Tell whether few rows are multiplied with weights that no second cache holds."""
    return is_thin(kernel.kind, kernel.features) and four_byte_weights(kernel) > _SECOND_CACHE


def _most_of(kind: str) -> FloatArray:
    """Factors of the allowance's terms, float64[1 + len(TERMS)]."""
    word = kind.split(" ")[0]
    if word in _SIMPLE:
        return np.full(len(_MOST), _MOST_SIMPLE)
    return _MOST * (_SORTING_MORE if word in _SORTING else 1.0)


def group_ms(kernels: Sequence[Kernel], groups: Sequence[Group], ms: FloatArray) -> list[float]:
    """Of each group, the time of its first kernel alone less what it saves: fused ones cost nothing more."""
    alone = [float(ms[group.members[0]]) * (1.0 - group.saved_share) for group in groups]
    return [max(own - group.saved_ms, 0.1 * own, _LEAST_MS) for own, group in zip(alone, groups, strict=True)]
