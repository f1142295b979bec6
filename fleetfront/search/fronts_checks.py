"""Whether parts of a ``fronts.json`` are what a search writes: plain values in, the same values checked out.

All raise KeyError, TypeError, ValueError or AttributeError, which ``load_fronts`` tells as a damaged file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

#: What verifying a front tells in percent.
_CURSE = ("optimism_percent", "mape", "optimism_percent_refitted", "mape_refitted")


def finite(value: Any, what: str) -> float:
    """``value`` as a number. Raises ValueError naming ``what`` for NaN and infinity."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{what} is {number}")
    return number


def checked_trace_point(point: Mapping[str, Any]) -> dict[str, Any]:
    """One row of ``trace``."""
    volumes = [finite(value, "a hypervolume of the trace") for value in point["hypervolume"]]
    seconds = finite(point["seconds"], "the trace's time")
    return {"evaluations": int(point["evaluations"]), "seconds": seconds, "hypervolume": volumes}


def checked_verification(data: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """``verification``, None where nothing was verified."""
    if data is None:
        return None
    return {**data, "devices": {str(name): _verified(row) for name, row in data.get("devices", {}).items()}}


def _verified(row: Mapping[str, Any]) -> dict[str, Any]:
    # What is null was not to be had: no network, or not this one, could be measured.
    known = {key: finite(row[key], key) for key in _CURSE if row.get(key) is not None}
    return {**row, **known, "points": [_verified_point(point) for point in row.get("points", ())]}


def _verified_point(point: Mapping[str, Any]) -> dict[str, Any]:
    arch = str(point["arch"])
    predicted = finite(point["predicted_ms"], f"predicted_ms of {arch}")
    measured = point.get("measured_ms")
    known = {} if measured is None else {"measured_ms": finite(measured, f"measured_ms of {arch}")}
    return {**point, "arch": arch, "predicted_ms": predicted, **known}


def checked_shared(data: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """``shared``, None where no shared networks were chosen."""
    if data is None:
        return None
    return {
        **data,
        "networks": [_shared_network(row) for row in data["networks"]],
        "devices": {str(name): _served(row) for name, row in data.get("devices", {}).items()},
    }


def _served(row: Mapping[str, Any]) -> dict[str, Any]:
    share = finite(row["hypervolume_share"], "a share of hypervolume")
    return {"tier": str(row["tier"]), "hypervolume_share": share, "networks": [str(arch) for arch in row["networks"]]}


def _shared_network(row: Mapping[str, Any]) -> dict[str, Any]:
    arch = str(row["arch"])
    numbers = {key: finite(row[key], f"{key} of {arch}") for key in ("accuracy", "accuracy_std")}
    latencies = {
        key: {str(name): finite(value, f"{key} of {arch}") for name, value in row[key].items()}
        for key in ("latency_ms", "latency_std_ms")
    }
    return {**row, "arch": arch, **numbers, **latencies}
