"""``profile --file`` on a device over ADB: timing one file there, or running it without rest."""

from __future__ import annotations

from pathlib import Path

from fleetfront.cli.adb_options import AdbChoices
from fleetfront.cli.console import print_json, print_table, progress
from fleetfront.cli.options import store_path
from fleetfront.errors import DeviceError, InputError
from fleetfront.targets import Target


def profile_adb_file(
    device: str,
    target: Target,
    file: Path | None,
    sustained: str | None,
    adb: AdbChoices,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Time ``file`` on the device, in visits as those of a profile or, with ``sustained``, without rest.

    Raises InputError without a file or for a device that is not over ADB; DeviceError if nothing could be measured.
    """
    if file is None or not device.startswith("adb"):
        raise InputError(
            "--sustained needs a device over ADB and a file.", "Add --device adb:SERIAL --file FILE.tflite."
        )
    rows = _sustained(device, target, file, sustained, adb, store, quiet) if sustained else None
    rows = rows or _visits(device, target, file, adb, store, quiet)
    if as_json:
        print_json({"schema": "fleetfront.file-profile/1", "target": str(target), "path": str(file), **rows})
    else:
        print_table(("what", "value"), [(key.replace("_", " "), f"{value}") for key, value in rows.items()])


def _visits(
    device: str, target: Target, file: Path, adb: AdbChoices, store: Path | None, quiet: bool
) -> dict[str, object]:
    from fleetfront.pipelines.measure_files import measure_files
    from fleetfront.profilers.store import Store

    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}).", "Give the path of a model file.") from error
    with Store(store_path(store)) as opened, progress(quiet) as shown:
        agent = adb.agent(device, target, shown)
        found = measure_files(
            {file.name: data}, target, opened, clock=agent.clocks[0], open_agent=lambda _: agent, progress=shown
        )[file.name]
    if found.ms is None:
        raise DeviceError(f"{file} could not be measured on {device}: {found.error}", "See docs/phones.md.")
    return {"latency_ms": found.ms, "statistic": found.statistic, "clock": found.clock.value, "visits": found.visits}


def _sustained(
    device: str, target: Target, file: Path, duration: str, adb: AdbChoices, store: Path | None, quiet: bool
) -> dict[str, object]:
    from contextlib import closing

    from fleetfront.profilers.adb.sustained import SUSTAINED_OPTIONS, measure_sustained
    from fleetfront.profilers.store import Store
    from fleetfront.quantities import parse_duration_s

    seconds = parse_duration_s(duration)
    with Store(store_path(store)) as opened, progress(quiet) as shown:
        with closing(adb.agent(device, target, shown, SUSTAINED_OPTIONS)) as agent:
            found = measure_sustained(agent, file, seconds, progress=shown)
        opened.append(found.rows)
    return {
        "seconds": found.seconds,
        "first_minute_ms": found.first_ms,
        "last_minute_ms": found.last_ms,
        "share_of_speed_left": found.share_left,
        "throttled_visits": found.throttled_visits,
    }
