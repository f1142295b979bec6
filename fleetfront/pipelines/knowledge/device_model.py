"""Open the cost model of one thing that is known of a device."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from pathlib import Path

from fleetfront.device_configs.loader import device_names, load_device
from fleetfront.errors import InputError
from fleetfront.pipelines.knowledge.known import Kind, Known
from fleetfront.predictors.base import CostModel
from fleetfront.predictors.few_shot.files import load_few_shot
from fleetfront.predictors.operators.model import OperatorEstimate
from fleetfront.predictors.operators.work import NetworkWork
from fleetfront.predictors.table.calibrated import CalibratedTable, FittedModel
from fleetfront.predictors.table.fit_files import store_of
from fleetfront.predictors.table.fitting import fit_model
from fleetfront.predictors.table.learnt import LearntTable, SummaryRegression
from fleetfront.predictors.table.networks import load_network_table
from fleetfront.predictors.table.warnings import FOREIGN, changes, fit_warnings, other_store_warning, stale_warnings
from fleetfront.profilers.kinds.base import DescribesAtHand
from fleetfront.profilers.kinds.catalogue import find_kind
from fleetfront.profilers.reading.observations import read_observations
from fleetfront.profilers.store.store import Store
from fleetfront.spaces.base import KnownByTables, SearchSpace
from fleetfront.targets import Target


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """A device's cost model, the target that it is of, and what speaks against trusting it.

    Attributes:
        holds_precision: somebody named the precision of its target, so that no other is meant.
    """

    name: str
    target: Target
    model: CostModel
    warnings: tuple[str, ...] = ()
    holds_precision: bool = False


class ForeignFit(InputError):
    """A fit is of another machine or another runtime than what is at hand."""


class NoFit(InputError):
    """There is no fit of a target that a device was narrowed to."""


class ModelOpener:
    """Opens models of one space; what several of them count of its networks is counted once."""

    def __init__(self, space: SearchSpace, store: Path) -> None:
        self._space, self._store = space, store

    def open(self, known: Known) -> DeviceModel:
        """The model. Raises InputError if its file is damaged or its numbers make none."""
        if known.error is not None:
            raise known.error
        if known.fit is not None:
            environment = present_environment(known.fit.target)
            stale = stale_warnings(known.fit, self._space, environment, time.time_ns())
            made_of = None if known.path is None else store_of(known.path, known.fit)
            elsewhere = other_store_warning(known.fit.target, known.fit.space, made_of, self._store)
            warnings = map(str, (*fit_warnings(known.fit, self._space), *stale, *elsewhere))
            return DeviceModel(known.device, known.fit.target, CalibratedTable(self._space, known.fit), tuple(warnings))
        if known.few_shot is not None:
            report = known.few_shot.report
            warning = (
                f"Learnt from {known.items} networks measured on it and from other devices: about {report.error:.1f} % "
                f"off ({report.mape:.1f} % on those, each left out in turn)."
            )
            few = known.few_shot
            model = load_few_shot(few.path, self._work)
            elsewhere = other_store_warning(few.target, few.space, few.store, self._store)
            return DeviceModel(known.device, few.target, model, (warning, *report.warnings, *map(str, elsewhere)))
        # A device whose config is broken says so here, where its model is asked for.
        target = known.target or load_device(known.device).target
        if known.estimate is not None:
            estimate = OperatorEstimate(self._work, known.estimate, target)
            return DeviceModel(known.device, target, estimate, (known.estimate.warning,))
        with Store(self._store, read_only=True) as store:
            if known.kind is Kind.NETWORKS:
                step = load_device(known.device).timing_resolution_ms if known.device in device_names() else None
                table = load_network_table(
                    store, self._space, target, clock=known.clock, resolution_ms=step, metric=known.metric
                )
                if isinstance(self._space, KnownByTables):
                    regression = SummaryRegression.fit(self._space, table.genotypes, table.ms)
                    off = 100 * regression.relative_std
                    warning = f"Learnt from {regression.networks} networks of a table: {off:.1f} % off on others of it."
                    return DeviceModel(known.device, target, LearntTable(regression, target, known.metric), (warning,))
                return DeviceModel(known.device, target, table)
            fit = fit_model(self._space, read_observations(store, target, self._space.name, known.clock)).model
        cautions = tuple(map(str, fit_warnings(fit, self._space)))
        return DeviceModel(known.device, target, CalibratedTable(self._space, fit), cautions)

    @functools.cached_property
    def _work(self) -> NetworkWork:
        return NetworkWork(self._space)


def present_environment(target: Target) -> dict[str, object]:
    """Describe a target as it is now, without touching it; empty for most kinds of device."""
    kind = find_kind(target.device)
    return kind.describe_now(target) if isinstance(kind, DescribesAtHand) else {}


def check_is_of_here(fit: FittedModel) -> None:
    """Raise ForeignFit where the device at hand is another machine, or has another runtime, than the fit's sitting."""
    changed = changes(fit.environment, present_environment(fit.target))
    foreign = [changed[name] for name in FOREIGN if name in changed]
    if foreign:
        base = f"{fit.target.options} --space {fit.space}"
        raise ForeignFit(
            f"The model of {fit.space} on {fit.target} is of another sitting than this machine's: since it was fitted, "
            f"{' and '.join(foreign)}.",
            f"Base it on ten networks of today: fleetfront fit {base} --recalibrate. Or profile and fit again.",
        )
