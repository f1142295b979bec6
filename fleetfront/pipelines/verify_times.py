"""Time the files of a received bundle again, and hold them against what its manifest promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from fleetfront.deploy.bundle.received import LatencyRow
from fleetfront.deploy.formats import ALL_FORMATS
from fleetfront.errors import InputError
from fleetfront.pipelines.deploy.parts import sum_of_calls
from fleetfront.pipelines.deploy.records import is_timed_on
from fleetfront.pipelines.fit.today import company_of, model_here, with_promises
from fleetfront.pipelines.measure.company import Company, find_company
from fleetfront.pipelines.measure.files import FileLatency, FilesMeasured, measure_files
from fleetfront.pipelines.verify import LatencyVerdict, Verified
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.profilers.kinds.base import Choices
from fleetfront.profilers.kinds.catalogue import OpenAgent, kind_of, open_device
from fleetfront.profilers.reading.observations import STATISTICS
from fleetfront.profilers.store.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import Clock, interval_90
from fleetfront.targets import Target
from fleetfront.workspace import Workspace


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
            if verified.bundle.calls:
                measure = partial(measure_files, workspace=workspace, open_agent=opener, progress=progress)
                found += _timed_parts(verified, list(files), target, within, measure, store, place)
                continue
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


def _timed_parts(
    verified: Verified,
    paths: Sequence[str],
    target: Target,
    within: float | None,
    measure: Callable[..., FilesMeasured],
    store: Store,
    place: Workspace,
) -> list[LatencyVerdict]:
    """One call of each part, and all calls together, which alone something was promised of."""
    kept = {file.path: file for file in verified.bundle.files}
    formats = [ALL_FORMATS[file.format] for file in kept.values() if file.format in ALL_FORMATS]
    run = [p for p, file in kept.items() if file.format in ALL_FORMATS]
    run = [p for p in run if is_timed_on(target, ALL_FORMATS[kept[p].format], kept[p].precision, formats)]
    if not run or set(run) - set(paths):
        return []
    promised, was = _told(verified.bundle.latency, target)
    clock = next((row.clock for row in (promised, was) if row and row.clock != Clock.UNKNOWN), Clock.WALL)
    statistic = was.statistic if was and was.statistic in STATISTICS else "p25"
    table = model_here(place, verified.bundle.space, target, clock)
    company = _company(place, verified.bundle.space, target, clock, Path(run[0]).suffix, table)
    files = {path: verified.folder / path for path in run}
    latencies = measure(files, target, store, clock=clock, statistic=statistic, company=company).latencies
    calls = verified.bundle.calls
    each = []
    for path in run:
        one = latencies[path]
        note = f"one call of {calls[path]}"
        failed = f"could not be measured on {target}: {one.error}"
        each.append(
            LatencyVerdict(path, one, passed=None, note=note)
            if one.error is None
            else LatencyVerdict(path, one, passed=False, note=failed)
        )
    whole = sum_of_calls([(calls[path], latencies[path]) for path in run])
    verdict = _judged("all calls", whole, promised, was, within)
    is_alone = company is None and _had_company(promised, was)
    return [replace(one, is_alone=is_alone) for one in (*each, verdict)]


def _call(calls: int) -> str:
    return f"one call of {calls}"


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
