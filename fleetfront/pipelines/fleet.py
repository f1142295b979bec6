"""Make the targets of a search: every device's models by metric, with the limits that a user sets."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fleetfront.errors import InputError, unknown
from fleetfront.pipelines.knowledge.cost_models import device_models
from fleetfront.pipelines.knowledge.device_model import DeviceModel, ForeignFit
from fleetfront.pipelines.knowledge.precision_models import fleet_in_precisions, in_precisions, known_precisions
from fleetfront.predictors.base import CostModel
from fleetfront.quantities import LATENCY, METRICS, metric_named
from fleetfront.search.metrics import COUNTED, NAMED, WRITTEN
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.base import Genotypes, HasPrecisions, SearchSpace, plain_space
from fleetfront.targets import with_precision
from fleetfront.text_tables import parse_number
from fleetfront.workspace import Workspace

#: What may stand behind a number of bytes, the longer ones first.
_BYTES = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9, "b": 1}
#: Device -> metric -> the most that is allowed.
Limits = Mapping[str, Mapping[str, float]]


def parse_limits(texts: Sequence[str], devices: Collection[str]) -> Limits:
    """Limits as they are typed: ``60``, ``pixel3=60``, ``energy=900`` or ``pixel3:energy=900``.

    A number alone is a latency. One without a device is for every device that has none of its own.

    Raises InputError on an unknown device or metric, a value that is no positive number, or two limits of one device.
    """
    everywhere: dict[str, dict[str, float]] = {device: {} for device in devices}
    of_one: dict[str, dict[str, float]] = {device: {} for device in devices}
    for text in texts:
        name, _, value = text.rpartition("=")
        device, metric = _device_and_metric(name, devices)
        number = _positive(text, value, metric)
        kept = of_one if device else everywhere
        for one in (device,) if device else devices:
            if kept[one].setdefault(metric, number) != number:
                spell = NAMED[metric].spell
                raise InputError(
                    f"--limit gives {one} both {spell(kept[one][metric])} and {spell(number)}.",
                    "Give each device one limit of a metric.",
                )
    return {device: everywhere[device] | of_one[device] for device in devices}


def _device_and_metric(name: str, devices: Collection[str]) -> tuple[str, str]:
    """Split what stands before ``=``; an empty device is every one."""
    if not name or name in devices:
        return name, LATENCY.name
    if name in NAMED:
        return "", name
    device, _, metric = name.rpartition(":")
    if device in devices:
        if metric not in NAMED:
            raise unknown("metric", metric, NAMED)
        return device, metric
    raise unknown("device of this search", device if metric in NAMED else name, devices)


def _positive(text: str, value: str, metric: str) -> float:
    digits, factor = _without_suffix(value) if metric in NAMED and NAMED[metric].unit == "bytes" else (value, 1)
    try:
        number = factor * parse_number(digits)
    except ValueError:
        number = 0.0
    if not number > 0:
        if metric == LATENCY.name:
            raise InputError(
                f"--limit {text!r} is not a latency.", "Write milliseconds: --limit 60 or --limit pixel3=60."
            )
        unit = NAMED[metric].unit
        example = f", or with a unit: --limit {metric}=4MiB" if unit == "bytes" else ""
        raise InputError(f"--limit {text!r} is no {metric}.", f"Write a positive number of {unit}{example}.")
    return number


def _without_suffix(value: str) -> tuple[str, int]:
    """The digits of ``4MiB``, and how many bytes one of it is."""
    for suffix, factor in _BYTES.items():
        if value.lower().endswith(suffix):
            return value[: -len(suffix)].rstrip(), factor
    return value, 1


def search_targets(
    devices: Sequence[DeviceModel],
    space: SearchSpace,
    *,
    limits: Limits,
    objectives: Sequence[str] = (),
    workspace: Workspace | None = None,
    store: Path | None = None,
    listed: Genotypes | None = None,
) -> list[ProblemTarget]:
    """The targets of a search for ``devices``, with models of every metric that ``limits`` and ``objectives`` name but
    the size of files, which ``with_sizes`` adds.

    Where ``space`` has several precisions, ``devices`` are as ``fleet_in_precisions`` makes them.

    ``listed`` int8[n, v] is what a table of accuracies holds, where that is a part of the space.

    Raises InputError on an unknown metric, one that a device has no model of, or one known for another target of it.
    """
    if LATENCY.name in objectives:
        raise InputError("Latency is an objective of every front.", "Leave it out of --objective.")
    targets = []
    for device in devices:
        spelled = str(device.target)
        if isinstance(space, HasPrecisions):
            spelled = with_precision(spelled, ",".join(known_precisions(device)))
        own = dict(limits.get(device.name, {}))
        latency = own.pop(LATENCY.name, None)
        further = {
            metric: _model(device, metric, space, workspace, store, listed)
            for metric in dict.fromkeys((*objectives, *own))
            if metric not in COUNTED and metric not in WRITTEN
        }
        targets.append(ProblemTarget(device.name, device.model, spelled, latency, further, own))
    return targets


def fleet_targets(
    devices: Sequence[str | ProblemTarget] | str,
    space: SearchSpace,
    limits: Mapping[str, float],
    objectives: Sequence[str] = (),
    workspace: Workspace | None = None,
    listed: Genotypes | None = None,
) -> list[ProblemTarget]:
    """The targets of devices by name, then the caller's own, within ``limits`` as ``parse_limits`` reads them.

    ``listed`` as there. Of ``all``, devices whose fit is of another machine are left out with a Python warning.
    Raises InputError as ``device_models``, ``parse_limits`` and ``search_targets`` do.
    """
    place = workspace or Workspace.default()
    passed_over: dict[str, ForeignFit] = {}
    devices = [devices] if isinstance(devices, str) else devices
    named = [device for device in devices if isinstance(device, str)]
    own = [device for device in devices if not isinstance(device, str)]
    found = (
        device_models(
            named,
            plain_space(space),
            workspace=place,
            everywhere=listed is None,
            parts=True,
            asked=listed,
            precisions=isinstance(space, HasPrecisions),
            passed_over=passed_over,
        )
        if named
        else []
    )
    if named and isinstance(space, HasPrecisions):
        found = fleet_in_precisions(found, space, workspace=place)
    for name, error in passed_over.items():
        warnings.warn(f"{name} is left out: {error}", stacklevel=3)
    allowed = parse_limits(
        [f"{name}={value!r}" for name, value in limits.items()], [*(t.name for t in found), *(t.name for t in own)]
    )
    targets = search_targets(found, space, limits=allowed, objectives=objectives, workspace=place, listed=listed)
    for target in own:
        further = dict(allowed[target.name])
        limit = further.pop(target.cost.metric.name, target.limit)
        targets.append(replace(target, limit=limit, limits={**target.limits, **further}))
    return targets


def _model(
    device: DeviceModel,
    metric: str,
    space: SearchSpace,
    workspace: Workspace | None,
    store: Path | None,
    listed: Genotypes | None,
) -> CostModel:
    if metric not in METRICS:
        raise unknown("objective", metric, NAMED)
    named = metric_named(metric)
    name = str(device.target) if device.holds_precision else device.target.device
    (found,) = device_models(
        [name],
        plain_space(space),
        workspace=workspace,
        store=store,
        everywhere=listed is None,
        parts=True,
        asked=listed,
        precisions=isinstance(space, HasPrecisions),
        metric=named,
    )
    if found.target != device.target:
        raise InputError(
            f"The {named.title} of {name} is known on {found.target}, its latency on {device.target}.",
            "Choose one with --runtime, or profile it there.",
        )
    if isinstance(space, HasPrecisions):
        found = in_precisions(found, space, workspace=workspace, store=store, metric=named)
        lacking = [name for name in known_precisions(device) if name not in known_precisions(found)]
        if lacking:
            raise InputError(
                f"The {named.title} of {device.name} is not known in {', '.join(lacking)}, as its latency is.",
                f"Profile it there, or name {device.target.device}/{known_precisions(found)[0]}.",
            )
    return found.model
