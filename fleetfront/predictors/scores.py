"""Score how wrong a cost model is on networks that it has not seen: the errors that reports quote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.errors import InputError
from fleetfront.quantities import Z90 as Z90

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Two-sided level of the bootstrap intervals around each score.
BOOTSTRAP_LEVEL = 0.95

_RESAMPLES = 2000
_FEWEST_FOR_RANKS = 3


@dataclass(frozen=True, slots=True)
class Scores:
    """Errors of predictions against measurements.

    Attributes:
        networks: how many were compared.
        mape: mean absolute error relative to the measurement, percent.
        within_5, within_10: share (0 to 1) predicted within 5 and 10 % of the measurement.
        spearman: rank correlation; None where ranks mean nothing (under three networks, or all equal).
        coverage_90: share inside mean +- 1.645 std; None if no std was given.
        intervals: name of a score -> bounds of its 95 % bootstrap interval.
    """

    networks: int
    mape: float
    within_5: float
    within_10: float
    spearman: float | None = None
    coverage_90: float | None = None
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values under the names that ``fit --json`` promises."""
        return {
            "networks": self.networks,
            "mape": self.mape,
            "within_5": self.within_5,
            "within_10": self.within_10,
            "spearman": self.spearman,
            "coverage_90": self.coverage_90,
            "intervals": {name: list(bounds) for name, bounds in self.intervals.items()},
        }


def relative_errors(predicted: FloatArray, measured: FloatArray) -> FloatArray:
    """(predicted - measured) / measured, float64[n].

    Raises InputError unless both are finite and alike in shape, and the measurements are positive.
    """
    predicted, measured = np.asarray(predicted, np.float64), np.asarray(measured, np.float64)
    if predicted.shape != measured.shape or predicted.ndim != 1 or predicted.size == 0:
        raise InputError(
            f"Cannot compare {predicted.shape} predictions with {measured.shape} measurements.",
            "Give one prediction for each measured network, and at least one.",
        )
    if not (np.all(np.isfinite(predicted)) and np.all(np.isfinite(measured)) and np.all(measured > 0)):
        raise InputError(
            "A prediction or measurement is not a finite number, or a measurement is not positive.",
            "Leave out networks without a valid measurement.",
        )
    return (predicted - measured) / measured


def score(
    predicted: FloatArray,
    measured: FloatArray,
    std: FloatArray | None = None,
    *,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> Scores:
    """Compare float64[n] predictions (and their standard deviations) with measurements of the same unit.

    The intervals are percentile bootstrap intervals over networks (Efron and Tibshirani 1993, chapter 13), computed for
    all resamples at once from how often each network was drawn.

    Raises:
        InputError: on empty, unlike or non-finite arrays.
    """
    error = relative_errors(predicted, measured)
    predicted, measured = np.asarray(predicted, np.float64), np.asarray(measured, np.float64)
    n = error.size
    parts = {
        "mape": 100 * np.abs(error),
        "within_5": (np.abs(error) <= 0.05).astype(np.float64),
        "within_10": (np.abs(error) <= 0.10).astype(np.float64),
    }
    if std is not None:
        parts["coverage_90"] = (np.abs(predicted - measured) <= Z90 * np.asarray(std)).astype(np.float64)
    # Row 0 is the sample itself, so that scores and their intervals come from the same arithmetic.
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    weights = np.vstack([np.ones((1, n)), drawn]).astype(np.float64)
    rows = {name: weights @ part / n for name, part in parts.items()}
    rows["spearman"] = weighted_spearman(predicted, measured, weights)
    rows = {name: row[np.isfinite(row)] for name, row in rows.items() if np.isfinite(row[0])}
    return Scores(
        networks=n,
        mape=float(rows["mape"][0]),
        within_5=float(rows["within_5"][0]),
        within_10=float(rows["within_10"][0]),
        spearman=float(rows["spearman"][0]) if "spearman" in rows else None,
        coverage_90=float(rows["coverage_90"][0]) if "coverage_90" in rows else None,
        intervals={name: _central(row[1:]) for name, row in rows.items() if row.size > 1},
    )


def _central(values: FloatArray) -> tuple[float, float]:
    low, high = np.percentile(values, [50 * (1 - BOOTSTRAP_LEVEL), 50 * (1 + BOOTSTRAP_LEVEL)])
    return float(low), float(high)


def weighted_spearman(left: FloatArray, right: FloatArray, weights: FloatArray) -> FloatArray:
    """Spearman's rank correlation of float64[n] pairs for each row of ``weights[r, n]`` (how often each pair counts).

    Ties share their mean rank. NaN where fewer than three distinct pairs count or one side is constant.
    """

    def ranks(values: FloatArray) -> FloatArray:
        below = (values[:, None] < values[None, :]).astype(np.float64)
        equal = (values[:, None] == values[None, :]).astype(np.float64)
        mean_rank: FloatArray = weights @ below + (weights @ equal + 1) / 2
        return mean_rank

    total = np.maximum(weights.sum(axis=1, keepdims=True), 1.0)
    centred = []
    for values in (left, right):
        rank = ranks(values)
        centred.append(rank - (weights * rank).sum(axis=1, keepdims=True) / total)
    covariance = (weights * centred[0] * centred[1]).sum(axis=1)
    spread = np.sqrt((weights * centred[0] ** 2).sum(axis=1) * (weights * centred[1] ** 2).sum(axis=1))
    defined = (np.count_nonzero(weights, axis=1) >= _FEWEST_FOR_RANKS) & (spread > 1e-9)
    correlation: FloatArray = np.where(defined, covariance / np.where(defined, spread, 1.0), np.nan)
    return correlation
