"""Compare two measurements of model files: what ``profile --file --json`` printed, before and after a change."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt

from fleetfront.errors import FileError
from fleetfront.plain import from_plain
from fleetfront.predictors.scores import Z90
from fleetfront.predictors.table.intervals import TYPICAL_SPREAD
from fleetfront.profilers.reading.other_programs import OtherPrograms

FILE_SCHEMA = "fleetfront.file-profile/1"

#: A file is known by its name, target and clock: its content is what changed.
FileKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Wall:
    p90_ms: Annotated[float, Gt(0)] | None = None


@dataclass(frozen=True, slots=True)
class _Profile:
    path: str
    target: str
    clock: str
    latency_ms: Annotated[float, Gt(0)]
    latency_std_ms: Annotated[float, Ge(0)]
    wall: _Wall = _Wall()
    file_bytes: Annotated[int, Ge(0)] | None = None
    other_programs: OtherPrograms | None = None


@dataclass(frozen=True, slots=True)
class MeasuredFile:
    """A file's numbers, ms: ``values`` by quantity, and the standard deviation of its latency within the sitting.

    Attributes:
        weight_bytes: what caches may hold of it; infinite where nobody says.
        is_busy: other programs kept the device busy.
    """

    values: Mapping[str, float]
    std_ms: float
    weight_bytes: float = math.inf
    is_busy: bool = False


def read_file_profile(file: Path, plain: Any) -> tuple[FileKey, MeasuredFile]:
    """One document of ``profile --file --json``. Raises FileError if it is damaged."""
    try:
        found = from_plain(_Profile, json.dumps(plain))
    except ValueError as error:
        raise FileError(
            f"{file} is damaged ({error}).", "Make it again with: fleetfront profile --file --json"
        ) from error
    values = {"latency": found.latency_ms}
    if found.wall.p90_ms is not None:
        values["p90"] = found.wall.p90_ms
    size = math.inf if found.file_bytes is None else found.file_bytes
    is_busy = found.other_programs is not None and found.other_programs.is_much
    return (Path(found.path).name, found.target, found.clock), MeasuredFile(values, found.latency_std_ms, size, is_busy)


def noise_between(before: MeasuredFile | None, after: MeasuredFile | None) -> float | None:
    """By how much two latencies of an unchanged file differ in nine of ten pairs of sittings at most, ms.

    Visits of one sitting agree far better than sittings do: ``TYPICAL_SPREAD`` says by how much these differ.
    """
    if before is None or after is None:
        return None
    within = np.array([math.hypot(before.std_ms, after.std_ms)])
    weights = np.array([max(before.weight_bytes, after.weight_bytes)])
    mean, is_busy = np.array([before.values["latency"]]), before.is_busy or after.is_busy
    return Z90 * float(TYPICAL_SPREAD.widen(mean, within, weights, is_busy)[0])
