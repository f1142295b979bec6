"""The outcome of a fit: its records, and the JSON that ``fit --json`` promises. Nothing is fitted here."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fleetfront.plain import to_plain
from fleetfront.predictors.scores import Scores
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.predictors.table.fitting import Fitted, calibrated_by
from fleetfront.predictors.table.lookup import Filled
from fleetfront.predictors.table.warnings import FitWarning
from fleetfront.profilers.reading.observations import Floor
from fleetfront.profilers.records import Role

SCHEMA = "fleetfront.fit/1"


@dataclass(frozen=True, slots=True)
class WorstBlock:
    """A block whose latency is least certain: how it came by its value, and the relative standard deviation."""

    key: str
    ms: float
    relative_std: float
    filled: str


@dataclass(frozen=True, slots=True)
class WorstNetwork:
    """A held-out network that is predicted badly."""

    arch: str
    measured_ms: float
    predicted_ms: float
    std_ms: float

    @property
    def error(self) -> float:
        """(predicted - measured) / measured."""
        return self.predicted_ms / self.measured_ms - 1


@dataclass(frozen=True, slots=True)
class ClockFit:
    """One model and how it does on the held-out networks.

    Attributes:
        path: its file.
        scores: on the held-out networks; None if none was measured.
        plain_scores: of the uncalibrated sums of blocks, on the same networks.
        floor_role, floor: how noisy the measured numbers are, and whose (``verdict.find_floor``).
        seconds: time the measuring took, all roles together.
        errors: what could not be measured, and why.
    """

    fitted: Fitted
    table: CalibratedTable
    path: Path
    scores: Scores | None
    plain_scores: Scores | None
    floor_role: Role
    floor: Floor
    worst_blocks: tuple[WorstBlock, ...]
    worst_networks: tuple[WorstNetwork, ...]
    warnings: tuple[FitWarning, ...]
    seconds: float
    errors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FitOutcome:
    """The fits of one target and space, the clock that will be used first."""

    fits: tuple[ClockFit, ...]

    @property
    def chosen(self) -> ClockFit:
        """The fit that searches and predictions use."""
        return self.fits[0]


def fit_report(outcome: FitOutcome) -> dict[str, Any]:
    """Plain values: the chosen clock's fit at the top, the others under ``other_clocks``.

    Shares lie between 0 and 1, MAPE is in percent, scores without held-out networks are None. Costs are in ms; where
    ``metric`` is no latency, their names end in its ``unit`` instead.
    """
    return {
        "schema": SCHEMA,
        **_clock_report(outcome.chosen),
        "other_clocks": [_clock_report(fit) for fit in outcome.fits[1:]],
    }


def _clock_report(fit: ClockFit) -> dict[str, Any]:
    model, fitted, unit = fit.fitted.model, fit.fitted, fit.fitted.model.metric.unit
    return {
        "space": model.space,
        "target": str(model.target),
        "metric": model.metric.name,
        "unit": model.metric.unit,
        "model": model.description,
        "tier": fit.table.tier.value,
        "clock": model.clock.value,
        "statistic": model.statistic,
        "held_out": _scores(fit.scores),
        "plain_sum": _scores(fit.plain_scores),
        "floor": {
            "role": fit.floor_role.value,
            "networks": fit.floor.networks,
            "mape": _finite(fit.floor.mape),
            "within_5": _finite(fit.floor.within_5),
            "within_10": _finite(fit.floor.within_10),
        },
        "calibration": {
            "formula": calibrated_by(model.calibration),
            "networks": model.calibration.networks,
            "cross_validated_mape": fitted.cross_validated_mape,
        },
        "residual": None
        if fitted.trial is None
        else {
            "is_used": fitted.trial.residual is not None,
            "cross_validated_mape_without": fitted.trial.mape_without,
            "cross_validated_mape_with": fitted.trial.mape_with,
        },
        "blocks": {how.value: model.table.count(how) for how in Filled},
        "relative_std": model.relative_std,
        "between_sittings": to_plain(model.between_sittings),
        "other_programs": None if model.others is None else model.others.to_json(),
        "worst_blocks": [_in_unit(asdict(block), unit) for block in fit.worst_blocks],
        "worst_networks": [
            {**_in_unit(asdict(network), unit), "error": network.error} for network in fit.worst_networks
        ],
        "errors": dict(fit.errors),
        "cautions": [asdict(warning) for warning in fit.warnings],
        "profile_seconds": fit.seconds,
        "environment": dict(model.environment),
        "path": str(fit.path),
    }


def _in_unit(costs: Mapping[str, Any], unit: str) -> dict[str, Any]:
    return {re.sub(r"(^|_)ms$", rf"\1{unit}", name): value for name, value in costs.items()}


def _scores(scores: Scores | None) -> dict[str, Any]:
    if scores is not None:
        return scores.to_json()
    names = ("mape", "within_5", "within_10", "spearman", "coverage_90")
    return {"networks": 0, **dict.fromkeys(names), "intervals": {}}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
