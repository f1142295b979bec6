"""``profile --file --operators``: each operator's time beside the file's undisturbed total."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fleetfront.cli.console import echo, hint, print_json, print_table, progress, shortened, warn
from fleetfront.cli.options import store_path
from fleetfront.cli.profile.file import TimedFiles, time_file
from fleetfront.errors import InputError
from fleetfront.profilers.kinds.base import Choices, DeviceKind, TimesOperators
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.pipelines.measure.file_operators import FileOperators

#: Bars are so wide where the largest operator is all; as many are listed.
_BAR, _LISTED = 24, 60


def profile_file_operators(
    kind: DeviceKind,
    target: Target,
    choices: Choices,
    timed: TimedFiles,
    store: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Time the file undisturbed, then its operators, and print both. Raises what ``profile_file`` raises."""
    from fleetfront.graphs.input_shapes import parse_shapes
    from fleetfront.pipelines.measure.file_operators import device_operators, scale_operators
    from fleetfront.pipelines.measure.operator_time_files import save_operator_times
    from fleetfront.profilers.store.store import Store

    file = timed.file
    if file is None or timed.seconds is not None or dry_run:
        raise InputError("--operators goes with --file, and not with --sustained or --dry-run.", "Leave one out.")
    with Store(store_path(store)) as opened, progress(quiet) as shown:
        whole = time_file(kind, target, choices, file, timed, opened, shown)
        if isinstance(kind, TimesOperators):
            times = kind.time_operators(target, choices, whole.path, parse_shapes(timed.shapes), timed.arrays)
        else:
            times = device_operators(kind, target, choices, whole.path, shown)
    found = scale_operators(whole, times)
    save_operator_times(found, choices.place)
    if as_json:
        print_json(found.to_json())
    else:
        tell_operators(found)


def tell_operators(found: FileOperators) -> None:
    """Print both totals, then the operators by their time."""
    parts = sum(row.profiled_ms for row in found.operators)
    echo(f"{found.path.name} on {found.target}")
    rows = [("undisturbed", f"{found.undisturbed_ms:.4g} ms"), ("operators, profiled", f"{parts:.4g} ms in all")]
    if found.profiled_ms:
        rows.insert(1, ("profiled", f"{found.profiled_ms:.4g} ms"))
    print_table(("total", "value"), rows)
    largest = max(row.ms for row in found.operators)
    ranked = sorted(found.operators, key=lambda row: -row.ms)
    cells = [
        (
            shortened(row.name),
            row.kind + (" (fused)" if row.is_fused else ""),
            f"{row.ms:.4g}",
            f"{row.share:.1%}",
            "█" * max(1, round(_BAR * row.ms / largest)),
        )
        for row in ranked[:_LISTED]
    ]
    print_table(("operator", "kind", "ms", "share", ""), cells)
    if len(ranked) > _LISTED:
        hint(f"and {len(ranked) - _LISTED} smaller ones; --json has all.")
    hint(f"Times are shares of the undisturbed total; told by {found.how}.")
    if found.taken_in:
        hint(f"{len(found.taken_in)} operators of the file have no time of their own: others do their work.")
    for note in found.notes:
        warn(note)
