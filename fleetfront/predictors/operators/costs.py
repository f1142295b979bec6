"""OperatorCosts estimates any graph on one target from what its operators cost there, kind by kind.

A network's time is ``base + sum over kernels``, less what neighbours save by the target's ``rules``, calibrated on a
few whole networks: times of one operator in a file of its own are warm, and in a network they are less so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt

from fleetfront.graphs.graph import Graph
from fleetfront.predictors.operators.kernels import FEATURES, Kernel, graph_kernels
from fleetfront.predictors.operators.rules import Rules, group_kernels
from fleetfront.predictors.trees import Trees
from fleetfront.quantities import Clock, FloatArray
from fleetfront.targets import Target

#: Columns of a kind's roofline: a constant, then features.
TERMS = ("mmacs", "padded", "read", "written", "weights")
_TERM_COLUMNS = [FEATURES.index(name) for name in TERMS]
_WEIGHTS = FEATURES.index("weights")
#: No kernel takes less, ms: below is the grain of clocks.
_LEAST_MS = 1e-5
#: Keeps logarithms of absent quantities finite; far below any that occur.
_GRAIN = 1e-6
#: Millions of anything that are little work for every device.
_SMALL = 0.1
#: Nothing here costs more: ms per million of anything, and ten days.
_MOST_MS = 1e9
#: Beyond the sizes that a kind was measured at by more than this factor, it is not known.
REACH = 4.0


def roofline_design(features: FloatArray) -> FloatArray:
    """float64[n, 1 + len(TERMS)] of features float64[n, len(FEATURES)]; the constant counts microseconds."""
    return np.column_stack([np.full(len(features), 1e-3), features[:, _TERM_COLUMNS]])


def tree_design(features: FloatArray, roofline_ms: FloatArray) -> FloatArray:
    """The features of trees, float64[n, len(FEATURES) + 1]: logarithms of all features, and of the roofline."""
    return np.column_stack([np.log(features + _GRAIN), np.log(roofline_ms)])


def _check_costs(costs: FloatArray, count: int, what: str) -> None:
    if costs.shape != (count,) or not np.all(np.abs(costs) <= _MOST_MS):
        raise ValueError(f"the {what} are not {count} numbers of ms")


@dataclass(frozen=True, slots=True)
class KindCosts:
    """The costs of operators of one kind, ms.

    Attributes:
        roofline: float64[1 + len(TERMS)], ms per unit of each column of ``roofline_design``.
        trees: what the logarithm of the time is beyond the roofline; None where the roofline alone was no worse.
        lowest, highest: float64[len(FEATURES)], of those measured.
        samples: how many were measured.
        mape, rms: relative errors of operators left out, percent and as a share.
    """

    kind: str
    roofline: FloatArray
    trees: Trees | None
    lowest: FloatArray
    highest: FloatArray
    samples: Annotated[int, Ge(1)]
    mape: Annotated[float, Ge(0)]
    rms: Annotated[float, Ge(0)]

    def __post_init__(self) -> None:
        """Raises ValueError if arrays have other shapes than this version's, or costs are beyond all devices'."""
        _check_costs(self.roofline, 1 + len(TERMS), f"costs of {self.kind}")
        if self.lowest.shape != (len(FEATURES),) or self.highest.shape != (len(FEATURES),):
            raise ValueError(f"the sizes of {self.kind} have the wrong shape")
        if self.trees is not None and self.trees.columns != len(FEATURES) + 1:
            raise ValueError(f"the trees of {self.kind} look at other columns")
        if self.rms > _MOST_MS:
            raise ValueError(f"the error of {self.kind} is beyond all numbers")

    def ms(self, features: FloatArray) -> FloatArray:
        """Milliseconds alone in a file, float64[n], of features float64[n, len(FEATURES)]."""
        floor = np.maximum(roofline_design(features) @ self.roofline, _LEAST_MS)
        return floor if self.trees is None else floor * np.exp(self.trees.predict(tree_design(features, floor)))

    def reaches(self, features: FloatArray) -> bool:
        """Tell whether one operator's work is near what was measured of the kind."""
        work = slice(0, len(TERMS))
        return bool(np.all(features[work] <= np.maximum(REACH * self.highest[work], _SMALL)))


#: Kinds whose scales are calibrated together.
SCALES = ("products", "windows", "others")
_PRODUCTS = ("1d", "conv", "pointwise", "linear", "matmul", "attention", "lstm", "gru", "rnn")
_WINDOWS = ("depthwise", "grouped")


def scale_of(kind: str) -> int:
    """The place in ``SCALES`` that a kind is calibrated with."""
    word = kind.split(" ")[0]
    return 0 if word in _PRODUCTS else 1 if word in _WINDOWS else 2


@dataclass(frozen=True, slots=True)
class NetworkScales:
    """From sums of operators to networks: ``scales @ sums + per_mweight * weights + per_group * groups + base``.

    Attributes:
        scales: float64[len(SCALES)].
        per_mweight: ms per million weights, which a network reads from further away than a lone operator does.
        per_group: ms for every fused group, which in a network meets colder caches than alone.
        base_ms: what running anything costs.
        rms: relative error of networks whose whole family was left out.
        networks: how many it was told from.
    """

    scales: FloatArray
    per_mweight: Annotated[float, Ge(0)]
    per_group: Annotated[float, Ge(0)]
    base_ms: Annotated[float, Ge(0)]
    rms: Annotated[float, Gt(0)]
    networks: Annotated[int, Ge(0)]

    def __post_init__(self) -> None:
        """Raises ValueError if there are not ``len(SCALES)`` scales, or a cost is beyond all devices'."""
        _check_costs(self.scales, len(SCALES), "scales")
        if max(self.per_mweight, self.per_group, self.base_ms, self.rms) > _MOST_MS:
            raise ValueError("a network would cost more than any device's")


@dataclass(frozen=True, slots=True)
class OperatorPart:
    """The share of one operator, or fused group, in a network's time.

    Attributes:
        name, kind: of the first of the group; ``fused`` are the names of the others.
        ms: its part, calibrated; of unknown ones the allowance.
        is_known: whether its kind was measured at such sizes.
    """

    name: str
    kind: str
    ms: float
    is_known: bool
    fused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GraphEstimate:
    """One inference of a graph: mean and standard deviation in ms, and its parts in the order of execution.

    ``known_share`` of the mean lies in operators that the costs know; the rest is an allowance.
    """

    mean_ms: float
    std_ms: float
    parts: tuple[OperatorPart, ...]

    @property
    def known_share(self) -> float:
        unknown = sum(part.ms for part in self.parts if not part.is_known)
        return max(0.0, 1.0 - unknown / self.mean_ms) if self.mean_ms > 0 else 0.0


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
        _check_costs(self.allowance, 1 + len(TERMS), "allowance")

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
        kernels = graph_kernels(graph)
        ms, known = self.kernel_ms(kernels)
        parts, variance = [], 0.0
        scales = self.scales
        for group, alone in zip(
            groups := group_kernels(kernels, self.rules), group_ms(kernels, groups, ms), strict=True
        ):
            first = kernels[group.members[0]]
            weights = sum(kernels[place].features[_WEIGHTS] for place in group.members)
            own = scales.scales[scale_of(first.kind)] * alone + scales.per_mweight * weights + scales.per_group
            own = float(own)
            is_known = known[group.members[0]]
            others = tuple(kernels[place].name for place in group.members[1:])
            parts.append(OperatorPart(first.name, first.kind, own, is_known, others))
            spread = self.kinds[first.kind].rms if first.kind in self.kinds and is_known else 1.0
            variance += (spread * own) ** 2
        mean = scales.base_ms + sum(part.ms for part in parts)
        unknown = sum(part.ms for part in parts if not part.is_known)
        return GraphEstimate(mean, float(np.sqrt(variance + (scales.rms * mean) ** 2 + unknown**2)), tuple(parts))


def group_ms(kernels: Sequence[Kernel], groups: Sequence[Any], ms: FloatArray) -> list[float]:
    """Of each group, the time of its first kernel alone less what it saves: fused ones cost nothing more."""
    return [
        max(float(ms[group.members[0]]) - group.saved_ms, 0.1 * float(ms[group.members[0]]), _LEAST_MS)
        for group in groups
    ]
