"""Making a report: every section from the same sources, opened once and closed again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fleetfront.progress import SILENT, Progress
from fleetfront.report.sections.baselines import baseline_views
from fleetfront.report.sections.contents import Report
from fleetfront.report.sections.deployed import deployed_files
from fleetfront.report.sections.devices import device_entries
from fleetfront.report.sections.fronts import front_groups
from fleetfront.report.sections.heat import heat_maps
from fleetfront.report.sections.predictions import prediction_views
from fleetfront.report.sections.provenance import provenance
from fleetfront.report.sections.relations import relation_views
from fleetfront.report.sources import Sources, open_sources
from fleetfront.workspace import Workspace

#: Runs of random search that a report makes for comparison: enough to see a spread.
RANDOM_SEEDS = 3


def gather_report(
    workspace: Workspace,
    *,
    store: Path | None = None,
    fronts: Sequence[Path] = (),
    bundles: Sequence[Path] = (),
    random_seeds: int = RANDOM_SEEDS,
    progress: Progress = SILENT,
) -> Report:
    """Read everything that a report says.

    Args:
        workspace: where fits lie, and the store and the newest front unless they are named.
        store: the file of measurements.
        fronts: results of searches, files or folders; the first with a front of a device is the one shown.
        bundles: folders that ``fleetfront deploy`` wrote.
        random_seeds: how often to search at random for comparison, where nobody has; 0 for not at all.
        progress: told of every step.

    Raises:
        InputError: a front or store cannot be read. What else is broken becomes a note of the report.
        MissingDependency: a package that reading fits or fronts needs is not installed.
    """
    sources = open_sources(workspace, store or workspace.store, fronts, bundles, progress)
    try:
        return _report(sources, random_seeds)
    finally:
        if sources.store is not None:
            sources.store.close()


def _report(sources: Sources, random_seeds: int) -> Report:
    devices = device_entries(sources)
    predictions = prediction_views(sources)
    heat = heat_maps(sources)
    groups = front_groups(sources)
    relations = relation_views(sources)
    baselines = baseline_views(sources, random_seeds)
    deployed = deployed_files(sources)
    return Report(
        title=_title(sources),
        devices=devices,
        predictions=predictions,
        fronts=groups,
        baselines=baselines,
        heat_maps=heat,
        relations=relations,
        deployed=deployed,
        provenance=provenance(sources),
        notes=tuple(sources.notes),
    )


def _title(sources: Sources) -> str:
    if not sources.spaces:
        return "fleetfront: nothing measured yet"
    count = sum(len(sources.targets(space)) for space in sources.spaces)
    return f"{', '.join(sources.spaces)} on {count} device{'s' if count != 1 else ''}"
