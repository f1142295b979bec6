"""Write fronts as ``fronts.json``, which outsiders rely on, and as a CSV of the same points; read the former back.

The types say what a file may hold; numbers are finite (``plain``). Points and networks may have keys that are not known
here, and keep them. What follows from the points, as knee and hypervolume do, is computed from them.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypeAlias

import numpy as np
from annotated_types import Ge, Gt, Le
from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from fleetfront.errors import InputError, MissingDependency
from fleetfront.files import write_whole
from fleetfront.plain import from_plain, parse_finite_json, read_file
from fleetfront.predictors.table.fit_files import write_json
from fleetfront.quantities import ACCURACY, LATENCY, METRICS, QUALITIES, Clock, Metric, Quality, Tier, own_quality
from fleetfront.search.front import FULL, area, hypervolume, knee, two_objectives
from fleetfront.search.metrics import WRITTEN
from fleetfront.search.results import PART, SCHEMA, ChoiceEffect, DeviceFront, FrontPoint, Fronts, precision_beside
from fleetfront.spaces.base import SearchSpace

#: Relative; beyond, two numbers are different ones.
_ROUNDING = 1e-6
#: How points call what they hold of further objectives, where it is not the objective's own name.
_METRIC_KEYS = {name: f"{name}_{metric.unit}" for name, metric in (METRICS | WRITTEN).items()}

FRONTS_FILE, CSV_FILE = "fronts.json", "fronts.csv"
_REMEDY = "Make it again with: fleetfront search"

_Amount: TypeAlias = Annotated[float, Ge(0)]
#: No network takes no time.
_Cost: TypeAlias = Annotated[float, Gt(0)]
#: Of a whole, up to rounding.
_Share: TypeAlias = Annotated[float, Ge(0), Le(1 + 1e-6)]
_Count: TypeAlias = Annotated[int, Ge(0)]
_open = with_config(ConfigDict(extra="allow"))


class _Size(TypedDict):
    size_bytes: NotRequired[_Cost]
    size_std_bytes: NotRequired[_Amount]
    size_tier: NotRequired[Tier]


@_open
class _Point(_Size):
    arch: str
    latency_ms: _Cost
    # None where nothing is promised for when it is run.
    latency_std_ms: _Amount | None
    accuracy: _Amount
    accuracy_std: NotRequired[_Amount]
    held_out_accuracy: NotRequired[_Amount]
    held_out_std: NotRequired[_Amount]
    equal: NotRequired[list[str]]
    precision: NotRequired[str]
    accuracy_tier: NotRequired[Tier]


class _Metric(TypedDict):
    name: str
    unit: str


class _Difference(TypedDict):
    networks: _Count
    latency_ms: float | None
    accuracy: float | None
    accuracy_std: _Amount | None


class _Choice(TypedDict):
    gene: str
    value: str
    share: _Share
    difference: _Difference


class _Device(TypedDict):
    target: str
    tier: Tier
    hypervolume: _Amount
    reference_point: list[float]
    points: list[_Point]
    knee: NotRequired[str | None]
    limit_ms: NotRequired[_Amount | None]
    clock: NotRequired[Clock | Literal[""]]
    metric: NotRequired[_Metric]
    objectives: NotRequired[list[str]]
    limits: NotRequired[dict[str, _Amount]]
    choices: NotRequired[list[_Choice]]
    not_promised: NotRequired[str]
    accuracy_precision: NotRequired[str]


class _Drop(TypedDict):
    points: float
    std: _Amount
    tier: Tier
    source: str
    networks: _Count


class _Task(TypedDict):
    name: str
    unit: str
    is_higher_better: bool


class _Accuracy(TypedDict):
    source: str
    tier: Tier
    drops: NotRequired[dict[str, _Drop]]
    tasks: NotRequired[list[_Task]]
    quality: NotRequired[str]
    quality_unit: NotRequired[str]
    higher_is_better: NotRequired[bool]


class _TracePoint(TypedDict):
    evaluations: _Count
    seconds: float
    hypervolume: list[_Amount]


@_open
class _VerifiedPoint(TypedDict):
    arch: str
    predicted_ms: _Cost
    measured_ms: NotRequired[_Cost | None]


@_open
class _Verified(TypedDict):
    # What is null was not to be had: no network could be measured.
    optimism_percent: NotRequired[float | None]
    mape: NotRequired[_Amount | None]
    optimism_percent_refitted: NotRequired[float | None]
    mape_refitted: NotRequired[_Amount | None]
    points: NotRequired[list[_VerifiedPoint]]


@_open
class _Verification(TypedDict):
    devices: NotRequired[dict[str, _Verified]]


@_open
class _SharedNetwork(TypedDict):
    arch: str
    accuracy: _Amount
    accuracy_std: _Amount
    held_out_accuracy: NotRequired[_Amount]
    held_out_std: NotRequired[_Amount]
    latency_ms: dict[str, _Cost]
    latency_std_ms: dict[str, _Amount | None]
    size: NotRequired[dict[str, _Size]]


class _Served(TypedDict):
    tier: Tier
    hypervolume_share: _Share
    networks: list[str]


@_open
class _Shared(TypedDict):
    networks: list[_SharedNetwork]
    devices: NotRequired[dict[str, _Served]]


class _File(TypedDict):
    space: str
    strategy: str
    seed: int
    evaluations: _Count
    seconds: float
    accuracy: _Accuracy
    devices: dict[str, _Device]
    device_order: NotRequired[list[str]]
    audit: NotRequired[dict[str, int]]
    trace: NotRequired[list[_TracePoint]]
    statement: NotRequired[str]
    verification: NotRequired[_Verification | None]
    shared: NotRequired[_Shared | None]
    errors: NotRequired[dict[str, str]]


def write_fronts(fronts: Fronts, folder: Path) -> Path:
    """Write ``fronts.json`` and ``fronts.csv`` into a folder, each whole or not at all; returns the path of the first.

    Raises InputError if that cannot be written.
    """
    path, table = folder / FRONTS_FILE, folder / CSV_FILE
    write_json(path, fronts.to_json())
    try:
        write_whole(table, _as_csv(fronts).encode())
    except OSError as error:
        raise InputError(f"Cannot write {table} ({error.strerror or error}).", "Free some space there.") from error
    return path


def load_fronts(path: Path, space: SearchSpace | None = None) -> Fronts:
    """Read ``fronts.json``, or the one in a folder.

    Raises:
        InputError: if the file is missing, not of this schema, damaged, or (where ``space`` is given) of another space
            or naming an architecture outside it.
    """
    path = path / FRONTS_FILE if path.is_dir() else path
    fronts = read_file(path, lambda data: parse_fronts(data, path), "front", _REMEDY)
    if space is not None:
        if fronts.space != space.name:
            raise InputError(
                f"{path} is a front of {fronts.space}, not of {space.name}.",
                f"Use --space {fronts.space}, or search anew.",
            )
        space.parse([point.arch for front in fronts.devices for point in front.points])
        space.parse([row["arch"] for row in (fronts.shared or {}).get("networks", ())])
    return fronts


def parse_fronts(text: bytes, path: Path) -> Fronts:
    """The fronts that JSON ``text`` of the file at ``path`` spells.

    Raises ValueError if it is damaged, InputError if it is of another schema.
    """
    plain = parse_finite_json(text)
    schema = plain.get("schema") if isinstance(plain, dict) else None
    if schema != SCHEMA:
        raise InputError(
            f"{path} is not a front that this fleetfront reads (schema {str(schema)[:100]!r}, not {SCHEMA!r}).",
            "Make one with: fleetfront search",
        )
    data: _File = from_plain(_File, text)
    order = data.get("device_order") or list(data["devices"])
    if sorted(order) != sorted(data["devices"]):
        raise ValueError("device_order does not name the devices")
    trace, quality = data.get("trace", []), _quality(data["accuracy"])
    shared = data.get("shared")
    if quality == ACCURACY and shared and any(network["accuracy"] > FULL for network in shared["networks"]):
        raise ValueError("an accuracy of a shared network is over 100 %")
    if any(len(point["hypervolume"]) != len(order) for point in trace):
        raise ValueError("a point of its trace has not one hypervolume a device")
    tasks = tuple(own_quality(**task) for task in data["accuracy"].get("tasks", ()))
    devices = tuple(_device(name, data["devices"][name], quality, tasks) for name in order)
    for column, front in enumerate(devices):
        if any(point["hypervolume"][column] > front.hypervolume * (1 + _ROUNDING) for point in trace):
            raise ValueError(f"its trace reaches a larger hypervolume than the {front.hypervolume:g} of {front.name}")
    return Fronts(
        space=data["space"],
        strategy=data["strategy"],
        seed=data["seed"],
        evaluations=data["evaluations"],
        seconds=data["seconds"],
        accuracy_source=data["accuracy"]["source"],
        accuracy_tier=data["accuracy"]["tier"].value,
        devices=devices,
        audit=data.get("audit", {}),
        trace=tuple(dict(point) for point in trace),
        statement=data.get("statement", ""),
        verification=_plain(data.get("verification")),
        shared=_plain(data.get("shared")),
        errors=data.get("errors", {}),
        drops={name: {**drop, "tier": drop["tier"].value} for name, drop in data["accuracy"].get("drops", {}).items()},
    )


def _quality(data: _Accuracy) -> Quality:
    """Read the quality. Raises ValueError for a name that says neither unit nor direction and is not known."""
    name = data.get("quality", ACCURACY.name)
    if "higher_is_better" in data:
        return own_quality(name, data.get("quality_unit", ""), data["higher_is_better"])
    if name not in QUALITIES:
        raise ValueError(f"accuracy: {name!r} is none of {', '.join(QUALITIES)}")
    return QUALITIES[name]


def _plain(checked: Any) -> dict[str, Any] | None:
    return None if checked is None else dict(checked)


def _device(name: str, data: _Device, quality: Quality, tasks: tuple[Quality, ...]) -> DeviceFront:
    points = tuple(_point(dict(row)) for row in data["points"])
    if quality == ACCURACY and any(max(point.accuracy, point.promised[0]) > FULL for point in points):
        raise ValueError(f"an accuracy of {name} is over 100 %")
    if any(a.latency_ms > b.latency_ms for a, b in pairwise(points)):
        raise ValueError(f"the points of {name} are not sorted by latency")
    if len(data["reference_point"]) < 2:
        raise ValueError(f"the reference point of {name} is {data['reference_point']}")
    metric, objectives, reference = data.get("metric"), tuple(data.get("objectives", ())), data["reference_point"]
    latency = np.array([p.latency_ms for p in points])
    accuracy = quality.score(np.array([p.accuracy for p in points]))
    plain = two_objectives(latency, accuracy)
    return DeviceFront(
        name,
        data["target"],
        data["tier"].value,
        _hypervolume(name, data, points, quality, tasks),
        tuple(reference),
        points,
        int(plain[knee(latency[plain], accuracy[plain])]) if len(plain) else 0,
        data.get("limit_ms"),
        str(data.get("clock", "")),
        LATENCY if metric is None else _named(metric["name"], metric["unit"]),
        objectives=objectives,
        limits=data.get("limits", {}),
        quality=quality,
        tasks=tasks,
        choices=tuple(
            ChoiceEffect(row["gene"], row["value"], row["share"], **row["difference"])
            for row in data.get("choices", ())
        ),
        not_promised=data.get("not_promised", ""),
        # Files of earlier versions keep silent about it.
        accuracy_precision=data.get("accuracy_precision", _precision_beside(points, data["target"])),
    )


def _precision_beside(points: Sequence[FrontPoint], target: str) -> str:
    """Networks in several precisions have accuracies of their own."""
    return "" if any(point.precision for point in points) else precision_beside(target)


def _hypervolume(
    name: str, data: _Device, points: Sequence[FrontPoint], quality: Quality, tasks: tuple[Quality, ...]
) -> float:
    """The volume that the points dominate; without all objectives in the file, the one that it states, if it can be."""
    reference, stated = data["reference_point"], data["hypervolume"]
    keys = [_METRIC_KEYS.get(metric, metric) for metric in data.get("objectives", ())]
    judged = {f"{PART}{task.name}": task for task in tasks}
    rows = [[p.latency_ms, FULL - quality.score(p.accuracy), *(_loss(p, key, judged) for key in keys)] for p in points]
    if len(reference) == len(keys) + 2 and all(isinstance(value, int | float) for row in rows for value in row):
        # Reports are read where nothing that searches is installed.
        with suppress(MissingDependency), np.errstate(over="ignore"):
            values = np.array(rows, np.float64).reshape(len(rows), len(reference))
            volume = hypervolume(values, tuple(reference)) if keys else area(*values.T, *reference)
            if not math.isfinite(volume):
                raise ValueError(f"the reference point of {name}, {reference}, is beyond all volumes")
            return stated if math.isclose(stated, volume, rel_tol=_ROUNDING) else volume
    if stated > math.prod(max(bound, 0.0) for bound in reference) * (1 + _ROUNDING):
        raise ValueError(f"the hypervolume of {name} is {stated:g}, more than its reference point {reference} bounds")
    return stated


def _loss(point: FrontPoint, key: str, tasks: Mapping[str, Quality]) -> Any:
    value = point.more.get(key)
    return FULL - tasks[key].score(value) if key in tasks and isinstance(value, int | float) else value


def _point(row: dict[str, Any]) -> FrontPoint:
    known = {key: row.pop(key) for key in ("arch", "latency_ms", "latency_std_ms", "accuracy")}
    stds = {key: row.pop(key, 0.0) for key in ("accuracy_std", "held_out_std")}
    equal, held_out = tuple(row.pop("equal", ())), row.pop("held_out_accuracy", None)
    precision = row.pop("precision", "")
    for key in ("accuracy_tier", "size_tier"):
        if key in row:
            row[key] = row[key].value
    return FrontPoint(**known, **stds, held_out_accuracy=held_out, equal=equal, precision=precision, more=row)


def _named(name: str, unit: str) -> Metric:
    metric = METRICS.get(name)
    return metric if metric is not None and metric.unit == unit else Metric(name, unit)


def _as_csv(fronts: Fronts) -> str:
    keys = list(dict.fromkeys(key for d in fronts.devices for point in d.points for key in point.to_json()))
    text = io.StringIO()
    of = ["accuracy_precision"] if any(device.accuracy_precision for device in fronts.devices) else []
    writer = csv.DictWriter(text, ["device", "target", "tier", *of, *keys], lineterminator="\n")
    writer.writeheader()
    for device in fronts.devices:
        facts = {"device": device.name, "target": device.target, "tier": device.tier}
        if device.accuracy_precision:
            facts["accuracy_precision"] = device.accuracy_precision
        for point in device.points:
            writer.writerow(facts | point.to_json() | ({"equal": " ".join(point.equal)} if point.equal else {}))
    return text.getvalue()
