"""Fronts as files: ``fronts.json``, which outsiders rely on, and a CSV of the same points."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.errors import InputError, MissingDependency, unknown
from fleetfront.files import write_whole
from fleetfront.predictors.table.fit_files import write_json
from fleetfront.quantities import ENERGY, LATENCY, PEAK_MEMORY, Clock, Metric
from fleetfront.search.front import best_within, two_objectives
from fleetfront.search.fronts_checks import checked_shared, checked_trace_point, checked_verification, finite
from fleetfront.spaces.base import SearchSpace

if TYPE_CHECKING:
    import pandas

    from fleetfront.quantities import FloatArray

SCHEMA = "fleetfront.fronts/1"
FRONTS_FILE, CSV_FILE = "fronts.json", "fronts.csv"
_NUMBERS = ("latency_ms", "latency_std_ms", "accuracy")


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """One network on a front.

    Attributes:
        latency_ms, latency_std_ms: prediction and its standard deviation, of the front's tier.
        accuracy, accuracy_std: percent.
        more: what else is known: ``macs``, ``params``, ``measured_ms``, ``accuracy_is_beyond_range``.
    """

    arch: str
    latency_ms: float
    latency_std_ms: float
    accuracy: float
    accuracy_std: float = 0.0
    more: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The row of ``fronts.json``."""
        return {
            "arch": self.arch,
            "latency_ms": self.latency_ms,
            "latency_std_ms": self.latency_std_ms,
            "accuracy": self.accuracy,
            "accuracy_std": self.accuracy_std,
            **self.more,
        }


@dataclass(frozen=True, slots=True)
class DeviceFront:
    """The front of one device, ascending in latency.

    Attributes:
        tier: where its latencies come from.
        clock: which clock they are of, empty if the model does not say.
        metric: what ``latency_ms`` and ``limit_ms`` hold, in its unit: files call every cost so.
        objectives: names of the metrics that it trades beside latency and accuracy.
        limits: name of a further metric -> the most that was allowed.
        knee: position among ``points`` of the knee of latency and accuracy; the fastest of fewer than three points.
    """

    name: str
    target: str
    tier: str
    hypervolume: float
    reference_point: tuple[float, ...]
    points: tuple[FrontPoint, ...]
    knee: int = 0
    limit_ms: float | None = None
    clock: str = ""
    metric: Metric = LATENCY
    objectives: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def trade_offs(self) -> tuple[FrontPoint, ...]:
        """The points that no other beats in latency and accuracy alone, ascending in both: all of them, unless the
        front has further objectives."""
        return tuple(self.points[at] for at in two_objectives(*front_arrays(self)))

    def to_frame(self) -> pandas.DataFrame:
        """The points as a table, ascending in latency. Raises MissingDependency without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise MissingDependency(
                "pandas, which makes tables, is not installed.", "Run: pip install pandas"
            ) from error
        return pandas.DataFrame([point.to_json() for point in self.points])

    def _repr_html_(self) -> str:
        """The points that a notebook shows."""
        rows = [
            f"<tr><td>{point.latency_ms:.4g} &plusmn; {point.latency_std_ms:.2g}</td>"
            f"<td>{point.accuracy:.2f} &plusmn; {point.accuracy_std:.2f}</td><td>{html.escape(point.arch)}</td></tr>"
            for point in self.points
        ]
        title = html.escape(f"{self.name} {self.target}: {len(self.points)} points [{self.tier}]")
        cost = html.escape(f"{self.metric.title} {self.metric.unit}")
        head = f"<tr><th>{cost}</th><th>accuracy %</th><th>architecture</th></tr>"
        return f"<table><caption>{title}</caption>{head}{''.join(rows)}</table>"

    def within(self, limit_ms: float) -> FrontPoint:
        """The most accurate point within a latency. Raises InputError naming the fastest if there is none."""
        return self.points[best_within(*front_arrays(self), limit_ms, self.name)]


@dataclass(frozen=True, slots=True)
class Fronts:
    """Everything that a search hands on.

    Attributes:
        evaluations: architectures whose accuracy was asked for, first and repeated requests alike.
        audit: the parts of that number, and what was known beside it (see ``EvaluationCounter``).
        trace: evaluations, seconds and hypervolumes (in the order of ``devices``) on the way.
        statement: what the strategy vouches for, in words; empty for most.
        verification: what measuring the front's best showed, if that was asked for.
        shared: the networks that serve all devices best (``Sharing.to_json``), if they were asked for.
    """

    space: str
    strategy: str
    seed: int
    evaluations: int
    seconds: float
    accuracy_source: str
    accuracy_tier: str
    devices: tuple[DeviceFront, ...]
    audit: Mapping[str, int] = field(default_factory=dict)
    trace: tuple[Mapping[str, Any], ...] = ()
    statement: str = ""
    verification: Mapping[str, Any] | None = None
    shared: Mapping[str, Any] | None = None

    @property
    def fronts(self) -> dict[str, DeviceFront]:
        """The fronts by the name of their device."""
        return {front.name: front for front in self.devices}

    def to_frame(self) -> pandas.DataFrame:
        """The points of every device as one table. Raises MissingDependency without pandas."""
        frames = [front.to_frame().assign(device=front.name, tier=front.tier) for front in self.devices]
        import pandas

        return pandas.concat(frames, ignore_index=True)

    def _repr_html_(self) -> str:
        """Every front, as a notebook shows them."""
        return "".join(front._repr_html_() for front in self.devices)

    def device(self, name: str) -> DeviceFront:
        """The front of one device. Raises InputError on an unknown name."""
        for front in self.devices:
            if front.name == name:
                return front
        raise unknown("device of this front", name, [front.name for front in self.devices])

    def to_json(self) -> dict[str, Any]:
        """The content of ``fronts.json``."""
        return {
            "schema": SCHEMA,
            "space": self.space,
            "strategy": self.strategy,
            "seed": self.seed,
            "evaluations": self.evaluations,
            "seconds": round(self.seconds, 3),
            "accuracy": {"source": self.accuracy_source, "tier": self.accuracy_tier},
            "devices": {front.name: _device_json(front) for front in self.devices},
            # Files are written with sorted keys; the trace's columns are in this order.
            "device_order": [front.name for front in self.devices],
            "audit": dict(self.audit),
            "trace": [dict(point) for point in self.trace],
            **({"statement": self.statement} if self.statement else {}),
            **({} if self.verification is None else {"verification": dict(self.verification)}),
            **({} if self.shared is None else {"shared": dict(self.shared)}),
        }


def write_fronts(fronts: Fronts, folder: Path) -> Path:
    """Write ``fronts.json`` and ``fronts.csv`` into a folder, each whole or not at all; returns the path of the first.

    Raises InputError if that cannot be written.
    """
    path = folder / FRONTS_FILE
    write_json(path, fronts.to_json())
    _write_text(folder / CSV_FILE, _as_csv(fronts))
    return path


def load_fronts(path: Path, space: SearchSpace | None = None) -> Fronts:
    """Read ``fronts.json``, or the one in a folder.

    Raises:
        InputError: if the file is missing, not of this schema, damaged, or (where ``space`` is given) of another space
            or naming an architecture outside it.
    """
    path = path / FRONTS_FILE if path.is_dir() else path
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not JSON"
        raise InputError(f"Cannot read the front {path} ({reason}).", "Make one with: fleetfront search") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise InputError(
            f"{path} is not a front that this fleetfront reads (schema {schema!r}, not {SCHEMA!r}).",
            "Make one with: fleetfront search",
        )
    try:
        fronts = _from_json(data)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}).", "Make it again with: fleetfront search"
        ) from error
    if space is not None:
        if fronts.space != space.name:
            raise InputError(
                f"{path} is a front of {fronts.space}, not of {space.name}.",
                f"Use --space {fronts.space}, or search anew.",
            )
        space.parse([point.arch for front in fronts.devices for point in front.points])
        space.parse([row["arch"] for row in (fronts.shared or {}).get("networks", ())])
    return fronts


def _device_json(front: DeviceFront) -> dict[str, Any]:
    return {
        "target": front.target,
        "tier": front.tier,
        "clock": front.clock,
        **({} if front.metric == LATENCY else {"metric": {"name": front.metric.name, "unit": front.metric.unit}}),
        "hypervolume": front.hypervolume,
        "reference_point": list(front.reference_point),
        "limit_ms": front.limit_ms,
        **({"objectives": list(front.objectives)} if front.objectives else {}),
        **({"limits": dict(front.limits)} if front.limits else {}),
        "knee": front.points[front.knee].arch if front.points else None,
        "points": [point.to_json() for point in front.points],
    }


def _from_json(data: Mapping[str, Any]) -> Fronts:
    order = data.get("device_order") or list(data["devices"])
    if sorted(order) != sorted(data["devices"]):
        raise ValueError("device_order does not name the devices")
    devices = tuple(_device_from_json(str(name), data["devices"][name]) for name in order)
    return Fronts(
        space=str(data["space"]),
        strategy=str(data["strategy"]),
        seed=int(data["seed"]),
        evaluations=int(data["evaluations"]),
        seconds=finite(data["seconds"], "seconds"),
        accuracy_source=str(data["accuracy"]["source"]),
        accuracy_tier=str(data["accuracy"]["tier"]),
        devices=devices,
        audit=dict(data.get("audit", {})),
        trace=tuple(checked_trace_point(point) for point in data.get("trace", ())),
        statement=str(data.get("statement", "")),
        verification=checked_verification(data.get("verification")),
        shared=checked_shared(data.get("shared")),
    )


def _device_from_json(name: str, data: Mapping[str, Any]) -> DeviceFront:
    known = ("arch", *_NUMBERS, "accuracy_std")
    points = []
    for row in data["points"]:
        latency, std, accuracy = (finite(row[key], f"{key} of {row['arch']}") for key in _NUMBERS)
        more = {key: value for key, value in row.items() if key not in known}
        accuracy_std = finite(row.get("accuracy_std", 0.0), f"accuracy_std of {row['arch']}")
        points.append(FrontPoint(str(row["arch"]), latency, std, accuracy, accuracy_std, more))
    if any(a.latency_ms > b.latency_ms for a, b in pairwise(points)):
        raise ValueError(f"the points of {name} are not sorted by latency")
    archs = [point.arch for point in points]
    return DeviceFront(
        name,
        str(data["target"]),
        str(data["tier"]),
        finite(data["hypervolume"], f"the hypervolume of {name}"),
        tuple(finite(value, f"the reference point of {name}") for value in data["reference_point"]),
        tuple(points),
        archs.index(data["knee"]) if data.get("knee") in archs else 0,
        None if data.get("limit_ms") is None else finite(data["limit_ms"], f"the limit of {name}"),
        Clock(data["clock"]).value if data.get("clock") else "",
        _metric(data.get("metric")),
        objectives=tuple(str(metric) for metric in data.get("objectives", ())),
        limits={str(metric): finite(value, f"a limit of {name}") for metric, value in data.get("limits", {}).items()},
    )


def _metric(data: Mapping[str, Any] | None) -> Metric:
    if data is None:
        return LATENCY
    known = {metric.name: metric for metric in (LATENCY, ENERGY, PEAK_MEMORY)}
    name, unit = str(data["name"]), str(data["unit"])
    return known[name] if name in known and known[name].unit == unit else Metric(name, unit)


def _as_csv(fronts: Fronts) -> str:
    keys = list(dict.fromkeys(key for d in fronts.devices for point in d.points for key in point.to_json()))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["device", "target", "tier", *keys], lineterminator="\n")
    writer.writeheader()
    for device in fronts.devices:
        facts = {"device": device.name, "target": device.target, "tier": device.tier}
        writer.writerows({**facts, **point.to_json()} for point in device.points)
    return text.getvalue()


def _write_text(path: Path, text: str) -> None:
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise InputError(f"Cannot write {path} ({error.strerror or error}).", "Free some space there.") from error


def front_arrays(front: DeviceFront) -> tuple[FloatArray, FloatArray]:
    """(latency_ms[k], accuracy[k]) of a front."""
    rows: Sequence[FrontPoint] = front.points
    return np.array([p.latency_ms for p in rows]), np.array([p.accuracy for p in rows])
