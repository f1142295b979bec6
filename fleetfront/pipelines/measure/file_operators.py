"""Measure one file's operators beside its undisturbed time: profiling disturbs, so shares are scaled to the latter."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from fleetfront.errors import FleetfrontError, InputError
from fleetfront.graphs.graph import Graph, Operator
from fleetfront.graphs.readers.file import read_graph
from fleetfront.pipelines.measure.files import measure_files
from fleetfront.pipelines.measure.single_file import FileProfile
from fleetfront.profilers.kinds.base import Choices, DeviceKind
from fleetfront.profilers.reading.observations import mean_run_ns
from fleetfront.profilers.store.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import NS_PER_MS
from fleetfront.runtimes.operator_times import OperatorTime, OperatorTimes
from fleetfront.targets import Target


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """One operator or fused group of a file.

    Attributes:
        profiled_ms: as the profile tells it.
        share: of the profile's sum over operators, 0 to 1.
        ms: that share of the undisturbed time.
        covers: outputs of the file's operators whose work it does, as far as they are known.
    """

    name: str
    kind: str
    profiled_ms: float
    share: float
    ms: float
    is_fused: bool
    covers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileOperators:
    """A file's operators beside both of its totals.

    Attributes:
        undisturbed_ms: the file's latency without a profiler.
        profiled_ms: of a whole run under the profiler; 0 where that is not told.
        operators: in the order of execution.
        how, taken_in: as in ``OperatorTimes``.
    """

    path: Path
    sha256: str
    target: Target
    undisturbed_ms: float
    profiled_ms: float
    operators: tuple[OperatorRow, ...]
    how: str
    taken_in: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "schema": "fleetfront.file-operators/1",
            "path": str(self.path),
            "sha256": self.sha256,
            "target": str(self.target),
            "undisturbed_ms": self.undisturbed_ms,
            "profiled_ms": self.profiled_ms,
            "operators_ms": sum(row.profiled_ms for row in self.operators),
            "how": self.how,
            "operators": [
                {
                    "name": row.name,
                    "kind": row.kind,
                    "ms": row.ms,
                    "share": row.share,
                    "profiled_ms": row.profiled_ms,
                    "fused": row.is_fused,
                    "covers": list(row.covers),
                }
                for row in self.operators
            ],
            "taken_in": list(self.taken_in),
            "notes": list(self.notes),
        }


def scale_operators(profile: FileProfile, times: OperatorTimes) -> FileOperators:
    """The operators' times scaled so that they sum to the file's undisturbed time.

    Raises InputError if the profile's operators took no time at all.
    """
    whole = profile.latency.ms or profile.mean_ms
    found = scale_times(profile.path, profile.sha256, profile.target, whole, times, profile.notes)
    covers: dict[int, list[str]] = {}
    # What cannot be read can still be timed.
    with suppress(FleetfrontError):
        for output, place in told_groups(read_graph(profile.path), times).items():
            covers.setdefault(place, []).append(output)
    rows = (replace(row, covers=tuple(covers.get(place, ()))) for place, row in enumerate(found.operators))
    return replace(found, operators=tuple(rows))


def scale_times(
    path: Path, sha256: str, target: Target, whole_ms: float, times: OperatorTimes, notes: tuple[str, ...] = ()
) -> FileOperators:
    """The same of a file that takes ``whole_ms`` undisturbed. Raises InputError as ``scale_operators``."""
    total = sum(one.ms for one in times.operators)
    if not total > 0:
        raise InputError("The profile says that no operator took any time.", "Give it more runs, or a larger input.")
    rows = tuple(
        OperatorRow(one.name, one.kind, one.ms, one.ms / total, whole_ms * one.ms / total, one.is_fused)
        for one in times.operators
    )
    if total < _LEAST_TOLD * whole_ms:
        told = (
            f"The operators that have a time add up to {total:.4g} of {whole_ms:.4g} ms: the shares leave the rest out."
        )
        notes = (*notes, told)
    return FileOperators(path, sha256, target, whole_ms, times.total_ms, rows, times.how, times.taken_in, notes)


#: Operators that add up to less of a file's time than this were not all told.
_LEAST_TOLD = 0.5
#: Between a node's name and what a runtime appends when it fuses others into it.
_APPENDED = "/"
#: The setting of kinds of devices whose agents tell times of operators with every visit, and visits that settle them.
WITH_OPERATORS, _VISITS = "with_operators", 3


def device_operators(
    kind: DeviceKind, target: Target, choices: Choices, path: Path, progress: Progress = SILENT
) -> OperatorTimes:
    """Time the operators of the file at ``path`` by a device's own program: medians over a few visits.

    These visits are disturbed, so they are kept in no store.

    Raises InputError if such devices do not tell, or this file's visits did not; DeviceError if the device is lost.
    """
    if WITH_OPERATORS not in kind.settings:
        raise InputError(
            f"{target.runtime} does not tell times of operators on {target.device}.",
            "Devices that it can be had on: cpu, adb.",
        )
    own = replace(choices, settings={**choices.settings, WITH_OPERATORS: True})
    with TemporaryDirectory() as folder, Store(Path(folder) / "store.sqlite") as store:
        found = measure_files(
            {path.name: path},
            target,
            store,
            rounds=_VISITS,
            open_agent=lambda one: kind.open(one, own, progress),
            progress=progress,
        )
        rows = [row for row in store.measurements(campaigns=[found.campaign]) if row.after.get("operators")]
    if not rows:
        reason = found.latencies[path.name].error or "what timed the file printed no table of operators"
        raise InputError(f"No operator's time is known on {target}: {reason}.", "Time the file without --operators.")
    names = [(str(name), str(word)) for name, word, _ in rows[-1].after["operators"]]
    told = [[float(ms) for _, _, ms in row.after["operators"]] for row in rows]
    medians = np.median([ms for ms in told if len(ms) == len(names)], axis=0)
    operators = tuple(
        OperatorTime(name, word, float(ms), is_fused="delegate" in word.lower())
        for (name, word), ms in zip(names, medians, strict=True)
    )
    total = float(np.median([mean_run_ns(row) for row in rows])) / NS_PER_MS
    return OperatorTimes(operators, total, "the profile of the program that ran it there")


def told_groups(graph: Graph, times: OperatorTimes) -> dict[str, int]:
    """First output of each operator of the graph -> the place in ``times.operators`` of what did its work.

    An operator without a time of its own is part of a fused one that alone reads its result, else of what makes what it
    reads. Those of a whole that goes by a name of its own have no place.
    """
    names = {o.origin.name: o.outputs[0] for o in graph.operators if o.origin} | {
        o.outputs[0]: o.outputs[0] for o in graph.operators
    }
    found: dict[str, int] = {}
    fused: set[str] = set()
    for place, one in enumerate(times.operators):
        output = next((names[name] for name in _spellings(one.name) if name in names), None)
        if output is not None and output not in found:
            found[output] = place
            fused |= {output} if one.is_fused else set()
    readers: dict[str, list[Operator]] = {}
    for operator in graph.operators:
        for name in operator.inputs:
            readers.setdefault(name, []).append(operator)
    makers = {name: operator.outputs[0] for operator in graph.operators for name in operator.outputs}
    for operator in reversed(graph.operators):
        output, following = operator.outputs[0], readers.get(operator.outputs[0], [])
        if output not in found and len(following) == 1 and following[0].outputs[0] in fused:
            found[output] = found[following[0].outputs[0]]
            fused.add(output)
    for operator in graph.operators:
        before = (found.get(makers.get(name, "")) for name in operator.inputs)
        known = next((one for one in before if one is not None), None)
        if operator.outputs[0] not in found and known is not None:
            found[operator.outputs[0]] = known
    return found


def _spellings(name: str) -> list[str]:
    """A told name, and what is left of it without what was appended, the longest first."""
    return list(accumulate(name.split(_APPENDED), lambda a, b: f"{a}{_APPENDED}{b}"))[::-1]
