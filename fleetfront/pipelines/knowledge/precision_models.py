"""Bring the fits of a device together that are the same but for their precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fleetfront.errors import InputError
from fleetfront.pipelines.knowledge.cost_models import device_models
from fleetfront.pipelines.knowledge.device_model import DeviceModel, NoFit
from fleetfront.predictors.base import HasClock
from fleetfront.predictors.precision_costs import PrecisionCosts
from fleetfront.profilers.kinds.catalogue import find_kind
from fleetfront.quantities import LATENCY, Metric, Tier
from fleetfront.runtimes.catalogue import place_of
from fleetfront.spaces.base import HasPrecisions
from fleetfront.targets import Target
from fleetfront.workspace import Workspace


def in_precisions(
    device: DeviceModel,
    space: HasPrecisions,
    *,
    workspace: Workspace | None = None,
    store: Path | None = None,
    metric: Metric = LATENCY,
) -> DeviceModel:
    """A device with the models of all precisions of ``space`` in one: its own, and the fits that are the same but for
    the precision, under its clock.

    Raises InputError where the device has no fit in one of them.
    """
    clock = device.model.clock if isinstance(device.model, HasClock) else None
    models, warnings = {}, dict.fromkeys(device.warnings)
    for precision in space.precisions:
        target = replace(device.target, precision=precision)
        if target == device.target:
            models[precision] = device.model
            continue
        try:
            (found,) = device_models(
                [str(target)],
                space.networks,
                workspace=workspace,
                store=store,
                clock=clock,
                tiers=(Tier.MEASURED,),
                metric=metric,
            )
        except NoFit as error:
            raise _no_precision(device, target, space.networks.name, metric) from error
        models[precision] = found.model
        warnings |= dict.fromkeys(f"In {precision}: {warning}" for warning in found.warnings)
    return replace(device, model=PrecisionCosts(space, models), warnings=tuple(warnings))


def _no_precision(device: DeviceModel, target: Target, space: str, metric: Metric) -> InputError:
    refused = f"There is no {metric.name} model of {space} on {device.name} in {target.precision}"
    kind = find_kind(target.device)
    if kind is None:
        return InputError(f"{refused}, and nothing here can measure one.", f"Leave {device.name} out.")
    known = place_of(kind.name, target.runtime).precisions
    if target.precision not in known:
        return InputError(
            f"{refused}: spaces are profiled in {', '.join(known)} there.", f"Leave {target.precision} out."
        )
    return InputError(f"{refused}.", f"Run: fleetfront profile {target.options} --space {space}")
