"""Bring a latency model up to the present sitting with a handful of networks measured again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fleetfront.errors import DeviceError, InputError
from fleetfront.pipelines.fit.today import bring_up
from fleetfront.pipelines.measure.profile import measure_networks
from fleetfront.predictors.table.calibrated import FittedModel
from fleetfront.predictors.table.fit_files import save_fit
from fleetfront.profilers.plan import spread_out
from fleetfront.profilers.reading.observations import read_observations
from fleetfront.profilers.reading.sittings import RESTLESS
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import FloatArray
from fleetfront.spaces.base import SearchSpace
from fleetfront.workspace import Workspace

#: Networks that are measured again, and visits of each: about ten seconds for networks of 10 ms.
NETWORKS, ROUNDS = 10, 8


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """A model for the present sitting.

    Attributes:
        level: how the target runs now against the sitting of the old model, now / then, for the network in the middle.
        error_before: mean absolute error of the old model on the networks measured, percent.
        error_after: the same of the new model, each network predicted by what the others say.
        networks: how many that are.
        is_busy: other programs kept the device busy, by its counters or because the networks disagree about the level.
    """

    model: FittedModel
    level: float
    error_before: float
    error_after: float
    networks: int
    is_busy: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "schema": "fleetfront.recalibrate/1",
            "space": self.model.space,
            "target": str(self.model.target),
            "clock": self.model.clock.value,
            "level": self.level,
            "mape_before": self.error_before,
            "mape_after": self.error_after,
            "networks": self.networks,
            "is_busy": self.is_busy,
            "other_programs": None if self.model.others is None else self.model.others.to_json(),
        }


def recalibrate(
    store: Store,
    space: SearchSpace,
    model: FittedModel,
    workspace: Workspace | None = None,
    progress: Progress = SILENT,
) -> Recalibrated:
    """Measure ``NETWORKS`` of the model's calibration networks again, and save the model with a, b, c of today.

    Raises:
        InputError: the networks that the model was calibrated on are not in the store.
        DeviceError: the device is lost, or none of them could be measured.
    """
    target = model.target
    profiled = read_observations(store, target, space.name, model.clock)
    known = list(profiled.visits.get(Role.CALIBRATION, {}))
    if not known:
        raise InputError(
            f"The store has no network that {target} was calibrated on.",
            f"Profile it again: fleetfront profile {target.options} --space {space.name}",
        )
    archs = [known[row] for row in spread_out(space, space.parse(known), NETWORKS)]
    outcome = measure_networks(
        space,
        target,
        archs,
        store=store,
        rounds=ROUNDS,
        clock=model.clock,
        workspace=workspace,
        progress=progress,
    )
    fresh = bring_up(space, model, outcome.observations)
    if fresh is None:
        raise DeviceError(f"None of {len(archs)} networks could be measured on {target}.", "See: fleetfront doctor")
    save_fit(fresh.model, workspace or Workspace.default())
    ratio = np.log(fresh.measured / fresh.predicted)
    lower, upper = np.quantile(ratio, (0.25, 0.75))
    return Recalibrated(
        model=fresh.model,
        level=float(np.exp(np.median(ratio))),
        error_before=_mape(fresh.predicted, fresh.measured),
        error_after=_mape(fresh.left_out, fresh.measured),
        networks=int(fresh.measured.size),
        is_busy=fresh.model.is_busy or bool((upper - lower) / 2 > RESTLESS),
    )


def _mape(predicted: FloatArray, measured: FloatArray) -> float:
    return float(100 * np.mean(np.abs(predicted / measured - 1)))
