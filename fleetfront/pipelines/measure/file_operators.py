"""Measure one file's operators beside its undisturbed time: profiling disturbs, so shares are scaled to the latter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fleetfront.errors import InputError
from fleetfront.pipelines.measure.single_file import FileProfile
from fleetfront.runtimes.base import Runtime
from fleetfront.runtimes.feeds import GivenInputs, load_arrays, make_feeds
from fleetfront.runtimes.operator_times import OperatorTimes, TellsOperatorTimes
from fleetfront.targets import Target


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """One operator or fused group of a file.

    Attributes:
        profiled_ms: as the profile tells it.
        share: of the profile's sum over operators, 0 to 1.
        ms: that share of the undisturbed time.
    """

    name: str
    kind: str
    profiled_ms: float
    share: float
    ms: float
    is_fused: bool


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
    total, whole = sum(one.ms for one in times.operators), profile.latency.ms or profile.mean_ms
    if not total > 0:
        raise InputError("The profile says that no operator took any time.", "Give it more runs, or a larger input.")
    rows = tuple(
        OperatorRow(one.name, one.kind, one.ms, one.ms / total, whole * one.ms / total, one.is_fused)
        for one in times.operators
    )
    return FileOperators(
        profile.path,
        profile.sha256,
        profile.target,
        whole,
        times.total_ms,
        rows,
        times.how,
        times.taken_in,
        profile.notes,
    )


def time_file_operators(
    runtime: Runtime,
    path: Path,
    *,
    threads: int = 1,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    arrays: Path | None = None,
) -> OperatorTimes:
    """What the runtime tells of the operators of the file at ``path``, on the inputs given or drawn.

    Raises InputError if the runtime tells none, or does not open the file or run it so.
    """
    if not isinstance(runtime, TellsOperatorTimes):
        raise InputError(
            f"{runtime.name} does not tell times of operators here.", "Use --runtime onnxruntime or litert on a CPU."
        )
    session = runtime.open(path, threads=threads)
    try:
        given = GivenInputs(dict(shapes or {}), load_arrays(arrays) if arrays else {})
        feeds, _ = make_feeds(session, np.random.default_rng(0), given)
    finally:
        session.close()
    return runtime.operator_times(path, feeds, threads=threads)
