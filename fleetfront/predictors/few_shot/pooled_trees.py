"""The second opinion on a device with few measurements: boosted trees over all known devices at once.

A device is described by how long the chosen few networks take on it, relative to their mean, and by its data sheet.
The first opinion is ``posterior``; which one serves is decided in ``few_shot.model``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.device_configs.facts import FACT_KINDS
from fleetfront.predictors.trees import Trees, grow_trees

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

_ROUNDS = 200
_PARAMETERS = {
    "max_depth": 4,
    "eta": 0.08,
    "min_child_weight": 10,
    "subsample": 0.7,
    "colsample_bytree": 0.6,
}
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


def _description(few_ms: FloatArray, facts: Mapping[str, float]) -> FloatArray:
    logs = np.log(few_ms)
    known = [np.log(facts[key]) if key in facts else _UNKNOWN_FACT for key in FACT_KINDS]
    return np.concatenate([logs - logs.mean(), known])


def described_by(few_ms: FloatArray) -> int:
    """How many columns describe a device."""
    return len(few_ms) + len(FACT_KINDS)
