"""Verify a bundle for whoever receives it: its hashes, its proof again on its test vectors, and its latency again.

Nothing but the bundle's folder and its runtimes is needed: no torch, no store, no space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.deploy.bundle.received import (
    LatencyRow,
    ModelFile,
    ReceivedBundle,
    read_inside,
    read_received,
    strangers,
)
from fleetfront.deploy.bundle.vectors import INPUT, TORCH, VectorRow, parse_tensor
from fleetfront.deploy.formats import ALL_FORMATS
from fleetfront.deploy.proof import largest_error, logits_of
from fleetfront.errors import FileError, FleetfrontError, InputError, MissingDependency
from fleetfront.pipelines.deploy.parts import refuse_parts
from fleetfront.pipelines.deploy.records import is_timed_on
from fleetfront.pipelines.fit.today import company_of, model_here, with_promises
from fleetfront.pipelines.measure.company import Company, find_company
from fleetfront.pipelines.measure.files import FileLatency, FilesMeasured, measure_files
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.profilers.kinds.base import Choices
from fleetfront.profilers.kinds.catalogue import OpenAgent, kind_of, open_device
from fleetfront.profilers.reading.observations import STATISTICS
from fleetfront.profilers.store.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import Clock, interval_90
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.runtimes.run_apart import run_apart
from fleetfront.targets import Target
from fleetfront.workspace import Workspace


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
    """Check every hash of a bundle, and run each model file on the bundle's test vectors.

    Raises:
        InputError: the folder holds a network in parts, which has no test vectors.
        FileError: there is no bundle, or it is damaged: a file is missing, changed, outside, or named twice.
    """
    refuse_parts(folder)
    bundle = read_received(folder)
    progress.start("Running test vectors", len(bundle.files))
    verdicts = []
    for file in bundle.files:
        verdicts.append(_verdict(folder, bundle, file))
        progress.advance(detail=file.path)
    progress.finish()
    return Verified(folder, bundle, tuple(verdicts), tuple(strangers(folder, bundle)))


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


def time_bundle(
    verified: Verified,
    device: str,
    *,
    within: float | None = None,
    workspace: Workspace | None = None,
    open_agent: OpenAgent | None = None,
    progress: Progress = SILENT,
) -> tuple[LatencyVerdict, ...]:
    """Time the bundle's files again on the targets of ``device`` that its manifest tells of, else on its usual ones.

    Slower than the promised 90 % interval is a miss; faster is said. A promise for other hardware, as far as the
    manifest tells, is shown and not judged. Where the workspace has a profile of the bundle's space there, files are
    visited among its blocks and networks, as when they were deployed; else alone. Files that missed their proof are
    not timed.

    Args:
        verified: the bundle.
        device: ``cpu``, ``adb:SERIAL``: as ``profile`` takes it.
        within: judge by this instead: percent that a file may be slower than promised or, without a promise, than it
            was measured.
        workspace: where profiles and the locks of devices are kept.
        open_agent: who measures; the default is ``open_device``.
        progress: told of every visit.

    Raises:
        InputError: no file of the bundle runs there.
        DeviceError: the device is lost, refused or measured by another process.
    """
    place = workspace or Workspace.default()
    wrong = {file.path for file in verified.files if file.passed is False}
    files = {file.path: file for file in verified.bundle.files if file.format in ALL_FORMATS and file.path not in wrong}
    targets = _targets(verified, device)
    opener = open_agent or partial(open_device, choices=Choices(device=device, workspace=workspace))
    kinds = [ALL_FORMATS[file.format] for file in files.values()]
    found = []
    with TemporaryDirectory() as held, Store(Path(held) / "store.sqlite") as store:
        for target in targets:
            for path, file in files.items():
                if not is_timed_on(target, ALL_FORMATS[file.format], file.precision, kinds):
                    continue
                measure = partial(measure_files, workspace=workspace, open_agent=opener, progress=progress)
                found.append(_timed(verified, path, target, within, measure, store, place))
    if not found:
        what = ", ".join(f"{file.format} {file.precision}" for file in files.values()) or "none that kept its proof"
        raise InputError(f"No file of {verified.folder} runs on {device}.", f"Name a device for its files: {what}.")
    return tuple(found)


def _timed(
    verified: Verified,
    path: str,
    target: Target,
    within: float | None,
    measure: Callable[..., FilesMeasured],
    store: Store,
    place: Workspace,
) -> LatencyVerdict:
    promised, was = _told(verified.bundle.latency, target)
    clock = next((row.clock for row in (promised, was) if row and row.clock != Clock.UNKNOWN), Clock.WALL)
    statistic = was.statistic if was and was.statistic in STATISTICS else "p25"
    table = model_here(place, verified.bundle.space, target, clock)
    company = _company(place, verified.bundle.space, target, clock, Path(path).suffix, table)
    files = {path: verified.folder / path}
    measured = measure(files, target, store, clock=clock, statistic=statistic, company=company)
    latency = measured.latencies[path]
    if table is not None and company is not None:
        arch = verified.bundle.arch
        latency = with_promises({arch: latency}, measured.observations, table)[arch]
    verdict = _judged(path, latency, promised, was, within)
    return replace(verdict, is_alone=company is None and _had_company(promised, was))


def _company(
    place: Workspace, space: str, target: Target, clock: Clock, suffix: str, table: CalibratedTable | None
) -> Company | None:
    """The company of files in the space's profile on ``target``, if whoever verifies has one."""
    try:
        with Store(place.store, must_exist=True, read_only=True) as known:
            count = company_of(None if table is None else table.model)
            return find_company(known, space, target, clock, place.cache, suffix, networks=count)
    except InputError:
        return None


def _had_company(promised: LatencyRow | None, was: LatencyRow | None) -> bool:
    """Tell whether what a file is held against was measured among a profile's networks, or predicted from them."""
    return promised is not None or (was is not None and was.sitting is not None)


def _targets(verified: Verified, device: str) -> list[Target]:
    kind = kind_of(device)
    usual = {
        kind.target(device, runtime=runtime, precision=file.precision)
        for file in verified.bundle.files
        if file.format in ALL_FORMATS
        for runtime in [ALL_FORMATS[file.format].runtime]
    }
    here = {target.device for target in usual}
    told = [Target.parse(row.target) for row in verified.bundle.latency]
    files = [(ALL_FORMATS[file.format], file.precision) for file in verified.bundle.files if file.format in ALL_FORMATS]
    # Times of a target that none of the files runs on are of others.
    told = [one for one in told if one.device in here and any(is_timed_on(one, *file) for file in files)]
    return list(dict.fromkeys(told)) or sorted(usual)


def _told(rows: Sequence[LatencyRow], target: Target) -> tuple[LatencyRow | None, LatencyRow | None]:
    """The promise for the target, and its measurement."""
    mine = [row for row in rows if row.target == str(target) and row.ms is not None]
    promised = next((row for row in mine if row.is_prediction), None)
    return promised, next((row for row in mine if not row.is_prediction), None)


def _judged(
    path: str, latency: FileLatency, promised: LatencyRow | None, was: LatencyRow | None, within: float | None
) -> LatencyVerdict:
    was_ms = None if was is None else was.ms
    interval = None
    if promised is not None and promised.ms is not None and promised.std_ms is not None:
        low, high = interval_90(promised.ms, promised.std_ms, promised.tier)
        interval = (float(low), float(high))
    made = partial(LatencyVerdict, path, latency, interval, was_ms)
    if latency.ms is None:
        return made(passed=False, note=f"could not be measured on {latency.target}: {latency.error}")
    if within is not None:
        base = promised.ms if promised is not None else was_ms
        if base is None:
            return made(note="the manifest has no latency of this target to hold it against")
        slower = 100 * (latency.ms / base - 1) if base else float("inf")
        return made(passed=slower <= within, note=f"{slower:+.1f} % against {base:.4g} ms (allowed: {within:g} %)")
    machine = was.machine if was is not None else ""
    if machine and latency.machine and machine != latency.machine:
        return made(note=f"the manifest's figures are of another machine ({machine}; this is {latency.machine})")
    if interval is None:
        said = "none of it was promised" if was_ms is not None else "the manifest tells nothing of it"
        if promised is not None and promised.not_promised:
            said = f"nothing was promised for when it is run ({promised.not_promised})"
        return made(note=f"{said}: --within PERCENT sets a bar" if was_ms is not None else said)
    if latency.ms > interval[1]:
        said = f"{latency.ms:.4g} ms, slower than the promised {_span(interval)}{_held_today(latency)}"
        return made(passed=False, note=said)
    faster = f"faster than the promised {_span(interval)}" if latency.ms < interval[0] else ""
    return made(passed=True, note=faster)


def _held_today(latency: FileLatency) -> str:
    promises = latency.promises
    if promises is None or promises.this_sitting is None or not promises.verdict(promises.this_sitting):
        return ""
    return f"; as this machine runs today, {_span(promises.this_sitting.interval)}, it holds"


def _span(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.4g} to {interval[1]:.4g} ms"


def as_json(verified: Verified) -> dict[str, Any]:
    """Plain values for ``--json``, schema ``fleetfront.verify/1``."""
    return {
        "schema": "fleetfront.verify/1",
        "bundle": str(verified.folder),
        "arch": verified.bundle.arch,
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
