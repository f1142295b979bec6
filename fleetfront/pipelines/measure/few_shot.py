"""Make the few-shot model of a device: ``profile --few K`` measures its networks, ``fit`` takes those of a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.device_configs.loader import device_names, load_device
from fleetfront.errors import DeviceError, InputError
from fleetfront.pipelines.fit.teachers import find_teacher
from fleetfront.pipelines.importing.table_file import MOST_IN_ORDER
from fleetfront.pipelines.knowledge.known import device_facts
from fleetfront.pipelines.measure.profile import Budget, ProfileOutcome, profile_space
from fleetfront.predictors.few_shot.basis import count_once
from fleetfront.predictors.few_shot.files import save_few_shot
from fleetfront.predictors.few_shot.model import Teacher
from fleetfront.predictors.few_shot.report import FewShotFit
from fleetfront.predictors.scores import Scores, score
from fleetfront.predictors.table.fitting import Networks, measured_networks
from fleetfront.predictors.table.networks import load_network_table
from fleetfront.profilers.kinds.catalogue import OpenAgent
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.reading.observations import choose_statistic
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import LATENCY, Clock, Metric
from fleetfront.spaces.base import Genotypes, MayDisconnect, SearchSpace
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

SCHEMA = "fleetfront.fit/1"

#: Visits of each network: with few networks, each must be known well.
ROUNDS = 8
#: With more networks at hand, some are held out to judge the model.
FEWEST_TO_SPLIT = 12
#: More networks of one device change little: the model is linear in some twenty quantities.
MOST = 40
#: Fewer tell less of a device than what other devices say anyway.
FEWEST = 3
#: More are not few: measuring blocks then tells more.
MOST_CHOSEN = 200


@dataclass(frozen=True, slots=True)
class FewShotResult:
    """A few-shot model.

    Attributes:
        fit: the model and how it came about.
        path: its file.
        held_out: errors on networks that were measured and not learnt from; None if there are none.
    """

    space: str
    target: Target
    clock: Clock
    fit: FewShotFit
    path: Path
    held_out: Scores | None

    def to_json(self) -> dict[str, Any]:
        """The fields of ``fit --json`` that a few-shot model has, and ``few``: how it came about."""
        report = self.fit.report
        return {
            "schema": SCHEMA,
            "space": self.space,
            "target": str(self.target),
            "model": "operator costs learnt from few networks" if report.serves == "transfer" else "pooled XGBoost",
            "metric": self.fit.model.metric.name,
            "tier": self.fit.model.tier.value,
            "clock": self.clock.value,
            "held_out": None if self.held_out is None else self.held_out.to_json(),
            "few": report.to_json(),
            "path": str(self.path),
        }


@dataclass(frozen=True, slots=True)
class FewShotProfile:
    """Few measurements of a device with their verdict, and the model that they gave."""

    profile: ProfileOutcome
    result: FewShotResult

    def to_json(self) -> dict[str, Any]:
        """The profile's fields, and the model's under ``fit``."""
        result = self.result.to_json()
        return {**self.profile.to_json(), "fit": {**result, "profile_seconds": self.profile.result.seconds}}


def profile_few_shot(
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
    open_agent: OpenAgent | None = None,
    progress: Progress = SILENT,
) -> FewShotProfile:
    """Measure ``count`` chosen networks and ``validation`` random ones, fit, save.

    The same call continues a killed one. Measuring ends after ``rounds`` visits of each, or ``seconds``.

    Raises:
        InputError: ``count`` is below ``FEWEST`` or above ``MOST_CHOSEN``, or nothing is known of other devices.
        DeviceError: fewer than ``FEWEST`` of the networks could be measured; the device is lost.
    """
    _check(count)
    place = workspace or Workspace.default()
    facts = device_facts(target.device)
    progress.start("learn from known devices", 1)
    teacher = find_teacher(
        space, workspace=place, store=store.path, unknown_device=target.device, seed=seed, own_files=True
    )
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
    measured = measured_networks(seen, space, Role.CALIBRATION, statistic)
    if len(measured.ms) < FEWEST:
        raise DeviceError(
            f"Only {len(measured.ms)} of {count} networks could be measured on {target}.",
            "See their errors in the report, and: fleetfront doctor",
        )
    held_out = measured_networks(seen, space, Role.VALIDATION, statistic)
    origin = _Origin(store.path)
    found = _learn(teacher, target, facts, measured, held_out, seen.clock, place, progress, origin)
    return FewShotProfile(outcome, found)


def _check(count: int) -> None:
    if count < FEWEST:
        raise InputError(f"{count} networks are too few to learn a device from.", f"Use --few {FEWEST} or more.")
    if count > MOST_CHOSEN:
        raise InputError(
            f"{count} networks are more than --few is for.",
            f"Use --few {MOST_CHOSEN} or less, or leave --few out to measure blocks.",
        )


def learn_from_table(
    store: Store,
    target: Target,
    space: SearchSpace,
    *,
    workspace: Workspace | None = None,
    seed: int = 0,
    metric: Metric = LATENCY,
    progress: Progress = SILENT,
) -> FewShotResult:
    """The model of a device of which the store holds whole networks and no blocks, an imported table for instance.

    Up to ``MOST`` of them, chosen as ``profile.few_shot`` would, teach the model; the others are held out.

    Raises InputError with fewer than ``FEWEST`` networks, or if nothing is known of other devices.
    """
    place = workspace or Workspace.default()
    facts = device_facts(target.device)
    table = load_network_table(store, space, target, metric=metric)
    genotypes, ms = _usable(space, table.genotypes, table.ms)
    measured_once = count_once(ms)
    genotypes, ms = genotypes[measured_once], ms[measured_once]
    if len(ms) < FEWEST:
        raise InputError(
            f"The store holds {len(ms)} networks of {space.name} on {target}, too few to learn from.",
            f"Import or measure {FEWEST} or more.",
        )
    # What was measured here were this project's files, which profile --few chose.
    is_own = table.clock is not Clock.UNKNOWN
    progress.start("learn from known devices", 1)
    teacher = find_teacher(
        space,
        workspace=place,
        store=store.path,
        unknown_device=target.device,
        seed=seed,
        own_files=is_own,
        metric=metric,
    )
    count = len(ms) if len(ms) <= FEWEST_TO_SPLIT else min(MOST, len(ms) - len(ms) // 4)
    chosen = teacher.choose(count, np.random.default_rng(seed), genotypes) if count < len(ms) else genotypes
    progress.finish()
    names = {row.tobytes() for row in chosen}
    is_chosen = np.array([row.tobytes() in names for row in genotypes])
    measured, held_out = (Networks(genotypes[rows], ms[rows]) for rows in (is_chosen, ~is_chosen))
    origin = _Origin(store.path, is_own or count < len(ms), not is_own and _are_in_order(space, genotypes))
    return _learn(teacher, target, facts, measured, held_out, table.clock, place, progress, origin)


@dataclass(frozen=True, slots=True)
class _Origin:
    """How measurements came about, by default as ``profile --few`` makes them, round after round; and their store."""

    store: Path | None = None
    are_chosen: bool = True
    in_order: bool = False


def _are_in_order(space: SearchSpace, genotypes: Genotypes) -> bool:
    """True for a small imported table, unless it is sorted by architecture: its rows may be in order of measuring."""
    names = space.arch_ids(genotypes)
    return len(names) <= MOST_IN_ORDER and list(names) != sorted(names)


def _resolution_ms(device: str) -> float:
    """The step in which numbers of a device are logged, 0 if its config does not say."""
    known = load_device(device).timing_resolution_ms if device in device_names() else None
    return known or 0.0


def _usable(space: SearchSpace, genotypes: Genotypes, ms: FloatArray) -> tuple[Genotypes, FloatArray]:
    """Canonical networks whose output depends on their input."""
    kept = ~space.disconnected(genotypes) if isinstance(space, MayDisconnect) else np.ones(len(ms), np.bool_)
    return space.canonical(genotypes[kept]), ms[kept]


def _learn(
    teacher: Teacher,
    target: Target,
    facts: Mapping[str, float],
    measured: Networks,
    held_out: Networks,
    clock: Clock,
    workspace: Workspace,
    progress: Progress,
    origin: _Origin | None = None,
) -> FewShotResult:
    progress.start("fit, trying the method on known devices", 1)
    step = _resolution_ms(target.device) if teacher.metric == LATENCY else 0.0
    how = origin or _Origin()
    fit = teacher.fit(
        target,
        measured.genotypes,
        measured.ms,
        facts=facts,
        step_ms=step,
        are_chosen=how.are_chosen,
        in_order=how.in_order,
    )
    path = save_few_shot(fit, workspace, teacher.space.name, clock, how.store)
    progress.finish()
    scores = None
    if len(held_out.ms):
        estimate = fit.model.predict(held_out.genotypes)
        scores = score(estimate.mean, held_out.ms, estimate.std)
    return FewShotResult(teacher.space.name, target, clock, fit, path, scores)
