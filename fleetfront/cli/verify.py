"""``fleetfront verify``: check a bundle that somebody hands over."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetfront.cli.console import hint, next_command, print_json, print_table, progress, warn
from fleetfront.cli.deploy.results import PROMISES, promise_cells, tell_unpromised
from fleetfront.cli.options import Amount, json_option, quiet_option
from fleetfront.errors import BarMissed, InputError, MissingDependency

if TYPE_CHECKING:
    from fleetfront.pipelines.verify import FileVerdict, LatencyVerdict, Verified

#: ``--measure`` without a device.
_HERE = "cpu"
#: Unnamed files that a warning lists.
_LISTED = 5

_OF_FILES = ("file", "hash", "off from torch", "may be", "run in", "proven in", "verdict")
_OF_LATENCY = ("file", "target and clock", "ms", "promised, 90 %", "was", "verdict")


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--measure",
    is_flag=False,
    flag_value=_HERE,
    metavar="[DEVICE]",
    help="Time the files again: here, on adb:SERIAL or ssh:HOST/cpu.",
)
@click.option(
    "--within",
    type=Amount(0, 1000),
    metavar="PERCENT",
    help="With --measure: as much slower may a file be than the manifest says.  [default: its 90 % interval]",
)
@json_option
@quiet_option
def verify(bundle: Path, measure: str | None, within: float | None, as_json: bool, quiet: bool) -> None:
    """Check a bundle that somebody hands over: its hashes, and its proof again in the runtimes of this machine.

    Nothing but the folder is needed. Every file that manifest.json names must be the one that was proven; every model
    file is run on the bundle's test vectors, in a process of its own, and its outputs are held against torch's (int8:
    against what the file gave when it was proven). With --measure the files are timed and held against the latency
    that the manifest promises.

    Exit code 0: all of it holds. 1: a file gives other outputs than it must, or is slower than it may be. 2: the
    bundle is damaged, changed or no bundle. 4: a runtime is not installed, so that a file could not be run.

    \b
    Examples:
      fleetfront verify deployed/cpu-knee
      fleetfront verify deployed/cpu-knee --measure
      fleetfront verify net/ --measure adb:SERIAL --within 15 --json
    """
    from fleetfront.pipelines import verify as room
    from fleetfront.pipelines import verify_times as room_of_times

    if within is not None and measure is None:
        raise InputError("--within is for what is timed.", "Add --measure.")
    with progress(quiet) as shown:
        found = room.verify_bundle(bundle, progress=shown)
        if measure is not None:
            times = room_of_times.time_bundle(found, measure, within=within, progress=shown)
            found = replace(found, latencies=times)
    if as_json:
        print_json(room.as_json(found))
    else:
        _show(found)
        if measure is None and not found.failed:
            next_command(f"fleetfront verify {shlex.quote(str(bundle))} --measure")
    if found.failed:
        first = found.failed[0].rstrip(".")
        raise BarMissed(
            f"{len(found.failed)} of {len(found.files) + len(found.latencies)} checks failed: {first}.",
            "Do not ship it: get the bundle again, or one that was proven on the runtime that you use.",
        )
    if found.missing:
        raise MissingDependency(f"Not everything could be checked: {found.missing[0]}")


def _show(found: Verified) -> None:
    print_table(_OF_FILES, [_file_row(file) for file in found.files])
    if found.latencies:
        hint("")
        print_table(_OF_LATENCY, [_latency_row(one) for one in found.latencies])
        promised = [one for one in found.latencies if one.latency.promises is not None]
        if promised:
            hint("\nBy this machine's own model, 90 % (ms), whenever they are run, and in today's sitting:")
            print_table(("file", *PROMISES), [(one.path, *promise_cells(one.latency)) for one in promised])
            tell_unpromised(one.latency for one in promised)
    for file in found.files:
        if file.passed is None and not file.is_missing:
            warn(f"{file.path}: {file.note}")
    for one in found.latencies:
        if one.passed is not False and one.note:
            hint(f"{one.path}: {one.note}")
    alone = [one.path for one in found.latencies if one.is_alone]
    if alone:
        hint(f"{', '.join(alone)}: timed alone, as no profile of {found.bundle.space} is here, while the manifest's "
             "figures come from files between a profile's: a few percent too fast are usual.")  # fmt: skip
    if found.strangers:
        more = f" and {len(found.strangers) - _LISTED} more" if len(found.strangers) > _LISTED else ""
        warn(f"Files that the manifest does not name, so that nobody vouches for them: "
             f"{', '.join(found.strangers[:_LISTED])}{more}")  # fmt: skip


def _file_row(file: FileVerdict) -> tuple[str, ...]:
    verdict = {True: "holds", False: "FAILED", None: "not run"}[file.passed]
    return (
        file.path,
        "ok",
        "-" if file.error is None else f"{file.error:.2g}",
        "-" if file.tolerance is None else f"{file.tolerance:.2g}",
        file.runtime or "-",
        file.proven_in,
        verdict,
    )


def _latency_row(one: LatencyVerdict) -> tuple[str, ...]:
    latency = one.latency
    return (
        one.path,
        f"{latency.target} {latency.clock.value}",
        "failed" if latency.ms is None else f"{latency.ms:.4g}",
        "-" if one.interval is None else f"{one.interval[0]:.4g} to {one.interval[1]:.4g}",
        "-" if one.was_ms is None else f"{one.was_ms:.4g}",
        {True: "holds", False: "FAILED", None: "not judged"}[one.passed],
    )
