"""Bring a latency model up to the present sitting with a handful of networks measured again."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fleetfront.errors import DeviceError, InputError
from fleetfront.pipelines.fit.fit import other_sittings
from fleetfront.pipelines.fit.today import BroughtUp, bring_up
from fleetfront.pipelines.measure.profile import measure_networks
from fleetfront.plain import to_plain
from fleetfront.predictors.table.calibrated import CalibratedTable, FittedModel
from fleetfront.predictors.table.fit_files import save_fit
from fleetfront.predictors.table.fitting import learn_spread
from fleetfront.predictors.table.intervals import APART_NS
from fleetfront.profilers.kinds.catalogue import OpenAgent
from fleetfront.profilers.plan import spread_out
from fleetfront.profilers.reading.observations import Observations, read_observations
from fleetfront.profilers.reading.sittings import FEWEST_IN_COMMON, RESTLESS
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import Clock, FloatArray
from fleetfront.spaces.base import SearchSpace
from fleetfront.targets import Target
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
        unpromised: why nothing is promised of other sittings; empty where something is.
    """

    model: FittedModel
    level: float
    error_before: float
    error_after: float
    networks: int
    is_busy: bool
    unpromised: str = ""

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
            "not_promised": self.unpromised or None,
            "between_sittings": to_plain(self.model.between_sittings),
            "other_programs": None if self.model.others is None else self.model.others.to_json(),
        }


def sit_again(
    store: Store,
    space: SearchSpace,
    target: Target,
    clock: Clock,
    *,
    workspace: Workspace | None = None,
    open_agent: OpenAgent | None = None,
    progress: Progress = SILENT,
) -> Observations:
    """Measure ``NETWORKS`` of the networks that a profile was calibrated on once more, as a sitting of its own.

    Raises:
        InputError: they are not in the store.
        DeviceError: the device is lost.
    """
    profiled = read_observations(store, target, space.name, clock)
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
        clock=clock,
        workspace=workspace,
        open_agent=open_agent,
        progress=progress,
    )
    return outcome.observations


def end_long_profile(
    store: Store,
    space: SearchSpace,
    profiled: Observations,
    *,
    workspace: Workspace | None = None,
    open_agent: OpenAgent | None = None,
    progress: Progress = SILENT,
) -> bool:
    """End a profile that began at least ``APART_NS`` ago with a second sitting, so that its fit knows two.

    True if it did; not where too few networks were calibrated on. Raises what ``sit_again`` raises.
    """
    took_ns = time.time_ns() - profiled.started_ns
    if took_ns < APART_NS or len(profiled.visits.get(Role.CALIBRATION, {})) < FEWEST_IN_COMMON:
        return False
    minutes = round(took_ns / 60e9)
    progress.note(f"After {minutes} min, {NETWORKS} networks once more: they tell how far sittings differ.")
    sit_again(
        store,
        space,
        profiled.target,
        profiled.clock,
        workspace=workspace,
        open_agent=open_agent,
        progress=progress,
    )
    return True


def bring_up_and_learn(store: Store, space: SearchSpace, model: FittedModel, seen: Observations) -> BroughtUp | None:
    """The model for the sitting of ``seen``, as ``bring_up`` makes it, with the spread that all known sittings tell."""
    fresh = bring_up(space, model, seen)
    if fresh is None:
        return None
    others = other_sittings(store, seen, model.statistic)
    spread = learn_spread(space, seen, model.statistic, others).of_another_sitting()
    between = spread if spread.sittings else fresh.model.between_sittings
    return replace(fresh, model=replace(fresh.model, between_sittings=between))


def recalibrate(
    store: Store,
    space: SearchSpace,
    model: FittedModel,
    workspace: Workspace | None = None,
    progress: Progress = SILENT,
) -> Recalibrated:
    """Measure ``NETWORKS`` of the model's calibration networks again, and save the model with a, b, c of today.

    How far sittings differ it learns from this one and all others, its profile's among them.

    Raises:
        InputError: the networks that the model was calibrated on are not in the store.
        DeviceError: the device is lost, or none of them could be measured.
    """
    target = model.target
    seen = sit_again(store, space, target, model.clock, workspace=workspace, progress=progress)
    fresh = bring_up_and_learn(store, space, model, seen)
    if fresh is None:
        raise DeviceError(f"None of {NETWORKS} networks could be measured on {target}.", "See: fleetfront doctor")
    save_fit(fresh.model, workspace or Workspace.default())
    ratio = np.log(fresh.measured / fresh.predicted)
    lower, upper = np.quantile(ratio, (0.25, 0.75))
    return Recalibrated(
        model=fresh.model,
        unpromised=CalibratedTable(space, fresh.model).unpromised,
        level=float(np.exp(np.median(ratio))),
        error_before=_mape(fresh.predicted, fresh.measured),
        error_after=_mape(fresh.left_out, fresh.measured),
        networks=int(fresh.measured.size),
        is_busy=fresh.model.is_busy or bool((upper - lower) / 2 > RESTLESS),
    )


def _mape(predicted: FloatArray, measured: FloatArray) -> float:
    return float(100 * np.mean(np.abs(predicted / measured - 1)))
