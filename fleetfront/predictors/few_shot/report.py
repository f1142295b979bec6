"""State how a few-shot model came about, and how far off it is to be expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from fleetfront.plain import to_plain
from fleetfront.predictors.few_shot.cost_model import FewShotModel
from fleetfront.predictors.few_shot.pooled_trees import PooledModel


@dataclass(frozen=True, slots=True)
class FewShotReport:
    """How a few-shot model came about.

    Attributes:
        serves: ``transfer`` or ``trees``.
        mode: execution mode found (of the transfer model).
        teachers: names of the known devices.
        networks: how many were measured.
        mape: percent, of the serving opinion over the known devices, each left out in turn.
        other_mape: of the other one, None if it could not be tried.
        interval_factor: what the trials widen the intervals by.
        left_out: devices that could have taught, each with why it did not.
        expected_mape: percent, of this very device: from its measurements, each left out in turn, and the width of its
            intervals, scaled by how such guesses did on known devices; ``mape`` where trees serve. None in old files.
        warnings: what speaks against the measurements.
    """

    serves: Literal["transfer", "trees"]
    mode: str
    teachers: tuple[str, ...]
    networks: Annotated[int, Ge(1)]
    mape: Annotated[float, Ge(0)]
    other_mape: Annotated[float, Ge(0)] | None
    interval_factor: Annotated[float, Gt(0)]
    left_out: tuple[str, ...] = ()
    expected_mape: Annotated[float, Ge(0)] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        """The error to be expected, percent."""
        return self.mape if self.expected_mape is None else self.expected_mape

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain: dict[str, Any] = to_plain(self)
        return plain


@dataclass(frozen=True, slots=True)
class FewShotFit:
    """The serving cost model and how it came about."""

    model: FewShotModel | PooledModel
    report: FewShotReport
