"""Verify a bundle for whoever receives it: its hashes, its proof again on its test vectors, and its latency again.

Nothing but the bundle's folder and its runtimes is needed: no torch, no store, no space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.deploy.bundle.manifest import MANIFEST
from fleetfront.deploy.bundle.received import (
    ModelFile,
    ReceivedBundle,
    read_inside,
    read_received,
    strangers,
)
from fleetfront.deploy.bundle.vectors import INPUT, TORCH, VectorRow, parse_tensor
from fleetfront.deploy.formats import ALL_FORMATS
from fleetfront.deploy.proof import largest_error, logits_of
from fleetfront.errors import FileError, FleetfrontError, MissingDependency
from fleetfront.pipelines.deploy.parts import MANIFEST as PARTS
from fleetfront.pipelines.deploy.parts import is_in_parts, read_parts
from fleetfront.pipelines.measure.files import FileLatency
from fleetfront.progress import SILENT, Progress
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.runtimes.run_apart import run_apart


@dataclass(frozen=True, slots=True)
class FileVerdict:
    """The verdict on one model file, whose hash is right.

    Attributes:
        path: in the bundle.
        runtime: what ran it here; empty if nothing did.
        proven_in: what ran it when it was proven.
        error: the largest difference of an element from what it must be, of the output that is worst in its tolerance.
        tolerance: how large it may be; None where nothing was compared.
        passed: None where nothing was compared.
        note: why not, or why nothing was compared.
        is_missing: something that is not installed kept it from being run.
    """

    path: str
    proven_in: str
    runtime: str = ""
    error: float | None = None
    tolerance: float | None = None
    passed: bool | None = None
    note: str = ""
    is_missing: bool = False


@dataclass(frozen=True, slots=True)
class LatencyVerdict:
    """One file timed on one target, beside what its manifest says.

    Attributes:
        interval: 90 % interval of what was promised, ms; None if nothing was.
        was_ms: what the manifest's own measurement says.
        passed: False if slower than the interval, or further off than allowed; None where nothing can be held against
            it.
        note: why nothing can be, or what is odd.
        is_alone: it was timed without the blocks and networks that its profile visits between files, which keeps
            caches warmer and may read low.
    """

    path: str
    latency: FileLatency
    interval: tuple[float, float] | None = None
    was_ms: float | None = None
    passed: bool | None = None
    note: str = ""
    is_alone: bool = False


@dataclass(frozen=True, slots=True)
class Verified:
    """A bundle whose files are those of its manifest."""

    folder: Path
    bundle: ReceivedBundle
    files: tuple[FileVerdict, ...]
    strangers: tuple[str, ...] = ()
    latencies: tuple[LatencyVerdict, ...] = field(default_factory=tuple)

    @property
    def failed(self) -> tuple[str, ...]:
        """A sentence for each file that misses its proof or its latency."""
        of_files = [f"{file.path}: {_said(file)}" for file in self.files if file.passed is False]
        return (*of_files, *(f"{one.path}: {one.note}" for one in self.latencies if one.passed is False))

    @property
    def missing(self) -> tuple[str, ...]:
        """Packages that are not installed, so that a file could not be run."""
        return tuple(dict.fromkeys(file.note for file in self.files if file.is_missing))


def _said(file: FileVerdict) -> str:
    if file.note or file.error is None or file.tolerance is None:
        return file.note
    return f"off by {file.error:.2g} from what it must give, where {file.tolerance:.2g} is allowed"


def verify_bundle(folder: Path, *, progress: Progress = SILENT) -> Verified:
    """Check every hash of a bundle, or of a network in parts, and run each model file on its test vectors.

    Raises:
        FileError: there is no bundle, or it is damaged: a file is missing, changed, outside, or named twice.
    """
    manifest = PARTS if is_in_parts(folder) else MANIFEST
    bundle = read_parts(folder).as_received() if manifest == PARTS else read_received(folder)
    progress.start("Running test vectors", len(bundle.files))
    verdicts = []
    for file in bundle.files:
        verdicts.append(_verdict(folder, bundle, file))
        progress.advance(detail=file.path)
    progress.finish()
    return Verified(folder, bundle, tuple(verdicts), tuple(strangers(folder, bundle, manifest)))


def _verdict(folder: Path, bundle: ReceivedBundle, file: ModelFile) -> FileVerdict:
    blank = partial(FileVerdict, file.path, file.checks.runtime)
    rows = [row for row in bundle.test_vectors if row.file == file.path]
    if not any(row.tolerance is not None for row in rows):
        return blank(note="the bundle has no test vectors of it, so that its proof is not repeated")
    kind = ALL_FORMATS.get(file.format)
    if kind is None:
        return blank(passed=False, note=f"nothing here knows files of the format {file.format!r}")
    try:
        runtime = load_runtime(kind.runtime)
        here = f"{runtime.name} {runtime.version()}"
    except MissingDependency as error:
        return blank(note=_belonging(file) or str(error), is_missing=not file.bound_to)
    tensors = _tensors(folder, rows)
    cases = list(dict.fromkeys(row.case for row in rows))
    feeds = [{row.tensor: tensors[row.path] for row in rows if (row.case, row.role) == (case, INPUT)} for case in cases]
    try:
        results = run_apart(folder / file.path, kind.runtime, feeds)
    except FleetfrontError as error:
        return blank(here, passed=False, note=_belonging(file) or error.message)
    given = dict(zip(cases, results, strict=True))
    judged = [row for row in rows if row.tolerance is not None]
    errors = [_error(given[row.case].get(row.tensor), tensors[row.path], row, file) for row in judged]
    bounds = [row.tolerance or 0.0 for row in judged]
    worst = max(range(len(judged)), key=lambda place: _share(errors[place], bounds[place]))
    is_right = all(error <= bound for error, bound in zip(errors, bounds, strict=True))
    return blank(here, errors[worst], bounds[worst], is_right)


def _belonging(file: ModelFile) -> str:
    if not file.bound_to:
        return ""
    bound = ", ".join(f"{key} {value}" for key, value in sorted(file.bound_to.items()))
    return f"not run: it belongs to one machine ({bound})"


def _share(error: float, bound: float) -> float:
    return error / bound if bound else (0.0 if not error else float("inf"))


def _tensors(folder: Path, rows: Sequence[VectorRow]) -> dict[str, NDArray[Any]]:
    found = {}
    for row in rows:
        try:
            found[row.path] = parse_tensor(read_inside(folder, row.path), row)
        except ValueError as error:
            raise FileError(f"The test vector {row.path} is damaged: {error}.", "Get the bundle again.") from error
    return found


def _error(got: NDArray[Any] | None, want: NDArray[Any], row: VectorRow, file: ModelFile) -> float:
    """How far off an output is; infinite if there is none of this name and shape."""
    if got is None or got.shape != want.shape:
        return float("inf")
    if file.contract.softmax and row.role == TORCH:
        want, got = logits_of(want), logits_of(got)
    return largest_error(want.astype(np.float64), got.astype(np.float64))


def as_json(verified: Verified) -> dict[str, Any]:
    """Plain values for ``--json``, schema ``fleetfront.verify/1``."""
    return {
        "schema": "fleetfront.verify/1",
        "bundle": str(verified.folder),
        "arch": verified.bundle.arch,
        **({"calls": dict(verified.bundle.calls)} if verified.bundle.calls else {}),
        "files": [
            {
                "path": file.path,
                "sha256": named.sha256,
                "runtime": file.runtime or None,
                "proven_in": file.proven_in,
                "error": _finite(file.error),
                "tolerance": file.tolerance,
                "passed": file.passed,
                "note": file.note or None,
            }
            for file, named in zip(verified.files, verified.bundle.files, strict=True)
        ],
        "unnamed_files": list(verified.strangers),
        "latency": [_latency_as_json(one) for one in verified.latencies],
        "passed": not verified.failed and not verified.missing,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _latency_as_json(one: LatencyVerdict) -> Mapping[str, Any]:
    return {
        "path": one.path,
        "target": str(one.latency.target),
        "clock": one.latency.clock.value,
        "statistic": one.latency.statistic,
        "ms": one.latency.ms,
        "std_ms": one.latency.std_ms,
        "promised_interval_ms": None if one.interval is None else list(one.interval),
        "was_ms": one.was_ms,
        "passed": one.passed,
        "note": one.note or None,
        "is_alone": one.is_alone,
        "promises": None if one.latency.promises is None else one.latency.promises.to_json(),
    }
