"""The second opinion on a device with few measurements: boosted trees over all known devices at once.

A device is described by how long the chosen few networks take on it, relative to their mean, and by its data sheet.
The first opinion is ``posterior``; which one serves is decided in ``few_shot.model``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray

from fleetfront.device_configs.facts import FACT_KINDS
from fleetfront.predictors.base import covers_all
from fleetfront.predictors.few_shot.basis import WorkBasis, mode_coordinates
from fleetfront.predictors.operators.work import Mode, NetworkWork
from fleetfront.predictors.trees import Trees, grow_trees
from fleetfront.quantities import LATENCY, Estimate, FloatArray, Metric, Tier
from fleetfront.spaces.base import Genotypes
from fleetfront.targets import Target

_ROUNDS = 200
_PARAMETERS = {
    "max_depth": 4,
    "eta": 0.08,
    "min_child_weight": 10,
    "subsample": 0.7,
    "colsample_bytree": 0.6,
}
#: Ten days.
_MOST_MS = 1e9
#: Stands for a fact that is not known; logarithms of facts are greater.
_UNKNOWN_FACT = -100.0


@dataclass(frozen=True, slots=True)
class PooledDevice:
    """A known device: features float64[n, f] of networks, their latencies ms[n], and those of the chosen few ms[k]."""

    features: FloatArray
    ms: FloatArray
    few_ms: FloatArray
    facts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PooledTrees:
    """Trees that predict ``log(ms / geometric mean of the few)`` from a network and the description of a device."""

    trees: Trees

    def predict(self, features: FloatArray, few_ms: FloatArray, facts: Mapping[str, float]) -> FloatArray:
        """Milliseconds float64[n] of n networks on a device on which the chosen few take ``few_ms`` float64[k]."""
        level = float(np.log(few_ms).mean())
        rows = np.hstack(
            [features, np.broadcast_to(_description(few_ms, facts), (len(features), described_by(few_ms)))]
        )
        result: FloatArray = np.exp(self.trees.predict(rows) + level)
        return result


def grow_pooled_trees(devices: Sequence[PooledDevice]) -> PooledTrees:
    """Train on known devices, all described by the same few networks. Raises MissingDependency without xgboost."""
    rows, targets = [], []
    for device in devices:
        description = _description(device.few_ms, device.facts)
        rows.append(np.hstack([device.features, np.broadcast_to(description, (len(device.ms), len(description)))]))
        targets.append(np.log(device.ms) - np.log(device.few_ms).mean())
    trees = grow_trees(
        np.vstack(rows), np.concatenate(targets), _PARAMETERS, _ROUNDS, "A second opinion from pooled devices"
    )
    return PooledTrees(trees)


@dataclass(frozen=True, slots=True)
class PooledContent:
    """The fields of a ``PooledModel`` in a file."""

    target: Target
    space: str
    basis: WorkBasis
    trees: Trees
    few_ms: FloatArray
    facts: Mapping[str, float]
    relative_std: Annotated[float, Gt(0)]

    def __post_init__(self) -> None:
        """Raises ValueError if a measurement or a fact is not positive, or beyond all devices'."""
        if self.few_ms.ndim != 1 or not self.few_ms.size or not np.all((self.few_ms > 0) & (self.few_ms < _MOST_MS)):
            raise ValueError("a measurement is not positive, or more than ten days")
        if not all(value > 0 for value in self.facts.values()) or self.relative_std > _MOST_MS:
            raise ValueError("a fact is not positive, or the error beyond all numbers")


class PooledModel:
    """One metric, mostly latency in ms, by the trees of all known devices. A CostModel."""

    tier: Tier = Tier.TRANSFERRED

    def __init__(self, content: PooledContent, work: NetworkWork, metric: Metric = LATENCY) -> None:
        """Raises ValueError if the content is of another space, or its trees are not of its description."""
        if content.space != work.space.name:
            raise ValueError(f"the model is of {content.space}, not of {work.space.name}")
        self.content = content
        self.metric = metric
        self._work = work
        self._trees = PooledTrees(content.trees)
        columns, per_mode = content.trees.columns - described_by(content.few_ms), content.basis.rank - 1
        # Trees of older versions know the first modes alone.
        self._modes = work.modes[: columns // max(per_mode, 1)]
        if len(self._modes) * per_mode != columns or not self._modes:
            raise ValueError(f"its trees read {content.trees.columns} columns")

    @property
    def target(self) -> Target:
        """The new device's."""
        return self.content.target

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Milliseconds and their std for n genotypes int8[n, v]."""
        coordinates = mode_coordinates(self._work, self.content.basis, genotypes)
        features = tree_features({mode: coordinates[mode] for mode in self._modes})
        mean = self._trees.predict(features, self.content.few_ms, self.content.facts)
        return Estimate(mean, self.content.relative_std * mean, self.tier)

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: every architecture of the space."""
        return covers_all(genotypes)


def tree_features(coordinates: Mapping[Mode, FloatArray]) -> FloatArray:
    """float64[n, f]: coordinates in all modes side by side, without the constants."""
    return np.hstack([columns[:, 1:] for columns in coordinates.values()])


def _description(few_ms: FloatArray, facts: Mapping[str, float]) -> FloatArray:
    logs = np.log(few_ms)
    known = [np.log(facts[key]) if key in facts else _UNKNOWN_FACT for key in FACT_KINDS]
    return np.concatenate([logs - logs.mean(), known])


def described_by(few_ms: FloatArray) -> int:
    """How many columns describe a device."""
    return len(few_ms) + len(FACT_KINDS)
