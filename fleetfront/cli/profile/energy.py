"""``fleetfront profile --energy``: what the networks of the last profile take out of a device's battery."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fleetfront.cli.console import hint, print_json, print_table, progress, warn
from fleetfront.cli.options import store_path
from fleetfront.cli.profile.dry_run import tell_plan
from fleetfront.cli.profile.settings import warn_of_no_rest
from fleetfront.cli.search.text import next_search
from fleetfront.profilers.kinds.base import Choices, DeviceKind
from fleetfront.quantities import format_number, parse_duration_s
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.cli.profile.space import ProfileChoices
    from fleetfront.pipelines.measure.energy import EnergyOutcome


def profile_energy(
    kind: DeviceKind,
    target: Target,
    choices: Choices,
    wanted: ProfileChoices,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure the energy of calibration networks, at most ``wanted.energy`` each, and fit it.

    Raises what ``measure_energy``, ``fit_target`` and opening the device raise.
    """
    from fleetfront.cli.fit_text import show_fit
    from fleetfront.pipelines.fit.fit import fit_target
    from fleetfront.pipelines.fit.report import fit_report
    from fleetfront.pipelines.measure.energy import measure_energy
    from fleetfront.profilers.adb.sustained import check_seconds
    from fleetfront.profilers.store.store import Store
    from fleetfront.quantities import ENERGY
    from fleetfront.spaces.catalogue import load_space

    seconds, family = parse_duration_s(wanted.energy or ""), load_space(wanted.space)
    check_seconds(seconds, "a gauge step", "--energy 3m")
    if wanted.dry_run:
        planned = {"space": wanted.space, "seconds_a_network": seconds}
        tell_plan(kind, target, choices, planned, as_json, quiet)
        return
    with Store(store_path(store)) as opened, progress(quiet) as shown:
        warn_of_no_rest("--energy")
        found = measure_energy(
            family,
            target,
            seconds,
            store=opened,
            count=wanted.calibration,
            open_agent=lambda one: kind.open(one, choices, shown),
            progress=shown,
        )
        report = fit_report(fit_target(opened, target, family, metric=ENERGY)) if wanted.with_fit else None
    if as_json:
        print_json({**found.to_json(), "fit": report})
        return
    _tell(found)
    if report is not None:
        show_fit(report, details=False)
    next_search(f"{target.search_options} --objective energy", wanted.space)


def _tell(found: EnergyOutcome) -> None:
    if found.microjoules:
        rows = [(key, format_number(energy / 1e3)) for key, energy in found.microjoules.items()]
        print_table(("network", "mJ an inference"), rows)
    if found.known_before:
        hint(f"{found.known_before} networks were known from before.")
    for key, why in found.why_not.items():
        warn(f"{key}: {why}.")
    hint("The energy is the whole device's, screen and system included.")
