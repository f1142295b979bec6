"""Bring a latency model up to the present sitting with a handful of networks measured again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fleetfront.errors import DeviceError, InputError
from fleetfront.pipelines.measure.profile import measure_networks
from fleetfront.predictors.table.calibrated import CalibratedTable, FittedModel
from fleetfront.predictors.table.calibration import Calibration
from fleetfront.predictors.table.fit_files import save_fit
from fleetfront.predictors.table.fitting import measured_networks
from fleetfront.predictors.table.intervals import TYPICAL_BETWEEN, relative_std
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
            f"Profile it again: fleetfront profile --device {target.device} --runtime {target.runtime} "
            f"--space {space.name}",
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
    networks = measured_networks(outcome.observations, space, Role.CALIBRATION, model.statistic)
    if not networks.ms.size:
        raise DeviceError(f"None of {len(archs)} networks could be measured on {target}.", "See: fleetfront doctor")
    predicted = CalibratedTable(space, model.in_its_sitting).predict(networks.genotypes).mean
    scale, shift = fit_drift(predicted, networks.ms)
    left_out = predicted_by_others(predicted, networks.ms)
    fresh = replace(
        model,
        calibration=drifted(model.calibration, scale, shift),
        relative_std=spread_here(model, networks.ms / left_out - 1),
        between_sittings=model.between_sittings.of_another_sitting(),
        environment=dict(outcome.observations.environment),
        fitted_ns=outcome.observations.started_ns,
        others=outcome.observations.others,
    )
    save_fit(fresh, workspace or Workspace.default())
    ratio = np.log(networks.ms / predicted)
    lower, upper = np.quantile(ratio, (0.25, 0.75))
    return Recalibrated(
        model=fresh,
        level=float(np.exp(np.median(ratio))),
        error_before=_mape(predicted, networks.ms),
        error_after=_mape(left_out, networks.ms),
        networks=int(networks.ms.size),
        is_busy=fresh.is_busy or bool((upper - lower) / 2 > RESTLESS),
    )


def fit_drift(predicted: FloatArray, measured: FloatArray) -> tuple[float, float]:
    """Scale and shift (ms) for which ``scale * predicted + shift`` is nearest ``measured``, both float64[n] in ms.

    Relative least squares with a prior (ridge): scales spread by ``TYPICAL_BETWEEN`` around 1, shifts by that share of
    the median network around 0, against errors of single networks of half as much. So few networks move the level,
    which they tell well, and the shift, which they tell badly, only as far as they must.
    """
    middle = float(np.median(measured))
    design = np.stack([predicted / measured, middle / measured], axis=1)
    weight = (0.5 * TYPICAL_BETWEEN) ** 2
    # The scale's own prior is wide, ten times what is typical: a device may have changed for good.
    penalty = np.diag([weight / (10 * TYPICAL_BETWEEN) ** 2, weight / TYPICAL_BETWEEN**2])
    start = np.array([1.0, 0.0])
    step = np.linalg.solve(design.T @ design + penalty, design.T @ (1 - design @ start))
    return float(1 + step[0]), float(step[1] * middle)


def predicted_by_others(predicted: FloatArray, measured: FloatArray) -> FloatArray:
    """Each network's ms by the drift that the others show: ``fit_drift`` without it, float64[n]."""
    if predicted.size < 2:
        return predicted
    drifts = (fit_drift(np.delete(predicted, i), np.delete(measured, i)) for i in range(predicted.size))
    return np.array([scale * ms + shift for ms, (scale, shift) in zip(predicted, drifts, strict=True)])


def spread_here(model: FittedModel, errors: FloatArray) -> float:
    """``relative_std`` of the model in a sitting where ``errors`` float64[n], out of sample, were seen.

    The model's own, or theirs where chance does not explain how much wider it is: by the 95 % point of F for the two
    variances. So a model that was brought to another machine, or to a busy one, says how far off it is there.
    """
    from scipy.special import fdtri

    degrees = errors.size - 2
    before = max(model.calibration.networks - model.calibration.terms, 1)
    if degrees < 1 or np.mean(errors**2) <= model.relative_std**2 * float(fdtri(degrees, before, 0.95)):
        return model.relative_std
    return relative_std(errors, 2)


def drifted(calibration: Calibration, scale: float, shift: float) -> Calibration:
    """The calibration of a target that takes ``scale`` times as long and ``shift`` ms more."""
    return replace(
        calibration,
        a=scale * calibration.a,
        b=scale * calibration.b + shift,
        c=scale * calibration.c,
        floor_ms=scale * calibration.floor_ms,
    )


def _mape(predicted: FloatArray, measured: FloatArray) -> float:
    return float(100 * np.mean(np.abs(predicted / measured - 1)))
