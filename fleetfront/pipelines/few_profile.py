"""``profile --few K``: choose the K networks that tell most, measure them, and learn the rest from other devices."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fleetfront.errors import DeviceError, InputError
from fleetfront.pipelines.few_shot import device_facts, find_teacher
from fleetfront.pipelines.profile import Budget, ProfileOutcome, profile_space
from fleetfront.predictors.few_shot import FewShotFit
from fleetfront.predictors.few_shot_files import save_few_shot
from fleetfront.predictors.fitting import measured_networks
from fleetfront.predictors.scores import Scores, score
from fleetfront.profilers.base import Agent
from fleetfront.profilers.local_cpu import LocalCpuAgent
from fleetfront.profilers.observations import choose_statistic
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.records import Role
from fleetfront.profilers.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import Clock
from fleetfront.spaces.base import SearchSpace
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

SCHEMA = "fleetfront.fit/1"

#: Visits of each network: with few networks, each must be known well.
ROUNDS = 8
#: Fewer tell less of a device than what other devices say anyway.
FEWEST = 3


@dataclass(frozen=True, slots=True)
class FewOutcome:
    """What few measurements of a device gave.

    Attributes:
        profile: the measurements and the verdict on them.
        fit: the model and how it came about.
        path: its file.
        held_out: errors on networks that were measured and not learnt from; None if none were asked for.
    """

    profile: ProfileOutcome
    fit: FewShotFit
    path: Path
    held_out: Scores | None

    def to_json(self) -> dict[str, Any]:
        """The fields of ``fit --json`` that a model from few measurements has, and ``few``: how it was learnt."""
        seen, report = self.profile.observations, self.fit.report
        return {
            "schema": SCHEMA,
            "space": seen.space,
            "target": str(seen.target),
            "model": "operator costs learnt from few networks" if report.serves == "transfer" else "pooled XGBoost",
            "tier": self.fit.model.tier.value,
            "clock": seen.clock.value,
            "held_out": None if self.held_out is None else self.held_out.to_json(),
            "few": report.to_json(),
            "profile_seconds": self.profile.result.seconds,
            "path": str(self.path),
        }


def profile_few(
    space: SearchSpace,
    target: Target,
    count: int,
    *,
    store: Store,
    workspace: Workspace | None = None,
    validation: int = 0,
    seed: int = 0,
    rounds: int = ROUNDS,
    seconds: float = math.inf,
    clock: Clock | None = None,
    open_agent: Callable[[Target], Agent] = LocalCpuAgent,
    progress: Progress = SILENT,
) -> FewOutcome:
    """Measure ``count`` chosen networks and ``validation`` random ones, fit, save.

    The same call continues a killed one. Measuring ends after ``rounds`` visits of each, or ``seconds``.

    Raises:
        InputError: ``count`` is below ``FEWEST``, or nothing is known of other devices.
        DeviceError: fewer than ``FEWEST`` of the networks could be measured; the device is lost.
    """
    if count < FEWEST:
        raise InputError(f"{count} networks are too few to learn a device from.", f"Use --few {FEWEST} or more.")
    place = workspace or Workspace.default()
    progress.start("learn from known devices", 1)
    teacher = find_teacher(space, workspace=place, store=store.path, unknown_device=target.device, seed=seed)
    chosen = tuple(space.arch_ids(teacher.choose(count, np.random.default_rng(seed))))
    progress.finish()
    outcome = profile_space(
        space,
        target,
        store=store,
        budget=Budget("few", seconds, calibration=0),
        rounds=rounds,
        options=PlanOptions(
            seed=seed, calibration=0, validation=validation, blocks="none", networks={Role.CALIBRATION.value: chosen}
        ),
        clock=clock,
        workspace=place,
        open_agent=open_agent,
        progress=progress,
    )
    seen = outcome.observations
    statistic = choose_statistic(seen)
    few = measured_networks(seen, space, Role.CALIBRATION, statistic)
    if len(few.ms) < FEWEST:
        raise DeviceError(
            f"Only {len(few.ms)} of {count} networks could be measured on {target}.",
            "See their errors in the report, and: fleetfront doctor",
        )
    progress.start("fit, trying the method on known devices", 1)
    fit = teacher.fit(target, few.genotypes, few.ms, facts=device_facts(target.device))
    path = save_few_shot(fit, place, space.name, seen.clock)
    progress.finish()
    held_out = measured_networks(seen, space, Role.VALIDATION, statistic)
    scores = None
    if len(held_out.ms):
        estimate = fit.model.predict(held_out.genotypes)
        scores = score(estimate.mean, held_out.ms, estimate.std)
    return FewOutcome(outcome, fit, path, scores)
