"""``profile --file``: time one file on a device, or run it there without rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from fleetfront.cli.console import hint, print_json, print_table, progress, warn
from fleetfront.cli.options import flag_of, is_given, option_group, store_path
from fleetfront.cli.profile.dry_run import tell_plan
from fleetfront.cli.profile.settings import warn_of_no_rest
from fleetfront.errors import InputError
from fleetfront.profilers.kinds.base import Choices, DeviceKind
from fleetfront.quantities import format_duration, parse_duration_s
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.cli.profile.batches import Variant
    from fleetfront.pipelines.measure.single_file import FileProfile
    from fleetfront.profilers.store.store import Store
    from fleetfront.progress import Progress


@dataclass(frozen=True, slots=True)
class TimedFiles:
    """Model files to time, what their inputs are fed, and whether they run without rest."""

    files: tuple[Path, ...]
    shapes: tuple[str, ...]
    arrays: Path | None
    sustained: str | None

    @property
    def file(self) -> Path | None:
        """The first file, None without any."""
        return self.files[0] if self.files else None

    @property
    def is_several(self) -> bool:
        """Tell whether each file is timed by a command of its own."""
        return len(self.files) > 1 or (self.file is not None and self.file.is_dir())

    @property
    def seconds(self) -> float | None:
        """Seconds of ``--sustained``; None without it. Raises InputError if it cannot be."""
        if self.sustained is None:
            return None
        from fleetfront.profilers.adb.sustained import check_seconds

        if self.file is None:
            raise InputError("--sustained needs a file.", "Add --file FILE.tflite.")
        seconds = parse_duration_s(self.sustained)
        check_seconds(seconds)
        return seconds


#: All options of ``TimedFiles``, handed to the command as its argument ``timed``.
timed_options = option_group(
    TimedFiles,
    "timed",
    [
        click.option(
            "--file",
            "files",
            multiple=True,
            type=click.Path(path_type=Path),
            help="Time this .onnx, .ort or .tflite file; several, or all of a folder, make one table.",
        ),
        click.option(
            "--shape",
            "shapes",
            multiple=True,
            metavar="NAME=1,3,640,640",
            help="With --file: how large an open input is.",
        ),
        click.option(
            "--inputs",
            "arrays",
            type=click.Path(path_type=Path),
            metavar="x.npz",
            help="With --file: what its inputs are fed.",
        ),
        click.option(
            "--sustained", metavar="10m", help="ADB, with --file: run without rest; what heat leaves of the speed."
        ),
    ],
)

#: What is chosen about spaces alone.
_OF_SPACES = ("budget", "target_error", "few", "calibration", "validation", "from_front")
#: Opening a file and a look at the heat take less.
_LONG_REST_S = 5.0


def check_file_request(file: Path | None, variants: Sequence[Variant]) -> None:
    """Raise InputError if the running command was given what means nothing with ``--file``, or several targets."""
    if file is None:
        return
    given = [flag_of(name) for name in _OF_SPACES if is_given(name)]
    if given:
        raise InputError(
            f"{', '.join(given)}: for profiles of a space; one file is timed as it is, in seconds.",
            f"Leave {'it' if len(given) == 1 else 'them'} out, or leave out --file to profile a space.",
        )
    for option in ("batch", "precision"):
        values = list(dict.fromkeys(str(one.to_options()[option]) for one in variants))
        if len(values) > 1:
            raise InputError(
                f"--{option} {','.join(values)}: a file is timed with one {option} at a time.",
                f"Give one, e.g. --{option} {values[-1]}, or leave it out for the file's own.",
            )


def file_target(
    kind: DeviceKind,
    name: str,
    runtime: str | None,
    precision: str,
    threads: int,
    batch: int,
    file: Path | None,
) -> Target:
    """Where a file runs: what its user did not type, the file tells. Raises what ``kind.target`` raises."""
    return kind.target(
        name,
        runtime=runtime,
        precision=precision if is_given("precision") else None,
        threads=threads,
        batch=batch if is_given("batch") else None,
        file=file,
    )


def profile_file_there(
    kind: DeviceKind,
    target: Target,
    choices: Choices,
    timed: TimedFiles,
    store: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Time a file in visits or, for ``--sustained``, without rest; say with ``dry_run`` how it would be timed.

    Raises what ``measure.files.profile_file`` and opening the device raise.
    """
    from fleetfront.graphs.input_shapes import parse_shapes
    from fleetfront.pipelines.measure.file_inputs import size_inputs
    from fleetfront.pipelines.measure.single_file import check_file
    from fleetfront.profilers.store.store import Store

    file, seconds = timed.file, timed.seconds
    if file is None:
        raise InputError("There is no file.", "Add --file FILE.")
    check_file(file, target)
    sizes = parse_shapes(timed.shapes)
    if dry_run:
        with TemporaryDirectory() as folder:
            target = size_inputs(file, target, Path(folder), sizes, timed.arrays, says_batch=is_given("batch")).target
        tell_plan(kind, target, choices, _planned(file, seconds), as_json, quiet)
        return
    with Store(store_path(store)) as opened, progress(quiet) as shown, TemporaryDirectory() as folder:
        if seconds is not None:
            sized = size_inputs(file, target, Path(folder), sizes, timed.arrays, says_batch=is_given("batch"))
            facts, rows = _run_sustained(kind, sized.target, choices, sized.path, seconds, opened, shown)
        else:
            result = time_file(kind, target, choices, file, timed, opened, shown)
    if seconds is not None:
        if as_json:
            print_json({"schema": "fleetfront.file-profile/1", "target": str(target), "path": str(file), **facts})
        else:
            print_table(("what", "value"), [("target", str(target)), *rows])
        return
    if as_json:
        print_json(result.to_json())
        return
    print_table(("what", "value"), result.rows())
    for text in result.notes:
        hint(text)
    for text in result.warnings:
        warn(text)


def time_file(
    kind: DeviceKind, target: Target, choices: Choices, file: Path, timed: TimedFiles, store: Store, shown: Progress
) -> FileProfile:
    """Time ``file`` in visits, its inputs fed as the user said. Raises what ``single_file.profile_file`` raises."""
    from fleetfront.graphs.input_shapes import parse_shapes
    from fleetfront.pipelines.measure.single_file import profile_file

    return profile_file(
        file,
        target,
        shapes=parse_shapes(timed.shapes),
        arrays=timed.arrays,
        says_batch=is_given("batch"),
        store=store,
        open_agent=lambda one: kind.open(one, choices, shown),
        progress=shown,
    )


def _planned(file: Path, seconds: float | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"file": str(file), "file_bytes": file.stat().st_size}
    return facts if seconds is None else {**facts, "sustained_seconds": seconds}


def _run_sustained(
    kind: DeviceKind, target: Target, choices: Choices, file: Path, seconds: float, store: Store, shown: Progress
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    from contextlib import closing

    from fleetfront.profilers.adb.sustained import measure_sustained

    with closing(kind.open(target, choices, shown)) as agent:
        warn_of_no_rest()
        found = measure_sustained(agent, target, file, seconds, keep=lambda row: store.append([row]), progress=shown)
    if found.failed_visits:
        hint(f"{found.failed_visits} visits gave no numbers and were left out; the store has their reasons.")
    if found.longest_rest_s > _LONG_REST_S:
        warn(
            f"The device rested {format_duration(found.longest_rest_s)} in between, as when a connection is lost, and "
            "may have cooled: run it again."
        )
    return found.to_json(), found.lines()
