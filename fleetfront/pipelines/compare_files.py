"""Compare two measurements of files, before and after a change: what ``profile --file --json`` printed, or what
``deploy --measure`` noted of a network in parts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Len

from fleetfront.errors import FileError, InputError
from fleetfront.pipelines.deploy.parts import SCHEMA as PARTS_SCHEMA
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
class _Call:
    target: str
    clock: str
    ms: Annotated[float, Gt(0)] | None = None
    std_ms: Annotated[float, Ge(0)] | None = None
    is_busy: bool = False


@dataclass(frozen=True, slots=True)
class _Sized:
    bytes: Annotated[int, Ge(0)]


@dataclass(frozen=True, slots=True)
class _Part:
    calls: Annotated[int, Ge(1)]
    files: tuple[_Sized, ...]
    latency: tuple[_Call, ...] = ()


@dataclass(frozen=True, slots=True)
class _Parts:
    parts: Annotated[Mapping[str, _Part], Len(1)]


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


def _read_file_profile(file: Path, plain: Any) -> dict[FileKey, MeasuredFile]:
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
    key = (Path(found.path).name, found.target, found.clock)
    return {key: MeasuredFile(values, found.latency_std_ms, size, is_busy)}


def _read_parts(file: Path, plain: Any) -> dict[FileKey, MeasuredFile]:
    """The ``parts.json`` of a network: one call of each part, and all calls of an inference under the folder's name.

    Raises FileError if it is damaged, InputError if nothing in it was measured.
    """
    try:
        parts = from_plain(_Parts, json.dumps(plain)).parts
    except ValueError as error:
        raise FileError(f"{file} is damaged ({error}).", "Deploy again.") from error
    whole, found = file.resolve().parent.name, dict[FileKey, MeasuredFile]()
    for name, part in parts.items():
        size = max((one.bytes for one in part.files), default=0)
        for call in part.latency:
            if call.ms is not None:
                key = (f"{whole}/{name}", call.target, call.clock)
                found[key] = MeasuredFile({"latency": call.ms}, call.std_ms or 0.0, size, call.is_busy)
    for target, clock in dict.fromkeys(key[1:] for key in found):
        calls = [(part.calls, found.get((f"{whole}/{name}", target, clock))) for name, part in parts.items()]
        known = [(count, one) for count, one in calls if one is not None]
        if len(known) == len(calls):
            # What one part was too slow by in a sitting, the others were, too.
            found[whole, target, clock] = MeasuredFile(
                {"latency": sum(count * one.values["latency"] for count, one in known)},
                sum(count * one.std_ms for count, one in known),
                sum(one.weight_bytes for _, one in known),
                any(one.is_busy for _, one in known),
            )
    if not found:
        raise InputError(f"No part in {file} was measured.", "Write it with: fleetfront deploy --measure")
    return found


#: Schema -> what reads a document of it.
READERS: Mapping[str, Callable[[Path, Any], dict[FileKey, MeasuredFile]]] = {
    FILE_SCHEMA: _read_file_profile,
    PARTS_SCHEMA: _read_parts,
}


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
