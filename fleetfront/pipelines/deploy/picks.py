"""Choosing networks from a front file: by limit, by knee, by name. What becomes of a pick is in ``deploy``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fleetfront.errors import InputError, unknown
from fleetfront.pipelines.deploy.deploy import FrontPoints, Pick
from fleetfront.quantities import ACCURACY
from fleetfront.search.results import PART, SIZE_KEYS, DeviceFront, FrontPoint, Fronts, with_points
from fleetfront.spaces.base import HasPrecisions, SearchSpace, plain_space
from fleetfront.spaces.precisions import SEPARATOR, split_precision


def pick_knee(fronts: Fronts, device: str) -> Pick:
    """The point of a device's front where more latency begins to buy little."""
    front = _nonempty(fronts, device)
    return _pick(fronts, front, front.points[front.knee], f"{_folder_of(device)}-knee")


def pick_robust(fronts: Fronts, device: str, space: SearchSpace) -> Pick:
    """The point near the knee of a device's front whose neighbours in the space are the most accurate.

    Raises InputError where accuracy is not known of networks beside the front.
    """
    from fleetfront.pipelines.deploy.robust import check_source, most_robust
    from fleetfront.predictors.accuracy.precisions import Drop, in_precisions
    from fleetfront.predictors.accuracy.sources import load_accuracy

    front = _nonempty(fronts, device)
    check_source(fronts.accuracy_source)
    accuracy = load_accuracy(fronts.accuracy_source, plain_space(space))
    if isinstance(space, HasPrecisions):
        accuracy = in_precisions(space, accuracy, {name: Drop.of_json(drop) for name, drop in fronts.drops.items()})
    point = most_robust(front, space, accuracy)
    return _pick(fronts, front, point, f"{_folder_of(device)}-robust")


def pick_within(fronts: Fronts, device: str, max_latency_ms: float) -> Pick:
    """The most accurate point of a device's front within a limit. Raises InputError if even the fastest is slower."""
    front = _nonempty(fronts, device)
    name = f"{_folder_of(device)}-within-{max_latency_ms:g}ms"
    return _pick(fronts, front, front.within(max_latency_ms), name, max_latency_ms)


def pick_spread(fronts: Fronts, device: str, count: int) -> list[Pick]:
    """At most ``count`` points of a device's front, evenly spread in accuracy from the fastest to the most accurate.

    One point is the knee.
    """
    front = _nonempty(fronts, device)
    if count == 1:
        return [_pick(fronts, front, front.points[front.knee], f"{_folder_of(device)}-1")]
    points = front.trade_offs
    accuracy = np.array([point.accuracy for point in points])
    wanted = np.linspace(accuracy[0], accuracy[-1], count)
    rows = list(dict.fromkeys(int(np.argmin(np.abs(accuracy - value))) for value in wanted))
    return [_pick(fronts, front, points[row], f"{_folder_of(device)}-{rank}") for rank, row in enumerate(rows, 1)]


def with_least(fronts: Fronts, least: Mapping[str, float]) -> Fronts:
    """The fronts without the networks that are worse at a task than the value named for it.

    Raises InputError on an unknown task, and where a front keeps none.
    """
    if not least:
        return fronts
    tasks = {task.name: task for task in fronts.tasks}
    for name in least:
        if not tasks:
            raise InputError(
                f"{name} = {least[name]:g} is asked for, and these fronts have one accuracy.",
                "Leave --least out, or search for several: accuracy_objectives in the file of the family.",
            )
        if name not in tasks:
            raise unknown("task of this front", name, tasks)
    kept = []
    for front in fronts.devices:
        points = front.points
        for name, value in least.items():
            task, key = tasks[name], f"{PART}{name}"
            good = tuple(point for point in points if task.score(point.more[key]) >= task.score(value))
            if not good and points:
                best = max(points, key=lambda point: float(task.score(point.more[key]))).more[key]
                raise InputError(
                    f"No network of the front of {front.name} has {name} {value:g}"
                    + (" with the rest that is asked for." if len(points) < len(front.points) else ".")
                    + f" The best has {best:.4g}.",
                    "Ask for less, or search with more evaluations.",
                )
            points = good
        kept.append(with_points(front, points))
    return replace(fronts, devices=tuple(kept))


def pick_shared(fronts: Fronts, devices: Sequence[str]) -> list[Pick]:
    """The networks that a search chose for all its devices, with what it promises on ``devices``.

    They stand on the front of the first of ``devices``. A network in a precision that is known on none of these is left
    out. Raises InputError if the search was not asked to choose any, or not for all of ``devices``.
    """
    if fronts.shared is None:
        raise InputError("This front names no shared networks.", "Search again with: fleetfront search --share 3")
    picks, fronts_there = [], [fronts.device(name) for name in devices]
    for rank, network in enumerate(fronts.shared["networks"], 1):
        arch, precision = _of_network(fronts, network["arch"])
        running = [front.name for front in fronts_there if front.knows(precision)]
        if devices and not running:
            continue
        absent = [
            name for name in running if not network["latency_ms"].keys() & network["latency_std_ms"].keys() & {name}
        ]
        if absent:
            raise InputError(
                f"The shared networks of this front were not chosen for {absent[0]}.", "Leave it out, or search again."
            )
        held_out = network.get("held_out_accuracy")
        promised = (
            (network["accuracy"], network["accuracy_std"]) if held_out is None else (held_out, network["held_out_std"])
        )
        accuracy = _accuracies(fronts, fronts_there, network["arch"], *promised, is_held_out=held_out is not None)
        latency = tuple(
            _latency(fronts.device(name), network["latency_ms"][name], network["latency_std_ms"][name], precision)
            for name in running
        )
        pictured = _points(fronts, fronts.device(running[0])) if running else None
        sizes = network.get("size", {})
        size = [row for name in running for row in _size(fronts.device(name), sizes.get(name, {}), precision)]
        picks.append(
            Pick(f"shared-{rank}", arch, latency, accuracy, front=pictured, precision=precision, size=tuple(size))
        )
    return picks


def pick_arch(arch: str, space: SearchSpace, fronts: Fronts | None = None, devices: Sequence[str] = ()) -> Pick:
    """A named architecture, with what a front file promises of it on one of ``devices``, by default on any."""
    spelled = space.arch_ids(space.parse([arch]))[0]
    if fronts is not None:
        for front in fronts.devices:
            if devices and front.name not in devices:
                continue
            for point in front.points:
                if point.arch == spelled:
                    return _pick(fronts, front, point, _folder_of(spelled))
    arch, precision = split_precision(spelled)
    return Pick(_folder_of(spelled), arch, precision=precision)


def _folder_of(arch: str) -> str:
    """A name for the folder of a network, or of a pick: the device of another host, ``ssh:me@pi/cpu``, is none yet."""
    return arch.replace(SEPARATOR, "-").replace("/", "-")


def _of_network(fronts: Fronts, arch: str) -> tuple[str, str]:
    """The architecture and the precision of a network of the fronts; the latter is empty where they are of one."""
    return split_precision(arch) if SEPARATOR in fronts.space else (arch, "")


def devices_of(fronts: Fronts, wanted: Sequence[str]) -> list[str]:
    """The devices of a front file that are meant; all of them if none is named. Raises InputError for an absent one."""
    known = [front.name for front in fronts.devices]
    for name in wanted:
        if name not in known:
            raise unknown("device of this front", name, known)
    return list(wanted) or known


def _nonempty(fronts: Fronts, device: str) -> DeviceFront:
    front = fronts.device(device)
    if not front.points:
        raise InputError(f"The front of {device} is empty.", "Search again with more evaluations or a higher limit.")
    return front


def _pick(
    fronts: Fronts, front: DeviceFront, point: FrontPoint, name: str, max_latency_ms: float | None = None
) -> Pick:
    arch, precision = _of_network(fronts, point.arch)
    latency = _latency(front, point.latency_ms, point.latency_std_ms, precision)
    accuracy = _accuracies(
        fronts, (front,), point.arch, *point.promised, is_held_out=point.held_out_accuracy is not None
    )
    size = _size(front, point.more, precision)
    return Pick(name, arch, (latency,), accuracy, max_latency_ms, _points(fronts, front), precision, size)


def _points(fronts: Fronts, front: DeviceFront) -> FrontPoints | None:
    """The picture of a front; none where its networks were not chosen by their accuracy."""
    if fronts.quality != ACCURACY:
        return None
    return FrontPoints(
        front.name, tuple(p.latency_ms for p in front.points), tuple(p.promised[0] for p in front.points)
    )


def _latency(front: DeviceFront, ms: float, std_ms: float | None, precision: str) -> dict[str, Any]:
    return {
        "target": front.target_of(precision),
        "ms": ms,
        "std_ms": std_ms,
        "tier": front.tier,
        "clock": front.clock or "unknown",
        "is_prediction": True,
        **({"not_promised": front.not_promised} if std_ms is None and front.not_promised else {}),
    }


def _size(front: DeviceFront, known: Mapping[str, Any], precision: str) -> tuple[dict[str, Any], ...]:
    """The row of a manifest that states the size of the file on a front's device; none where nobody asked for it."""
    if known.get(SIZE_KEYS[0]) is None:
        return ()
    size, std, tier = (known.get(key) for key in SIZE_KEYS)
    return ({"target": front.target_of(precision), "bytes": size, "std_bytes": std, "tier": tier},)


def _accuracies(
    fronts: Fronts, of: Sequence[DeviceFront], arch: str, value: float, std: float, *, is_held_out: bool
) -> tuple[dict[str, Any], ...]:
    """The row of a manifest that states the accuracy; none where the search chose by something else. It says its
    number format where that is not the one of the files that are timed on one of the fronts."""
    if fronts.quality != ACCURACY:
        return ()
    # A manifest travels: of ``csv:PATH`` or ``supernet:PATH`` only the file's name means something elsewhere.
    kind, separator, path = fronts.accuracy_source.partition(":")
    source = f"{kind}{separator}{Path(path).name}"
    row = {"value": value, "std": std, "tier": fronts.accuracy_tier, "source": source}
    stated = next((front.accuracy_precision for front in of if front.accuracy_precision), "")
    precision = _of_network(fronts, arch)[1]
    if precision:
        tiers = (point.more.get("accuracy_tier") for front in of for point in front.points if point.arch == arch)
        row["tier"], stated = next(filter(None, tiers), fronts.accuracy_tier), precision
    row |= {"precision": stated} if stated else {}
    told = next((point.more for front in of for point in front.points if point.arch == arch), {})
    parts = {key.removeprefix(PART): value for key, value in told.items() if key.startswith(PART)}
    row |= {"parts": parts} if parts else {}
    return ({**row, "split": "test"} if is_held_out else row,)
