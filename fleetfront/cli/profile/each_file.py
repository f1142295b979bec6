"""``profile --file`` of several files, or of folders: one after the other, then one table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fleetfront.cli.console import hint, kept_output, print_json, print_table, shortened, warn
from fleetfront.cli.profile.many import most_pressing
from fleetfront.errors import FleetfrontError, InputError

Json = dict[str, Any]

_SUFFIXES = (".onnx", ".ort", ".tflite")


def profile_each_file(paths: Sequence[Path], as_json: bool) -> None:
    """Run the command again for every file, and tell of all together; one that fails keeps no other from being timed.

    Raises an error of the last one's kind if none could be timed, and the most pressing one once all is printed if some
    could not.
    """
    each = click.get_current_context()
    documents: list[Json] = []
    failed: dict[Path, FleetfrontError] = {}
    files = files_in(paths)
    for number, path in enumerate(files, start=1):
        hint(f"{number} of {len(files)}: {path}")
        try:
            with kept_output() as said:
                each.invoke(each.command, **{**each.params, "files": (path,), "as_json": True})
            documents.append(json.loads("\n".join(said)))
        except FleetfrontError as error:
            failed[path] = error
            documents.append({"path": str(path), "error": error.message, "remedy": error.remedy})
            warn(str(error) if str(path) in error.message else f"{path}: {error}")
    if len(failed) == len(files):
        raise type(failed[files[-1]])(f"None of {len(files)} files could be timed.", "Do what the warnings above say.")
    if as_json:
        print_json(documents)
    else:
        print_table(
            ("file", "target", "latency ms", "+-", "p95 ms", "cold start ms", "peak MiB"), map(_cells, documents)
        )
    if failed:
        raise most_pressing(error.exit_code for error in failed.values())(
            f"{len(failed)} of {len(files)} files could not be timed: {shortened(', '.join(map(str, failed)))}.",
            "Do what the warnings above say, or name the others.",
        )


def files_in(paths: Sequence[Path]) -> list[Path]:
    """The files named, and the model files of folders named, each once. Raises InputError for a folder without any."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(one for one in path.iterdir() if one.suffix.lower() in _SUFFIXES) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"The folder {path} holds no {', '.join(_SUFFIXES)} file.", "Name the files.")
        found += inside
    return list(dict.fromkeys(found))


def _cells(told: Json) -> tuple[str, ...]:
    name = shortened(told.get("path") or told.get("file", ""))
    if "error" in told:
        return name, "-", "failed", "-", "-", "-", "-"
    peak = told.get("peak_bytes")
    numbers = (
        told.get("latency_ms", told.get("undisturbed_ms")),
        told.get("latency_std_ms"),
        told.get("wall", {}).get("p95_ms"),
        told.get("cold_start_ms"),
        None if peak is None else peak / 2**20,
    )
    return name, told.get("target", "-"), *("-" if number is None else f"{number:.4g}" for number in numbers)
