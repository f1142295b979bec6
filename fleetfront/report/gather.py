"""Gather a report: every section from the same sources, opened once and closed again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fleetfront import __version__
from fleetfront.progress import SILENT, Progress
from fleetfront.report.section import Part, Report, Section
from fleetfront.report.sections.baselines import BASELINES
from fleetfront.report.sections.choices import CHOICES
from fleetfront.report.sections.deployed import DEPLOYED
from fleetfront.report.sections.devices import DEVICES
from fleetfront.report.sections.fronts import FRONTS
from fleetfront.report.sections.heat import HEAT_MAPS
from fleetfront.report.sections.operators import OPERATORS
from fleetfront.report.sections.own_phone import OWN_PHONE
from fleetfront.report.sections.predictions import PREDICTIONS
from fleetfront.report.sections.provenance import PROVENANCE
from fleetfront.report.sections.relations import RELATIONS
from fleetfront.report.sections.summary import SUMMARY
from fleetfront.report.sources import Sources, open_sources
from fleetfront.workspace import Workspace

#: The sections in the order of the report.
SECTIONS: tuple[Section[Any], ...] = (
    SUMMARY,
    FRONTS,
    CHOICES,
    DEVICES,
    PREDICTIONS,
    BASELINES,
    HEAT_MAPS,
    OPERATORS,
    RELATIONS,
    DEPLOYED,
    OWN_PHONE,
    PROVENANCE,
)

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
        InputError: a front is not there, or the store cannot be read. What else is broken becomes a note.
        MissingDependency: a package that reading fits or fronts needs is not installed.
    """
    sources = open_sources(workspace, store or workspace.store, fronts, bundles, random_seeds, progress)
    try:
        # The summary is of the others.
        for section in sorted(SECTIONS, key=lambda one: one is SUMMARY):
            sources.views[section.name] = tuple(section.gather(sources))
        parts = tuple(Part(one, place, sources.views[one.name]) for place, one in enumerate(SECTIONS, 1))
        made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        return Report(_title(sources), made, __version__, parts, tuple(sources.notes))
    finally:
        if sources.store is not None:
            sources.store.close()


def _title(sources: Sources) -> str:
    if not sources.spaces:
        return "fleetfront: nothing measured yet"
    count = sum(len(sources.targets(space)) for space in sources.spaces)
    return f"{', '.join(sources.spaces)} on {count} device{'s' if count != 1 else ''}"
