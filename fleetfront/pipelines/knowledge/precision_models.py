"""Bring the fits of a device together that are the same but for their precision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from fleetfront.errors import InputError
from fleetfront.pipelines.knowledge.cost_models import device_models
from fleetfront.pipelines.knowledge.device_model import DeviceModel, NoFit
from fleetfront.predictors.base import HasClock, KnowsPrecisions
from fleetfront.predictors.precision_costs import PrecisionCosts
from fleetfront.profilers.kinds.catalogue import find_kind
from fleetfront.quantities import LATENCY, Metric, Tier
from fleetfront.runtimes.catalogue import find_facts, place_of
from fleetfront.spaces.base import HasPrecisions
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: What times are taken to be of whose source does not say.
FLOAT, UNKNOWN = "fp32", "unknown"


def fleet_in_precisions(
    devices: Sequence[DeviceModel],
    space: HasPrecisions,
    *,
    workspace: Workspace | None = None,
    store: Path | None = None,
) -> list[DeviceModel]:
    """Each device with the models of those precisions of ``space`` that it knows; a warning names what it lacks.

    Raises InputError where a device knows none of them, or no device knows one.
    """
    found = [in_precisions(device, space, workspace=workspace, store=store) for device in devices]
    for precision in space.precisions:
        if not any(precision in known_precisions(device) for device in found):
            raise _unknown_to_all(devices, precision, space)
    return found


def in_precisions(
    device: DeviceModel,
    space: HasPrecisions,
    *,
    workspace: Workspace | None = None,
    store: Path | None = None,
    metric: Metric = LATENCY,
) -> DeviceModel:
    """A device with its models of the precisions of ``space`` in one: its own, and the fits that are the same but for
    the precision, under its clock. A device that holds its precision has that alone.

    Raises InputError where it knows none of them.
    """
    clock = device.model.clock if isinstance(device.model, HasClock) else None
    models, warnings = {}, dict.fromkeys(device.warnings)
    refused: dict[str, InputError] = {}
    for precision in space.precisions:
        target = replace(device.target, precision=precision)
        if target == device.target or (precision == FLOAT and device.target.precision == UNKNOWN):
            models[precision] = device.model
            continue
        if device.holds_precision:
            refused[precision] = _held(device, precision)
            continue
        if find_facts(target.runtime) is None:
            refused[precision] = _no_precision(device, target, space.networks.name, metric)
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
        except NoFit:
            refused[precision] = _no_precision(device, target, space.networks.name, metric)
            continue
        models[precision] = found.model
        warnings |= dict.fromkeys(f"In {precision}: {warning}" for warning in found.warnings)
    if not models:
        raise next(iter(refused.values()))
    if device.target.precision == UNKNOWN and FLOAT in models:
        warnings["the source of its times does not say of which precision they are: they are taken as of fp32."] = None
    if refused and not device.holds_precision:
        warnings[_alone(device, models, refused, space)] = None
    return replace(device, model=PrecisionCosts(space, models), warnings=tuple(warnings))


def known_precisions(device: DeviceModel) -> tuple[str, ...]:
    """The precisions that a device of ``in_precisions`` has models in."""
    return device.model.known_precisions if isinstance(device.model, KnowsPrecisions) else (device.target.precision,)


def _alone(device: DeviceModel, known: Iterable[str], lacking: Iterable[str], space: HasPrecisions) -> str:
    said = f"it has no model in {' and '.join(lacking)}, so its front is of {' and '.join(known)} files alone."
    commands = (_command(replace(device.target, precision=name), space.networks.name) for name in lacking)
    return " ".join([said, *(f"To have both, run: {command}" for command in commands if command)])


def _unknown_to_all(devices: Sequence[DeviceModel], precision: str, space: HasPrecisions) -> InputError:
    free = [device for device in devices if not device.holds_precision]
    if not free:
        return _held(devices[0], precision)
    return _no_precision(free[0], replace(free[0].target, precision=precision), space.networks.name, LATENCY)


def _held(device: DeviceModel, precision: str) -> InputError:
    return InputError(
        f"{device.name} is named with its precision, {device.target.precision}, so nothing is searched in {precision} "
        "there.",
        f"Leave {precision} out of --precisions, or name {device.target.device}/{device.target.runtime}.",
    )


def _no_precision(device: DeviceModel, target: Target, space: str, metric: Metric) -> InputError:
    refused = f"There is no {metric.name} model of {space} on {device.name} in {target.precision}"
    kind, command = find_kind(target.device), _command(target, space)
    if kind is None:
        return InputError(f"{refused}, and nothing here can measure one.", f"Leave {device.name} out.")
    if not command:
        known = place_of(kind.name, target.runtime).precisions
        return InputError(
            f"{refused}: spaces are profiled in {', '.join(known)} there.", f"Leave {target.precision} out."
        )
    return InputError(f"{refused}.", f"Run: {command}")


def _command(target: Target, space: str) -> str:
    """The command that profiles a target; empty where nothing here can."""
    kind = find_kind(target.device)
    if kind is None or target.precision not in place_of(kind.name, target.runtime).precisions:
        return ""
    return f"fleetfront profile {target.options} --space {space}"
