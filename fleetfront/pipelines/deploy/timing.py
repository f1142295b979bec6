"""Time the very files that bundles get, one target after the other. How files are timed is in ``measure.files``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fleetfront.deploy.formats import FileFormat
from fleetfront.errors import FleetfrontError, InputError
from fleetfront.pipelines.deploy.records import Measuring, Network, WrittenFile, is_timed_on
from fleetfront.pipelines.fit.today import company_of, with_promises
from fleetfront.pipelines.measure.company import find_company
from fleetfront.pipelines.measure.files import FileLatency, measure_files, with_app_times
from fleetfront.progress import Progress
from fleetfront.workspace import Workspace


def check_targets(measuring: Measuring | None, formats: Sequence[FileFormat], precisions: Sequence[str]) -> None:
    """Raise InputError if a target runs none of the files that will be written."""
    for target in measuring.targets if measuring is not None else ():
        if not any(is_timed_on(target, kind, precision, formats) for kind in formats for precision in precisions):
            raise InputError(
                f"No file is written that {target} runs.", "Add its format or precision, e.g. --formats onnx,tflite."
            )


def measure_networks(
    made: Mapping[str, Network | FleetfrontError], measuring: Measuring, progress: Progress
) -> dict[str, tuple[FileLatency, ...]]:
    """Architecture -> what was measured of its files, one entry a target."""
    return measure_written({a: one.files for a, one in made.items() if isinstance(one, Network)}, measuring, progress)


def measure_written(
    written: Mapping[str, Sequence[WrittenFile]], measuring: Measuring, progress: Progress
) -> dict[str, tuple[FileLatency, ...]]:
    """The same for files by architecture."""
    results: dict[str, list[FileLatency]] = {arch: [] for arch in written}
    for target in measuring.targets if written else ():
        paths: dict[str, Path] = {}
        for arch, files in written.items():
            kinds = [file.kind for file in files]
            for file in files:
                if is_timed_on(target, file.kind, file.precision, kinds):
                    paths[arch] = file.path
        if not paths:
            continue
        workspace = measuring.workspace or Workspace.default()
        suffix = next((path.suffix for path in paths.values()), "")
        table = measuring.models.get(target)
        company = find_company(
            measuring.store,
            measuring.space,
            target,
            measuring.clock,
            workspace.cache,
            suffix,
            networks=company_of(None if table is None else table.model),
        )
        measured = measure_files(
            paths,
            target,
            measuring.store,
            clock=measuring.clock,
            statistic=measuring.statistics.get(target, "p25"),
            company=company,
            workspace=workspace,
            open_agent=measuring.open_agent,
            progress=progress,
        )
        latencies = with_app_times(
            measured,
            paths,
            measuring.store,
            workspace=workspace,
            open_agent=measuring.open_agent,
            progress=progress,
        )
        if table is not None and company is not None:
            latencies = with_promises(latencies, measured.observations, table)
        for arch, latency in latencies.items():
            results[arch].append(latency)
    return {arch: tuple(latencies) for arch, latencies in results.items()}
