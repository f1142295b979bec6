"""Quantise the networks of fronts that were searched in float, as far as numbers go, so that they stand beside a joint
search of precisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fleetfront.errors import InputError
from fleetfront.pipelines.knowledge.cost_models import device_models
from fleetfront.quantities import ACCURACY, Clock, Tier
from fleetfront.search.front import FULL, hypervolume, knee, target_front
from fleetfront.search.results import DeviceFront, FrontPoint, Fronts, front_arrays
from fleetfront.spaces.base import HasPrecisions
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.precisions import SEPARATOR, split_precision
from fleetfront.targets import FLOATS, precision_in, with_precision
from fleetfront.workspace import Workspace

_Found = tuple[Fronts, DeviceFront]
_Fronts = Mapping[tuple[str, str], list[_Found]]


def quantise_fronts(floats: _Fronts, joint: _Fronts, workspace: Workspace) -> dict[tuple[str, str], list[_Found]]:
    """Under the keys of ``joint``, fronts of several precisions, what becomes of the fronts of ``floats`` when their
    networks are written in each of these precisions afterwards.

    Times in float are those of the front, others of the fit in that precision; accuracies are less what the joint
    search says that a precision costs. What is worse than another of them in both is left out.

    Raises InputError where no front is of several precisions, none of ``floats`` is of the same space, device and
    runtime, or a fit is missing.
    """
    found: dict[tuple[str, str], list[_Found]] = {}
    for key, pairs in joint.items():
        for fronts, front in pairs:
            if SEPARATOR not in fronts.space:
                continue
            before = _beside(floats, fronts, front)
            if before is not None:
                found.setdefault(key, []).append((before[0], _quantised(before, fronts, front, workspace)))
    if not found:
        raise InputError(
            "Nothing can be quantised: A has no front in float of a space, device and runtime whose front in several "
            "precisions is in B.",
            "A is of: fleetfront search; B is of the same with --precisions fp32,int8.",
        )
    return found


def _beside(floats: _Fronts, fronts: Fronts, front: DeviceFront) -> _Found | None:
    """The front in float of the same space and of a target that the joint front runs on, too."""
    space, _ = split_precision(fronts.space)
    pairs = (pair for (name, _), all_ in floats.items() if name == space for pair in all_)
    return next((pair for pair in pairs if _is_same(pair[1], front) and pair[0].quality == ACCURACY), None)


def _is_same(own: DeviceFront, front: DeviceFront) -> bool:
    """Tell whether two targets differ in nothing but their precisions, of which the first is float."""
    return precision_in(own.target) in FLOATS and with_precision(own.target, "") == with_precision(front.target, "")


def _quantised(before: _Found, fronts: Fronts, front: DeviceFront, workspace: Workspace) -> DeviceFront:
    further = front.objectives or before[1].objectives
    if further:
        raise InputError(
            f"The fronts of {front.name} have further objectives: {', '.join(further)}.",
            "Compare searches of latency and accuracy alone.",
        )
    space = load_space(fronts.space)
    if not isinstance(space, HasPrecisions):
        raise InputError(f"Networks of {fronts.space} are in one precision.", "Give a search with --precisions.")
    own = before[1]
    genotypes = space.networks.parse([point.arch for point in own.points])
    points: list[FrontPoint] = []
    for name in space.precisions:
        if not front.knows(name):
            continue
        if name in FLOATS and name in (precision_in(own.target), FLOATS[0]):
            ms = np.array([point.latency_ms for point in own.points])
        else:
            (device,) = device_models(
                [front.target_of(name)],
                space.networks,
                workspace=workspace,
                clock=Clock(front.clock) if front.clock else None,
                tiers=(Tier.MEASURED,),
            )
            ms = device.model.predict(genotypes).mean
        drop = fronts.drops.get(name, {}).get("points", 0.0)
        accuracy = [max(point.accuracy - drop, 0.0) for point in own.points]
        archs = [f"{point.arch}{SEPARATOR}{name}" for point in own.points]
        points += (
            FrontPoint(arch, float(cost), None, value, precision=name)
            for arch, cost, value in zip(archs, ms, accuracy, strict=True)
            if front.limit_ms is None or cost <= front.limit_ms
        )
    return _front_of(front, points)


def _front_of(front: DeviceFront, points: list[FrontPoint]) -> DeviceFront:
    """Another front on the target and by the reference point of ``front``."""
    cost, accuracy = front_arrays(replace(front, points=tuple(points)))
    kept = tuple(points[row] for row in target_front(cost, accuracy))
    cost, accuracy = front_arrays(replace(front, points=kept))
    volume = hypervolume(np.stack([cost, FULL - accuracy], axis=1), front.reference_point)
    return replace(front, points=kept, hypervolume=volume, knee=knee(cost, accuracy), choices=())


def describe_precisions(fronts: Fronts) -> list[str]:
    """Say where each precision lies on fronts of several, in words: a sentence a front and precision."""
    said = []
    for front in fronts.devices:
        for name in filter(None, split_precision(fronts.space)[1].split(",")):
            ms = [point.latency_ms for point in front.points if point.precision == name]
            reach = f", from {min(ms):.4g} to {max(ms):.4g} ms" if ms else ""
            said.append(f"{front.name}: {len(ms)} of {len(front.points)} networks are in {name}{reach}.")
    return said
