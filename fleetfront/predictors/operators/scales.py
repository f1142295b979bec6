"""Lead from operators alone to whole networks: scales, and what reading weights and starting cold costs there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt

from fleetfront.predictors.operators.kernels import FEATURES, Kernel
from fleetfront.predictors.operators.rules import Group
from fleetfront.quantities import FloatArray

_WEIGHTS, _ROWS, _READ, _WRITTEN = (FEATURES.index(name) for name in ("weights", "rows", "read", "written"))
#: Products of which so few rows wait for their weights.
_MULTIPLIED, _FEW_ROWS = ("linear", "pointwise", "conv"), 8
#: Millions of elements of four bytes in a first cache of 32 KiB.
_FIRST_CACHE = 0.008192
#: Nothing here costs more: ms per million of anything, and ten days.
MOST_MS = 1e9


def check_costs(costs: FloatArray, count: int, what: str) -> None:
    """Raise ValueError if ``costs`` are not ``count`` numbers that some device may have."""
    if costs.shape != (count,) or not np.all(np.abs(costs) <= MOST_MS):
        raise ValueError(f"the {what} are not {count} numbers of ms")


#: Kinds whose scales are calibrated together.
SCALES = ("products", "windows", "others")
_PRODUCTS = ("1d", "conv", "pointwise", "linear", "matmul", "attention", "lstm", "gru", "rnn")
_WINDOWS = ("depthwise", "grouped")
#: Of all that moves data, under ONNX Runtime these alone took more in networks than their own time alone in a file:
#: networks left out were told 3.5 instead of 3.6 % off, beside all of it as the second number.
_JOINED = "concat"


def is_thin(kind: str, features: FloatArray) -> bool:
    """Tell whether a product of ``kind`` has so few rows that it waits for its weights."""
    return kind.split(" ")[0] in _MULTIPLIED and bool(features[_ROWS] <= _FEW_ROWS)


def scale_of(kind: str) -> int:
    """The place in ``SCALES`` that a kind is calibrated with."""
    word = kind.split(" ")[0]
    return 0 if word in _PRODUCTS else 1 if word in _WINDOWS else 2


@dataclass(frozen=True, slots=True)
class ColdWeights:
    """The cost of weights that few rows are multiplied with if others drive them out of their cache.

    Attributes:
        per_mweight: ms per million (of four bytes), the multiplication included.
        cache_melements: millions of weights and results that stay.
        results_share: how much a result counts of what a weight does: its memory is used again in the same run.
    """

    per_mweight: float
    cache_melements: float
    results_share: float = 0.0

    def passing(self, mweights: float, written: float) -> float:
        """Millions of weights and results that pass through caches in a run."""
        return mweights + self.results_share * written


@dataclass(frozen=True, slots=True)
class NetworkScales:
    """From operators alone to networks: ``scales`` times their sums, ``base_ms``, and what only whole networks pay.

    Alone in a file an operator finds its weights in a cache. A network of more weights than the cache holds reads a
    share of them from memory at each run: none up to what the cache holds, all from twice as much on, as what is asked
    for in the same order again and again is gone before its turn. Where few rows are multiplied, nothing hides that,
    and the share is another one (``thin_share``).

    Attributes:
        scales: float64[len(SCALES)].
        per_mweight: ms per million weights (of four bytes) that are read from memory.
        per_group: ms for every fused group, which in a network meets colder caches than alone: less for one whose data
            and weights fit into the first cache.
        base_ms: what running anything costs.
        rms: relative error beyond that of kinds which nine of ten networks whose whole family was left out stay within,
            as a standard deviation.
        networks: how many it was told from.
        per_thin_mweight: ms per million such weights where few rows are multiplied; without ``thin_cache_melements``
            what they take more than ``per_mweight``, and from the same cache.
        per_melement: ms more per million elements that joins read and write: most of it was made long before.
        cache_mweights: millions of weights that stay in a cache.
        thin_cache_melements, results_share: as ``ColdWeights`` has them, for such weights.
    """

    scales: FloatArray
    per_mweight: Annotated[float, Ge(0)]
    per_group: Annotated[float, Ge(0)]
    base_ms: Annotated[float, Ge(0)]
    rms: Annotated[float, Gt(0)]
    networks: Annotated[int, Ge(0)]
    per_thin_mweight: Annotated[float, Ge(0)] = 0.0
    per_melement: Annotated[float, Ge(0)] = 0.0
    cache_mweights: Annotated[float, Ge(0)] = 0.0
    thin_cache_melements: Annotated[float, Ge(0)] = 0.0
    results_share: Annotated[float, Ge(0)] = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError if there are not ``len(SCALES)`` scales, or a cost is beyond all devices'."""
        check_costs(self.scales, len(SCALES), "scales")
        if max(*self.coefficients, self.base_ms, self.rms, self.cache_mweights, *self._held) > MOST_MS:
            raise ValueError("a network would cost more than any device's")

    @property
    def cold(self) -> ColdWeights | None:
        """The cost of weights that others drove out of their cache; None if nobody measured it."""
        return ColdWeights(self.per_thin_mweight, *self._held) if self.thin_cache_melements else None

    @property
    def _held(self) -> tuple[float, float]:
        return self.thin_cache_melements, self.results_share

    @property
    def coefficients(self) -> FloatArray:
        """float64[len(SCALES) + 4], of the columns of ``demands``."""
        more = (self.per_mweight, self.per_thin_mweight, self.per_group, self.per_melement)
        return np.array([*self.scales, *more])


def demands(kernels: Sequence[Kernel], groups: Sequence[Group], alone: Sequence[float]) -> FloatArray:
    """float64[groups, len(SCALES) + 5]: ms alone by scale; millions of weights, and of those few rows are multiplied
    with; how cold it starts, 0 to 1; millions of elements that joins move, and written.
    """
    found = np.zeros((len(groups), len(SCALES) + 5))
    for row, group, ms in zip(found, groups, alone, strict=True):
        first, scale = kernels[group.members[0]], scale_of(kernels[group.members[0]].kind)
        weights = sum(four_byte_weights(kernels[place]) for place in group.members)
        own = weights * is_thin(first.kind, first.features)
        moved = float(first.features[_READ] + first.features[_WRITTEN])
        row[scale] = ms
        joined = moved * first.kind.startswith(_JOINED)
        cold = min(1.0, (weights + moved) / _FIRST_CACHE)
        row[len(SCALES) :] = weights, own, cold, joined, first.features[_WRITTEN]
    return found


def thin_share(own: FloatArray, passing: FloatArray | float, cold: ColdWeights) -> FloatArray:
    """The share of each product's weights ``own`` that is read from memory, of ``passing`` that pass through caches in
    a run: none up to what a cache holds, all from twice as much on, if as much of it is others'. What is asked for in
    the same order again and again is gone before its turn.
    """
    others = (passing - own) / np.maximum(own, 1e-12)
    return np.clip(passing / cold.cache_melements - 1.0, 0.0, 1.0) * np.clip(others, 0.0, 1.0)


def from_memory(asked: FloatArray, cache_mweights: float, cold: ColdWeights | None = None) -> FloatArray:
    """``demands`` of a network without the last column, and with the weights that its runs read from memory for all.

    By ``cold`` those that few rows are multiplied with are apart, and cost that in place of what they took alone,
    unless that was more.
    """
    every, thin, alone = len(SCALES), len(SCALES) + 1, slice(0, len(SCALES))
    total = max(float(asked[:, every].sum()), 1e-12)
    share = min(max(total / max(cache_mweights, 1e-12) - 1.0, 0.0), 1.0)
    found = asked[:, :-1].copy()
    if cold is not None:
        own = asked[:, thin]
        is_more = cold.per_mweight * own > asked[:, alone].sum(axis=1)
        passing = cold.passing(total, float(asked[:, -1].sum()))
        read = np.where(is_more, thin_share(own, passing, cold), 0.0)
        found[:, every] -= own
        found[:, thin] *= read
        found[:, alone] *= 1.0 - read[:, None]
    else:
        found[:, thin] *= share
    found[:, every] *= share
    return found


def four_byte_weights(kernel: Kernel) -> float:
    """Millions of weights of four bytes that are as much to read as the kernel's, which no earlier one read."""
    if kernel.is_again:
        return 0.0
    return float(kernel.features[_WEIGHTS]) * (0.25 if "int8" in kernel.kind else 1.0)
