"""Collect the fronts of a searched problem as records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.predictors.base import (
    CostModel,
    HasClock,
    HasHeldOut,
    HasRange,
    TellsParts,
    TellsTasks,
    TellsTiers,
    precision_of,
    predict_covered,
    quality_of,
)
from fleetfront.search.choices import ArchivedAccuracy, describe_choices
from fleetfront.search.front import FULL, hypervolume, knee, two_objectives
from fleetfront.search.metrics import STRANGE, WRITTEN, TaskLoss
from fleetfront.search.problem import Problem
from fleetfront.search.results import PART, SIZE_KEYS, DeviceFront, FrontPoint, Fronts, precision_beside
from fleetfront.search.run import SearchRun, one_thread
from fleetfront.spaces.base import Genotypes, HasPrecisions


def collect_fronts(
    problem: Problem,
    run: SearchRun,
    verification: Mapping[str, Any] | None = None,
    shared: Mapping[str, Any] | None = None,
    errors: Mapping[str, str] | None = None,
    *,
    explain: bool = False,
) -> Fronts:
    """The fronts of a problem's archive after a run; ``errors`` say why further devices have none. With ``explain``
    each front says what it chose, too."""
    counter = problem.counter
    devices = tuple(_device_front(problem, i, run.references[i]) for i in range(len(problem.targets)))
    return Fronts(
        space=problem.space.name,
        strategy=run.strategy,
        seed=run.seed,
        evaluations=run.evaluations,
        seconds=run.seconds,
        accuracy_source=problem.accuracy.source,
        accuracy_tier=problem.accuracy.tier.value,
        devices=_explained(problem, devices) if explain else devices,
        audit={
            "requested": counter.requested,
            "evaluated": counter.evaluated,
            "repeated": counter.repeated,
            "recalled": counter.recalled,
            "adopted": counter.adopted,
            "failed": counter.failed,
        },
        trace=tuple(
            {"evaluations": p.evaluations, "seconds": round(p.seconds, 3), "hypervolume": list(p.hypervolume)}
            for p in run.trace
        ),
        statement=run.statement,
        verification=verification,
        shared=shared,
        errors=errors or {},
        drops=problem.accuracy.costs_of_precisions() if isinstance(problem.accuracy, TellsTiers) else {},
    )


def judge_held_out(problem: Problem, rows: NDArray[np.intp]) -> tuple[list[float | None], list[float]]:
    """Accuracies of archive rows on images that chose nothing, and their standard deviations; None where none are.

    This is no part of the search, so it is not counted.
    """
    if not isinstance(problem.accuracy, HasHeldOut) or not len(rows):
        return [None] * len(rows), [0.0] * len(rows)
    judged = problem.accuracy.held_out(problem.archive.genotypes[rows])
    return list(quality_of(problem.accuracy).shown(judged.mean).tolist()), judged.std.tolist()


def _explained(problem: Problem, devices: tuple[DeviceFront, ...]) -> tuple[DeviceFront, ...]:
    """The fronts with what they chose."""
    space, quality = problem.space, quality_of(problem.accuracy)
    with one_thread()():
        known = ArchivedAccuracy.of(space, problem.archive)
        members = [problem.archive.genotypes[problem.front(i)] for i in range(len(devices))]
        return tuple(
            replace(front, choices=describe_choices(space, rows, target.cost, known, quality))
            for front, rows, target in zip(devices, members, problem.targets, strict=True)
        )


def _ties(problem: Problem, column: int, rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Other archive rows that equal each row of a front in every objective, to the last digit."""
    archive, found = problem.archive, []
    # What is not within a limit is on no front, however well it would fit.
    cost = np.where(problem.is_within(column, archive.cost, archive.extras), archive.cost[:, column], np.nan)
    for row, values in zip(rows, problem.objectives(column), strict=True):
        alike = np.flatnonzero(cost == cost[row])
        alike = alike[alike != row]
        found.append(alike[(problem.objectives(column, alike) == values).all(axis=1)])
    return found


def _further(problem: Problem, column: int, rows: NDArray[np.intp], genotypes: Genotypes) -> dict[str, list[Any]]:
    """The values that points hold beside latency and accuracy: by key, one for each row of a target's front."""
    more: dict[str, list[Any]] = {
        "macs": problem.space.macs(genotypes).tolist(),
        "params": problem.space.params(genotypes).tolist(),
    }
    if isinstance(problem.accuracy, HasRange) and len(rows):
        more["accuracy_is_beyond_range"] = problem.accuracy.beyond_range(genotypes).tolist()
    if isinstance(problem.accuracy, TellsTasks):
        scores = np.column_stack(
            [problem.archive.accuracy[rows], FULL - problem.archive.extras[rows][:, _tasks(problem)]]
        )
        for task, own in zip(problem.accuracy.tasks, scores.T, strict=True):
            more[f"{PART}{task.name}"] = task.shown(own).tolist()
    elif isinstance(problem.accuracy, TellsParts):
        more |= {f"{PART}{name}": values for name, values in problem.accuracy.parts(genotypes).items()}
    for index, metric in enumerate(problem.columns):
        if metric.is_of(column) and metric.target is not None and metric.model.metric != STRANGE:
            named = metric.model.metric
            if named.name in WRITTEN:
                more |= size_values(metric.model, genotypes)
            else:
                more[f"{named.name}_{named.unit}"] = problem.archive.extras[rows, index].tolist()
    if isinstance(problem.accuracy, TellsTiers):
        more["accuracy_tier"] = problem.accuracy.tiers(genotypes)
    return more


def _tasks(problem: Problem) -> list[int]:
    return [i for i, column in enumerate(problem.columns) if isinstance(column.model, TaskLoss)]


def size_values(model: CostModel, genotypes: Genotypes) -> dict[str, list[Any]]:
    """The values of ``SIZE_KEYS`` of n networks; None of those that the model does not cover."""
    found = predict_covered(model, genotypes)
    sizes, stds = ([v if math.isfinite(v) else None for v in part.tolist()] for part in (found.mean, found.std))
    return dict(zip(SIZE_KEYS, (sizes, stds, [found.tier.value] * len(genotypes)), strict=True))


def _accuracy_precision(problem: Problem, target: str) -> str:
    if isinstance(problem.accuracy, TellsTiers):
        return ""
    return precision_beside(target, precision_of(problem.accuracy))


def _device_front(problem: Problem, column: int, reference: tuple[float, ...]) -> DeviceFront:
    target = problem.targets[column]
    rows = problem.front(column)
    archive, quality = problem.archive, quality_of(problem.accuracy)
    genotypes = archive.genotypes[rows]
    estimate = target.cost.predict(genotypes)
    cost, accuracy = archive.cost[rows, column], archive.accuracy[rows]
    more = _further(problem, column, rows, genotypes)
    archs, stds = problem.space.arch_ids(genotypes), estimate.promised_std
    columns = [archs, cost, stds, quality.shown(accuracy), archive.accuracy_std[rows]]
    held_out, held_out_std = judge_held_out(problem, rows)
    precisions = (
        problem.space.precisions_of(genotypes) if isinstance(problem.space, HasPrecisions) else [""] * len(rows)
    )
    equal = [tuple(problem.space.arch_ids(archive.genotypes[ties])) for ties in _ties(problem, column, rows)]
    points = tuple(
        FrontPoint(
            arch,
            float(c),
            c_std,
            float(a),
            float(a_std),
            {name: more[name][i] for name in more},
            held_out[i],
            held_out_std[i],
            equal[i],
            precisions[i],
        )
        for i, (arch, c, c_std, a, a_std) in enumerate(zip(*columns, strict=True))
    )
    volume = hypervolume(problem.objectives(column), reference)
    clock = str(target.cost.clock) if isinstance(target.cost, HasClock) else ""
    plain = two_objectives(cost, accuracy)
    bend = int(plain[knee(cost[plain], accuracy[plain])]) if len(plain) else 0
    return DeviceFront(
        target.name,
        target.target,
        target.cost.tier.value,
        volume,
        reference,
        points,
        bend,
        target.limit,
        clock,
        target.cost.metric,
        objectives=(*problem.extras, *(f"{PART}{problem.columns[i].model.metric.name}" for i in _tasks(problem))),
        limits=dict(target.limits),
        quality=quality,
        tasks=problem.accuracy.tasks if isinstance(problem.accuracy, TellsTasks) else (),
        not_promised=estimate.unpromised,
        accuracy_precision=_accuracy_precision(problem, target.target),
    )
