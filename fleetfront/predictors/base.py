"""The protocols of cost and accuracy models. ``n`` architectures come in as genotypes int8[n, v]."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from fleetfront.quantities import Estimate, Metric, Tier
from fleetfront.spaces.base import Genotypes


@runtime_checkable
class CostModel(Protocol):
    """Predicts one metric on one target."""

    @property
    def metric(self) -> Metric:
        """What is predicted, its unit and how parts add up."""

    @property
    def tier(self) -> Tier:
        """Where the predictions come from."""

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Mean and standard deviation for each of n architectures."""


@runtime_checkable
class AccuracyModel(Protocol):
    """Predicts or looks up top-1 accuracy in percent. Accuracy belongs to (architecture, weights, precision)."""

    @property
    def source(self) -> str:
        """How a user spells it: ``built-in``, ``csv:PATH``, ..."""

    @property
    def tier(self) -> Tier:
        """``measured`` or ``predicted``."""

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Accuracy in percent. Raises InputError for architectures it cannot answer for (not in its table or range)."""
