"""Promise latencies of files for the sitting in which they are timed, by the networks that keep them company."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fleetfront.errors import InputError
from fleetfront.pipelines.fit.drift import drifted, fit_drift, predicted_by_others, spread_here
from fleetfront.pipelines.knowledge.device_model import check_is_of_here
from fleetfront.pipelines.measure.company import NETWORKS
from fleetfront.pipelines.measure.files import FileLatency
from fleetfront.pipelines.measure.promised import Promise, Promises
from fleetfront.predictors.table.calibrated import CalibratedTable, FittedModel
from fleetfront.predictors.table.fit_files import fit_path, load_fit, unmarked
from fleetfront.predictors.table.fitting import measured_networks
from fleetfront.predictors.table.warnings import has_aged
from fleetfront.profilers.kinds.base import DescribesAtHand
from fleetfront.profilers.kinds.catalogue import find_kind
from fleetfront.profilers.reading.observations import Observations
from fleetfront.profilers.reading.sittings import FEWEST_IN_COMMON
from fleetfront.profilers.records import Role
from fleetfront.quantities import Clock, FloatArray
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace


@dataclass(frozen=True, slots=True)
class BroughtUp:
    """A model brought up to a sitting.

    Attributes:
        measured: float64[k] ms of the calibration networks of that sitting.
        predicted: the same by the model as it was in its own sitting.
        left_out: the same by the model that the other networks brought up.
    """

    model: FittedModel
    measured: FloatArray
    predicted: FloatArray
    left_out: FloatArray


def bring_up(space: SearchSpace, model: FittedModel, seen: Observations) -> BroughtUp | None:
    """The model for the sitting of ``seen``, by the calibration networks in it; None where it has none."""
    networks = measured_networks(seen, space, Role.CALIBRATION, model.statistic)
    if not networks.ms.size:
        return None
    predicted = CalibratedTable(space, model.in_its_sitting).predict(networks.genotypes).mean
    left_out = predicted_by_others(predicted, networks.ms)
    fresh = replace(
        model,
        calibration=drifted(model.calibration, *fit_drift(predicted, networks.ms)),
        relative_std=spread_here(model, networks.ms / left_out - 1),
        between_sittings=model.between_sittings.of_another_sitting(),
        environment=dict(seen.environment),
        fitted_ns=seen.started_ns,
        others=seen.others,
    )
    return BroughtUp(fresh, networks.ms, predicted, left_out)


def company_of(model: FittedModel | None) -> int:
    """How many calibration networks keep files company: twice as many where the model's sitting has passed."""
    return 2 * NETWORKS if model is not None and is_past(model) else NETWORKS


def is_past(model: FittedModel) -> bool:
    """Tell whether the model's sitting began over an hour ago, or before this machine was started."""
    now_ns = time.time_ns()
    is_here = isinstance(find_kind(model.target.device), DescribesAtHand)
    return has_aged(model, now_ns) or (is_here and model.fitted_ns < now_ns - _up_ns(now_ns))


def _up_ns(now_ns: int) -> int:
    """Nanoseconds since this machine was started, sleep included; ``now_ns`` where it does not tell, as Linux does."""
    try:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    except AttributeError:
        return now_ns


def model_here(place: Workspace, space: str, target: Target, clock: Clock) -> CalibratedTable | None:
    """The model of a space on ``target`` in a workspace; None if it has none that can be read and holds here."""
    path = fit_path(place, space, target, clock)
    path = path if path.exists() else unmarked(path, target) or path
    if not path.exists():
        return None
    try:
        fit = load_fit(path)
        check_is_of_here(fit)
        return CalibratedTable(load_space(space), fit)
    except InputError:
        return None


def with_promises(
    latencies: Mapping[str, FileLatency], seen: Observations, table: CalibratedTable
) -> dict[str, FileLatency]:
    """Latencies by architecture, each with what the model promises of it; ``seen`` is of the sitting they are of."""
    ran = [arch for arch, latency in latencies.items() if latency.ms is not None]
    if not ran:
        return dict(latencies)
    space, genotypes = table.space, table.space.parse(ran)
    ever, fresh = table.predict(genotypes), bring_up(space, table.model, seen)
    count = 0 if fresh is None else int(fresh.measured.size)
    now: list[Promise | None] = [None] * len(ran)
    if fresh is not None and count >= FEWEST_IN_COMMON:
        estimate = CalibratedTable(space, fresh.model).predict(genotypes)
        # Timer, launch and caches differ from opening to opening, in one sitting, too.
        std = np.hypot(estimate.same_sitting, fresh.model.between_sittings.absolute_ms)
        now = [Promise(ms, spread) for ms, spread in zip(estimate.mean.tolist(), std.tolist(), strict=True)]
    found = dict(latencies)
    for arch, ms, std_ms, this in zip(ran, ever.mean.tolist(), ever.promised_std, now, strict=True):
        judged = None if latencies[arch].is_busy else latencies[arch].ms
        whenever = None if std_ms is None else Promise(ms, std_ms)
        promises = Promises(whenever, this, count, judged, ever.unpromised if whenever is None else "")
        found[arch] = replace(latencies[arch], promises=promises)
    return found
