"""Fit: from the store to latency models on disk, judged on networks they have not seen; what of it is told is in
``fit.report``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.errors import InputError, unknown
from fleetfront.pipelines.fit.report import ClockFit, FitOutcome, WorstBlock, WorstNetwork, fit_report
from fleetfront.predictors.scores import score
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.predictors.table.fit_files import (
    report_path,
    save_fit,
    store_name,
    store_replaced,
    write_json,
)
from fleetfront.predictors.table.fitting import Fitted, fit_model, measured_networks, quick_error, without_strangers
from fleetfront.predictors.table.warnings import fit_warnings, replaced_store_warning
from fleetfront.profilers.reading.observations import Observations, choose_statistic, read_clocks, read_observations
from fleetfront.profilers.reading.rows import collector_at_rest, preferred_campaign
from fleetfront.profilers.reading.sittings import SittingRatio, compare_sittings
from fleetfront.profilers.reading.verdict import find_floor
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import LATENCY, METRICS, Aggregation, Clock, Metric
from fleetfront.spaces.base import SearchSpace
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fleetfront.quantities import FloatArray

__all__ = ["fit_all", "fit_report", "fit_target", "other_metrics", "quick_error"]

#: How many of the worst blocks and networks an outcome names.
SHOWN = 5


def fit_target(
    store: Store,
    target: Target,
    space: SearchSpace,
    clock: Clock | None = None,
    workspace: Workspace | None = None,
    campaigns: Sequence[str] | None = None,
    metric: Metric = LATENCY,
) -> FitOutcome:
    """Fit a model for every clock that the blocks were measured with, and save each with its report beside it.

    Of a metric that was measured of networks alone, blocks have the shares that they have of the latency.

    The chosen clock is ``clock``, by default thread-CPU for one thread where it was measured (the steadier one), else
    wall. ``campaigns`` is passed on to ``read_observations``.

    Raises:
        InputError: if no block was measured, or not under ``clock``; the metric is no sum over blocks; or the model
            cannot be written.
        MissingDependency: if the packages of the extra ``models`` are not installed.
    """
    if metric.aggregation != Aggregation.SUM:
        raise InputError(
            f"The {metric.title} of a network is no sum over its blocks, so that no table of blocks tells it.",
            f"Import it for whole networks: fleetfront import table FILE --metric {metric.name} --space {space.name}",
        )
    clocks = _clocks(store, target, space, clock, metric)
    place = workspace or Workspace.default()
    fits = []
    # The rows of all clocks stay in memory meanwhile, and each look for circles would go through them.
    with collector_at_rest():
        for read in read_clocks(store, target, space.name, clocks, campaigns, metric=metric):
            seen = without_strangers(read, space)
            is_latency = metric == LATENCY
            sittings = other_sittings(store, seen, choose_statistic(seen)) if is_latency else []
            shape = None if is_latency or Role.BLOCK in seen.visits else _latency_beside(store, seen, space)
            fits.append(_fit_clock(seen, space, place, store.path, seen.clock == clocks[0], sittings, shape))
    outcome = FitOutcome(tuple(fits))
    for fit in outcome.fits:
        write_json(report_path(fit.path), fit_report(FitOutcome((fit,))))
    return outcome


def fit_all(store: Store, target: Target, space: SearchSpace, clock: Clock | None = None) -> dict[str, Any]:
    """``fit_report`` of the latency, with those of ``other_metrics``. Raises what ``fit_target`` does."""
    further = other_metrics(store, target, space)
    report = fit_report(fit_target(store, target, space, clock))
    return report | {
        "other_metrics": [fit_report(fit_target(store, target, space, metric=metric)) for metric in further]
    }


def other_metrics(store: Store, target: Target, space: SearchSpace) -> tuple[Metric, ...]:
    """Metrics besides latency for ``fit_target``: sums, measured of calibration networks in its sitting."""
    row = preferred_campaign(store, target, space.name)
    if row is None:
        return ()
    rows = {
        metric: store.measurements(
            target=target, space=space.name, role=Role.CALIBRATION, metric=metric.name, campaigns=[row.id]
        )
        for metric in METRICS.values()
        if metric != LATENCY and metric.aggregation == Aggregation.SUM
    }
    return tuple(metric for metric, found in rows.items() if any(row.error is None for row in found))


def _latency_beside(store: Store, seen: Observations, space: SearchSpace) -> Observations:
    """The latency that the campaign of ``seen`` measured, under its preferred clock."""
    first = _clocks(store, seen.target, space, None, LATENCY)[0]
    return read_observations(store, seen.target, space.name, first, [seen.campaign] if seen.campaign else None)


def _clocks(store: Store, target: Target, space: SearchSpace, wanted: Clock | None, metric: Metric) -> list[Clock]:
    """Clocks under which blocks were measured, for other metrics than latency also networks; the first to choose."""
    roles = (Role.BLOCK,) if metric == LATENCY else (Role.BLOCK, Role.CALIBRATION)
    found = {
        holding.clock
        for holding in store.holdings(target, space.name)
        if holding.metric == metric.name and holding.role in roles
    }
    if not found:
        what = "No block" if metric == LATENCY else f"The {metric.title} of no block or calibration network"
        raise InputError(
            f"{what} of {space.name} has been measured on {target}.",
            f"Run: fleetfront profile {target.options} --space {space.name}",
        )
    if wanted is not None and wanted not in found:
        raise unknown(f"clock of {target}", wanted.value, [clock.value for clock in found])
    # A device's own clock is only read where the wall shows launches rather than the device.
    preference = [Clock.DEVICE, Clock.WALL, Clock.THREAD_CPU, Clock.UNKNOWN]
    if target.threads == 1:
        preference.insert(0, preference.pop(2))
    first = wanted or next(clock for clock in preference if clock in found)
    return [first, *(clock for clock in preference if clock in found and clock != first)]


def other_sittings(store: Store, seen: Observations, statistic: str) -> list[SittingRatio]:
    """How the target's other sittings on the same machine ran against that of ``seen``, by one statistic."""
    found = []
    for row in store.campaigns(target=seen.target, space=seen.space):
        if row.id == seen.campaign or row.environment != seen.environment:
            continue
        try:
            other = read_observations(store, seen.target, seen.space, seen.clock, [row.id])
        except InputError:
            # Not measured under this clock.
            continue
        ratio = compare_sittings(seen, other, statistic)
        found += [] if ratio is None else [ratio]
    return found


def _fit_clock(
    observations: Observations,
    space: SearchSpace,
    workspace: Workspace,
    store: Path,
    is_preferred: bool,
    sittings: Sequence[SittingRatio],
    shape: Observations | None = None,
) -> ClockFit:
    fitted = fit_model(space, observations, is_preferred=is_preferred, sittings=sittings, shape=shape)
    fitted = replace(fitted, model=replace(fitted.model, store=store_name(workspace, store)))
    replaced = replaced_store_warning(fitted.model, store_replaced(workspace, fitted.model), store)
    path = save_fit(fitted.model, workspace)
    table = CalibratedTable(space, fitted.model)
    # Networks that were held out of a sitting are judged by what the model says of that sitting.
    then = CalibratedTable(space, fitted.model.in_its_sitting)
    statistic = fitted.model.statistic
    held_out = measured_networks(observations, space, Role.VALIDATION, statistic)
    scores = plain_scores = None
    worst: tuple[WorstNetwork, ...] = ()
    if held_out.ms.size:
        estimate = then.predict(held_out.genotypes)
        scores = score(estimate.mean, held_out.ms, estimate.same_sitting)
        plain_scores = score(table.lookup_ms(held_out.genotypes), held_out.ms)
        worst = _worst_networks(space.arch_ids(held_out.genotypes), held_out.ms, estimate.mean, estimate.same_sitting)
    return ClockFit(
        fitted,
        table,
        path,
        scores,
        plain_scores,
        *find_floor(observations, statistic),
        _worst_blocks(fitted),
        worst,
        (*fit_warnings(fitted.model, space), *replaced),
        observations.seconds,
        dict(observations.errors),
    )


def _worst_networks(
    archs: Sequence[str], measured: FloatArray, predicted: FloatArray, std: FloatArray
) -> tuple[WorstNetwork, ...]:
    order = np.argsort(-np.abs(predicted / measured - 1), kind="stable")[:SHOWN]
    return tuple(WorstNetwork(archs[i], float(measured[i]), float(predicted[i]), float(std[i])) for i in order)


def _worst_blocks(fitted: Fitted) -> tuple[WorstBlock, ...]:
    table = fitted.model.table
    order = np.lexsort((-table.ms, -table.relative_std))[:SHOWN]
    return tuple(
        WorstBlock(table.keys[i], float(table.ms[i]), float(table.relative_std[i]), table.filled[i].value)
        for i in order
    )
