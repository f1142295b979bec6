"""``profile --file`` on a device over ADB: timing one file there, or running it without rest."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from fleetfront.cli.console import hint, print_json, print_table, progress, warn
from fleetfront.cli.options import store_path
from fleetfront.cli.profile.adb_options import AdbChoices
from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.adb.opening import is_adb
from fleetfront.quantities import format_duration, parse_duration_s
from fleetfront.targets import Target

#: File identifier of TensorFlow Lite's schema, which flatbuffers put at the fifth byte.
_TFLITE = b"TFL3"
#: Opening a file and a look at the heat take less.
_LONG_REST_S = 5.0


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

    Raises InputError for a device that is not over ADB and without a .tflite file; DeviceError if nothing could be
    measured.
    """
    if file is None:
        raise _needs_file()
    seconds = sustained_seconds(device, sustained)
    data = tflite_bytes(file)
    if seconds is None:
        facts, rows = _visits(device, target, file, data, adb, store, quiet)
    else:
        facts, rows = _sustained(device, target, file, seconds, adb, store, quiet)
    if as_json:
        print_json({"schema": "fleetfront.file-profile/1", "target": str(target), "path": str(file), **facts})
    else:
        print_table(("what", "value"), [("target", str(target)), *rows])


def sustained_seconds(device: str, sustained: str | None) -> float | None:
    """Seconds of ``--sustained``; None without it. Raises InputError if it cannot be."""
    if sustained is None:
        return None
    from fleetfront.profilers.adb.sustained import check_seconds

    if not is_adb(device):
        raise _needs_file()
    seconds = parse_duration_s(sustained)
    check_seconds(seconds)
    return seconds


def _needs_file() -> InputError:
    return InputError("--sustained needs a device over ADB and a file.", "Add --device adb:SERIAL --file FILE.tflite.")


def tflite_bytes(file: Path) -> bytes:
    """The bytes of a .tflite file. Raises InputError if there is none, or it is something else."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}).", "Give the path of a .tflite file.") from error
    if data[4:8] != _TFLITE:
        raise InputError(
            f"{file} is not a TensorFlow Lite file, and devices over ADB run no other.",
            "Write one with `fleetfront deploy` or `fleetfront export`.",
        )
    return data


def _visits(
    device: str, target: Target, file: Path, data: bytes, adb: AdbChoices, store: Path | None, quiet: bool
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    from fleetfront.pipelines.measure.files import ALL_THROTTLED, measure_files
    from fleetfront.profilers.store.store import Store

    with Store(store_path(store)) as opened, progress(quiet) as shown:
        agent = adb.agent(device, target, shown)
        found = measure_files(
            {file.name: data}, target, opened, clock=agent.clocks[0], open_agent=lambda _: agent, progress=shown
        )[file.name]
    if found.error == ALL_THROTTLED:
        raise DeviceError(
            f"{file} could not be measured on {device}: {found.error}.",
            "Let the device cool down, or give a higher --max-temp; what was measured hot is kept and flagged.",
        )
    if found.ms is None or found.std_ms is None:
        raise DeviceError(
            f"{file} could not be measured on {device}: {found.error}.",
            f"Check the file with `fleetfront profile --device cpu --file {shlex.quote(str(file))}`, "
            "or choose another --runtime.",
        )
    facts = {
        "latency_ms": found.ms,
        "latency_std_ms": found.std_ms,
        "statistic": found.statistic,
        "clock": found.clock.value,
        "visits": found.visits,
    }
    how = f"{found.clock.value} clock, {found.statistic} of {found.visits} visits"
    return facts, [("latency", f"{found.ms:.4g} ms +- {found.std_ms:.2g} ({how})")]


def _sustained(
    device: str, target: Target, file: Path, seconds: float, adb: AdbChoices, store: Path | None, quiet: bool
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    from contextlib import closing

    from fleetfront.profilers.adb.sustained import SUSTAINED_OPTIONS, measure_sustained
    from fleetfront.profilers.store.store import Store

    with (
        Store(store_path(store)) as opened,
        progress(quiet) as shown,
        closing(adb.agent(device, target, shown, SUSTAINED_OPTIONS)) as agent,
    ):
        found = measure_sustained(agent, file, seconds, keep=lambda row: opened.append([row]), progress=shown)
    if found.failed_visits:
        hint(f"{found.failed_visits} visits gave no numbers and were left out; the store has their reasons.")
    if found.longest_rest_s > _LONG_REST_S:
        warn(
            f"The device rested {format_duration(found.longest_rest_s)} in between, as when a connection is lost, and "
            "may have cooled: run it again."
        )
    facts = {
        "seconds": found.seconds,
        "window_seconds": found.window_s,
        "first_minute_ms": found.first_ms,
        "last_minute_ms": found.last_ms,
        "share_of_speed_left": found.share_left,
        "throttled_visits": found.throttled_visits,
        "failed_visits": found.failed_visits,
        "longest_rest_seconds": found.longest_rest_s,
    }
    window = format_duration(found.window_s)
    return facts, [
        ("ran for", format_duration(found.seconds)),
        (f"first {window}", f"{found.first_ms:.4g} ms (wall clock, mean run)"),
        (f"last {window}", f"{found.last_ms:.4g} ms"),
        ("speed left", f"{100 * found.share_left:.0f} %"),
        ("throttled visits", str(found.throttled_visits)),
    ]
