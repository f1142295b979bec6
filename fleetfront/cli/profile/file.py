"""``profile --file``: what of its options means anything, and timing one file on this machine's CPU.

Devices over ADB are in ``profile.adb_file``.
"""

from __future__ import annotations

from pathlib import Path

from fleetfront.cli.console import print_json, print_table, progress, warn
from fleetfront.cli.options import is_given, store_path
from fleetfront.errors import InputError
from fleetfront.targets import Target

#: What is chosen about spaces alone. A file's batch is its own.
_OF_SPACES = ("budget", "target_error", "few", "calibration", "validation", "batch")


def check_file_request() -> None:
    """Raise InputError if the running command was given options that mean nothing with ``--file``."""
    given = [f"--{name.replace('_', '-')}" for name in _OF_SPACES if is_given(name)]
    if given:
        raise InputError(
            f"{', '.join(given)}: for profiles of a space; one file is timed as it is, in seconds.",
            f"Leave {'it' if len(given) == 1 else 'them'} out, or leave out --file to profile a space.",
        )


def precision_of(file: Path, runtime: str | None, precision: str) -> str:
    """The precision of a file's measurements: what the user says unless the file contradicts, else what it tells.

    Raises InputError for a contradiction.
    """
    from fleetfront.profilers.file_precision import file_precision
    from fleetfront.runtimes.catalogue import places
    from fleetfront.runtimes.facts import Half

    word = precision if is_given("precision") else None
    place = places("adb").get(runtime or "")
    return file_precision(file, word, computes_in_either=place is not None and place.half == Half.RUNTIME)


def profile_local_file(file: Path, target: Target, store: Path | None, as_json: bool, quiet: bool) -> None:
    """Time ``file`` on this machine's CPU and print it. Raises what ``single_file.profile_file`` raises."""
    from fleetfront.profilers.cpu.single_file import profile_file
    from fleetfront.profilers.store.store import Store

    with Store(store_path(store)) as opened, progress(quiet) as shown:
        result = profile_file(file, target, store=opened, progress=shown)
    if as_json:
        print_json(result.to_json())
        return
    print_table(("what", "value"), result.rows())
    for text in result.warnings:
        warn(text)
